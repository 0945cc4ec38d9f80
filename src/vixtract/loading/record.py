"""The record of a load: a line in the run's loads.jsonl, a row in `vixtract.load`."""

from __future__ import annotations

import json
import operator
import os
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import psycopg
from psycopg import Connection

from vixtract.loading.connections import fetch_value
from vixtract.loading.target import TableName

FILE = "loads.jsonl"
_FIELDS = ("schema", "table", "mode", "rows", "bytes", "seconds")
_fields = operator.attrgetter(*_FIELDS)


@dataclass(frozen=True)
class Result:
    """The result of a load.

    Args:
        mode: replace, append, upsert or incremental.
        rows: read from the source, without bad ones.
        changed: rows inserted or updated.
        skipped: rows left out: duplicates of a key, or not newer than the watermark.
        rejected: bad rows set aside.
        bytes: sent to PostgreSQL.
        seconds: from the call to the commit.
        way: how the rows were published: exchange, in place, insert or upsert.
        note: why the usual way was not taken, and what else is to be said; may be empty.
        types: PostgreSQL type by column.
        changes: of the table's columns.
    """

    schema: str
    table: str
    mode: str
    rows: int
    changed: int
    skipped: int
    rejected: int
    bytes: int
    seconds: float
    way: str
    note: str = ""
    types: dict[str, str] = field(default_factory=dict)
    changes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        # A notebook shows the value of a cell's last line.
        parts = [
            f"{self.schema}.{self.table}: {self.rows:,} rows in {self.seconds:.2f} s ({self.mode})"
        ]
        if self.changed != self.rows:
            parts.append(f"{self.changed:,} changed")
        if self.skipped:
            parts.append(f"{self.skipped:,} skipped")
        if self.rejected:
            parts.append(f"{self.rejected:,} rejected")
        return ", ".join([*parts, *self.changes])


def run_id() -> str:
    """Return the id of the scheduled run of this process; empty outside of a run."""
    return Path(os.environ.get("VIXTRACT_OUTPUT_DIR", "")).name


def append_line(result: Result) -> None:
    """Append a committed load to the run's file, if this process is in a run."""
    folder = os.environ.get("VIXTRACT_OUTPUT_DIR", "")
    if not folder:
        return
    line = {
        "run": run_id(),
        **dict(zip(_FIELDS, _fields(result), strict=True)),
        "seconds": round(result.seconds, 3),
        "at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
    }
    data = (json.dumps(line, ensure_ascii=False) + "\n").encode()
    # One write to a file opened for appending: lines of parallel loads do not mix.
    handle = os.open(Path(folder) / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)


def insert_row(connection: Connection, result: Result) -> None:
    """Insert the load into `vixtract.load` in the load's transaction, if that table is writable."""
    query = "SELECT to_regclass('vixtract.load') IS NOT NULL"
    try:
        with connection.transaction():
            if fetch_value(connection, query):
                connection.execute(
                    'INSERT INTO vixtract.load (run, schema, "table", mode, rows, bytes, seconds,'
                    " at) VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp())",
                    [run_id() or None, *_fields(result)],
                )
    except psycopg.Error:
        return  # the table is not writable or has other columns: the load itself succeeds


def last_rows(connection: Connection, name: TableName) -> int | None:
    """Return the rows of the table's last recorded load that had any; None if there is none."""
    query = (
        'SELECT rows FROM vixtract.load WHERE schema = %s AND "table" = %s AND rows > 0'
        " ORDER BY at DESC LIMIT 1"
    )
    try:
        with connection.transaction():
            count: int | None = fetch_value(connection, query, [name.schema, name.table])
    except psycopg.Error:
        return None
    return count
