"""The SQLite file of the scheduler: opening it, its tables, its transactions.

Everything durable of the scheduler is in this one file, so that a claimed slot, its queued run and
the event's cursor are committed together or not at all.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vixtract.errors import VixtractError
from vixtract.sqlite import connect_sqlite

SCHEMA_VERSION = 2
# FULL: a claim that was answered must be there after a power cut.
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL")

# `mirrored` trails `version`; rows where they differ still have to go to PostgreSQL.
SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL UNIQUE,
    username TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    body TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS api_key (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    key_hash TEXT NOT NULL UNIQUE,
    username TEXT NOT NULL,
    active INTEGER NOT NULL,
    privileges TEXT NOT NULL,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS slot (
    event TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    run TEXT,
    outcome TEXT CHECK (outcome IN ('succeeded', 'failed', 'aborted', 'missed')),
    note TEXT NOT NULL DEFAULT '',
    slots INTEGER NOT NULL DEFAULT 1,
    settled_at INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 1,
    mirrored INTEGER NOT NULL DEFAULT 0,
    UNIQUE (event, due_at)
) STRICT;
CREATE TABLE IF NOT EXISTS run (
    id TEXT PRIMARY KEY,
    event TEXT NOT NULL,
    username TEXT NOT NULL,
    source TEXT NOT NULL,
    due_at INTEGER,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'waiting', 'done')),
    queued_at REAL NOT NULL,
    not_before REAL NOT NULL DEFAULT 0,
    time_start REAL,
    time_end REAL,
    attempt INTEGER NOT NULL DEFAULT 1,
    crashes INTEGER NOT NULL DEFAULT 0,
    pid INTEGER,
    pid_start INTEGER,
    code INTEGER,
    outcome TEXT CHECK (outcome IN ('succeeded', 'failed', 'aborted', 'missed')),
    description TEXT NOT NULL DEFAULT '',
    job TEXT NOT NULL,
    result TEXT NOT NULL DEFAULT '{}',
    done_seq INTEGER UNIQUE,
    version INTEGER NOT NULL DEFAULT 1,
    mirrored INTEGER NOT NULL DEFAULT 0,
    title TEXT NOT NULL DEFAULT '',
    owner TEXT NOT NULL DEFAULT '',
    verdict TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE IF NOT EXISTS trash (run TEXT PRIMARY KEY, owner TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS run_open ON run (state, id) WHERE state != 'done';
CREATE INDEX IF NOT EXISTS run_history ON run (event, done_seq) WHERE state = 'done';
CREATE INDEX IF NOT EXISTS run_author ON run (username, done_seq) WHERE state = 'done';
-- All that a history can be filtered by, so that looking through 100,000 runs reads no run itself.
CREATE INDEX IF NOT EXISTS run_facts
    ON run (done_seq, event, username, owner, verdict, time_end, title) WHERE state = 'done';
CREATE INDEX IF NOT EXISTS run_dirty ON run (id) WHERE mirrored != version;
CREATE INDEX IF NOT EXISTS slot_run ON slot (run);
CREATE INDEX IF NOT EXISTS slot_open ON slot (event, due_at) WHERE run IS NULL AND outcome IS NULL;
CREATE INDEX IF NOT EXISTS slot_dirty ON slot (event, due_at) WHERE mirrored != version;
"""


class LedgerError(VixtractError):
    """The ledger's file cannot be used."""


class Database:
    """One SQLite connection that threads share, one transaction at a time.

    The file is made if absent. LedgerError: it is no database, or a newer version wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            self._connection = connect_sqlite(
                path, pragmas=_PRAGMAS, timeout=30, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.create_function("fold", 1, str.casefold, deterministic=True)
            try:
                self._create_tables()
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise LedgerError(
                f"The ledger {path} cannot be opened: {error}.",
                "Restore it from a backup, or move it away to start with an empty schedule.",
            ) from error

    def _create_tables(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise LedgerError(
                f"The ledger {self.path} has format {version}, newer than {SCHEMA_VERSION}.",
                "Start the newer version that wrote it.",
            )
        self._connection.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )

    def close(self) -> None:
        """Close the file; later calls fail."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block in one durable write transaction; nested blocks join the outer one."""
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    def execute(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> int:
        """Run one writing statement durably; return the number of rows it changed."""
        with self.transaction() as connection:
            return connection.execute(sql, values).rowcount

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Return all rows of a query as dictionaries."""
        with self._lock:
            return [dict(row) for row in self._connection.execute(sql, values)]

    def row(self, sql: str, values: Sequence[object] = ()) -> dict[str, Any] | None:
        """Return the first row of a query, or None."""
        found = self.rows(sql, values)
        return found[0] if found else None
