"""Schedules as one person may see and change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vixtract.portal.access import Access
from vixtract.portal.models import Run, Schedule, read_run, read_schedule
from vixtract.scheduler.client import SchedulerError

# An engine without the call for many events at once is asked about each, up to this many.
MAX_LOOKUPS = 100
# … and this many of everybody's newest runs are looked at first.
LOOKED_AT = 1000


@dataclass(frozen=True)
class Started:
    """What "run now" led to.

    Args:
        run: job id; empty while the run waits and has none yet.
        waiting: place in the queue, 0 when it runs.
    """

    run: str
    waiting: int


class ScheduleDesk(Access):
    """The schedules' side of the desk."""

    def list_schedules(self) -> list[Schedule]:
        """Return the person's schedules (an admin's: everybody's) by title, with last runs."""
        schedules = self.list_plain()
        recent = self.list_recent([schedule.id for schedule in schedules], 1)
        return self.add_last(schedules, recent)

    def list_plain(self, words: str = "") -> list[Schedule]:
        """Return the same without runs.

        Args:
            words: each must stand in the title, the notebook's path or the owner's name.
        """
        schedules = [read_schedule(event) for event in self.own_events.values()]
        wanted = words.casefold().split()
        found = [
            schedule
            for schedule in schedules
            if all(
                word in f"{schedule.title} {schedule.notebook} {schedule.owner}".casefold()
                for word in wanted
            )
        ]
        return sorted(found, key=lambda schedule: (schedule.title.casefold(), schedule.id))

    def add_last(
        self, schedules: Sequence[Schedule], recent: Mapping[str, Sequence[Run]]
    ) -> list[Schedule]:
        """Give schedules their newest run, also one that has not ended.

        Args:
            schedules: of this person.
            recent: their ended runs, newest first.
        """
        last = {identifier: runs[0] for identifier, runs in recent.items() if runs}
        last.update((run.schedule, run) for run in reversed(self.active_runs("")))
        return [replace(schedule, last=last.get(schedule.id)) for schedule in schedules]

    def list_recent(self, schedules: Sequence[str], count: int) -> dict[str, list[Run]]:
        """Return the last runs of schedules that have ended, newest first.

        Args:
            schedules: ids of this person's schedules.
            count: of each, at most.
        """
        if not schedules:
            return {}
        try:
            answer = self.call("get_recent_runs", ids=list(schedules), limit=count)
        except SchedulerError:
            return self._list_recent_each(schedules, count)
        found = answer.get("runs") or {}
        return {identifier: [read_run(row) for row in rows] for identifier, rows in found.items()}

    def _list_recent_each(self, schedules: Sequence[str], count: int) -> dict[str, list[Run]]:
        """Do the same with what Cronicle answers: everybody's newest, then each on its own."""
        rows, total = self.history(0, LOOKED_AT)
        found: dict[str, list[Run]] = {identifier: [] for identifier in schedules}
        for run in rows:
            if len(found.get(run.schedule, [run] * count)) < count:
                found[run.schedule].append(run)
        if total > len(rows):
            lacking = [name for name, runs in found.items() if len(runs) < count]
            for identifier in lacking[:MAX_LOOKUPS]:
                found[identifier] = self.history(0, count, identifier)[0]
        return found

    def propose_title(self, wish: str) -> str:
        """Return a name that no schedule has yet; names are unique in the appliance.

        Args:
            wish: what it would best be called.
        """
        taken = {str(event.get("title", "")).strip() for event in self.all_events()}
        names = [wish, f"{wish} ({self.person.name})"]
        names += [f"{wish} ({self.person.name} {number})" for number in range(2, 1000)]
        return next((name for name in names if name not in taken), wish) if wish else ""

    def create_schedule(self, event: Mapping[str, Any]) -> str:
        """Store a new schedule in this person's name.

        Args:
            event: fields made by `vixtract.portal.form.build_event`.
        Returns: id of the event.
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
            self.check_params(values)
        self.store("update_event", values)

    def set_enabled(self, identifier: str, enabled: bool) -> None:
        """Let a schedule run by itself, or not. Its author stays who it is.

        Raises:
            NotFoundError: there is none, or it is not this person's.
        """
        self.find_schedule(identifier)
        self.store("update_event", {"id": identifier, "enabled": int(enabled)})

    def delete_schedule(self, identifier: str) -> None:
        """Delete a schedule; its runs stay.

        Raises:
            NotFoundError: there is none, or it is not this person's.
        """
        self.find_schedule(identifier)
        self.do("delete_event", id=identifier)

    def run_schedule(self, identifier: str) -> Started:
        """Start a schedule now, whether it is enabled or not.

        Raises:
            NotFoundError: there is none, or it is not this person's.
            PortalError: the scheduler refuses, because its queue is full for example.
        """
        self.find_schedule(identifier)
        answer = self.do("run_event", id=identifier)
        identifiers = answer.get("ids") or answer.get("queued") or [""]
        return Started(str(identifiers[0]), int(answer.get("queue") or 0))
