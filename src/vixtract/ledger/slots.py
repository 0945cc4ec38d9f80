"""Due slots: which are run, which are missed, and that each is recorded once.

`plan_slots` decides without reading or writing; `settle_slots` records the decision, the queued
runs and the event's cursor in one transaction. A slot is a due minute of an event; UNIQUE(event,
due_at) makes a second claim of it impossible whatever the clock, the cursor or a restart did.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vixtract.ledger.database import Database

SUCCEEDED, FAILED, ABORTED, MISSED = "succeeded", "failed", "aborted", "missed"

# Without catch-up a slot may start this late: the engines look for lost ones every minute.
GRACE_S = 90
# Older missed slots than these share one row: a clock set years ahead must not fill the disk.
MISSED_ROWS = 5000


@dataclass(frozen=True)
class Settlement:
    """What is to be settled for one event.

    Args:
        cursor: time up to which slots were settled, as read with the event.
        until: becomes the new cursor.
        due: due slots after the cursor up to `until`, ascending.
        left_open: slots before `until` that a crash left without a run.
        catch_up: whether late slots are made up for.
        cap: largest number of late slots to make up for, the newest.
        jumped: whether the clock was set forward meanwhile: then one slot stands for all.
    """

    event: str
    cursor: int
    until: int
    now: int
    due: Sequence[int]
    left_open: Sequence[int] = ()
    catch_up: bool = False
    cap: int = 24
    jumped: bool = False


@dataclass(frozen=True)
class SlotPlan:
    """Slots to run, and slots to record as missed with the reason."""

    run: Sequence[int]
    missed: Sequence[tuple[int, str]]


def plan_slots(settlement: Settlement) -> SlotPlan:
    """Decide which slots are run.

    With catch-up the newest `cap` run, after a jump of the clock the newest one; slots left open
    were to be made up for once and still are. Without catch-up slots run that are at most GRACE_S
    old.
    """
    due, cap, now = list(settlement.due), settlement.cap, settlement.now
    if settlement.catch_up:
        first = max(0, len(due) - (min(cap, 1) if settlement.jumped else cap))
        run = sorted({*due[first:], *settlement.left_open})
        due = [at for at in due[:first] if at not in settlement.left_open]
        reason = (
            "the clock was set forward; one run stands for all slots it skipped"
            if settlement.jumped
            else f"more than {cap} slots were due; the newest {cap} are made up for"
        )
        return SlotPlan(run, [(at, reason) for at in due])
    due = sorted({*due, *settlement.left_open})
    first = sum(1 for at in due if at < now - GRACE_S)
    reason = f"the scheduler was not running within {GRACE_S} s of it"
    return SlotPlan(due[first:], [(at, reason) for at in due[:first]])


def settle_slots(
    database: Database, settlement: Settlement, add_run: Callable[[int], tuple[str, str]]
) -> list[str]:
    """Open or record every due slot of an event, and move its cursor, in one transaction.

    Args:
        settlement: nothing happens when the event's cursor changed since, or the event is gone.
        add_run: called inside the transaction for each open slot that is to run. It adds the run
            and returns (run id, ""), returns ("", reason) to record the slot as missed, or
            ("", "") to leave it open for a job that claims it later.
    Returns: ids of the runs added.
    """
    event, plan = settlement.event, plan_slots(settlement)
    with database.transaction() as connection:
        moved = connection.execute(
            "UPDATE event SET cursor = ? WHERE id = ? AND cursor = ? AND enabled = 1",
            (max(settlement.until, settlement.cursor), event, settlement.cursor),
        ).rowcount
        if not moved:
            return []
        _record_missed(database, settlement, plan.missed)
        added = []
        for due_at in plan.run:
            if not open_slot(database, event, due_at, settlement.now):
                continue
            run, reason = add_run(due_at)
            if run:
                claim_slot(database, event, due_at, run)
                added.append(run)
            elif reason:
                miss_slot(database, event, due_at, reason, settlement.now)
        return added


def _record_missed(
    database: Database, settlement: Settlement, missed: Sequence[tuple[int, str]]
) -> None:
    event, now = settlement.event, settlement.now
    rows = [(event, due, MISSED, reason, 1, now) for due, reason in missed]
    if len(rows) > MISSED_ROWS:
        old = rows[:-MISSED_ROWS]
        note = f"{len(old)} slots up to epoch {old[-1][1]}: {old[0][3]}"
        rows = [(event, old[0][1], MISSED, note, len(old), now), *rows[-MISSED_ROWS:]]
    with database.transaction() as connection:
        connection.executemany(_MISS, rows)


# A slot that was claimed, or has an outcome, keeps both.
_MISS = (
    "INSERT INTO slot (event, due_at, outcome, note, slots, settled_at) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (event, due_at) DO UPDATE SET outcome = excluded.outcome, note = excluded.note,"
    " version = version + 1 WHERE run IS NULL AND outcome IS NULL"
)


def miss_slot(database: Database, event: str, due_at: int, reason: str, now: float) -> None:
    """Record a slot as missed, unless it was claimed."""
    database.execute(_MISS, (event, due_at, MISSED, reason, 1, int(now)))


def open_slot(database: Database, event: str, due_at: int, now: float) -> bool:
    """Make a slot that is not there yet; return whether it is open, without run and outcome."""
    with database.transaction() as connection:
        connection.execute(
            "INSERT OR IGNORE INTO slot (event, due_at, settled_at) VALUES (?, ?, ?)",
            (event, due_at, int(now)),
        )
        row = get_slot(database, event, due_at)
        return row is not None and row["run"] is None and row["outcome"] is None


def open_slots(database: Database, event: str, until: int) -> list[int]:
    """Return the event's slots up to a time that have neither run nor outcome, oldest first."""
    rows = database.rows(
        "SELECT due_at FROM slot INDEXED BY slot_open WHERE event = ? AND run IS NULL"
        " AND outcome IS NULL AND due_at <= ? ORDER BY due_at",
        (event, until),
    )
    return [row["due_at"] for row in rows]


def get_slot(database: Database, event: str, due_at: int) -> dict[str, Any] | None:
    """Return one slot, or None."""
    return database.row("SELECT * FROM slot WHERE event = ? AND due_at = ?", (event, due_at))


def claim_slot(database: Database, event: str, due_at: int, run: str) -> None:
    """Give a slot its run, in place of an outcome `missed` where it has one."""
    database.execute(
        "UPDATE slot SET run = ?, outcome = NULL, note = '', version = version + 1"
        " WHERE event = ? AND due_at = ?",
        (run, event, due_at),
    )


def release_slot(database: Database, run: str, note: str) -> None:
    """Open the slot of a run that was cut off again."""
    database.execute(
        "UPDATE slot SET run = NULL, outcome = NULL, note = ?, version = version + 1"
        " WHERE run = ? AND outcome IS NULL",
        (note, run),
    )


def finish_slot(database: Database, run: str, outcome: str, note: str) -> None:
    """Give the slot of a run its outcome; a slot that has one keeps it."""
    database.execute(
        "UPDATE slot SET outcome = ?, note = ?, version = version + 1"
        " WHERE run = ? AND outcome IS NULL",
        (outcome, note, run),
    )


def rewind_cursor(database: Database, event: str, now: int) -> int:
    """Follow a clock that was set back; return the number of slots that are to come again.

    Slots that ran keep their rows, so they never run again. Slots recorded as missed that are
    still to come by the corrected clock were not missed: their rows go.
    """
    with database.transaction() as connection:
        connection.execute("UPDATE event SET cursor = ? WHERE id = ?", (now, event))
        return connection.execute(
            "DELETE FROM slot WHERE event = ? AND due_at > ? AND outcome = ? AND run IS NULL",
            (event, now, MISSED),
        ).rowcount


def slot_history(
    database: Database, event: str, *, offset: int, limit: int
) -> tuple[list[dict[str, Any]], int]:
    """Return one page of an event's slots, newest first, and the number of all.

    Returns: rows (due_at, run, outcome or None while open, note, slots), and the number.
    """
    rows = database.rows(
        "SELECT due_at, run, outcome, note, slots FROM slot WHERE event = ?"
        " ORDER BY due_at DESC LIMIT ? OFFSET ?",
        (event, limit, offset),
    )
    count = database.row("SELECT count(*) AS n FROM slot WHERE event = ?", (event,))
    return rows, int(count["n"]) if count else 0


def encode(value: Mapping[str, Any]) -> str:
    """Write a JSON object as the ledger keeps it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
