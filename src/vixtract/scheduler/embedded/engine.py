"""The engine: settles due slots, keeps the queue moving, and repairs what a crash left behind.

Its thread wakes when an event is due, and at least every HEARTBEAT_S, which finds whatever was
missed; calls of the REST interface come from other threads. All of them end in `settle` and
`dispatch`, which any thread may call at any time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from vixtract.errors import VixtractError
from vixtract.ledger import runs, slots
from vixtract.ledger.database import Database
from vixtract.ledger.slots import ABORTED, FAILED, MISSED
from vixtract.scheduler import settling, store
from vixtract.scheduler.clock import ClockWatch
from vixtract.scheduler.config import EngineConfig
from vixtract.scheduler.embedded.alarms import Alarms
from vixtract.scheduler.embedded.jobs import JobIds, Jobs
from vixtract.scheduler.events import Event
from vixtract.scheduler.leftovers import kill_leftover
from vixtract.scheduler.retention import Retention

logger = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
RECONCILE_S = 60.0
# The wall clock runs apart from the monotonic one by more than this: it was set.
SET_CLOCK_S = 2.0
# Longer than a plugin that ignores SIGTERM lives, shorter than the container waits for the engine.
STOP_S = 12.0


class LaunchError(VixtractError):
    """A run cannot be started now; the message says why."""


class EmbeddedEngine:
    """The embedded scheduler engine."""

    def __init__(
        self,
        config: EngineConfig,
        database: Database,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.database = database
        self._wake = threading.Event()
        self.alarms = Alarms(wall_clock, self._wake.set)
        self.jobs = Jobs(config, database, self.dispatch, wall_clock)
        self._ids = JobIds(runs.last_run_id(database))
        self.now = wall_clock
        self._watch = ClockWatch(wall_clock)
        self._settler = settling.Settler(database, config.catch_up_cap, self._watch)
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._reconciled_at = 0.0
        self._retention = Retention(config, database, self.jobs.log_path, wall_clock)

    def start(self) -> None:
        """Repair what the last process left, then begin."""
        self.reconcile()
        self._set_alarms()
        self._heart.start()
        self._retention.start()

    def stop(self) -> None:
        """End all runs, record them, and stop; takes at most STOP_S and a little."""
        self._stopping.set()
        self._wake.set()
        self._retention.stop()
        self._heart.join(STOP_S)
        if not self.jobs.stop_all(settling.STOPPING, STOP_S):
            logger.error("some jobs had not ended after %s s; the next start repairs them", STOP_S)

    def _set_alarms(self) -> None:
        self.alarms.rebuild([stored.event for stored in store.list_events(self.database)])

    def log_size(self, run: str) -> int:
        """Return the bytes of a run's log; 0 where it has none."""
        try:
            return self.jobs.log_path(run).stat().st_size
        except OSError:
            return 0

    # What is due.

    def settle(self, identifier: str) -> None:
        """Claim or record all due slots of one event."""
        stored = store.get_event(self.database, id=identifier)
        if stored is None or self._stopping.is_set():
            return
        event = stored.event
        settlement = self._settler.prepare(stored, int(self.now()))
        if settlement is None:
            return
        added = slots.settle_slots(
            self.database, settlement, lambda due_at: self._queue_slot(event, due_at)
        )
        if added:
            self._trim_queue(event)
            self.dispatch()

    def _try_to_settle(self, identifier: str) -> None:
        try:
            self.settle(identifier)
        except Exception:
            logger.exception("event %s could not be settled", identifier)

    def _queue_slot(self, event: Event, due_at: int) -> tuple[str, str]:
        """Queue the run of a slot, or say why it cannot be; runs inside the claim's transaction."""
        if not event.catch_up:
            refusal, queues = self._check_children(event)
            if refusal and not queues:
                return "", refusal
        return self._add_run(event, "Scheduler", due_at), ""

    def _check_children(self, event: Event) -> tuple[str, bool]:
        """Return why a run cannot start at once (or ""), and whether it may wait instead."""
        counts = runs.count_runs(self.database, event.id)
        if not event.max_children or sum(counts.values()) < event.max_children:
            return "", False
        waiting = sum(counts.values()) - event.max_children
        if event.queue and event.queue_max and waiting >= event.queue_max:
            text = f"Job could not be queued: Event queue reached max of {event.queue_max} items"
            return text, False
        plural = "" if event.max_children == 1 else "s"
        return (
            f"Maximum of {event.max_children} job{plural} already running for event: {event.title}",
            bool(event.queue),
        )

    def _trim_queue(self, event: Event) -> None:
        """Give up the oldest waiting slots of a catch-up event that is slower than its schedule."""
        if not event.catch_up:
            return
        waiting = [
            run
            for run in runs.open_runs(self.database, "queued")
            if run["event"] == event.id and run["due_at"] is not None and run["time_start"] is None
        ]
        cap = self.config.catch_up_cap
        for run in waiting[: max(0, len(waiting) - cap)]:
            text = f"more than {cap} runs of the event were waiting; the newest {cap} are kept"
            self._finish(run["id"], MISSED, text)

    def _add_run(self, event: Event, source: str, due_at: int | None) -> str:
        now = self.now()
        identifier = self._ids.new(now)
        settling.add_run(self.database, identifier, event, source, due_at, now)
        return identifier

    # What runs.

    def launch(self, event: Event, source: str) -> tuple[str, int]:
        """Run an event by hand; its parameters are overridden where asked.

        Returns: the job's id, and 0 or its place in the event's queue.
        Raises:
            LaunchError: max_children are running and it may not wait, or the engine stops.
        """
        if self._stopping.is_set():
            raise LaunchError(settling.STOPPING, "Try again when it is back.")
        with self.database.transaction():
            refusal, queues = self._check_children(event)
            if refusal and not queues:
                raise LaunchError(refusal, "Wait for it to end, or let the event queue its runs.")
            run = self._add_run(event, source, None)
            waiting = runs.count_runs(self.database, event.id)["queued"] if refusal else 0
        self.dispatch()
        return run, waiting

    def dispatch(self) -> None:
        """Start queued runs and due retries, oldest first, as far as the limits allow."""
        with self._lock:
            if self._stopping.is_set():
                return
            rows = self.database.rows(
                "SELECT id, event, state, not_before, json_extract(job, '$.max_children') AS most,"
                " json_extract(job, '$.retry_delay') AS delay FROM run INDEXED BY run_open"
                " WHERE state != 'done'"
                " ORDER BY id"
            )
            busy = Counter(row["event"] for row in rows if row["state"] != "queued")
            for row in rows:
                if len(self.jobs.active) >= self.config.max_jobs:
                    return
                if row["state"] == "waiting" and self._is_retry_due(row):
                    self._start(row["id"])
                elif row["state"] == "queued" and (
                    not row["most"] or busy[row["event"]] < row["most"]
                ):
                    busy[row["event"]] += 1
                    self._start(row["id"])

    def _is_retry_due(self, row: Mapping[str, Any]) -> bool:
        # Further away than the delay itself: the clock was set back, and waited long enough.
        left = row["not_before"] - self.now()
        return bool(left <= 0 or left > row["delay"])

    def _start(self, identifier: str) -> None:
        if runs.mark_running(self.database, identifier, self.now()):
            run = runs.get_run(self.database, identifier)
            if run is not None:
                self.jobs.start(run)

    def abort(self, identifier: str, reason: str) -> bool:
        """Abort a run, running or not; return False when it is unknown or has ended."""
        with self._lock:
            if self.jobs.stop(identifier, "abort", reason):
                return True
            return self._finish(identifier, ABORTED, f"Job Aborted: {reason}")

    def flush_queue(self, event: str, reason: str) -> int:
        """Abort all runs of an event that wait; return how many."""
        with self._lock:
            waiting = [r for r in runs.open_runs(self.database, "queued") if r["event"] == event]
            return sum(self._finish(r["id"], ABORTED, f"Job Aborted: {reason}") for r in waiting)

    def _finish(self, identifier: str, outcome: str, description: str) -> bool:
        ended = runs.Outcome(outcome, 1, description, self.now())
        return runs.finish_run(self.database, identifier, ended)

    # What went wrong.

    def _beat(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self.alarms.seconds_to_next(HEARTBEAT_S))
            self._wake.clear()
            try:
                self._look()
            except Exception:
                logger.exception("a heartbeat failed; the next one tries again")

    def _look(self) -> None:
        drift = self._watch.drift()
        if abs(drift) > SET_CLOCK_S:
            logger.warning("the clock was set by %+.0f s", drift)
            self.reconcile()
            self._set_alarms()
        elif time.monotonic() - self._reconciled_at >= RECONCILE_S:
            self.reconcile()
        else:
            for identifier in self.alarms.take_due():
                self._try_to_settle(identifier)
            self.dispatch()

    def reconcile(self) -> None:
        """Find what was lost: runs whose process is gone, and slots without a run."""
        self._reconciled_at = time.monotonic()
        with self._lock:
            for run in runs.open_runs(self.database, "running"):
                if run["id"] not in self.jobs.active:
                    self._recover(run)
        for stored in store.list_events(self.database):
            self._try_to_settle(stored.event.id)
        self._watch.rebase()
        self.dispatch()

    def _recover(self, run: Mapping[str, Any]) -> None:
        """Give a run that died with the engine a further attempt or its outcome."""
        identifier = run["id"]
        if run["pid"] is None:
            # It was never told what to do, so running it now runs it once.
            logger.warning("job %s was never started: it is queued again", identifier)
            runs.requeue_run(self.database, identifier, crashed=False)
            return
        kill_leftover(run["pid"], run["pid_start"])
        if settling.may_run_again(run, run["crashes"] + 1):
            logger.warning("job %s was cut off: its slot is run again", identifier)
            runs.requeue_run(self.database, identifier, crashed=True)
            return
        logger.warning("job %s was cut off: recorded as failed", identifier)
        self._finish(identifier, FAILED, settling.CRASHED)
