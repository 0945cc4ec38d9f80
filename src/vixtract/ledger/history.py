"""Looking through finished runs, and deleting those that are too old or too many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vixtract.ledger.database import Database
from vixtract.ledger.runs import decode_run
from vixtract.ledger.slots import SUCCEEDED

# The appliance's own name: only administrators see what it owns.
SERVICE_ACCOUNT = "vixtract"


@dataclass(frozen=True)
class Filter:
    """Which finished runs to return; an empty field filters nothing.

    Args:
        person: author of the event or owner of what ran.
        states: any of succeeded, warning, failed, aborted.
        since: ended then or later.
        until: ended before.
        word: part of the title, or the whole run id; letters of either case.
    """

    event: str | None = None
    username: str | None = None
    person: str = ""
    owner: str = ""
    states: Sequence[str] = ()
    since: float | None = None
    until: float | None = None
    word: str = ""

    def build(self) -> tuple[str, list[object]]:
        """Return a condition over the columns of the index `run_facts`, and its values."""
        parts: list[str] = ["state = 'done'"]
        values: list[object] = []
        for column, value in (("event", self.event), ("username", self.username)):
            if value is not None:
                parts.append(f"{column} = ?")
                values.append(value)
        if self.person:
            parts.append("(username = ? OR owner = ?)")
            values += [self.person, self.person]
        if self.owner:
            parts.append("owner = ?")
            values.append(self.owner)
        if self.states:
            parts.append(f"verdict IN ({', '.join('?' * len(self.states))})")
            values += self.states
        for text, moment in (("time_end >= ?", self.since), ("time_end < ?", self.until)):
            if moment is not None:
                parts.append(text)
                values.append(moment)
        if self.word:
            # SQLite folds ASCII alone; the connection's `fold` knows all letters.
            parts.append(
                "(title IN (SELECT title FROM (SELECT DISTINCT title FROM run INDEXED BY run_facts"
                " WHERE state = 'done') WHERE instr(fold(title), ?) > 0)"
                " OR done_seq = (SELECT done_seq FROM run WHERE id = ?))"
            )
            values += [self.word.casefold(), self.word.strip()]
        return " AND ".join(parts), values


def run_history(
    database: Database, wanted: Filter, *, offset: int = 0, limit: int = 50
) -> tuple[list[dict[str, Any]], int]:
    """Return one page of finished runs, newest first, and the number of all that match."""
    where, values = wanted.build()
    # The index alone finds the runs; then only those rows are read, with their JSON.
    rows = database.rows(
        "SELECT * FROM run WHERE done_seq IN (SELECT done_seq FROM run"  # noqa: S608 - constants of this module
        f" WHERE {where} ORDER BY done_seq DESC LIMIT ? OFFSET ?) ORDER BY done_seq DESC",
        (*values, limit, offset),
    )
    # Everything done has a done_seq, so counting all of them needs no look at the rows.
    counting = "SELECT count(done_seq) AS n FROM run WHERE done_seq IS NOT NULL"
    if values:
        # Left alone SQLite takes a narrower index, and reads all runs' JSON for the other columns.
        index = "" if wanted.event else "INDEXED BY run_facts"
        counting = f"SELECT count(*) AS n FROM run {index} WHERE {where}"  # noqa: S608 - as above
    count = database.row(counting, values)
    return [decode_run(row) for row in rows], int(count["n"]) if count else 0


# All of these come before the long JSON columns of a row, which are therefore never read here.
RECENT_COLUMNS = (
    "id, event, username, source, due_at, time_start, time_end, attempt, crashes, code, outcome,"
    " description"
)


def recent_runs(database: Database, event: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest ended runs of an event, newest first, without parameters and results."""
    return database.rows(
        f"SELECT {RECENT_COLUMNS} FROM run WHERE event = ? AND state = 'done'"  # noqa: S608 - own names
        " ORDER BY done_seq DESC LIMIT ?",
        (event, limit),
    )


def delete_old_runs(
    database: Database, before: float, keep: int = 0, limit: int = 1000
) -> list[str]:
    """Delete finished runs that are too old or too many of their event, and old settled slots.

    The last run of an event that ended well stays, however old it is. Ids of deleted runs go to
    `trash` in the same transaction: the runner deletes their folders later.

    Args:
        before: time; older runs go.
        keep: newest runs of an event that stay; 0 for all.
        limit: largest number of runs to delete.
    Returns: ids of the deleted runs, whose logs can go too.
    """
    with database.transaction() as connection:
        found = connection.execute(
            "WITH ranked AS (SELECT done_seq, time_end, verdict,"
            " row_number() OVER (PARTITION BY event ORDER BY done_seq DESC) AS place,"
            " max(CASE WHEN verdict = ? THEN done_seq END) OVER (PARTITION BY event) AS last_good"
            " FROM run WHERE state = 'done')"
            " SELECT id, owner FROM run WHERE done_seq IN (SELECT done_seq FROM ranked"
            " WHERE (time_end < ? OR (? > 0 AND place > ?)) AND done_seq IS NOT last_good"
            " ORDER BY done_seq LIMIT ?)",
            (SUCCEEDED, before, keep, keep, limit),
        ).fetchall()
        connection.executemany(
            "INSERT OR REPLACE INTO trash VALUES (?, ?)",
            # Folders of people who left were moved away by the runner.
            [(row["id"], row["owner"]) for row in found if row["owner"] != SERVICE_ACCOUNT],
        )
        connection.executemany("DELETE FROM run WHERE id = ?", [(row["id"],) for row in found])
        connection.execute(
            "DELETE FROM slot WHERE outcome IS NOT NULL AND due_at < ? AND due_at <"
            " coalesce((SELECT cursor FROM event WHERE event.id = slot.event), ?)",
            (before, before),
        )
    return [str(row["id"]) for row in found]


def disown(database: Database, name: str, to: str) -> int:
    """Replace a name in the ended runs of a person who left; return the number of runs."""
    return database.execute(
        "UPDATE run SET"
        " username = iif(username = ?1, ?2, username), owner = iif(owner = ?1, ?2, owner),"
        " job = iif(json_extract(job, '$.username') = ?1,"
        " json_set(job, '$.username', ?2), job),"
        " result = iif(json_extract(result, '$.chain_data.owner') = ?1,"
        " json_set(result, '$.chain_data.owner', ?2), result),"
        " version = version + 1"
        " WHERE state = 'done' AND (username = ?1 OR owner = ?1)",
        (name, to),
    )


def list_trash(database: Database, limit: int = 200) -> list[tuple[str, str]]:
    """Return runs whose folders are still to be deleted: pairs of run id and owner."""
    rows = database.rows("SELECT run, owner FROM trash ORDER BY run LIMIT ?", (limit,))
    return [(str(row["run"]), str(row["owner"])) for row in rows]


def empty_trash(database: Database, run: str) -> None:
    """Forget a run whose folder is gone."""
    database.execute("DELETE FROM trash WHERE run = ?", (run,))
