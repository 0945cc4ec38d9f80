"""How a job of Cronicle uses the ledger: it claims its slot before it runs, and records its end.

Cronicle decides when a job starts. Whether the slot is due by the event's wall time, and whether it
has run already, is decided here, so that a night in which a clock time happens twice, a restart or
a restored backup run nothing twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from vixtract.cronicle_edge.shapes import read_event
from vixtract.ledger import runs, slots
from vixtract.ledger.database import Database
from vixtract.ledger.slots import ABORTED, FAILED, MISSED
from vixtract.processes.tree import start_time
from vixtract.scheduler import settling, store
from vixtract.scheduler.events import Event
from vixtract.scheduler.settling import CRASHED, STOPPING

# The field that tells the reconciler's job from a person's: both have a `source` for Cronicle.
SLOT_FIELD = "slot"
TOO_OLD = "more slots were due than are made up for; the newest are run"
OUTDATED = "Cronicle still had its schedule of before the embedded engine ran."
NO_AUTHOR = "nobody"
_AGAIN = " The slot is run again."


@dataclass(frozen=True)
class Decision:
    """Whether a job may run.

    Args:
        event: what it runs, as the ledger knows it.
        due_at: time of its slot, None for a run by hand.
        refusal: why the job may not run; empty when it may.
    """

    event: Event
    due_at: int | None
    refusal: str = ""


def begin(database: Database, job: Mapping[str, Any], pid: int) -> Decision:
    """Claim the slot of a job, as Cronicle handed it to the plugin, and record its run."""
    event = find_event(database, job)
    identifier = str(job["id"])
    with database.transaction():
        run = runs.get_run(database, identifier)
        if run is not None:
            if run["state"] != "waiting":
                return Decision(event, run["due_at"], "This job has ended already.")
            due_at = run["due_at"]
        elif not job.get("source") and store.get_engine(database) == "embedded":
            # Where the present schedule has the slot too, the reconciler finds it.
            return Decision(event, None, OUTDATED)
        else:
            due_at, refusal = _claim(database, event, job)
            if refusal:
                return Decision(event, due_at, refusal)
            given = event.updated({"params": job.get("params") or {}})
            source = str(job.get("source") or "Scheduler")
            now = float(job.get("time_start") or time.time())
            settling.add_run(database, identifier, given, source, due_at, now)
        runs.mark_running(database, identifier, time.time())
        runs.mark_started(database, identifier, pid, start_time(pid))
    return Decision(event, due_at)


def find_event(database: Database, job: Mapping[str, Any]) -> Event:
    """Return the event of a job; one that the ledger does not know has an author without rights."""
    stored = store.get_event(database, id=str(job.get("event") or ""))
    if stored is not None:
        return stored.event
    made = read_event({**job, "id": job.get("event"), "title": job.get("event_title")})
    fallback = Event(str(job.get("event") or "unknown"), "unknown", "shellplug")
    return (made or fallback).updated({"username": NO_AUTHOR})


def is_due(event: Event, due_at: int) -> bool:
    """Say whether an event is due at a time, by its wall clock."""
    return next(event.due_times(due_at - 1), None) == due_at


def is_too_old(event: Event, due_at: int, now: float) -> bool:
    """Say whether a slot is one of more than CATCH_UP_CAP that Cronicle makes up for at once."""
    if not event.catch_up:
        return False
    cap = max(1, int(os.environ["CATCH_UP_CAP"]))
    newest = next(islice(event.due_times(due_at), cap - 1, None), None)
    return newest is not None and newest <= now


def _claim(database: Database, event: Event, job: Mapping[str, Any]) -> tuple[int | None, str]:
    """Claim a job's slot; return its time (None by hand), and why the job may not run."""
    is_reconcilers = bool(job.get(SLOT_FIELD))
    if job.get("source") and not is_reconcilers:
        return None, ""
    moment = int(job.get(SLOT_FIELD) or job.get("now") or 0)
    slot = slots.get_slot(database, event.id, moment)
    if slot is None:
        if not is_due(event, moment):
            return (
                None,
                "Not due: in the event's time zone this slot is at another time, or has passed.",
            )
        if is_too_old(event, moment, time.time()):
            slots.miss_slot(database, event.id, moment, TOO_OLD, time.time())
            return moment, f"Missed: {TOO_OLD}."
        slots.open_slot(database, event.id, moment, time.time())
    elif slot["run"]:
        return None, f"This slot was claimed by job {slot['run']}; a slot is run once."
    elif slot["outcome"] == MISSED and (event.catch_up or is_reconcilers):
        # A slot of a catch-up event is recorded as missed only where more were due than are made
        # up for: a job that Cronicle starts for it nevertheless must not run.
        return moment, f"Missed: {slot['note']}."
    slots.claim_slot(database, event.id, moment, str(job["id"]))
    return moment, ""


def finish(
    database: Database, job: Mapping[str, Any], end: Mapping[str, Any], *, stopped: bool
) -> None:
    """Record how a job ended.

    Args:
        job: as Cronicle handed it to the plugin; `retries` is the number of attempts left.
        end: last line that the plugin reported.
    """
    code, now = int(end.get("code") or 0), time.time()
    identifier = str(job["id"])
    outcome = settling.judge(code, stopped=stopped)
    if outcome == FAILED and int(job.get("retries") or 0) > 0:
        runs.mark_waiting(database, identifier, now + int(job.get("retry_delay") or 0))
        return
    result = {name: end[name] for name in ("perf", "table", "chain_data", "memo") if name in end}
    description = str(end.get("description") or "")
    runs.finish_run(database, identifier, runs.Outcome(outcome, code, description, now, result))


def record_unstarted(database: Database, job: Mapping[str, Any]) -> None:
    """Record a run by hand whose process ended before it reached the ledger.

    Jobs of slots are left out: the reconciler starts the slot again.
    """
    if not job.get("source") or job.get(SLOT_FIELD):
        return
    identifier, now = str(job["id"]), time.time()
    event = find_event(database, job).updated({"params": job.get("params") or {}})
    outcome = settling.judge(1, stopped=bool(job.get("abort_reason")))
    text = str(job.get("description") or "The job's process could not be started.")
    begun, ended = float(job.get("time_start") or now), float(job.get("time_end") or now)
    with database.transaction():
        settling.add_run(database, identifier, event, str(job["source"]), None, begun)
        runs.mark_running(database, identifier, begun)
        runs.finish_run(database, identifier, runs.Outcome(outcome, 1, text, ended))


def cut_off(database: Database, identifier: str, *, crashed: bool) -> None:
    """Record a run that ended with its engine; a catch-up slot is open again.

    Args:
        crashed: whether the engine died instead of stopping in order; such attempts are counted.
    """
    run = runs.get_run(database, identifier)
    if run is None or run["state"] == "done":
        return
    text = CRASHED if crashed else STOPPING
    with database.transaction():
        if settling.may_run_again(run, _count_crashes(database, run) + 1 if crashed else 0):
            slots.release_slot(database, identifier, text)
            text += _AGAIN
        outcome = FAILED if crashed else ABORTED
        runs.finish_run(database, identifier, runs.Outcome(outcome, 1, text, time.time()))


def _count_crashes(database: Database, run: Mapping[str, Any]) -> int:
    """Return how often the engine has died under other jobs of a run's slot."""
    row = database.row(
        "SELECT count(*) AS n FROM run WHERE event = ? AND due_at = ? AND description = ?",
        (run["event"], run["due_at"], CRASHED + _AGAIN),
    )
    return int(row["n"]) if row else 0
