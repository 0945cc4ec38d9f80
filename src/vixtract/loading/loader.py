"""`load`: one call from any source to a committed table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import Connection, sql

from vixtract.loading import drift, expectations, publish, record, stage, swap
from vixtract.loading.connections import fetch_value, has_cursors, open_connection
from vixtract.loading.errors import LoadError, LoadUsageError
from vixtract.loading.names import cut_names
from vixtract.loading.opening import open_source
from vixtract.loading.options import MoreOptions, Options
from vixtract.loading.progress import Progress
from vixtract.loading.rejects import Rejects
from vixtract.loading.sources import Source
from vixtract.loading.target import TableName, Target, find_target, join_names, parse_name
from vixtract.loading.writer import Writer

if TYPE_CHECKING:
    from typing import Unpack

# Loads of one table run one after the other; the number keeps these locks apart from others.
_LOCK = 7_614_002


def load(
    source: Any,
    table: str,
    *,
    mode: str = "replace",
    key: str | Sequence[str] | None = None,
    connection: Any = None,
    **more: Unpack[MoreOptions],
) -> record.Result:
    """Load a source into a PostgreSQL table; readers see either the old rows or the new ones.

    Args:
        source: petl table, pandas, polars or Arrow frame, iterable of dicts or of rows (the first
            is the header), or path of a CSV, Parquet or XLSX file. In mode incremental also a
            function that takes the table's highest watermark (None at first) and returns one.
        table: "schema.table", or "table" in the connection's own schema.
        mode: replace: the table has these rows afterwards; append: add them; upsert: insert or
            update by the key; incremental: add or upsert what is newer than the watermark.
        key: column or columns that identify a row.
        connection: psycopg connection or connection text; None: as the environment says. An open
            transaction of the caller's is used and left open.
        **more: columns, types, drift ("fail", "add", "widen"), expect, reject, max_rejects,
            progress, encoding, delimiter, decimal, sheet, watermark: see
            `vixtract.loading.options`.
    Returns: what was done; its text is one line.
    Raises:
        LoadError: nothing was changed; its kinds are in `vixtract.loading.errors`.
    """
    started = time.monotonic()
    options = Options.build(mode, key, more)
    with open_connection(connection) as opened, _one_transaction(opened):
        name = parse_name(opened, table)
        result = _Load(opened, name, options, started).run(source)
    result = replace(result, seconds=time.monotonic() - started)
    record.append_line(result)
    return result


@contextmanager
def _one_transaction(connection: Connection) -> Iterator[None]:
    """Commit all or nothing; an error of PostgreSQL outside of a row becomes a LoadError."""
    try:
        with connection.transaction(), _in_utf8(connection):
            yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise LoadError(
            f"PostgreSQL: {error.diag.message_primary}", "Ask the owner for a grant."
        ) from error
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error).strip().partition("\n")[0]
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        raise LoadError(f"PostgreSQL: {message}{detail}", "Nothing was changed.") from error


@contextmanager
def _in_utf8(connection: Connection) -> Iterator[None]:
    """Use UTF-8, as binary COPY does; the rollback of a failed load restores the encoding."""
    if connection.info.encoding == "utf-8":
        yield
        return
    change = "SELECT set_config('client_encoding', %s, true)"
    # Not `settings`: under SQL_ASCII a text comes as bytes.
    before = connection.pgconn.parameter_status(b"client_encoding") or b"UTF8"
    connection.execute(change, ["UTF8"])
    yield
    # The caller's own transaction may go on.
    connection.execute(change, [before.decode()])


class _Load:
    """One load within its transaction; `started` is its begin in monotonic seconds."""

    def __init__(
        self, connection: Connection, name: TableName, options: Options, started: float
    ) -> None:
        self.connection, self.name, self.options, self.started = connection, name, options, started
        self.rejects: Rejects | None = None
        self.note = ""

    def run(self, data: Any) -> record.Result:
        """Load and return what was done; the caller commits."""
        options = self.options
        self.connection.execute(
            "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCK, str(self.name)]
        )
        target = find_target(self.connection, self.name)
        known = target.columns if target else ()
        source = open_source(self._call(data, target), options, known)
        options, self.note = cut_names(self.connection, source, options)
        options = replace(options, types=stage.resolve_types(self.connection, options.types))
        self.options = options
        if options.reject:
            name = parse_name(self.connection, options.reject)
            self.rejects = Rejects(self.connection, name, self.name, options.max_rejects)
            source.on_bad_row = self.rejects.add
        self.shape = drift.decide_shape(source, target, options)
        self._check_names()
        self.progress = Progress(str(self.name), source.total, options.progress)
        try:
            writer, done = self._load(source, target)
        finally:
            self.progress.close()
        return self._finish(writer, done)

    def _call(self, data: Any, target: Target | None) -> Any:
        """Call a function for the rows that are newer than the table's."""
        if not callable(data) or hasattr(data, "__iter__") or hasattr(data, "__arrow_c_stream__"):
            return data
        if not self.options.watermark:
            raise LoadUsageError("A function as a source needs mode incremental.")
        if target is None:
            return data(None)
        query = sql.SQL("SELECT max({}) FROM {}")
        column = sql.Identifier(self.options.watermark)
        return data(fetch_value(self.connection, query.format(column, target.name.sql)))

    def _check_names(self) -> None:
        names = {column.name for column in self.shape.columns}
        wanted = {*self.options.key, *filter(None, [self.options.watermark])}
        if missing := sorted(wanted - names):
            raise LoadUsageError(
                f"The source has no column {', '.join(missing)}.",
                f"It has {', '.join(sorted(names))}.",
            )

    def _load(self, source: Source, target: Target | None) -> tuple[Writer, publish.Published]:
        merges = self.options.mode in {"upsert", "incremental"}
        if target is None and not merges:
            return self._load_new(source)
        if target is None:
            stage.create_table(self.connection, self.name, self.shape.columns, self.options.key)
            target = find_target(self.connection, self.name)
            assert target is not None
        if self.options.mode == "replace":
            return self._load_replace(source, target)
        if merges and self.options.key:
            publish.require_unique(self.connection, target, self.options.key)
        if not merges and not self.shape.changes and not self.options.expect and target.kind != "v":
            writer = self._write(source, target.name.sql)
            return writer, publish.Published("insert", writer.rows)
        return self._load_staged(source, target)

    def _load_new(self, source: Source) -> tuple[Writer, publish.Published]:
        stage.create_table(self.connection, self.name, self.shape.columns)
        writer = self._write(source, self.name.sql, freeze=True)
        self._expect(self.name.sql, writer.rows, None)
        if self.options.key:
            statement = sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})")
            keys = join_names(self.options.key)
            self.connection.execute(statement.format(self.name.sql, keys))
        return writer, publish.Published("insert", writer.rows)

    def _load_replace(self, source: Source, target: Target) -> tuple[Writer, publish.Published]:
        connection, shape, key = self.connection, self.shape, self.options.key
        obstacles = swap.find_obstacles(connection, target)
        if self.rejects is not None:
            # Rows written within savepoints cannot be frozen: older snapshots would miss them.
            obstacles.append("is loaded with bad rows set aside")
        last = self._count(target)
        # Rules that the table enforces need no check of the rows.
        unsure = () if not key or publish.holds_key(connection, target, key) else key
        if not obstacles:
            beside = swap.create_stage(connection, target)
            drift.apply_changes(connection, beside.name, shape)
            writer = self._write(source, beside.name.sql, freeze=True)
            self._expect(beside.name.sql, writer.rows, last, unsure)
            self.progress.say("publishing")
            return writer, publish.publish_exchange(
                connection, target, beside, shape, writer.rows, key
            )
        temporary = stage.create_temporary(connection, shape.columns, target)
        writer = self._write(source, temporary)
        self._expect(temporary, writer.rows, last, unsure)
        self.progress.say("publishing")
        drift.apply_changes(connection, target.name, shape)
        done = publish.publish_in_place(connection, target, temporary, shape.columns, key)
        note = f"the table {', '.join(obstacles)}"
        return writer, replace(done, note=publish.join_notes(note, done.note))

    def _load_staged(self, source: Source, target: Target) -> tuple[Writer, publish.Published]:
        connection, options, columns = self.connection, self.options, self.shape.columns
        temporary = stage.create_temporary(connection, columns, target)
        writer = self._write(source, temporary)
        rows = writer.rows
        self._expect(temporary, rows, record.last_rows(connection, self.name))
        self.progress.say("publishing")
        drift.apply_changes(connection, target.name, self.shape)
        older = 0
        if options.watermark:
            older = publish.drop_older(
                connection, target, temporary, options.watermark, ties=bool(options.key)
            )
        if options.key and options.mode != "append":
            done = publish.publish_upsert(connection, target, temporary, columns, options.key)
        else:
            done = publish.publish_insert(connection, target, temporary, columns)
        return writer, replace(done, skipped=done.skipped + older)

    def _write(self, source: Source, relation: sql.Identifier, *, freeze: bool = False) -> Writer:
        columns = self.shape.columns
        # Rows cannot be frozen while a cursor has an older view of the database.
        freeze = freeze and self.rejects is None and not has_cursors(self.connection)
        writer = Writer(self.connection, relation, columns, freeze=freeze)
        try:
            for chunk in source.chunks(columns):
                if self.rejects is not None:
                    self.rejects.write(writer, chunk)
                else:
                    writer.write(chunk)
                self.progress.add(chunk.rows)
            writer.flush()
        except BaseException:
            writer.abandon()
            raise
        self.progress.say(f"{writer.rows:,} rows sent")
        return writer

    def _count(self, target: Target) -> int | None:
        """Count the table's rows if an expectation compares with them."""
        if "rows_change" not in self.options.expect:
            return None
        query = sql.SQL("SELECT count(*) FROM {}").format(target.name.sql)
        # No factor leads from zero rows to some: then the last load that had rows counts.
        return fetch_value(self.connection, query) or record.last_rows(self.connection, self.name)

    def _expect(
        self, relation: sql.Identifier, rows: int, last: int | None, key: Sequence[str] = ()
    ) -> None:
        """Check the caller's expectations, and that the key identifies each row."""
        expect = self.options.expect
        if key:
            present, alone = expect.get("not_null", ()), expect.get("unique", ())
            expect = {**expect, "not_null": [*present, *key], "unique": [*alone, tuple(key)]}
        if expect:
            self.progress.say("checking")
            columns = self.shape.columns
            expectations.check(self.connection, relation, columns, expect, rows, last)

    def _finish(self, writer: Writer, done: publish.Published) -> record.Result:
        result = record.Result(
            schema=self.name.schema,
            table=self.name.table,
            mode=self.options.mode,
            rows=writer.rows,
            changed=done.changed,
            skipped=done.skipped,
            rejected=self.rejects.count if self.rejects else 0,
            bytes=writer.bytes,
            seconds=time.monotonic() - self.started,
            way=done.way,
            note=publish.join_notes(done.note, self.note),
            types={column.name: column.type for column in self.shape.columns},
            changes=tuple(str(change) for change in self.shape.changes),
        )
        record.insert_row(self.connection, result)
        return result
