"""The one way to open a SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BUSY_S = 10.0
"""Seconds that a statement waits while another connection writes."""


def connect_sqlite(
    path: Path, *, read_only: bool = False, pragmas: Sequence[str] = (), **options: Any
) -> sqlite3.Connection:
    """Open a file and return the connection.

    Args:
        path: file; made where it is missing, unless it is only read.
        pragmas: executed first, such as `synchronous = FULL`.
        options: as of `sqlite3.connect`.
    Raises:
        sqlite3.Error: the file cannot be opened, or is no database.
    """
    target = f"{path.absolute().as_uri()}?mode=ro" if read_only else str(path)
    connection: sqlite3.Connection = sqlite3.connect(
        target, uri=read_only, **{"timeout": BUSY_S, **options}
    )
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def open_sqlite(
    path: Path, *, read_only: bool = False, pragmas: Sequence[str] = ()
) -> Iterator[sqlite3.Connection]:
    """Open a file for one transaction: committed at the end, rolled back by an exception.

    Args are as of `connect_sqlite`.

    Raises:
        sqlite3.Error: the file cannot be opened, or a statement fails.
    """
    # A connection of its own for every call: calls come from several threads, and opening takes
    # microseconds.
    connection = connect_sqlite(path, read_only=read_only, pragmas=pragmas)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Return whether a database has a table of this name."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(query, (name,)).fetchone() is not None
