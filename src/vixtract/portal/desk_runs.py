"""Runs as one person may see and stop them."""

from __future__ import annotations

from typing import Any

from vixtract.portal.access import BLOCK, Access, away, is_away
from vixtract.portal.models import Run, RunPage
from vixtract.scheduler.client import SchedulerError

PAGE = 25
# A page looks at this many blocks of everybody's runs; the link to older ones goes on from there.
MAX_BLOCKS = 10


class RunDesk(Access):
    """The runs' side of the desk."""

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
            rows, total = self.history(end or 0, BLOCK, schedule)
            for row in rows:
                end = (end or 0) + 1
                found += [row] if self.owns_run(row) else []
                if len(found) == PAGE:
                    break
            if not rows or (end or 0) >= total:
                end = None
            if end is None or len(found) == PAGE:
                break
        active = [] if offset else self.active_runs(schedule)
        previous = max(0, offset - PAGE) if offset else None
        return RunPage(active, found, end, previous)

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
