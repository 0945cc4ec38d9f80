"""Due slots: which are run, which are missed, and that each is recorded once.

`plan_slots` decides and is pure; `settle_slots` records the decision, the queued runs and the
event's cursor in one transaction. A slot is a due minute of an event; UNIQUE(event, due_at) makes
a second claim of it impossible whatever the clock, the cursor or a restart did.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vixtract.ledger.database import Database

SUCCEEDED, FAILED, ABORTED, MISSED = "succeeded", "failed", "aborted", "missed"

# Without catch-up a slot may start this late: the reconciler looks every minute.
GRACE_S = 90
# Older missed slots than these share one row: a clock set years ahead must not fill the disk.
MISSED_ROWS = 5000


@dataclass(frozen=True)
class Claim:
    """What is to be settled for one event.

    Args:
        event: id.
        cursor: epoch seconds up to which slots were settled, as read with the event.
        now: epoch seconds; becomes the new cursor.
        due: due slots after the cursor up to now, ascending epoch seconds.
        catch_up: whether late slots are made up for.
        cap: how many late slots at most, the newest.
        jumped: whether the clock was set forward meanwhile: then one slot stands for all.
    """

    event: str
    cursor: int
    now: int
    due: Sequence[int]
    catch_up: bool = False
    cap: int = 24
    jumped: bool = False


@dataclass(frozen=True)
class Plan:
    """Slots to run, and slots to record as missed with the reason."""

    run: Sequence[int]
    missed: Sequence[tuple[int, str]]


def plan_slots(claim: Claim) -> Plan:
    """Decide which due slots are run.

    With catch-up the newest `cap` run; after a jump of the clock the newest one. Without catch-up
    those at most GRACE_S old run.
    """
    if claim.catch_up:
        count = min(claim.cap, 1 if claim.jumped else claim.cap)
        first = max(0, len(claim.due) - count)
        reason = (
            "the clock was set forward; one run stands for all slots it skipped"
            if claim.jumped
            else f"more than {claim.cap} slots were due; the newest {claim.cap} are made up for"
        )
    else:
        first = sum(1 for due in claim.due if due < claim.now - GRACE_S)
        reason = f"the scheduler was not running within {GRACE_S} s of it"
    return Plan(claim.due[first:], [(due, reason) for due in claim.due[:first]])


def settle_slots(
    database: Database, claim: Claim, add_run: Callable[[int], tuple[str, str]]
) -> list[str]:
    """Claim or record every due slot of an event, and move its cursor, in one transaction.

    Args:
        database: the ledger.
        claim: slots and policy; nothing happens when the event's cursor or presence changed since.
        add_run: called inside the transaction for each slot that is to run; adds its run and
            returns (run id, ""), or ("", reason) to record the slot as missed.
    Returns: ids of the runs added.
    """
    plan = plan_slots(claim)
    with database.transaction() as connection:
        moved = connection.execute(
            "UPDATE event SET cursor = ? WHERE id = ? AND cursor = ? AND enabled = 1",
            (claim.now, claim.event, claim.cursor),
        ).rowcount
        if not moved:
            return []
        _record_missed(database, claim, plan.missed)
        added = []
        for due in plan.run:
            inserted = connection.execute(
                "INSERT OR IGNORE INTO slot (event, due_at, settled_at) VALUES (?, ?, ?)",
                (claim.event, due, claim.now),
            ).rowcount
            if inserted:
                run, reason = add_run(due)
                _link_slot(database, claim.event, due, run=run, reason=reason)
                added += [run] if run else []
        return added


def _record_missed(database: Database, claim: Claim, missed: Sequence[tuple[int, str]]) -> None:
    rows = [(claim.event, due, MISSED, reason, 1, claim.now) for due, reason in missed]
    if len(rows) > MISSED_ROWS:
        old = rows[:-MISSED_ROWS]
        note = f"{len(old)} slots up to epoch {old[-1][1]}: {old[0][3]}"
        rows = [(*old[0][:3], note, len(old), claim.now), *rows[-MISSED_ROWS:]]
    with database.transaction() as connection:
        connection.executemany(
            "INSERT OR IGNORE INTO slot (event, due_at, outcome, note, slots, settled_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )


def _link_slot(database: Database, event: str, due: int, *, run: str, reason: str) -> None:
    with database.transaction() as connection:
        connection.execute(
            "UPDATE slot SET run = ?, outcome = ?, note = ? WHERE event = ? AND due_at = ?",
            (run or None, None if run else MISSED, reason, event, due),
        )


def finish_slot(database: Database, run: str, outcome: str, note: str) -> None:
    """Give the slot of a run its outcome; a slot that has one keeps it.

    Args:
        database: the ledger.
        run: run id; nothing happens if it was started by hand.
        outcome: succeeded, failed, aborted or missed.
        note: one line for people.
    """
    database.execute(
        "UPDATE slot SET outcome = ?, note = ?, version = version + 1"
        " WHERE run = ? AND outcome IS NULL",
        (outcome, note, run),
    )


def rewind_cursor(database: Database, event: str, now: int) -> int:
    """Follow a clock that was set back: the event's slots from now on are open again.

    Slots that ran keep their rows, so they never run again. Slots recorded as missed although,
    by the corrected clock, they are still to come were not missed: their rows go.
    Returns: number of such rows.
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
    """Page through an event's slots, newest first.

    Returns: rows (due_at, run, outcome or None while open, note, slots), and the number of all.
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
