"""Notices that are still to be sent about runs that have ended.

They are derived from the runs themselves, behind a mark that moves in the same transaction: a crash
neither loses a notice nor repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vixtract.ledger.database import Database
from vixtract.ledger.runs import decode_run

MARK = "noticed"
BLOCK = 100
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS notice (id INTEGER PRIMARY KEY, run TEXT NOT NULL,"
    " kind TEXT NOT NULL, target TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0,"
    " not_before REAL NOT NULL DEFAULT 0) STRICT"
)


@dataclass(frozen=True)
class Notice:
    """One message that is to be sent.

    Args:
        id: key of the row.
        kind: `mail` or `web_hook`.
        target: mail addresses, or a web address.
        tries: attempts that failed so far.
    """

    id: int
    run: str
    kind: str
    target: str
    tries: int


def open_notices(database: Database) -> None:
    """Make the table; runs that ended before it was first made get no notices."""
    database.execute(SCHEMA)
    database.execute(
        "INSERT OR IGNORE INTO note VALUES (?,"
        " (SELECT CAST(coalesce(max(done_seq), 0) AS TEXT) FROM run))",
        (MARK,),
    )


def collect_notices(
    database: Database, find_targets: Callable[[Mapping[str, Any]], Sequence[tuple[str, str]]]
) -> int:
    """Store the notices about runs that have ended since the last call.

    Args:
        find_targets: returns pairs of kind and target for a run.
    Returns: number of runs looked at; BLOCK when there may be more.
    """
    with database.transaction() as connection:
        mark = connection.execute("SELECT value FROM note WHERE name = ?", (MARK,)).fetchone()
        newest = connection.execute("SELECT coalesce(max(done_seq), 0) AS n FROM run").fetchone()
        # Numbers begin again where the newest runs were deleted.
        seen = min(int(mark["value"]), int(newest["n"]))
        rows = connection.execute(
            "SELECT * FROM run WHERE done_seq > ? ORDER BY done_seq LIMIT ?", (seen, BLOCK)
        ).fetchall()
        for row in rows:
            for kind, target in find_targets(decode_run(dict(row))):
                connection.execute(
                    "INSERT INTO notice (run, kind, target) VALUES (?, ?, ?)",
                    (row["id"], kind, target),
                )
            seen = row["done_seq"]
        if str(seen) != mark["value"]:
            connection.execute("UPDATE note SET value = ? WHERE name = ?", (str(seen), MARK))
    return len(rows)


def due_notices(database: Database, now: float) -> list[Notice]:
    """Return notices whose time has come, oldest first."""
    rows = database.rows(
        "SELECT id, run, kind, target, tries FROM notice WHERE not_before <= ? ORDER BY id LIMIT ?",
        (now, BLOCK),
    )
    return [Notice(**row) for row in rows]


def drop_notice(database: Database, notice: int) -> None:
    """Delete a notice that was sent, or given up."""
    database.execute("DELETE FROM notice WHERE id = ?", (notice,))


def delay_notice(database: Database, notice: int, not_before: float) -> None:
    """Count a failed attempt, and try again at a later time."""
    database.execute(
        "UPDATE notice SET tries = tries + 1, not_before = ? WHERE id = ?", (not_before, notice)
    )
