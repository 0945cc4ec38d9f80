"""The plugin's part of the ledger: a job claims its slot before it runs, and gives it an outcome.

Cronicle decides when a job starts. Whether the slot is due by the event's wall time, and whether it
has run already, is decided here, so that a night in which a clock time happens twice, a restart or
a restored backup run nothing twice.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from vixtract.cronicle_edge.shapes import read_event
from vixtract.ledger import runs, slots
from vixtract.ledger.database import Database
from vixtract.ledger.slots import ABORTED, FAILED, MISSED, SUCCEEDED
from vixtract.scheduler import store
from vixtract.scheduler.events import Event
from vixtract.scheduler.handover import find_owner
from vixtract.scheduler.leftovers import read_start_time
from vixtract.scheduler.timing import build_timing, get_zone, iterate_due

WARNING_CODE = 255
GOOD_CODES = (0, WARNING_CODE)
MAX_ATTEMPTS = 3
CRASHED = "Aborted Job: Server shut down unexpectedly."
TOO_OLD = "more slots were due than are made up for; the newest are run"
STOPPED = "Server is shutting down"


@dataclass(frozen=True)
class Decision:
    """Whether a job may run.

    Args:
        event: what it runs, as the ledger knows it.
        due_at: epoch seconds of its slot, None for a run by hand.
        refusal: why it may not; empty when it may.
    """

    event: Event
    due_at: int | None
    refusal: str = ""


def begin(database: Database, job: Mapping[str, Any], pid: int) -> Decision:
    """Claim a job's slot and record its run.

    Args:
        database: the ledger.
        job: as Cronicle hands it to the plugin.
        pid: the plugin's process.
    """
    event = find_event(database, job)
    identifier = str(job["id"])
    with database.transaction() as connection:
        run = runs.get_run(database, identifier)
        if run is not None:
            if run["state"] != "waiting":
                return Decision(event, run["due_at"], "This job has ended already.")
            due_at = run["due_at"]
        else:
            due_at, refusal = _claim(database, connection, event, job)
            if refusal:
                return Decision(event, due_at, refusal)
            body = {**event.to_dict(), "params": job.get("params") or {}}
            source = str(job.get("source") or "Scheduler")
            now = float(job.get("time_start") or time.time())
            owner = find_owner(event.params, event.username)
            new = runs.NewRun(
                identifier, event.id, event.username, source, due_at, now, body, owner
            )
            runs.add_run(database, new)
        runs.mark_running(database, identifier, time.time())
        runs.mark_started(database, identifier, pid, read_start_time(pid))
    return Decision(event, due_at)


def find_event(database: Database, job: Mapping[str, Any]) -> Event:
    """Return the event of a job; one that the ledger does not know yet belongs to nobody."""
    stored = store.get_event(database, id=str(job.get("event") or ""))
    if stored is not None:
        return stored.event
    made = read_event({**job, "id": job.get("event"), "title": job.get("event_title")})
    fallback = Event(str(job.get("event") or "unknown"), "unknown", "shellplug")
    # Without a known author nothing of anybody's may be run.
    return (made or fallback).updated({"username": "nobody"})


def is_due(event: Event, due_at: int) -> bool:
    """Say whether an event is due at a time, by its wall clock."""
    if not isinstance(event.timing, Mapping):
        return False
    zone = get_zone(event.timezone)
    return next(iterate_due(build_timing(event.timing), zone, due_at - 1), None) == due_at


def is_too_old(event: Event, due_at: int, now: float) -> bool:
    """Say whether a slot is one of more than CATCH_UP_CAP that Cronicle makes up for at once."""
    if not event.catch_up or not isinstance(event.timing, Mapping):
        return False
    cap = int(os.environ.get("CATCH_UP_CAP") or 24)
    later = iterate_due(build_timing(event.timing), get_zone(event.timezone), due_at)
    newest = next(islice(later, cap - 1, None), None)
    return newest is not None and newest <= now


def _claim(
    database: Database, connection: sqlite3.Connection, event: Event, job: Mapping[str, Any]
) -> tuple[int | None, str]:
    """Return the slot of a job, and why it may not run."""
    moment = int(job.get("now") or 0)
    row = database.row("SELECT * FROM slot WHERE event = ? AND due_at = ?", (event.id, moment))
    # A slot of a catch-up event is recorded as missed only where more were due than are made up
    # for: a job that Cronicle starts for it nevertheless must not run.
    open_outcomes = (None,) if event.catch_up else (None, MISSED)
    is_open = row is not None and row["run"] is None and row["outcome"] in open_outcomes
    if job.get("source"):
        # By hand; or the reconciler, which opened the slot before.
        if not (is_open and row is not None and row["outcome"] is None):
            return None, ""
    elif row is None:
        if not is_due(event, moment):
            return None, "Not due: by the event's local time this slot is another one, or has been."
        if is_too_old(event, moment, time.time()):
            miss_slot(database, event.id, moment, TOO_OLD)
            return moment, f"Missed: {TOO_OLD}."
        connection.execute(
            "INSERT INTO slot (event, due_at, settled_at) VALUES (?, ?, ?)",
            (event.id, moment, int(time.time())),
        )
    elif not is_open:
        if row["run"] is None and row["outcome"] == MISSED:
            return moment, f"Missed: {row['note']}."
        by = f"by job {row['run']}" if row["run"] else "already"
        return None, f"This slot was claimed {by}; a slot is run once."
    connection.execute(
        "UPDATE slot SET run = ?, outcome = NULL, note = '', version = version + 1"
        " WHERE event = ? AND due_at = ?",
        (str(job["id"]), event.id, moment),
    )
    return moment, ""


def finish(
    database: Database, job: Mapping[str, Any], end: Mapping[str, Any], *, stopped: bool
) -> None:
    """Record how a job ended.

    Args:
        database: the ledger.
        job: as Cronicle handed it to the plugin; `retries` counts those that are left.
        end: the last line of the plugin.
        stopped: whether it was told to end.
    """
    code, now = int(end.get("code") or 0), time.time()
    identifier = str(job["id"])
    is_good = code in GOOD_CODES
    if not is_good and not stopped and int(job.get("retries") or 0) > 0:
        runs.mark_waiting(database, identifier, now + int(job.get("retry_delay") or 0))
        return
    outcome = ABORTED if stopped else SUCCEEDED if is_good else FAILED
    result = {name: end[name] for name in ("perf", "table", "chain_data", "memo") if name in end}
    description = str(end.get("description") or "")
    runs.finish_run(database, identifier, runs.Outcome(outcome, code, description, now, result))


def cut_off(database: Database, identifier: str, *, crashed: bool) -> None:
    """Record a run that ended with its engine; a catch-up slot is open again.

    Args:
        database: the ledger.
        identifier: job id.
        crashed: whether the engine died, rather than stopped in order; such attempts are counted.
    """
    run = runs.get_run(database, identifier)
    if run is None or run["state"] == "done":
        return
    text = CRASHED if crashed else STOPPED
    with database.transaction() as connection:
        again = run["due_at"] is not None and bool(run["job"].get("catch_up"))
        if again and crashed:
            row = database.row(
                "SELECT count(*) AS n FROM run WHERE event = ? AND due_at = ? AND description = ?",
                (run["event"], run["due_at"], f"{CRASHED} The slot is run again."),
            )
            again = row is not None and row["n"] + 1 < MAX_ATTEMPTS
        if again:
            connection.execute(
                "UPDATE slot SET run = NULL, outcome = NULL, note = ?, version = version + 1"
                " WHERE run = ? AND outcome IS NULL",
                (text, identifier),
            )
            text += " The slot is run again."
        outcome = FAILED if crashed else ABORTED
        runs.finish_run(database, identifier, runs.Outcome(outcome, 1, text, time.time()))


def open_slot(database: Database, event: str, due_at: int, note: str) -> bool:
    """Open a slot that nobody claimed, for a job that the reconciler starts.

    Returns: False when it has been claimed or recorded meanwhile.
    """
    with database.transaction() as connection:
        made = connection.execute(
            "INSERT OR IGNORE INTO slot (event, due_at, settled_at, note) VALUES (?, ?, ?, ?)",
            (event, due_at, int(time.time()), note),
        ).rowcount
        row = database.row("SELECT * FROM slot WHERE event = ? AND due_at = ?", (event, due_at))
    return bool(made) or (row is not None and row["run"] is None and row["outcome"] is None)


def miss_slot(database: Database, event: str, due_at: int, reason: str) -> None:
    """Record a slot as missed, unless somebody claimed it."""
    with database.transaction() as connection:
        connection.execute(
            "INSERT OR IGNORE INTO slot (event, due_at, settled_at) VALUES (?, ?, ?)",
            (event, due_at, int(time.time())),
        )
        connection.execute(
            "UPDATE slot SET outcome = ?, note = ?, version = version + 1"
            " WHERE event = ? AND due_at = ? AND run IS NULL AND outcome IS NULL",
            (slots.MISSED, reason, event, due_at),
        )
