"""Where tests of values load to, and what is there then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


@contextmanager
def open_database(postgres) -> Iterator[psycopg.Connection]:
    """A connection for a whole module: one database is enough for tables that are replaced."""
    # The tests ask the same of a table that is another each time: nothing may be prepared.
    options = {"autocommit": True, "prepare_threshold": None}
    with psycopg.connect(postgres.conninfo, **options) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS v")
        yield connection


def stored(database, table="v.t"):
    """Return the rows, in the order of column n."""
    return database.execute(f"SELECT * FROM {table} ORDER BY n").fetchall()
