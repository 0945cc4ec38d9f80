"""The scheduler with the rights of one person: schedules and runs.

`access` answers every question of ownership. Everything goes through the scheduler's REST contract,
so every method blocks: call them in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from vixtract.portal.access import BLOCK, Access, away, is_away
from vixtract.portal.errors import NotFoundError
from vixtract.portal.models import Run, RunPage, Schedule, read_run, read_schedule
from vixtract.scheduler.client import SchedulerError

PAGE = 25
ENDED_STATES = ("succeeded", "warning", "failed", "aborted")


@dataclass(frozen=True)
class StartedRun:
    """Result of starting a schedule.

    Args:
        run: job id; empty while the run waits and has none yet.
        waiting: place in the queue, 0 when it runs.
    """

    run: str
    waiting: int


@dataclass(frozen=True)
class RunFilter:
    """Filters of a list of runs; an empty one filters nothing.

    Args:
        schedule: its id.
        state: one of ENDED_STATES, or `open`.
        since: ended then or later.
        until: ended before.
        word: part of the title, or a whole run id.
    """

    schedule: str = ""
    state: str = ""
    owner: str = ""
    since: datetime | None = None
    until: datetime | None = None
    word: str = ""

    def to_params(self) -> dict[str, object]:
        """Return the filters as parameters of `get_history`, without the schedule."""
        params: dict[str, object] = {
            "state": [self.state] if self.state in ENDED_STATES else [],
            "owner": self.owner,
            "word": self.word,
        }
        if self.since:
            params["since"] = int(self.since.timestamp())
        if self.until:
            params["until"] = int(self.until.timestamp())
        return {name: value for name, value in params.items() if value}

    def admits(self, run: Run) -> bool:
        """Return whether a run passes the filters."""
        moment = run.end or run.start
        word = self.word.casefold()
        return (
            self.schedule in ("", run.schedule)
            and self.owner in ("", run.owner)
            and (not self.state or self.state == ("open" if run.is_open else run.state))
            and (not word or word in run.title.casefold() or self.word.strip() == run.id)
            and (self.since is None or (moment is not None and moment >= self.since))
            and (self.until is None or (moment is not None and moment < self.until))
        )


class SchedulerAccess(Access):
    """One person's view of the scheduler, for one request.

    What names a schedule or a run raises NotFoundError where it does not exist, or the person may
    not see it. What starts, stops or deletes raises PortalError where the scheduler refuses.
    """

    def list_schedules(self) -> list[Schedule]:
        """Return the person's schedules (an admin's: everybody's) by title, with last runs."""
        schedules = self.list_plain()
        recent = self.list_recent([schedule.id for schedule in schedules], 1)
        return self.add_last(schedules, recent)

    def list_plain(self, words: str = "") -> list[Schedule]:
        """Return the same without runs, if title, notebook and owner contain each of the words."""
        wanted = words.casefold().split()
        found = []
        for schedule in map(read_schedule, self.own_events.values()):
            text = f"{schedule.title} {schedule.notebook} {schedule.owner}".casefold()
            if all(word in text for word in wanted):
                found.append(schedule)
        return sorted(found, key=lambda schedule: (schedule.title.casefold(), schedule.id))

    def add_last(
        self, schedules: Sequence[Schedule], recent: Mapping[str, Sequence[Run]]
    ) -> list[Schedule]:
        """Return schedules with their newest run, an open one or one of these ended ones."""
        last = {identifier: runs[0] for identifier, runs in recent.items() if runs}
        last.update((run.schedule, run) for run in reversed(self.active_runs()))
        return [replace(schedule, last=last.get(schedule.id)) for schedule in schedules]

    def list_recent(self, schedules: Sequence[str], count: int) -> dict[str, list[Run]]:
        """Return the last ended runs, newest first, by the ids of this person's schedules."""
        if not schedules:
            return {}
        answer = self.call("get_recent_runs", ids=list(schedules), limit=count)
        found = answer.get("runs") or {}
        return {identifier: [read_run(row) for row in rows] for identifier, rows in found.items()}

    def propose_title(self, wish: str) -> str:
        """Return an unused name; names of schedules are unique in the appliance."""
        taken = {str(event.get("title", "")).strip() for event in self.all_events()}
        names = [wish, f"{wish} ({self.person.name})"]
        names += [f"{wish} ({self.person.name} {number})" for number in range(2, 1000)]
        return next((name for name in names if name not in taken), wish) if wish else ""

    def create_schedule(self, event: Mapping[str, Any]) -> str:
        """Store a new schedule in this person's name, and return the id of its event.

        Args:
            event: fields made by `vixtract.portal.form.build_event`.
        Raises:
            FormError: the scheduler does not accept it.
        """
        self.check_params(event)
        values = {
            **event,
            "username": self.person.name,
            "category": "general",
            "target": "allgrp",
            # A slow run must not meet its successor on the same tables; the next one waits.
            "max_children": 1,
            "queue": 1,
            "queue_max": 100,
        }
        return str(self.store("create_event", values).get("id", ""))

    def update_schedule(self, identifier: str, event: Mapping[str, Any]) -> None:
        """Change a schedule; it then runs with the rights of the person who changed it.

        Raises:
            FormError: the scheduler does not accept it.
        """
        schedule = self.find_schedule(identifier)
        values = {**event, "id": identifier}
        if not self.person.admin:
            params = event.get("params", schedule.event.get("params")) or {}
            values["username"] = self.person.name
            values["params"] = {**params, "owner": self.person.name}
            self.check_params(values)
        self.store("update_event", values)

    def set_enabled(self, identifier: str, enabled: bool) -> None:
        """Switch a schedule on or off; its author stays the same."""
        self.find_schedule(identifier)
        self.store("update_event", {"id": identifier, "enabled": int(enabled)})

    def delete_schedule(self, identifier: str) -> None:
        """Delete a schedule; its runs stay."""
        self.find_schedule(identifier)
        self.do("delete_event", id=identifier)

    def run_schedule(self, identifier: str) -> StartedRun:
        """Start a schedule now, whether it is enabled or not."""
        self.find_schedule(identifier)
        return self._start(identifier)

    def _start(self, schedule: str, **options: object) -> StartedRun:
        answer = self.do("run_event", id=schedule, **options)
        identifiers = answer.get("ids") or answer.get("queued") or [""]
        return StartedRun(str(identifiers[0]), int(answer.get("queue") or 0))

    def list_runs(self, offset: int, wanted: RunFilter) -> RunPage:
        """Return one page of runs, newest first; the offset is in the scheduler's history."""
        if wanted.schedule:
            self.find_schedule(wanted.schedule)
        active = [] if offset else [r for r in self.active_runs() if wanted.admits(r)]
        if wanted.state == "open":
            return RunPage(active, [], total=len(active))
        filters = wanted.to_params()
        if not self.person.admin:
            filters["person"] = self.person.name
        rows, total = self.history(offset, PAGE, wanted.schedule, **filters)
        previous = max(0, offset - PAGE) if offset else None
        end = offset + len(rows)
        following = end if rows and end < total else None
        mine = [row for row in rows if self.owns_run(row) and wanted.admits(row)]
        return RunPage(active, mine, following, previous, total, offset + 1)

    def find_previous(self, run: Run) -> Run | None:
        """Return the run of the same schedule that ended before this one, or None."""
        if run.is_open or not run.schedule:
            return None
        until = {"until": int(run.end.timestamp()) + 1} if run.end else {}
        try:
            rows, _ = self.history(0, BLOCK if not until else 10, run.schedule, **until)
        except (SchedulerError, NotFoundError):
            return None  # the schedule was deleted, and its history with it
        return next((row for row in rows if row.id < run.id and self.owns_run(row)), None)

    def run_again(self, identifier: str, parameters: Mapping[str, Any] | None = None) -> str:
        """Start the schedule of a run once more.

        Args:
            parameters: what it runs with; None for those of that run.
        Returns: id of the new run; empty where it waits and has none yet.
        """
        run = self.find_run(identifier)
        schedule = self.find_schedule(run.schedule)
        if schedule.plugin != "notebook":
            return self._start(schedule.id).run
        chosen = dict(run.parameters if parameters is None else parameters)
        params = {**(schedule.event.get("params") or {}), "parameters": chosen}
        return self._start(schedule.id, params=params).run

    def read_console(self, identifier: str, offset: int) -> dict[str, Any]:
        """Return the part of an open run's log that begins at an offset in bytes.

        Returns: `run` (Run), `data` (text), `next` (offset to go on from).
        """
        run = self.find_run(identifier)
        if not run.is_open:
            return {"run": run, "data": "", "next": offset}
        try:
            page = self.call("get_live_console", id=identifier, offset=offset)
        except SchedulerError:
            # It ended between the two calls, or has no log yet: the next poll sees which.
            page = {}
        return {"run": run, "data": str(page.get("data") or ""), "next": page.get("next") or offset}

    def read_log(self, identifier: str) -> str:
        """Return the whole log of a run that has ended; empty while it has not."""
        if self.find_run(identifier).is_open:
            return ""
        try:
            return self.client.get_job_log(identifier)
        except SchedulerError as error:
            if is_away(error):
                raise away() from error
            return ""  # a run that never started has no log

    def abort_run(self, identifier: str) -> None:
        """Stop a run that has not ended."""
        self.find_run(identifier)
        self.do("abort_job", id=identifier)
