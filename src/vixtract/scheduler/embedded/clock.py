"""APScheduler as the alarm clock: it wakes the engine when an event is due, and nothing more.

Which slots are due is decided by the ledger from the event's cursor, so an alarm that is late,
early or doubled does no harm. The job store is kept on disk and can be deleted at any time: it is
written anew from the events at every start.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from vixtract.scheduler.events import Event
from vixtract.scheduler.timing import next_due

logger = logging.getLogger(__name__)

# The store keeps a job's function by name, so what it calls is looked up here.
_wakers: dict[str, Callable[[str], None]] = {}


def wake(event: str) -> None:
    """Tell the engine of this process that an event is due."""
    waker = _wakers.get("engine")
    if waker is not None:
        waker(event)


class TimingTrigger(BaseTrigger):
    """An APScheduler trigger over an event's timing.

    Args:
        timing: Cronicle's timing object.
        zone: IANA name of its time zone.
    """

    def __init__(self, timing: Mapping[str, Any], zone: str) -> None:
        self.timing = dict(timing)
        self.zone = zone

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """Return the first due time after the previous one, or after now."""
        after = datetime.fromtimestamp((previous_fire_time or now).timestamp(), timezone.utc)
        found = next_due(self.timing, self.zone, max(after, now.astimezone(timezone.utc)))
        return found[0] if found else None

    def __getstate__(self) -> dict[str, Any]:
        return {"timing": self.timing, "zone": self.zone}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.timing, self.zone = state["timing"], state["zone"]


class AlarmClock:
    """Alarms of all events.

    Args:
        path: SQLite file of the job store.
        waker: called with an event's id when it is due, in a thread.
    """

    def __init__(self, path: Path, waker: Callable[[str], None]) -> None:
        _wakers["engine"] = waker
        _remove_if_damaged(path)
        self._scheduler = BackgroundScheduler(
            jobstores={"default": SQLAlchemyJobStore(url=f"sqlite:///{path}")},
            # Settling is short and the ledger takes one at a time, so few threads are enough.
            executors={"default": ThreadPoolExecutor(4)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone=timezone.utc,
        )

    def start(self) -> None:
        """Start ringing."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop, and wait for alarms that are being answered."""
        _wakers.pop("engine", None)
        self._scheduler.shutdown(wait=True)

    def set(self, event: Event) -> None:
        """Set, move or remove the alarm of an event as its timing says."""
        if not event.enabled or not isinstance(event.timing, Mapping):
            self.remove(event.id)
            return
        trigger = TimingTrigger(event.timing, event.timezone)
        self._scheduler.add_job(wake, trigger, (event.id,), id=event.id, replace_existing=True)

    def remove(self, identifier: str) -> None:
        """Remove the alarm of an event, if it has one."""
        try:
            self._scheduler.remove_job(identifier)
        except JobLookupError:
            return

    def rebuild(self, events: list[Event]) -> None:
        """Set the alarms of these events and remove all others.

        Used at start and after the clock was set: APScheduler keeps next times it computed before.
        """
        wanted = {event.id for event in events}
        for job in self._scheduler.get_jobs():
            if job.id not in wanted:
                self.remove(job.id)
        for event in events:
            self.set(event)


def _remove_if_damaged(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA quick_check").fetchone()
    except sqlite3.DatabaseError:
        logger.warning("%s is damaged; it is written anew from the events", path)
        for name in (path.name, f"{path.name}-journal", f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
