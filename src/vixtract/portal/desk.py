"""What one person may see and do: every question of ownership is answered here.

A schedule belongs to its author and to the owner of the notebook it runs; a run belongs to the
same people. Everybody else is told that there is no such thing. Hub admins see everything.
Works through the scheduler's REST contract alone, so all of it blocks: call it in a thread.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vixtract.portal.errors import AwayError, ForbiddenError, FormError, NotFoundError, PortalError
from vixtract.portal.identity import Person
from vixtract.portal.models import Run, RunPage, Schedule, read_run, read_schedule
from vixtract.scheduler.client import SchedulerClient, SchedulerError

log = logging.getLogger(__name__)

PAGE = 25
BLOCK = 200
# A page looks at this many blocks of everybody's runs; the link to older ones goes on from there.
MAX_BLOCKS = 10
# Schedules without a run in the newest block are asked about one by one, up to this many.
MAX_LOOKUPS = 100
# Words of the scheduler for "ask again later"; everything else is about the request itself.
AWAY_CODES = frozenset({"unreachable", "answer", "timeout", "manager", "session", "internal"})
IDENTIFIER = re.compile(r"\w{1,64}", re.ASCII)


@dataclass(frozen=True)
class Started:
    """What "run now" led to.

    Args:
        run: job id; empty while the run waits and has none yet.
        waiting: place in the queue, 0 when it runs.
    """

    run: str
    waiting: int


class Desk:
    """One person's view of the scheduler, for one request.

    Args:
        client: with the appliance's own key.
        person: who is signed in.
    """

    def __init__(self, client: SchedulerClient, person: Person) -> None:
        self._client = client
        self.person = person

    # Schedules.

    def list_schedules(self) -> list[Schedule]:
        """Return the person's schedules (an admin's: everybody's) by title, with last runs."""
        rows, total = self._history(0, BLOCK)
        last = {run.schedule: run for run in reversed(rows)}
        for identifier in self._find_unseen(rows, total)[:MAX_LOOKUPS]:
            last.update((identifier, row) for row in self._history(0, 1, identifier)[0])
        last.update((run.schedule, run) for run in reversed(self._active_runs("")))
        schedules = [
            read_schedule(event, last.get(identifier))
            for identifier, event in self._own_events.items()
        ]
        return sorted(schedules, key=lambda schedule: (schedule.title.casefold(), schedule.id))

    def _find_unseen(self, rows: list[Run], total: int) -> list[str]:
        """Name the schedules that may have run, though not within these newest rows."""
        if total <= len(rows):
            return []
        seen = {run.schedule for run in rows}
        began = [run.start.timestamp() for run in rows if run.start]
        oldest = min(began, default=0.0)
        return [
            identifier
            for identifier, event in self._own_events.items()
            if identifier not in seen and float(event.get("created") or 0) <= oldest
        ]

    def find_schedule(self, identifier: str) -> Schedule:
        """Return one schedule.

        Raises:
            NotFoundError: there is none, or it is not this person's.
        """
        _check_identifier(identifier)
        try:
            event = self._call("get_event", id=identifier).get("event")
        except SchedulerError as error:
            raise _no_schedule() from error
        if not isinstance(event, Mapping) or not self._owns_event(event):
            raise _no_schedule()
        rows, _ = self._history(0, 1, identifier)
        return read_schedule(event, rows[0] if rows else None)

    def create_schedule(self, event: Mapping[str, Any]) -> str:
        """Store a new schedule in this person's name.

        Args:
            event: fields made by `vixtract.portal.form.build_event`.
        Returns: id of the event.
        Raises:
            FormError: the scheduler does not accept it.
        """
        self._check_params(event)
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
        return str(self._store("create_event", values).get("id", ""))

    def update_schedule(self, identifier: str, event: Mapping[str, Any]) -> None:
        """Change a schedule. What somebody changes runs with that somebody's rights from then on.

        Args:
            identifier: event id.
            event: fields to change.
        Raises:
            NotFoundError: there is none, or it is not this person's.
            FormError: the scheduler does not accept it.
        """
        schedule = self.find_schedule(identifier)
        values = {**event, "id": identifier}
        if not self.person.admin:
            params = event.get("params", schedule.event.get("params")) or {}
            values["username"] = self.person.name
            values["params"] = {**params, "owner": self.person.name}
            self._check_params(values)
        self._store("update_event", values)

    def set_enabled(self, identifier: str, enabled: bool) -> None:
        """Let a schedule run by itself, or not. Its author stays who it is.

        Raises:
            NotFoundError: there is none, or it is not this person's.
        """
        self.find_schedule(identifier)
        self._store("update_event", {"id": identifier, "enabled": int(enabled)})

    def delete_schedule(self, identifier: str) -> None:
        """Delete a schedule; its runs stay.

        Raises:
            NotFoundError: there is none, or it is not this person's.
        """
        self.find_schedule(identifier)
        self._do("delete_event", id=identifier)

    def run_schedule(self, identifier: str) -> Started:
        """Start a schedule now, whether it is enabled or not.

        Raises:
            NotFoundError: there is none, or it is not this person's.
            PortalError: the scheduler refuses, because its queue is full for example.
        """
        self.find_schedule(identifier)
        answer = self._do("run_event", id=identifier)
        identifiers = answer.get("ids") or answer.get("queued") or [""]
        return Started(str(identifiers[0]), int(answer.get("queue") or 0))

    # Runs.

    def list_runs(self, offset: int = 0, schedule: str = "") -> RunPage:
        """Return one page of runs, newest first.

        Args:
            offset: rows of the scheduler's history to skip.
            schedule: id of a schedule, or empty for all.
        Raises:
            NotFoundError: the schedule is not this person's.
        """
        if schedule:
            self.find_schedule(schedule)
        found: list[Run] = []
        end: int | None = offset
        for _ in range(MAX_BLOCKS):
            rows, total = self._history(end or 0, BLOCK, schedule)
            for row in rows:
                end = (end or 0) + 1
                found += [row] if self._owns_run(row) else []
                if len(found) == PAGE:
                    break
            if not rows or (end or 0) >= total:
                end = None
            if end is None or len(found) == PAGE:
                break
        active = [] if offset else self._active_runs(schedule)
        previous = max(0, offset - PAGE) if offset else None
        return RunPage(active, found, end, previous)

    def find_run(self, identifier: str) -> Run:
        """Return one run, ended or not.

        Raises:
            NotFoundError: there is none, or it is not this person's.
        """
        _check_identifier(identifier)
        try:
            job = self._call("get_job_status", id=identifier).get("job")
        except SchedulerError as error:
            raise _no_run() from error
        run = read_run(job) if isinstance(job, Mapping) else None
        if run is None or not self._owns_run(run):
            raise _no_run()
        return run

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
            page = self._call("get_live_console", id=identifier, offset=offset)
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
            return self._client.get_job_log(identifier)
        except SchedulerError as error:
            if _is_away(error):
                raise _away() from error
            return ""  # a run that never began has no log

    def abort_run(self, identifier: str) -> None:
        """Stop a run.

        Raises:
            NotFoundError: there is none, or it is not this person's.
            PortalError: it has ended already.
        """
        self.find_run(identifier)
        self._do("abort_job", id=identifier)

    # Who may.

    @cached_property
    def _own_events(self) -> dict[str, Mapping[str, Any]]:
        return {
            str(event.get("id")): event for event in self._all_events() if self._owns_event(event)
        }

    def _all_events(self) -> Iterator[Mapping[str, Any]]:
        offset = 0
        while True:
            answer = self._call("get_schedule", offset=offset, limit=BLOCK)
            rows = answer.get("rows") or []
            yield from rows
            offset += len(rows)
            if not rows or offset >= int((answer.get("list") or {}).get("length") or 0):
                return

    def _owns_event(self, event: Mapping[str, Any]) -> bool:
        schedule = read_schedule(event)
        return self.person.admin or self.person.name in (schedule.author, schedule.owner)

    def _owns_run(self, run: Run) -> bool:
        if self.person.admin:
            return True
        if run.author or run.owner:
            return self.person.name in (run.author, run.owner)
        # Cronicle's history names nobody: the schedule decides.
        return run.schedule in self._own_events

    def _check_params(self, event: Mapping[str, Any]) -> None:
        """The runner decides at run time; refusing here says it while the form is open."""
        owner = (event.get("params") or {}).get("owner", self.person.name)
        if not self.person.admin and owner != self.person.name:
            raise ForbiddenError("Only admins may run another person's notebook.")

    # The scheduler.

    def _active_runs(self, schedule: str) -> list[Run]:
        jobs = list((self._call("get_active_jobs").get("jobs") or {}).values())
        jobs += self._call("get_queue", limit=BLOCK).get("rows") or []
        runs = list({run.id: run for run in map(read_run, jobs)}.values())
        mine = [run for run in runs if self._owns_run(run) and schedule in ("", run.schedule)]
        return sorted(mine, key=lambda run: run.id, reverse=True)

    def _history(self, offset: int, limit: int, schedule: str = "") -> tuple[list[Run], int]:
        if schedule:
            answer = self._call("get_event_history", id=schedule, offset=offset, limit=limit)
        else:
            answer = self._call("get_history", offset=offset, limit=limit)
        rows = [read_run(row) for row in answer.get("rows") or []]
        return rows, int((answer.get("list") or {}).get("length") or 0)

    def _call(self, name: str, /, **params: object) -> Mapping[str, Any]:
        try:
            return self._client.call(name, params)
        except SchedulerError as error:
            if not _is_away(error):
                raise
            log.warning("%s: %s", name, error.message)
            raise _away() from error

    def _do(self, name: str, /, **params: object) -> Mapping[str, Any]:
        try:
            return self._call(name, **params)
        except SchedulerError as error:
            refused = PortalError(error.message, error.hint)
            refused.status = 409
            raise refused from error

    def _store(self, name: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._call(name, **values)
        except SchedulerError as error:
            field = "title" if "title" in error.message.lower() else "form"
            raise FormError({field: error.message}) from error


def _check_identifier(identifier: str) -> None:
    if not IDENTIFIER.fullmatch(identifier):
        raise NotFoundError("There is no such page.")


def _no_schedule() -> NotFoundError:
    return NotFoundError("There is no such schedule.", "It may have been deleted.")


def _no_run() -> NotFoundError:
    return NotFoundError("There is no such run.", "Old runs are deleted after a while.")


def _is_away(error: SchedulerError) -> bool:
    if error.message == "Invalid API Key":
        log.error("the scheduler does not know the portal's key")
        return True
    return error.code in AWAY_CODES or bool(re.fullmatch("5[0-9][0-9]", error.code))


def _away() -> AwayError:
    return AwayError("The scheduler does not answer.", "It may be starting: try again in a moment.")
