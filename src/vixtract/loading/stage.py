"""The staging tables: rows go into them before they are published.

All of it happens in the load's transaction.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

import psycopg
from psycopg import Connection, sql

from vixtract.loading.connections import fetch_value
from vixtract.loading.errors import LoadUsageError, TargetError
from vixtract.loading.target import Column, TableName, Target, join_names

# A table's rules for a single row, of the loaded columns. If a trigger completes the rows, they can
# only be checked after it.
_ROW_RULES = """
SELECT array(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnotnull
             AND attnum > 0 AND NOT attisdropped AND attname::text = ANY (%(names)s)),
       array(SELECT format('CONSTRAINT %%I %%s', conname, pg_get_constraintdef(k.oid))
             FROM pg_constraint k
             WHERE conrelid = c.oid AND contype = 'c' AND convalidated AND conkey <@ array(
               SELECT attnum FROM pg_attribute
               WHERE attrelid = c.oid AND NOT attisdropped AND attname::text = ANY (%(names)s)))
FROM pg_class c WHERE c.oid = %(oid)s AND c.relkind IN ('r', 'p') AND NOT EXISTS (
  SELECT FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 7 = 7
    AND (tgrelid = c.oid OR tgrelid IN (SELECT relid FROM pg_partition_tree(c.oid))))
"""
_COLLATIONS = """
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod),
       format('COLLATE %%I.%%I', n.nspname, c.collname)
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_collation c ON c.oid = a.attcollation JOIN pg_namespace n ON n.oid = c.collnamespace
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.attcollation <> t.typcollation
"""
_TYPE = """
SELECT format_type(a.atttypid, a.atttypmod),
       a.attnotnull OR a.atthasdef OR a.attidentity <> '' OR a.attcollation <> t.typcollation
       OR EXISTS (SELECT FROM pg_constraint WHERE conrelid = a.attrelid)
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0
"""


def create_table(
    connection: Connection, name: TableName, columns: Sequence[Column], key: Sequence[str] = ()
) -> None:
    """Make a table whose columns may be NULL, except those of the key, the primary key."""
    parts = [_define(column) for column in columns]
    if key:
        parts.append(sql.SQL("PRIMARY KEY ({})").format(join_names(key)))
    _create(connection, sql.SQL("CREATE TABLE {} ({})").format(name.sql, sql.SQL(", ").join(parts)))


def create_temporary(
    connection: Connection, columns: Sequence[Column], target: Target
) -> sql.Identifier:
    """Make a temporary table for the target's rows and return its quoted name.

    The target's NOT NULL and CHECK are checked here already, which tells the number of a bad row.
    """
    names = [column.name for column in columns]
    found = connection.execute(_ROW_RULES, {"names": names, "oid": target.oid}).fetchone()
    filled, checks = found or ([], [])
    collated = connection.execute(_COLLATIONS, [target.oid]).fetchall()
    collations = {(name, kind): words for name, kind, words in collated}
    parts: list[sql.Composable] = [
        _define(column)
        + sql.SQL(f" {collations.get((column.name, column.type), '')}")
        + sql.SQL(" NOT NULL" if column.name in filled else "")
        for column in columns
    ]
    relation = sql.Identifier("pg_temp", f"load_{secrets.token_hex(6)}")
    form = sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP")
    plain = form.format(relation, sql.SQL(", ").join(parts))
    if checks:
        ruled = form.format(relation, sql.SQL(", ").join([*parts, *map(sql.SQL, checks)]))
        try:
            with connection.transaction():
                connection.execute(ruled)
            return relation
        except psycopg.Error:
            # A rule may need what the role may use only through the table, which then checks it.
            pass
    _create(connection, plain)
    return relation


def create_like(connection: Connection, target: Target) -> TableName:
    """Make an empty table with the target's columns, defaults and checks, without indexes."""
    # At most 63 bytes in any script.
    short = target.name.table.encode()[:40].decode(errors="ignore")
    stage = TableName(target.name.schema, f"{short}__load_{secrets.token_hex(6)}")
    wanted = ("DEFAULTS", "CONSTRAINTS", "GENERATED", "COMMENTS", "STORAGE", "COMPRESSION")
    including = sql.SQL(" ").join(sql.SQL(f"INCLUDING {word}") for word in wanted)
    statement = sql.SQL("CREATE TABLE {} (LIKE {} {})")
    connection.execute(statement.format(stage.sql, target.name.sql, including))
    return stage


def resolve_types(connection: Connection, types: Mapping[str, str]) -> dict[str, str]:
    """Return the types of columns with PostgreSQL's names for them: int becomes integer.

    Raises:
        LoadUsageError: one is not a type.
    """
    return {column: _resolve_type(connection, column, text) for column, text in types.items()}


def _resolve_type(connection: Connection, column: str, text: str) -> str:
    """Make a table with one column: only that shows both domains and lengths."""
    table = sql.Identifier("pg_temp", f"load_{secrets.token_hex(6)}")
    statement = sql.SQL("CREATE TEMPORARY TABLE {} (x {})").format(table, sql.SQL(text))
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
            found = connection.execute(_TYPE, [table.as_string(connection)]).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        # This database allows no temporary tables: a type's name can still be resolved.
        name = fetch_value(connection, "SELECT format_type(to_regtype(%s), NULL)", [text])
        return str(name) if name and "(" not in text else text
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        raise LoadUsageError(
            f"types: {text!r} of column {column} is not a type: {error.diag.message_primary}",
            "Use a PostgreSQL type: text, bigint, numeric(12,2), date, timestamptz, …",
        ) from error
    if len(found) != 1 or found[0][1]:
        raise LoadUsageError(
            f"types: {text!r} of column {column} is more than a type.",
            "Make the table with CREATE TABLE, then load.",
        )
    return str(found[0][0])


def _define(column: Column) -> sql.Composed:
    # The type is SQL: PostgreSQL's own name of it, or what the person wrote in types={...}.
    return sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(column.type))


def _create(connection: Connection, statement: sql.Composed) -> None:
    try:
        connection.execute(statement)
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error)
        raise TargetError(f"PostgreSQL cannot make the table: {message}") from error
