"""A copy of the ledger in PostgreSQL, for the portal and for BI.

The SQLite file stays the truth. Rows that changed since they were last copied are upserted in
batches; while PostgreSQL is away nothing is lost and nothing waits for it. A copy that was lost
(an empty database, a restored backup) is noticed by a mark and made again in full.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import threading
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from vixtract.ledger.database import Database
from vixtract.ledger.freshness import Expect, Freshness

if TYPE_CHECKING:
    import psycopg

logger = logging.getLogger(__name__)

PERIOD_S = 3.0
MAX_BACKOFF_S = 60.0
BATCH = 500
CONNECT_S = 5
# What is not copied by then is copied after the next start.
STOP_S = 3.0
# A connection to a server that vanished is given up after this many milliseconds.
TCP_TIMEOUT_MS = 15000
MARK = "mirror_mark"

TABLES = """
CREATE SCHEMA IF NOT EXISTS vixtract;
CREATE TABLE IF NOT EXISTS vixtract.run (
    id text PRIMARY KEY,
    event text NOT NULL,
    event_title text NOT NULL,
    plugin text NOT NULL,
    username text NOT NULL,
    source text NOT NULL,
    state text NOT NULL,
    due_at timestamptz,
    queued_at timestamptz NOT NULL,
    started_at timestamptz,
    ended_at timestamptz,
    attempts integer NOT NULL,
    code integer,
    outcome text,
    description text NOT NULL,
    owner text,
    notebook text,
    run_dir text,
    details jsonb NOT NULL
);
CREATE INDEX IF NOT EXISTS run_ended ON vixtract.run (ended_at);
CREATE INDEX IF NOT EXISTS run_event ON vixtract.run (event, ended_at);
CREATE TABLE IF NOT EXISTS vixtract.slot (
    event text NOT NULL,
    due_at timestamptz NOT NULL,
    run text,
    outcome text,
    note text NOT NULL,
    slots integer NOT NULL,
    PRIMARY KEY (event, due_at)
);
CREATE TABLE IF NOT EXISTS vixtract.mirror (mark text PRIMARY KEY);
"""
RUN_COLUMNS = (
    "id, event, event_title, plugin, username, source, state, due_at, queued_at, started_at,"
    " ended_at, attempts, code, outcome, description, owner, notebook, run_dir, details"
)
SLOT_COLUMNS = "event, due_at, run, outcome, note, slots"


def build_upsert(table: str, columns: str, key: str) -> str:
    """Write the statement that inserts a row or replaces the one with its key."""
    names = columns.split(", ")
    updates = ", ".join(f"{n} = excluded.{n}" for n in names if n not in key.split(", "))
    values = ", ".join(["%s"] * len(names))
    return (
        f"INSERT INTO vixtract.{table} ({columns}) VALUES ({values})"  # noqa: S608 - constants of this module
        f" ON CONFLICT ({key}) DO UPDATE SET {updates}"
    )


def _time(epoch: float | None) -> datetime | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, timezone.utc)


def _text(value: object) -> str | None:
    # PostgreSQL's text cannot hold NUL.
    return None if value is None else str(value).replace("\0", "\N{REPLACEMENT CHARACTER}")


def run_values(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Turn a run of the ledger into values for RUN_COLUMNS."""
    job, result = json.loads(row["job"]), json.loads(row["result"])
    chain = result.get("chain_data")
    chain = chain if isinstance(chain, dict) else {}
    details = json.dumps({**chain, "perf": result.get("perf"), "memo": result.get("memo")})
    texts = (row["event"], job["title"], job["plugin"], row["username"], row["source"])
    return (
        row["id"],
        *(_text(text) for text in texts),
        row["state"],
        *(_time(row[n]) for n in ("due_at", "queued_at", "time_start", "time_end")),
        row["attempt"] + row["crashes"],
        row["code"],
        row["outcome"],
        _text(row["description"]),
        *(_text(chain.get(name)) for name in ("owner", "notebook", "run_dir")),
        # jsonb refuses an escaped NUL too.
        re.sub(r"(?<!\\)((?:\\\\)*)\\u0000", r"\1\\ufffd", details),
    )


class Mirror:
    """The loop that keeps the copy up to date.

    Args:
        expect: says when an event is due next, for `vixtract.freshness`; None makes no view.
    """

    def __init__(self, database: Database, url: str, expect: Expect | None = None) -> None:
        self._database = database
        self._url = url
        self._freshness = Freshness(self._url, expect) if expect else None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mirror", daemon=True)

    def start(self) -> None:
        """Start copying."""
        self._thread.start()

    def stop(self) -> None:
        """Copy what is left, if PostgreSQL answers, and stop."""
        self._stopping.set()
        self._thread.join(STOP_S)

    def _loop(self) -> None:
        wait = PERIOD_S
        while True:
            is_last = self._stopping.wait(wait)
            try:
                copied = self.copy()
                if wait > PERIOD_S:
                    logger.info("PostgreSQL answers again: %d rows copied", copied)
                wait = PERIOD_S
            except Exception as error:
                if wait == PERIOD_S:
                    logger.warning("the ledger is not copied to PostgreSQL for now: %s", error)
                wait = min(wait * 2, MAX_BACKOFF_S)
            if is_last:
                return

    def copy(self) -> int:
        """Copy everything that changed; return the number of rows.

        Raises:
            psycopg.Error: PostgreSQL is away or refused; what was not copied stays marked.
        """
        import psycopg

        if self._freshness:
            self._freshness.refresh()
        if not self._is_behind():
            return 0
        copied = 0
        with psycopg.connect(
            self._url, connect_timeout=CONNECT_S, tcp_user_timeout=TCP_TIMEOUT_MS
        ) as connection:
            connection.execute("SET statement_timeout = '60s'")
            self._ensure_tables(connection)
            while self._is_behind():
                copied += self._copy_runs(connection) + self._copy_slots(connection)
        return copied

    def _is_behind(self) -> bool:
        for table in ("run", "slot"):
            if self._database.row(f"SELECT 1 AS x FROM {table} WHERE mirrored != version LIMIT 1"):  # noqa: S608 - two constants
                return True
        return False

    def _ensure_tables(self, connection: psycopg.Connection[Any]) -> None:
        """Make the tables; where they are not the ones copied to before, copy everything again."""
        # Two engines that start at once must not both create the schema.
        connection.execute("SELECT pg_advisory_xact_lock(7041776)")
        connection.execute(TABLES)
        mark = self._read_mark()
        found = connection.execute("SELECT 1 FROM vixtract.mirror WHERE mark = %s", (mark,))
        if found.fetchone() is None:
            for table in ("run", "slot"):
                self._database.execute(f"UPDATE {table} SET mirrored = 0")  # noqa: S608 - two constants
            connection.execute("INSERT INTO vixtract.mirror VALUES (%s)", (mark,))
        connection.commit()

    def _read_mark(self) -> str:
        with self._database.transaction() as database:
            database.execute(
                "INSERT OR IGNORE INTO note VALUES (?, ?)", (MARK, secrets.token_hex(8))
            )
            row = self._database.row("SELECT value FROM note WHERE name = ?", (MARK,))
        return str(row["value"]) if row else ""

    def _copy_runs(self, connection: psycopg.Connection[Any]) -> int:
        rows = self._database.rows("SELECT * FROM run WHERE mirrored != version LIMIT ?", (BATCH,))
        statement = build_upsert("run", RUN_COLUMNS, "id")
        with connection.cursor() as cursor:
            cursor.executemany(statement, [run_values(row) for row in rows])
        connection.commit()
        if self._freshness:
            # Before the rows count as copied, so that a failure here is made up for.
            self._freshness.note(rows)
        with self._database.transaction() as database:
            database.executemany(
                "UPDATE run SET mirrored = ? WHERE id = ?",
                [(row["version"], row["id"]) for row in rows],
            )
        return len(rows)

    def _copy_slots(self, connection: psycopg.Connection[Any]) -> int:
        rows = self._database.rows("SELECT * FROM slot WHERE mirrored != version LIMIT ?", (BATCH,))
        statement = build_upsert("slot", SLOT_COLUMNS, "event, due_at")
        values = [
            (r["event"], _time(r["due_at"]), r["run"], r["outcome"], _text(r["note"]), r["slots"])
            for r in rows
        ]
        with connection.cursor() as cursor:
            cursor.executemany(statement, values)
        connection.commit()
        with self._database.transaction() as database:
            database.executemany(
                "UPDATE slot SET mirrored = ? WHERE event = ? AND due_at = ?",
                [(row["version"], row["event"], row["due_at"]) for row in rows],
            )
        return len(rows)
