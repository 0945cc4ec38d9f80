"""Finds what Cronicle lost: slots that no job claimed, runs whose process is gone.

Killed at a due minute Cronicle forgets the slot; a catch-up event without a cursor never runs; a
catch-up event after a jump of the clock runs hundreds of times. Here every due slot is looked for
in the ledger: one that is absent is started again or recorded, by the event's policy.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from vixtract.cronicle_edge import claims
from vixtract.cronicle_edge.calls import Contract
from vixtract.cronicle_edge.people import People
from vixtract.cronicle_edge.shapes import read_event
from vixtract.cronicle_edge.upstream import UpstreamError
from vixtract.errors import VixtractError
from vixtract.ledger import runs, slots
from vixtract.ledger.slots import Settlement, settle_slots
from vixtract.processes.tree import start_time
from vixtract.scheduler import settling, store
from vixtract.scheduler.clock import ClockWatch
from vixtract.scheduler.config import EngineConfig
from vixtract.scheduler.events import Event
from vixtract.scheduler.retention import Retention

logger = logging.getLogger(__name__)

PERIOD_S = 15.0
# Cronicle starts a slot's job within a second or two; younger slots are not looked for yet.
DELAY_S = 20
# Of Cronicle's own history, this many rows and seconds are searched for runs without an outcome.
RECENT, RECENT_S = 50, 600.0


class Reconciler:
    """Compares Cronicle with the ledger every PERIOD_S, in a thread of its own."""

    def __init__(self, contract: Contract, people: People, config: EngineConfig) -> None:
        self._contract = contract
        self._database = contract.database
        self._people = people
        logs = config.data_dir / "logs" / "jobs"  # of the embedded engine, if it ran here before
        self._retention = Retention(
            config, contract.database, lambda run: logs / f"{run}.log", time.time
        )
        self._watch = ClockWatch()
        self._settler = settling.Settler(
            contract.database, config.catch_up_cap, self._watch, delay_s=DELAY_S
        )
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reconciler", daemon=True)
        self._is_adopted = False
        self._nowhere: set[str] = set()
        self._failed: set[str] = set()

    def start(self) -> None:
        """Start the loop."""
        self._thread.start()
        self._retention.start()

    def stop(self) -> None:
        """End the loop."""
        self._stopping.set()
        self._retention.stop()
        self._wake.set()
        self._thread.join(5.0)

    def look(self) -> None:
        """Copy changes made on Cronicle's page to the ledger at once."""
        try:
            self._contract.require_schedule()
            self.sync_events()
        except VixtractError as error:
            logger.warning("the schedule could not be read: %s", error.message)

    def _loop(self) -> None:
        was_away = False
        while not self._stopping.is_set():
            try:
                self.reconcile()
                was_away = False
            except UpstreamError as error:
                if not was_away:
                    logger.info("waiting for Cronicle: %s", error.message)
                was_away = True
            except Exception:
                logger.exception("comparing failed; it is tried again in %g s", PERIOD_S)
            self._wake.wait(1.0 if was_away else PERIOD_S)
            self._wake.clear()

    def reconcile(self) -> None:
        """Compare everything once."""
        if not self._is_adopted:
            self._adopt()
            self._is_adopted = True
        self.sync_events()
        active = self._contract.upstream.call("app/get_active_jobs").get("jobs") or {}
        self._recover_runs(active)
        for stored in store.list_events(self._database):
            try:
                self._settle(stored, active)
            except UpstreamError:
                raise
            except Exception:
                logger.exception("event %s could not be settled", stored.event.id)
        self._watch.rebase()
        self._record_unstarted()
        self._people.sync()

    def _adopt(self) -> None:
        """Copy the schedule to Cronicle, if the embedded engine ran last."""
        last = store.get_engine(self._database)
        if last == "cronicle":
            return
        upstream = self._contract.upstream
        with self._contract.lock:
            stored = [s.event for s in reversed(store.list_events(self._database))]
            if last:
                # Cronicle's own are out of date; the ledger has the present ones.
                for old in upstream.list_events():
                    upstream.call("app/delete_event", {"id": old["id"]})
            known = {e["id"] for e in upstream.list_events()}
            for event in stored:
                if event.id not in known:
                    self._contract.put(event)
                    logger.info("event %s (%s) was taken over", event.id, event.title)
            store.set_engine(self._database, "cronicle")

    def sync_events(self) -> None:
        """Copy Cronicle's schedule to the ledger."""
        with self._contract.lock:
            stored = {s.event.id: s.event for s in store.list_events(self._database)}
            records = self._contract.upstream.list_events()
            for identifier in set(stored) - {str(record.get("id")) for record in records}:
                store.delete_event(self._database, identifier)
            for record in records:
                known = stored.get(str(record.get("id")))
                event = read_event(record, known)
                if event is not None and event != known:
                    self._contract.keep(record, {})

    def _recover_runs(self, active: Mapping[str, Any]) -> None:
        """Give runs whose plugin is gone their outcome, or another attempt.

        That includes runs which waited for a retry when Cronicle ended, because it forgets them,
        and runs which the embedded engine left in its queue before a switch.
        """
        known = {str(job.get("id")) for job in active.values()}
        lost, nowhere = [], set()
        for run in runs.open_runs(self._database):
            if run["state"] != "running":
                if run["id"] not in known:
                    nowhere.add(run["id"])
            elif not run["pid"] or start_time(run["pid"]) != run["pid_start"]:
                lost.append(run["id"])
        # Cronicle does not know a run for a moment between two attempts: two looks must miss it.
        for identifier in [*lost, *sorted(nowhere & self._nowhere)]:
            logger.warning("job %s was cut off", identifier)
            claims.cut_off(self._database, identifier, crashed=True)
        self._nowhere = nowhere

    def _record_unstarted(self) -> None:
        """Record runs by hand of which Cronicle alone knows that they failed.

        Their processes were aborted while they started, or could not be started.
        """
        upstream, since = self._contract.upstream, time.time() - RECENT_S
        rows = upstream.call("app/get_history", {"offset": 0, "limit": RECENT}).get("rows") or []
        failed = {
            str(row.get("id")) for row in rows if row.get("code") and row.get("epoch", 0) > since
        }
        for identifier in failed - self._failed:
            if runs.get_run(self._database, identifier) is not None:
                continue
            try:
                job = upstream.call("app/get_job_details", {"id": identifier}).get("job") or {}
            except UpstreamError as error:
                if error.code == "unavailable":
                    raise
                failed.discard(identifier)  # not stored yet: the next look asks again
            else:
                claims.record_unstarted(self._database, job)
        self._failed = failed

    def _settle(self, stored: store.StoredEvent, active: Mapping[str, Any]) -> None:
        settlement = self._settler.prepare(stored, int(time.time()))
        if settlement is None:
            return
        event = stored.event
        if self._has_unclaimed(settlement) and self._is_busy(event, active):
            # Cronicle itself holds the slot back: looked for again when there is a place.
            return
        settle_slots(self._database, settlement, lambda _: ("", ""))
        lost = slots.open_slots(self._database, event.id, settlement.until)
        # Started by an earlier look, and slow to claim its slot.
        pending = {
            job.get(claims.SLOT_FIELD) for job in active.values() if job.get("event") == event.id
        }
        self._start(event, [due_at for due_at in lost if due_at not in pending])

    def _has_unclaimed(self, settlement: Settlement) -> bool:
        return bool(settlement.left_open) or any(
            slots.get_slot(self._database, settlement.event, due_at) is None
            for due_at in settlement.due
        )

    def _is_busy(self, event: Event, active: Mapping[str, Any]) -> bool:
        """Say whether Cronicle lets the event's runs wait, in its queue or behind a running one."""
        running = sum(1 for job in active.values() if job.get("event") == event.id)
        is_full = bool(event.max_children) and running >= event.max_children
        if event.catch_up and is_full:
            return True
        if not event.queue:
            return False
        answer = self._contract.upstream.call("app/get_event", {"id": event.id})
        return bool(answer.get("queue"))

    def _start(self, event: Event, lost: Sequence[int]) -> None:
        for due_at in lost:
            asked = {"id": event.id, "now": due_at, claims.SLOT_FIELD: due_at}
            try:
                answer = self._contract.upstream.call("app/run_event", asked)
                logger.warning("event %s: lost slot %s is run: %s", event.id, due_at, answer)
            except UpstreamError as error:
                if error.code == "unavailable":
                    raise
                if not event.catch_up:
                    slots.miss_slot(self._database, event.id, due_at, error.message, time.time())
