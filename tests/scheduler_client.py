"""The scheduler's client with the calls that only tests make."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

from vixtract.scheduler.client import Page, SchedulerClient, SchedulerError

POLL_S = 0.5
LIMBO_S = 5.0


class JobClient(SchedulerClient):
    """A client that also starts jobs, waits for them and aborts them."""

    def status(self) -> dict[str, Any]:
        """Return the state of the engine and its neighbours."""
        return self.call("status")

    def get_event(self, event: str) -> dict[str, Any]:
        """Return one event by its id."""
        return cast("dict[str, Any]", self.call("get_event", {"id": event})["event"])

    def delete_event(self, event: str) -> None:
        """Delete an event that has no running jobs."""
        self.call("delete_event", {"id": event})

    def run_event(self, event: str, params: Mapping[str, Any] | None = None) -> str:
        """Run an event now.

        Args:
            params: replaces single parameters for this run; needs an admin key.
        Returns: the job's id; empty when Cronicle queued the run, for it has no id yet.
        """
        answer = self.call("run_event", {"id": event, **({"params": params} if params else {})})
        ids = answer.get("ids") or answer.get("queued") or [""]
        return str(ids[0])

    def get_job_details(self, job: str) -> dict[str, Any]:
        """Return one finished job."""
        return cast("dict[str, Any]", self.call("get_job_details", {"id": job})["job"])

    def get_history(self, offset: int = 0, limit: int = 50) -> Page:
        """List finished jobs of all events."""
        return self._page("get_history", {"offset": offset, "limit": limit})

    def abort_job(self, job: str) -> None:
        """Abort a job."""
        self.call("abort_job", {"id": job})

    def flush_event_queue(self, event: str) -> None:
        """Abort everything that waits in an event's queue."""
        self.call("flush_event_queue", {"id": event})

    def wait_for_job(self, job: str, timeout_s: float) -> dict[str, Any]:
        """Wait until a job is done.

        Args:
            timeout_s: seconds to wait at most.
        Returns: the finished job.
        Raises:
            SchedulerError: it was not done in time (code timeout), with what was last seen.
        """
        deadline = time.monotonic() + timeout_s
        found_at = time.monotonic()
        seen: dict[str, Any] = {}
        while True:
            try:
                seen = self.get_job_status(job)
                found_at = time.monotonic()
            except SchedulerError as error:
                # Cronicle knows a job for a moment neither as running nor as ended.
                if error.code != "job" or time.monotonic() > found_at + LIMBO_S:
                    raise
            if seen.get("complete"):
                return seen
            if time.monotonic() >= deadline:
                last = f"{seen.get('state', 'running')}, {seen.get('memo') or 'no report'}"
                raise SchedulerError(
                    f"Job {job} was not done after {timeout_s:g} s; last seen: {last}", "timeout"
                )
            time.sleep(POLL_S)
