"""Tables that rows go into before anybody sees them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vixtract.loading.encode import Column
from vixtract.loading.errors import TargetError
from vixtract.loading.target import TableName, Target

if TYPE_CHECKING:
    from psycopg import Connection, sql


def create_table(
    connection: Connection, name: TableName, columns: Sequence[Column], key: Sequence[str] = ()
) -> None:
    """Make a table; its columns may be NULL except the key's.

    Args:
        connection: in a transaction.
        name: of the table.
        columns: in order.
        key: columns of the primary key; empty for none.
    """
    from psycopg import sql

    parts = [_define(column) for column in columns]
    if key:
        parts.append(sql.SQL("PRIMARY KEY ({})").format(join_names(key)))
    _create(connection, sql.SQL("CREATE TABLE {} ({})").format(name.sql, sql.SQL(", ").join(parts)))


def create_temporary(connection: Connection, columns: Sequence[Column]) -> sql.Identifier:
    """Make a table of this transaction alone and return its quoted name.

    Args:
        connection: in a transaction.
        columns: in order; no constraint is taken over.
    """
    from psycopg import sql

    name = f"load_{secrets.token_hex(6)}"
    parts = sql.SQL(", ").join(_define(column) for column in columns)
    statement = sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP")
    _create(connection, statement.format(sql.Identifier(name), parts))
    return sql.Identifier("pg_temp", name)


def create_like(connection: Connection, target: Target) -> TableName:
    """Make an empty table beside the target, of its columns, defaults and checks; no indexes yet.

    Args:
        connection: in a transaction.
        target: to copy.
    """
    from psycopg import sql

    # 63 bytes at most, whatever the letters.
    short = target.name.table.encode()[:40].decode(errors="ignore")
    stage = TableName(target.name.schema, f"{short}__load_{secrets.token_hex(6)}")
    wanted = ("DEFAULTS", "CONSTRAINTS", "GENERATED", "COMMENTS", "STORAGE", "COMPRESSION")
    including = sql.SQL(" ").join(sql.SQL(f"INCLUDING {word}") for word in wanted)
    statement = sql.SQL("CREATE TABLE {} (LIKE {} {})")
    connection.execute(statement.format(stage.sql, target.name.sql, including))
    return stage


def join_names(names: Sequence[str]) -> sql.Composed:
    """Return quoted names with commas.

    Args:
        names: unquoted.
    """
    from psycopg import sql

    return sql.SQL(", ").join(sql.Identifier(name) for name in names)


def _define(column: Column) -> sql.Composed:
    from psycopg import sql

    # The type is SQL: PostgreSQL's own name of it, or what the person wrote in types={...}.
    return sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type))


def _create(connection: Connection, statement: sql.Composed) -> None:
    import psycopg

    try:
        connection.execute(statement)
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error)
        raise TargetError(f"PostgreSQL cannot make the table: {message}") from error
