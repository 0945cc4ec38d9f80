"""Schedules as one person may see and change them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vixtract.portal.access import BLOCK, Access
from vixtract.portal.models import Run, Schedule, read_schedule

# Schedules without a run in the newest block are asked about one by one, up to this many.
MAX_LOOKUPS = 100


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
        rows, total = self.history(0, BLOCK)
        last = {run.schedule: run for run in reversed(rows)}
        for identifier in self._find_unseen(rows, total)[:MAX_LOOKUPS]:
            last.update((identifier, row) for row in self.history(0, 1, identifier)[0])
        last.update((run.schedule, run) for run in reversed(self.active_runs("")))
        schedules = [
            read_schedule(event, last.get(identifier))
            for identifier, event in self.own_events.items()
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
            for identifier, event in self.own_events.items()
            if identifier not in seen and float(event.get("created") or 0) <= oldest
        ]

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
