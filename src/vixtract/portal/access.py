"""Who may see and do what: every question of ownership is answered here.

A schedule belongs to its author and to the owner of the notebook it runs; a run belongs to the
same people. Everybody else gets "not found". Administrators of the Hub see everything.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from vixtract.portal.errors import AwayError, ForbiddenError, FormError, NotFoundError, PortalError
from vixtract.portal.identity import User
from vixtract.portal.models import Run, Schedule, read_run, read_schedule
from vixtract.scheduler.client import SchedulerClient, SchedulerError
from vixtract.scheduler.events import find_owner

log = logging.getLogger(__name__)

BLOCK = 200
# Each call of the engine reads all events, so few calls are better than small answers.
EVENT_BLOCK = 1000
# The scheduler's codes for "try again later"; all others are about the request itself.
AWAY_CODES = frozenset({"unreachable", "answer", "timeout", "manager", "session", "internal"})
IDENTIFIER = re.compile(r"\w{1,64}", re.ASCII)


class Access:
    """One person's rights over the scheduler, for one request.

    Args:
        client: with the appliance's own key.
        timezone: of schedules that name none.
    """

    def __init__(self, client: SchedulerClient, person: User, timezone: str) -> None:
        self.client = client
        self.person = person
        self.timezone = timezone

    def find_schedule(self, identifier: str) -> Schedule:
        """Return one schedule; NotFoundError if there is none, or the person may not see it."""
        event = self._find("get_event", "event", identifier)
        if event is None or not self.owns_event(event):
            raise NotFoundError("Schedule not found.", "It may have been deleted.")
        rows, _ = self.history(0, 1, identifier)
        return read_schedule(event, rows[0] if rows else None)

    def find_run(self, identifier: str) -> Run:
        """Return one run, ended or not; NotFoundError as for schedules."""
        job = self._find("get_job_status", "job", identifier)
        run = None if job is None else read_run(job)
        if run is None or not self.owns_run(run):
            raise NotFoundError("Run not found.", "Old runs are deleted after a while.")
        return run

    def _find(self, call: str, name: str, identifier: str) -> Mapping[str, Any] | None:
        """Return the object that a call finds, or None; NotFoundError for what cannot be an id."""
        if not IDENTIFIER.fullmatch(identifier):
            raise NotFoundError("Page not found.")
        try:
            found = self.call(call, id=identifier).get(name)
        except SchedulerError:
            return None
        return found if isinstance(found, Mapping) else None

    @cached_property
    def own_events(self) -> dict[str, Mapping[str, Any]]:
        """Events that this person may see, by id."""
        return {
            str(event.get("id")): event for event in self.all_events() if self.owns_event(event)
        }

    def all_events(self) -> Iterator[Mapping[str, Any]]:
        offset = 0
        while True:
            answer = self.call("get_schedule", offset=offset, limit=EVENT_BLOCK)
            rows = answer.get("rows") or []
            yield from rows
            offset += len(rows)
            if not rows or offset >= int((answer.get("list") or {}).get("length") or 0):
                return

    def owns_event(self, event: Mapping[str, Any]) -> bool:
        """Return whether the person may see and change an event."""
        author, params = str(event.get("username") or ""), event.get("params")
        owner = find_owner(params if isinstance(params, Mapping) else {}, author)
        return self.person.admin or self.person.name in (author, owner)

    def owns_run(self, run: Run) -> bool:
        """Return whether the person may see a run."""
        if self.person.admin:
            return True
        if run.author or run.owner:
            return self.person.name in (run.author, run.owner)
        # Cronicle's history has no owner: the schedule's decides.
        return run.schedule in self.own_events

    def check_params(self, event: Mapping[str, Any]) -> None:
        """Refuse another person's notebook while the form is open; the runner would at run time."""
        owner = (event.get("params") or {}).get("owner", self.person.name)
        if not self.person.admin and owner != self.person.name:
            raise ForbiddenError("Only admins may run another person's notebook.")

    def active_runs(self) -> list[Run]:
        """Return the person's runs that have not ended, newest first."""
        jobs = list((self.call("get_active_jobs").get("jobs") or {}).values())
        jobs += self.call("get_queue", limit=BLOCK).get("rows") or []
        runs = {run.id: run for run in map(read_run, jobs)}
        newest_first = sorted(runs.values(), key=lambda run: run.id, reverse=True)
        return [run for run in newest_first if self.owns_run(run)]

    def history(
        self, offset: int, limit: int, schedule: str = "", **filters: object
    ) -> tuple[list[Run], int]:
        """Return a block of runs that have ended, newest first, and how many there are."""
        name, which = ("get_event_history", {"id": schedule}) if schedule else ("get_history", {})
        answer = self.call(name, offset=offset, limit=limit, **which, **filters)
        rows = [read_run(row) for row in answer.get("rows") or []]
        return rows, int((answer.get("list") or {}).get("length") or 0)

    def call(self, name: str, /, **params: object) -> Mapping[str, Any]:
        """Make one call of the scheduler."""
        try:
            return self.client.call(name, params)
        except SchedulerError as error:
            if not is_away(error):
                raise
            log.warning("%s: %s", name, error.message)
            raise away() from error

    def do(self, name: str, /, **params: object) -> Mapping[str, Any]:
        """Make a call that changes something; a refusal becomes an error for the page."""
        try:
            return self.call(name, **params)
        except SchedulerError as error:
            refused = PortalError(error.message, error.hint)
            refused.status = 409
            raise refused from error

    def store(self, name: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make a call that stores an event; a refusal becomes a problem of the form."""
        try:
            return self.call(name, **values)
        except SchedulerError as error:
            field = "title" if "title" in error.message.lower() else "form"
            raise FormError({field: error.message}) from error


def is_away(error: SchedulerError) -> bool:
    """Return whether the scheduler is away, so that a later try may work."""
    if error.message == "Invalid API Key":
        log.error("the scheduler does not know the portal's key")
        return True
    return error.code in AWAY_CODES or bool(re.fullmatch("5[0-9][0-9]", error.code))


def away() -> AwayError:
    """Return the error for a scheduler that does not answer."""
    return AwayError("The scheduler does not answer.", "It may be starting: try again in a moment.")
