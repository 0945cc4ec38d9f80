"""Publishing the staged rows: all of them at once, or none.

All of it happens in the load's transaction. `stage` is the table with the new rows, `key` the
columns that identify a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import Connection, sql

from vixtract.loading import expectations, merge, swap, types
from vixtract.loading.connections import fetch_value, settings
from vixtract.loading.drift import Shape, apply_changes
from vixtract.loading.errors import LoadError, TargetError
from vixtract.loading.target import Column, Target, join_names

# Unique indexes that ON CONFLICT accepts: their columns, whether these are NOT NULL, whether the
# index is the primary key, and the other tables whose foreign keys reference it.
_UNIQUE = """
SELECT array(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey[0:x.indnkeyatts - 1])),
       NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = x.indrelid AND NOT a.attnotnull
                   AND a.attnum = ANY (x.indkey[0:x.indnkeyatts - 1])),
       x.indisprimary,
       array(SELECT DISTINCT k.conrelid::regclass::text FROM pg_constraint k
             WHERE k.contype = 'f' AND k.conindid = x.indexrelid AND k.confrelid = x.indrelid
               AND k.conrelid <> k.confrelid)
FROM pg_index x WHERE x.indrelid = %s AND x.indisunique AND x.indisvalid
  AND x.indimmediate AND x.indpred IS NULL AND x.indexprs IS NULL
"""
# Types without an equality operator, which IS DISTINCT FROM needs.
_INCOMPARABLE = {"json", "xml", "point", "polygon", "txid_snapshot", "pg_snapshot"}


@dataclass(frozen=True)
class Published:
    """How the rows were published.

    Args:
        way: exchange, in place, insert or upsert.
        changed: rows inserted or updated.
        skipped: rows left out: duplicates of a key, or not newer than the watermark.
        note: why the usual way was not taken; empty if it was.
    """

    way: str
    changed: int
    skipped: int = 0
    note: str = ""


@dataclass(frozen=True)
class _Unique:
    """A unique index: a row of `_UNIQUE`."""

    columns: list[str]
    never_null: bool
    primary: bool
    children: list[str]


def _find_unique(connection: Connection, target: Target) -> list[_Unique]:
    return [_Unique(*row) for row in connection.execute(_UNIQUE, [target.oid]).fetchall()]


def publish_exchange(
    connection: Connection,
    target: Target,
    stage: swap.Stage,
    shape: Shape,
    rows: int,
    key: Sequence[str],
) -> Published:
    """Replace the table by the stage; if that is not possible, replace its rows in place.

    Args:
        shape: the loaded columns; the stage has the changes already.
    Raises:
        LoadError: the rows break a unique index, or the columns must change while a reader has the
            table locked.
        DriftError: a view keeps the columns from being changed.
    """
    try:
        with connection.transaction():
            names = swap.copy_properties(connection, target, stage)
            # With an empty search_path, PostgreSQL writes every name in a view with its schema.
            with settings(connection, search_path="", lock_timeout=str(swap.LOCK_TIMEOUT_MS)):
                swap.exchange(connection, target, stage, names)
    except (
        psycopg.errors.LockNotAvailable,
        psycopg.errors.DependentObjectsStillExist,
        # A view uses the whole row, or a column whose type has changed.
        psycopg.errors.InvalidTableDefinition,
        swap.ChangedError,
    ) as error:
        diagnosis = getattr(error, "diag", None)
        note = str(diagnosis.message_primary if diagnosis else error)
        _change_shape(connection, target, shape)
        done = publish_in_place(connection, target, stage.name.sql, shape.columns, key)
        connection.execute(sql.SQL("DROP TABLE {}").format(stage.name.sql))
        return replace(done, note=join_notes(note, done.note))
    return Published("exchange", rows)


def _change_shape(connection: Connection, target: Target, shape: Shape) -> None:
    """Change the live table's columns, or fail if a reader has it locked: new ones would wait."""
    try:
        with settings(connection, lock_timeout=str(swap.LOCK_TIMEOUT_MS)):
            apply_changes(connection, target.name, shape)
    except psycopg.errors.LockNotAvailable as error:
        raise LoadError(
            f"{target.name} is being read, so its columns cannot be changed now.",
            "Try again when the query or transaction that reads it has ended.",
        ) from error


def publish_in_place(
    connection: Connection,
    target: Target,
    stage: sql.Identifier,
    columns: Sequence[Column],
    key: Sequence[str],
) -> Published:
    """Replace the rows within the table: readers do not wait, and see the old rows or the new ones.

    If rows of other tables reference it, a row with a known key is updated and keeps its children;
    a foreign key acts only on rows that are gone. The table stays as it is, and its triggers run.

    Raises:
        TargetError: rows reference the table, and no key of it was loaded.
        ExpectationError: rows reference the table, and a key occurs twice.
    """
    if not merge.has_children(connection, target):
        connection.execute(sql.SQL("DELETE FROM {}").format(target.name.sql))
        done = publish_insert(connection, target, stage, columns)
        return Published("in place", done.changed)
    found = _find_unique(connection, target)
    children = sorted({child for unique in found for child in unique.children})
    chosen = _choose_key(target, found, columns, key)
    expectations.check(connection, stage, columns, {"unique": [chosen]}, 0, None)
    changed = merge.merge(connection, target, stage, columns, chosen)
    note = f"{', '.join(children)} references it: rows were matched by {', '.join(chosen)}"
    return Published("in place", changed, note=note)


def _choose_key(
    target: Target, found: Sequence[_Unique], columns: Sequence[Column], key: Sequence[str]
) -> list[str]:
    """Return the key that tells which rows stay: the caller's, else the referenced one."""
    loaded = {column.name for column in columns}
    usable = [
        (set(unique.columns) == set(key), bool(unique.children), unique.primary, unique.columns)
        for unique in found
        if loaded.issuperset(unique.columns)
    ]
    best = max(usable, default=(False, False, False, []))
    if any(best[:3]):
        return best[3]
    parts = [
        f"{', '.join(unique.children)} references {', '.join(unique.columns)}"
        for unique in found
        if unique.children
    ]
    raise TargetError(
        f"{target.name} cannot be replaced: {'; '.join(parts)}, which the source lacks.",
        "Load these columns too, or give key=… with columns of a unique index.",
    )


def publish_insert(
    connection: Connection, target: Target, stage: sql.Identifier, columns: Sequence[Column]
) -> Published:
    """Insert the staged rows."""
    names = join_names(column.name for column in columns)
    statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}")
    cursor = connection.execute(statement.format(target.name.sql, names, names, stage))
    return Published("insert", cursor.rowcount)


def holds_key(connection: Connection, target: Target, key: Sequence[str]) -> bool:
    """Tell whether the table enforces that the key is unique and NOT NULL."""
    return any(
        unique.never_null and set(unique.columns) == set(key)
        for unique in _find_unique(connection, target)
    )


def require_unique(connection: Connection, target: Target, key: Sequence[str]) -> None:
    """Fail unless the table enforces that the key is unique.

    Raises:
        TargetError: no unique index has exactly these columns.
    """
    if not any(set(unique.columns) == set(key) for unique in _find_unique(connection, target)):
        raise TargetError(
            f"{target.name} has no unique index on {', '.join(key)}: rows cannot be told apart.",
            sql.SQL("Run once: ALTER TABLE {} ADD PRIMARY KEY ({});")
            .format(target.name.sql, join_names(key))
            .as_string(connection),
        )


def publish_upsert(
    connection: Connection,
    target: Target,
    stage: sql.Identifier,
    columns: Sequence[Column],
    key: Sequence[str],
) -> Published:
    """Insert rows with new keys, update changed rows; of equal keys the last row counts.

    Args:
        target: table with a unique index on the key.
    Raises:
        LoadError: a key is NULL.
    """
    for name in key:
        if count := _count_null(connection, stage, name):
            raise LoadError(f"The key {name} is NULL in {count} rows.", "Nothing was changed.")
    statement = _build_upsert(target, stage, columns, key)
    try:
        with connection.transaction():
            return Published("upsert", connection.execute(statement).rowcount)
    except psycopg.errors.CardinalityViolation:
        # Most loads have each key once; only others pay for the search.
        skipped = _drop_duplicates(connection, stage, key)
    return Published("upsert", connection.execute(statement).rowcount, skipped)


def _count_null(connection: Connection, stage: sql.Identifier, column: str) -> int:
    query = sql.SQL("SELECT count(*) FROM {} WHERE {} IS NULL")
    return int(fetch_value(connection, query.format(stage, sql.Identifier(column))))


def _build_upsert(
    target: Target, rows: sql.Composable, columns: Sequence[Column], key: Sequence[str]
) -> sql.Composed:
    names = join_names(column.name for column in columns)
    others = [column for column in columns if column.name not in key]
    action: sql.Composable = sql.SQL("DO NOTHING")
    if others:
        changing = [column.name for column in others]
        action = sql.SQL("DO UPDATE SET {}").format(join_names(changing, "{0} = excluded.{0}"))
        if not any(types.base(c.type) in _INCOMPARABLE or c.category == "o" for c in others):
            # An unchanged row is not written again.
            action += sql.SQL(" WHERE ({}) IS DISTINCT FROM ({})").format(
                join_names(changing, "t.{}"), join_names(changing, "excluded.{}")
            )
    return sql.SQL("INSERT INTO {} AS t ({}) SELECT {} FROM {} ON CONFLICT ({}) {}").format(
        target.name.sql, names, names, rows, join_names(key), action
    )


def _drop_duplicates(connection: Connection, stage: sql.Identifier, key: Sequence[str]) -> int:
    """Delete all but the last row of each key: a new table has the source's order of rows."""
    statement = sql.SQL(
        "DELETE FROM {0} WHERE ctid IN (SELECT ctid FROM (SELECT ctid, row_number() OVER"
        " (PARTITION BY {1} ORDER BY ctid DESC) AS n FROM {0}) AS numbered WHERE n > 1)"
    )
    return connection.execute(statement.format(stage, join_names(key))).rowcount


def drop_older(
    connection: Connection, target: Target, stage: sql.Identifier, watermark: str, *, ties: bool
) -> int:
    """Delete staged rows that the table already has, by the watermark, and return their number.

    Args:
        ties: whether rows equal to the table's highest stay.
    Raises:
        LoadError: a watermark is NULL, so the row would be loaded each time or never.
    """
    column = sql.Identifier(watermark)
    if count := _count_null(connection, stage, watermark):
        raise LoadError(f"The watermark {watermark} is NULL in {count} rows.")
    comparison = sql.SQL("<" if ties else "<=")
    statement = sql.SQL("DELETE FROM {} WHERE {} {} (SELECT max({}) FROM {})")
    return connection.execute(
        statement.format(stage, column, comparison, column, target.name.sql)
    ).rowcount


def join_notes(*notes: str) -> str:
    """Join the notes that are not empty."""
    return "; ".join(filter(None, notes))
