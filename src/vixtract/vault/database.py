"""The store's SQLite file."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vixtract.sqlite import has_table, open_sqlite
from vixtract.vault.errors import VaultError
from vixtract.vault.records import AuditEntry

FILE = "connections.sqlite3"
# What was deleted is overwritten, although it is encrypted.
_PRAGMAS = ("synchronous = FULL", "secure_delete = ON")
KEPT_CHANGES = 1000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS connection (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL COLLATE NOCASE,
    owner_kind TEXT NOT NULL CHECK (owner_kind IN ('person', 'team')),
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    sealed BLOB NOT NULL,
    changed_at REAL NOT NULL,
    changed_by TEXT NOT NULL,
    UNIQUE (owner_kind, owner, name)
);
CREATE TABLE IF NOT EXISTS change (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, connection INTEGER NOT NULL,
    owner_kind TEXT NOT NULL, owner TEXT NOT NULL, name TEXT NOT NULL, fields TEXT NOT NULL
);
"""


@contextmanager
def open_database(directory: Path) -> Iterator[sqlite3.Connection]:
    """Open the store's file in a transaction, and make the file if it is missing.

    Raises:
        VaultError: the file cannot be read or written.
    """
    path = directory / FILE
    try:
        # SQLite gives its side files the mode of the file itself.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with open_sqlite(path, pragmas=_PRAGMAS) as database:
            if not has_table(database, "change"):
                database.executescript(_SCHEMA)
            yield database
    except (sqlite3.Error, OSError) as error:
        raise VaultError(
            f"The store of connections cannot be used: {error}.",
            "Look at the free space of the volume of secrets.",
        ) from error


def note(database: sqlite3.Connection, change: AuditEntry) -> None:
    """Record a change in a transaction, and delete the oldest records beyond KEPT_CHANGES."""
    owner, fields = change.owner, " ".join(change.fields)
    database.execute(
        "INSERT INTO change (at, who, what, connection, owner_kind, owner, name, fields)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (time.time(), change.who, change.what, change.connection, *owner, change.name, fields),
    )
    database.execute(
        "DELETE FROM change WHERE id <= (SELECT max(id) FROM change) - ?", (KEPT_CHANGES,)
    )
