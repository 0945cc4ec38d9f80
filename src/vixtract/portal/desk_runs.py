"""Runs as one person may see, stop and repeat them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vixtract.portal.access import BLOCK, Access, away, is_away
from vixtract.portal.errors import NotFoundError
from vixtract.portal.models import Run, RunPage
from vixtract.scheduler.client import SchedulerError

PAGE = 25
# Where the engine does not filter, a page looks at this many blocks of everybody's runs; the link
# to older ones goes on from there.
MAX_BLOCKS = 10
ENDED_STATES = ("succeeded", "warning", "failed", "aborted")


@dataclass(frozen=True)
class RunFilter:
    """Which runs are asked for; what is empty filters nothing.

    Args:
        schedule: id of a schedule.
        state: one of ENDED_STATES, or `open`.
        owner: whose account they ran under.
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
        """Return what the embedded engine understands beside `event`."""
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
        """Say whether a run is one of these."""
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


class RunDesk(Access):
    """The runs' side of the desk."""

    def list_runs(self, offset: int = 0, wanted: RunFilter | None = None) -> RunPage:
        """Return one page of runs, newest first.

        Args:
            offset: rows of the scheduler's history to skip.
            wanted: which runs; None for all.
        Raises:
            NotFoundError: the schedule is not this person's.
        """
        wanted = wanted or RunFilter()
        if wanted.schedule:
            self.find_schedule(wanted.schedule)
        active = [] if offset else [r for r in self.active_runs("") if wanted.admits(r)]
        if wanted.state == "open":
            return RunPage(active, [], total=len(active))
        filters = wanted.to_params()
        if not self.person.admin:
            filters["person"] = self.person.name
        rows, total, filtered = self.filtered_history(offset, PAGE, wanted.schedule, filters)
        previous = max(0, offset - PAGE) if offset else None
        if not filtered:
            found, end = self._search(offset, wanted)
            return RunPage(active, found, end, previous)
        following = offset + len(rows)
        mine = [row for row in rows if self.owns_run(row) and wanted.admits(row)]
        end = following if rows and following < total else None
        return RunPage(active, mine, end, previous, total, offset + 1)

    def _search(self, offset: int, wanted: RunFilter) -> tuple[list[Run], int | None]:
        """Look through everybody's runs for one page; return where to go on, None at the end."""
        found: list[Run] = []
        position = offset
        for _ in range(MAX_BLOCKS):
            rows, total = self.history(position, BLOCK, wanted.schedule)
            for row in rows:
                position += 1
                found += [row] if self.owns_run(row) and wanted.admits(row) else []
                if len(found) == PAGE:
                    return found, position if position < total else None
            if not rows or position >= total:
                return found, None
        return found, position

    def find_previous(self, run: Run) -> Run | None:
        """Return the run of the same schedule that ended before this one, or None."""
        if run.is_open or not run.schedule:
            return None
        until = {"until": int(run.end.timestamp()) + 1} if run.end else {}
        try:
            rows, _ = self.history(0, BLOCK if not until else 10, run.schedule, **until)
        except (SchedulerError, NotFoundError):
            return None  # the schedule is gone, and its history's address with it
        older = [row for row in rows if row.id < run.id and self.owns_run(row)]
        return older[0] if older else None

    def run_again(self, identifier: str, parameters: Mapping[str, Any] | None = None) -> str:
        """Start the schedule of a run once more.

        Args:
            identifier: the run's.
            parameters: what it runs with; None for those of that run.
        Returns: id of the new run; empty where it waits and has none yet.
        Raises:
            NotFoundError: there is no such run or its schedule is gone, or not this person's.
            PortalError: the scheduler refuses.
        """
        run = self.find_run(identifier)
        schedule = self.find_schedule(run.schedule)
        chosen = dict(run.parameters if parameters is None else parameters)
        params: dict[str, Any] = {}
        if schedule.plugin == "notebook":
            params = {"params": {**dict(schedule.event.get("params") or {}), "parameters": chosen}}
        answer = self.do("run_event", id=schedule.id, **params)
        identifiers = answer.get("ids") or answer.get("queued") or [""]
        return str(identifiers[0])

    def read_console(self, identifier: str, offset: int) -> dict[str, Any]:
        """Return the part of a running job's log that begins at an offset.

        Args:
            identifier: job id.
            offset: bytes seen so far.
        Returns: `run` (Run), `data` (text), `next` (offset to go on from).
        Raises:
            NotFoundError: there is no such run, or it is not this person's.
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
        """Return the whole log of a run that has ended; empty while it has not.

        Raises:
            NotFoundError: there is no such run, or it is not this person's.
        """
        if self.find_run(identifier).is_open:
            return ""
        try:
            return self.client.get_job_log(identifier)
        except SchedulerError as error:
            if is_away(error):
                raise away() from error
            return ""  # a run that never began has no log

    def abort_run(self, identifier: str) -> None:
        """Stop a run.

        Raises:
            NotFoundError: there is none, or it is not this person's.
            PortalError: it has ended already.
        """
        self.find_run(identifier)
        self.do("abort_job", id=identifier)
