"""Own tables beside the Hub's, in its SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_transaction(database: Path) -> Iterator[sqlite3.Connection]:
    """Open a connection for one transaction: committed at the end, rolled back by an exception.

    Args:
        database: the Hub's SQLite file.
    """
    # One connection per call: calls come from several threads, and opening takes microseconds.
    connection = sqlite3.connect(database, timeout=10.0)
    try:
        with connection:
            yield connection
    finally:
        connection.close()
