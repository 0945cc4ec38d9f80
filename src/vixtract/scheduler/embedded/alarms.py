"""When each event is due next, so that the engine's thread wakes at that second.

Which slots are due is decided by the ledger from the event's cursor: an alarm that is late, early
or doubled does no harm, and all of them are made anew from the events at every start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from vixtract.errors import VixtractError
from vixtract.scheduler.events import Event

logger = logging.getLogger(__name__)


class Alarms:
    """The next due time of every event; may be used from any thread.

    `on_change` is called when an alarm was set that may be earlier than all others.
    """

    def __init__(self, wall_clock: Callable[[], float], on_change: Callable[[], None]) -> None:
        self._now = wall_clock
        self._on_change = on_change
        self._lock = threading.Lock()
        self._events: dict[str, Event] = {}
        self._due: dict[str, int] = {}

    def set(self, event: Event) -> None:
        """Set, move or remove the alarm of an event, as its timing says."""
        with self._lock:
            self._events[event.id] = event
            self._advance(event.id, self._now())
        self._on_change()

    def remove(self, identifier: str) -> None:
        """Remove the alarm of an event, if it has one."""
        with self._lock:
            self._events.pop(identifier, None)
            self._due.pop(identifier, None)

    def rebuild(self, events: Sequence[Event]) -> None:
        """Set the alarms of these events and remove all others, at start or after a set clock."""
        with self._lock:
            self._events = {event.id: event for event in events}
            self._due.clear()
            for identifier in self._events:
                self._advance(identifier, self._now())
        self._on_change()

    def seconds_to_next(self, at_most: float) -> float:
        """Return how long to wait for the next due time, seconds, `at_most` if it is later."""
        with self._lock:
            due = min(self._due.values(), default=None)
        return at_most if due is None else min(at_most, max(0.0, due - self._now()))

    def take_due(self) -> list[str]:
        """Return the ids of events that are due, and set their alarms to the next time."""
        with self._lock:
            now = self._now()
            ids = [identifier for identifier, due in self._due.items() if due <= now]
            for identifier in ids:
                self._advance(identifier, now)
        return ids

    def _advance(self, identifier: str, now: float) -> None:
        event = self._events[identifier]
        try:
            due = next(event.due_times(now), None) if event.enabled else None
        except VixtractError as error:
            logger.error("event %s has no alarm: %s", identifier, error.message)
            due = None
        if due is None:
            self._due.pop(identifier, None)
        else:
            self._due[identifier] = due
