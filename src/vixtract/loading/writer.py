"""Writing chunks into a table by COPY: in binary if that is exact, else as text.

The server names the line of a COPY that it refuses, which gives the row's number in the source. A
COPY ends every few chunks, because the server reports a refusal at its end; the chunks are kept
until then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import psycopg
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import Connection, Cursor, sql
from psycopg.abc import Buffer
from psycopg.copy import LibpqWriter

from vixtract.loading.chunks import BYTES, Chunk
from vixtract.loading.connections import copying
from vixtract.loading.encode import InexactError, encode_chunk
from vixtract.loading.errors import BadRowError, LoadError, shown
from vixtract.loading.python_values import adapt_row
from vixtract.loading.target import Column, join_names
from vixtract.loading.text_moments import require_whole

SESSION_CHUNKS = 8


class Writer:
    """Writes chunks into one table within the caller's transaction.

    Args:
        columns: of the table, in the chunks' order.
        freeze: write frozen rows, which only a table made in this transaction takes: even readers
            with an older snapshot see them.
    """

    def __init__(
        self,
        connection: Connection,
        relation: sql.Identifier,
        columns: Sequence[Column],
        *,
        freeze: bool = False,
    ) -> None:
        self.connection = connection
        self.relation = relation
        self.columns = list(columns)
        self.freeze = freeze
        self.rows = 0
        self.bytes = 0
        self._place = make_context_pattern(
            _bare_name(connection, relation), [c.name for c in columns]
        )
        self._stack = ExitStack()
        self._copy: Any = None
        self._schema: pa.Schema | None = None
        self._encoder: Any = None
        self._pending: list[Chunk] = []
        self._pending_bytes = 0

    def write(self, chunk: Chunk) -> None:
        """Send a chunk.

        Raises:
            BadRowError: the server refused a row of this chunk or of one before.
        """
        try:
            batch = encode_chunk(chunk, self.columns)
        except InexactError:
            self.flush()
            self._write_text(chunk)
        else:
            if batch.nbytes > BYTES and chunk.rows > 1:
                # Rows may be few but wide: encode only so many at once.
                middle = chunk.rows // 2
                self.write(chunk.slice(0, middle))
                self.write(chunk.slice(middle))
                return
            self._write_binary(chunk, batch)
        self.rows += chunk.rows

    def flush(self) -> None:
        """End the running COPY and wait until the server has accepted all rows.

        Raises:
            BadRowError: the server refused a row.
        """
        if self._copy is None:
            return
        copy, encoder = self._copy, self._encoder
        self._copy = self._encoder = self._schema = None
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        try:
            copy.write(encoder.finish())
            self._stack.close()
        except psycopg.Error as error:
            raise self._refusal(error, pending) from error

    def abandon(self) -> None:
        """End a running COPY after a failure of the source."""
        if self._copy is not None:
            self._copy = None
            try:
                error = LoadError("the source failed")
                self._stack.__exit__(type(error), error, None)
            except (psycopg.Error, LoadError):
                pass  # the transaction is rolled back, and the source's failure is reported

    def _write_binary(self, chunk: Chunk, batch: pa.RecordBatch) -> None:
        if self._copy is not None and batch.schema != self._schema:
            self.flush()
        try:
            if self._copy is None:
                self._begin(batch.schema)
            data = self._encoder.write_batch(batch)
            self._pending.append(chunk)
            self._copy.write(data)
        except psycopg.Error as error:
            pending, self._pending, self._copy = self._pending, [], None
            raise self._refusal(error, pending) from error
        self._pending_bytes += batch.nbytes
        if len(self._pending) >= SESSION_CHUNKS or self._pending_bytes > BYTES:
            self.flush()

    def _begin(self, schema: pa.Schema) -> None:
        self._stack.enter_context(copying(self.connection))
        cursor = self._stack.enter_context(self.connection.cursor())
        self._copy = self._stack.enter_context(self._open_copy(cursor, "BINARY"))
        self._encoder = ArrowToPostgresBinaryEncoder(schema)
        self._schema = schema
        self._copy.write(self._encoder.write_header())

    def _write_text(self, chunk: Chunk) -> None:
        values = [chunk.values(i) for i in range(len(self.columns))]
        for texts, column in zip(values, self.columns, strict=True):
            require_whole(texts, column, chunk.first)
        rows = zip(*values, strict=True)
        index = 0
        try:
            with (
                copying(self.connection),
                self.connection.cursor() as cursor,
                self._open_copy(cursor, "TEXT") as copy,
            ):
                for index, row in enumerate(rows):
                    copy.write_row(adapt_row(row, self.columns, chunk.first + index))
        except psycopg.Error as error:
            raise self._refusal(error, [chunk], sent=index) from error
        except UnicodeEncodeError as error:
            row = chunk.row(index)
            pairs = zip(self.columns, row, strict=True)
            bad = ((column.name, value) for column, value in pairs if not _encodable(value))
            name, value = next(bad, ("", row))
            raise BadRowError(chunk.first + index, name, shown(value), error.reason) from error

    def _open_copy(self, cursor: Cursor[Any], form: str) -> Any:
        """Open a COPY and count its bytes."""
        owner = self

        class CountingWriter(LibpqWriter):
            def write(self, data: Buffer) -> None:
                owner.bytes += memoryview(data).nbytes
                super().write(data)

        return cursor.copy(self._statement(form), writer=CountingWriter(cursor))

    def _statement(self, form: str) -> sql.Composed:
        names = join_names(column.name for column in self.columns)
        return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {}, FREEZE {})").format(
            self.relation, names, sql.SQL(form), sql.SQL("true" if self.freeze else "false")
        )

    def _refusal(
        self, error: psycopg.Error, chunks: Sequence[Chunk], sent: int | None = None
    ) -> LoadError:
        """Return the error for a refusal of the server, with row, column and value."""
        message = str(error.diag.message_primary or error).strip().partition("\n")[0]
        detail = error.diag.message_detail
        reason = f"{message} ({detail})" if detail else message
        found = self._place.search(error.diag.context or "")
        if found is None:
            if sent is not None and error.diag.sqlstate is None and chunks:
                return self._refused_row(reason, chunks[0], sent)
            return LoadError(f"PostgreSQL: {reason}", "Nothing was changed.")
        line, name = int(found[1]), (found[2] or error.diag.column_name or "")
        for chunk in chunks:
            if line <= chunk.rows:
                break
            line -= chunk.rows
        else:
            return LoadError(f"PostgreSQL: {reason}", "Nothing was changed.")
        names = [column.name for column in self.columns]
        if name not in names:
            return self._refused_row(reason, chunk, line - 1)
        value = shown(chunk.row(line - 1)[names.index(name)])
        return BadRowError(chunk.first + line - 1, name, value, reason)

    def _refused_row(self, reason: str, chunk: Chunk, index: int) -> BadRowError:
        """Return the error if the server named no column; a NUL in a text tells which."""
        row = chunk.row(index)
        for column, value in zip(self.columns, row, strict=True):
            if isinstance(value, str) and "\0" in value:
                return BadRowError(chunk.first + index, column.name, shown(value), reason)
        return BadRowError(chunk.first + index, "", shown(row), reason)


def make_context_pattern(table: str, columns: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern that finds the row's number and the column in the context of a refusal.

    The context is `COPY t, line 3, column n: "x"`, with other words in other languages: the pattern
    takes any text between the names and numbers. `table` is a name without a schema.
    """
    names = "|".join(map(re.escape, sorted(columns, key=len, reverse=True)))
    return re.compile(
        rf"^(?:COPY )?{re.escape(table)}[^\d\n]{{1,20}}(\d+)"
        rf"(?:[,、]\s?\S+ ({names})(?=\s?:|\n|\Z))?",
        re.MULTILINE,
    )


def _bare_name(connection: Connection, relation: sql.Identifier) -> str:
    quoted = re.search(r'"((?:[^"]|"")*)"\Z', relation.as_string(connection))
    assert quoted is not None
    return quoted[1].replace('""', '"')


def _encodable(value: Any) -> bool:
    """Tell whether a value has no half of a surrogate pair in any of its texts."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True
