"""Setting bad rows aside with their numbers and reasons, so that the load goes on."""

from __future__ import annotations

import json
from typing import Any

from psycopg import Connection, sql

from vixtract.loading.chunks import Chunk
from vixtract.loading.errors import BadRowError, LoadError, TargetError
from vixtract.loading.record import run_id
from vixtract.loading.stage import create_table
from vixtract.loading.target import Column, TableName, find_target, join_names
from vixtract.loading.writer import Writer

COLUMNS = (
    Column("loaded_at", "timestamp with time zone"),
    Column("run", "text"),
    Column("target", "text"),
    Column("row", "bigint"),
    Column("column", "text"),
    Column("value", "text"),
    Column("reason", "text"),
    Column("data", "text"),
)


class Rejects:
    """Bad rows of one load, inserted into their table in the load's own transaction.

    Args:
        name: table of the bad rows; made if it is missing.
        limit: bad rows at which the load fails.
    """

    def __init__(
        self, connection: Connection, name: TableName, target: TableName, limit: int
    ) -> None:
        self.connection, self.name, self.target, self.limit = connection, name, target, limit
        self.count = 0
        found = find_target(connection, name)
        if found is None:
            create_table(connection, name, COLUMNS)
        elif {column.name for column in COLUMNS} - {column.name for column in found.columns}:
            raise TargetError(f"{name} is not a table of bad rows.", "Choose another name.")

    def add(self, error: BadRowError, row: Any) -> None:
        """Store a bad row: its values, or the line of a file.

        Raises:
            LoadError: there are too many.
        """
        self.count += 1
        if self.count > self.limit:
            raise LoadError(
                f"More than {self.limit} bad rows; the last: {error.message}",
                "Correct the source, or allow more with max_rejects=…",
            ) from error
        data = row if isinstance(row, str) else _as_json(row)
        texts = (error.column or None, error.value, error.reason, data)
        # PostgreSQL's texts take neither NUL nor half of a surrogate pair.
        safe = [
            text and text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
            for text in texts
        ]
        statement = "INSERT INTO {} ({}) VALUES (now(), %s, %s, %s, %s, %s, %s, %s)"
        columns = join_names(column.name for column in COLUMNS)
        names = (run_id() or None, str(self.target), error.row)
        self.connection.execute(sql.SQL(statement).format(self.name.sql, columns), [*names, *safe])

    def write(self, writer: Writer, chunk: Chunk) -> None:
        """Write a chunk; rows that the server refuses are set aside one by one.

        Raises:
            LoadError: too many bad rows, or the server refuses without naming a row.
        """
        while chunk.rows:
            counts = writer.rows, writer.bytes
            try:
                with self.connection.transaction():
                    writer.write(chunk)
                    writer.flush()
                return
            except BadRowError as error:
                writer.rows, writer.bytes = counts
                bad = error
            index = bad.row - chunk.first
            if not 0 <= index < chunk.rows:
                raise bad
            row = chunk.row(index)
            names = [column.name for column in writer.columns]
            self.add(bad, dict(zip(names, row, strict=True)))
            if index:
                # The rows before it were accepted; later ones may be bad too.
                self.write(writer, chunk.slice(0, index))
            chunk = chunk.slice(index + 1)


def _as_json(row: Any) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        # The row may be bad because it is not JSON.
        return repr(row)
