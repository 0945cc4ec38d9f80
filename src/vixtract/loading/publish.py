"""Making staged rows visible: all of them at once, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vixtract.loading import swap, types
from vixtract.loading.encode import Column
from vixtract.loading.errors import LoadError, TargetError
from vixtract.loading.stage import join_names
from vixtract.loading.target import TableName, Target

if TYPE_CHECKING:
    from psycopg import Connection, sql

_UNIQUE = """
SELECT 1 FROM pg_index x WHERE x.indrelid = to_regclass(%s) AND x.indisunique AND x.indisvalid
  AND x.indimmediate AND x.indpred IS NULL AND x.indexprs IS NULL
  AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a
       WHERE a.attrelid = x.indrelid
         AND a.attnum = ANY (x.indkey[0:x.indnkeyatts - 1])) = %s::text[]
"""
# Types without an equality that IS DISTINCT FROM could use.
_INCOMPARABLE = {"json", "xml", "point", "polygon", "txid_snapshot", "pg_snapshot"}


@dataclass(frozen=True)
class Published:
    """How rows became visible.

    Args:
        way: exchange, in place, insert or upsert.
        changed: rows inserted or updated.
        skipped: rows left out: duplicates of a key, or not newer than the watermark.
        note: why it was done in this way, empty for the usual one.
    """

    way: str
    changed: int
    skipped: int = 0
    note: str = ""


def publish_exchange(
    connection: Connection, target: Target, stage: TableName, columns: Sequence[Column], rows: int
) -> Published:
    """Let the stage take the target's place; where that is not possible, copy its rows in place.

    Args:
        connection: in a transaction.
        target: old table.
        stage: new table, filled.
        columns: that were loaded.
        rows: in the stage.
    """
    import psycopg

    names = swap.dress(connection, target, stage)
    row = connection.execute(
        "SELECT current_setting('search_path'), current_setting('lock_timeout')"
    ).fetchone()
    assert row is not None
    try:
        with connection.transaction():
            swap.exchange(connection, target, stage, names)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DependentObjectsStillExist) as error:
        note = str(error.diag.message_primary)
        done = publish_in_place(connection, target, stage.sql, columns)
        from psycopg import sql

        connection.execute(sql.SQL("DROP TABLE {}").format(stage.sql))
        return Published("in place", done.changed, note=note)
    connection.execute(
        "SELECT set_config('search_path', %s, true), set_config('lock_timeout', %s, true)", row
    )
    return Published("exchange", rows)


def publish_in_place(
    connection: Connection, target: Target, stage: sql.Identifier, columns: Sequence[Column],
    note: str = "",
) -> Published:  # fmt: skip
    """Delete all rows and insert the staged ones: readers are not held up and see one or the other.

    Args:
        connection: in a transaction.
        target: table; everything on it stays, its triggers run.
        stage: quoted name of the table with the rows.
        columns: that were loaded.
        note: why this way.
    """
    from psycopg import sql

    connection.execute(sql.SQL("DELETE FROM {}").format(target.name.sql))
    done = publish_insert(connection, target, stage, columns)
    return Published("in place", done.changed, note=note)


def publish_insert(
    connection: Connection, target: Target, stage: sql.Identifier, columns: Sequence[Column]
) -> Published:
    """Insert the staged rows.

    Args:
        connection: in a transaction.
        target: table.
        stage: quoted name of the table with the rows.
        columns: that were loaded.
    """
    from psycopg import sql

    names = join_names([column.name for column in columns])
    statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}")
    cursor = connection.execute(statement.format(target.name.sql, names, names, stage))
    return Published("insert", cursor.rowcount)


def require_unique(connection: Connection, name: TableName, key: Sequence[str]) -> None:
    """Fail unless the table allows each key once.

    Args:
        connection: open.
        name: table.
        key: its columns.
    Raises:
        TargetError: no unique index has exactly these columns.
    """
    from psycopg import sql

    quoted = name.sql.as_string(connection)
    if connection.execute(_UNIQUE, [quoted, sorted(key)]).fetchone() is None:
        columns = join_names(key).as_string(connection)
        raise TargetError(
            f"{name} has no unique index on {', '.join(key)}: rows cannot be told apart.",
            sql.SQL("Run once: ALTER TABLE {} ADD PRIMARY KEY ({});")
            .format(name.sql, sql.SQL(columns))
            .as_string(connection),
        )


def publish_upsert(
    connection: Connection, target: Target, stage: sql.Identifier, columns: Sequence[Column],
    key: Sequence[str],
) -> Published:  # fmt: skip
    """Insert new keys and update those whose values differ; of equal keys the last row counts.

    Args:
        connection: in a transaction.
        target: table with a unique index on the key.
        stage: quoted name of the table with the rows.
        columns: that were loaded.
        key: columns that identify a row.
    Raises:
        LoadError: a key is NULL.
    """
    import psycopg
    from psycopg import sql

    for name in key:
        query = sql.SQL("SELECT count(*) FROM {} WHERE {} IS NULL")
        row = connection.execute(query.format(stage, sql.Identifier(name))).fetchone()
        if row and row[0]:
            raise LoadError(f"The key {name} is NULL in {row[0]} rows.", "Nothing was changed.")
    statement = _build_upsert(target, stage, columns, key)
    try:
        with connection.transaction():
            return Published("upsert", connection.execute(statement).rowcount)
    except psycopg.errors.CardinalityViolation:
        # The usual load has each key once: only others pay for the search.
        skipped = _drop_duplicates(connection, stage, key)
    return Published("upsert", connection.execute(statement).rowcount, skipped)


def _build_upsert(
    target: Target, stage: sql.Identifier, columns: Sequence[Column], key: Sequence[str]
) -> sql.Composed:
    from psycopg import sql

    names = [column.name for column in columns]
    others = [column for column in columns if column.name not in key]
    action: sql.Composable = sql.SQL("DO NOTHING")
    if others:
        changes = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(c.name)) for c in others
        )
        action = sql.SQL("DO UPDATE SET {}").format(changes)
        if not any(types.base(c.type) in _INCOMPARABLE or c.category == "o" for c in others):
            # A row that stays the same is not written again.
            old = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(c.name)) for c in others)
            new = sql.SQL(", ").join(
                sql.SQL("excluded.{}").format(sql.Identifier(c.name)) for c in others
            )
            action += sql.SQL(" WHERE ({}) IS DISTINCT FROM ({})").format(old, new)
    return sql.SQL("INSERT INTO {} AS t ({}) SELECT {} FROM {} ON CONFLICT ({}) {}").format(
        target.name.sql, join_names(names), join_names(names), stage, join_names(key), action
    )


def _drop_duplicates(connection: Connection, stage: sql.Identifier, key: Sequence[str]) -> int:
    """Keep the last row of each key; rows of a fresh table lie in the order they came."""
    from psycopg import sql

    statement = sql.SQL(
        "DELETE FROM {0} WHERE ctid IN (SELECT ctid FROM (SELECT ctid, row_number() OVER"
        " (PARTITION BY {1} ORDER BY ctid DESC) AS n FROM {0}) AS numbered WHERE n > 1)"
    )
    return connection.execute(statement.format(stage, join_names(key))).rowcount


def drop_older(
    connection: Connection, target: Target, stage: sql.Identifier, watermark: str, *, ties: bool
) -> int:
    """Leave out staged rows that the table already has, by the watermark.

    Args:
        connection: in a transaction.
        target: table.
        stage: quoted name of the table with the rows.
        watermark: column that grows.
        ties: keep rows equal to the table's highest.
    Returns: rows left out.
    Raises:
        LoadError: a watermark is NULL: such a row would be loaded always or never.
    """
    from psycopg import sql

    column = sql.Identifier(watermark)
    query = sql.SQL("SELECT count(*) FROM {} WHERE {} IS NULL").format(stage, column)
    row = connection.execute(query).fetchone()
    if row and row[0]:
        raise LoadError(f"The watermark {watermark} is NULL in {row[0]} rows.")
    comparison = sql.SQL("<" if ties else "<=")
    statement = sql.SQL("DELETE FROM {} WHERE {} {} (SELECT max({}) FROM {})")
    return connection.execute(
        statement.format(stage, column, comparison, column, target.name.sql)
    ).rowcount
