"""Replacing the rows of a table that others reference: rows that stay keep their children.

All of it happens in the load's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import Connection, sql

from vixtract.loading import swap
from vixtract.loading.connections import fetch_value, settings
from vixtract.loading.errors import LoadError, TargetError
from vixtract.loading.target import Column, Target, join_names

# Foreign keys of other tables that reference the target (with an empty last column), and those that
# reference a partition or an inheriting table of it and act when a row there is deleted.
_REFERENCES = """
WITH RECURSIVE tree (oid) AS (
  SELECT %(oid)s::oid UNION SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = tree.oid)
SELECT n.nspname, r.relname,
       array(SELECT attname::text FROM pg_attribute
             WHERE attrelid = k.conrelid AND attnum = ANY (k.conkey)),
       CASE WHEN k.confrelid <> %(oid)s THEN k.confrelid::regclass::text ELSE '' END
FROM pg_constraint k JOIN pg_class r ON r.oid = k.conrelid
JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE k.contype = 'f' AND k.conrelid <> k.confrelid
  AND (k.confrelid = %(oid)s OR k.conparentid = 0 AND k.confdeltype IN ('c', 'n', 'd')
       AND k.confrelid IN (SELECT oid FROM tree))
"""
# Columns of a key where equal values can look different (1.0 and 1.00). Others are not set, because
# setting a key blocks every session that adds a child; neither are those where a foreign key would
# refuse the change or cut the children off.
_LOOSE = """
SELECT a.attname FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE a.attrelid = %(oid)s AND a.attname::text = ANY (%(key)s)
  AND NOT (a.atttypid = ANY ('{int2,int4,int8,bool,uuid,text,varchar,date,timestamp,timestamptz}'
                             ::regtype[]) AND coalesce(l.collisdeterministic, true))
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid = a.attrelid
                  AND a.attnum = ANY (k.confkey) AND k.confupdtype IN ('r', 'n', 'd'))
"""


def has_children(connection: Connection, target: Target) -> bool:
    """Tell whether rows may reference the target's; if none do, none are added before the commit.

    Raises:
        TargetError: rows reference a part of the table, and would be deleted or changed.
    """
    references = connection.execute(_REFERENCES, {"oid": target.oid}).fetchall()
    if not references or _is_childless(connection, target, references):
        return False
    for schema, table, columns, part in references:
        if part and not _is_childless(connection, target, [(schema, table, columns, part)]):
            raise TargetError(
                f"{target.name} cannot be replaced: {schema}.{table} references {part}, a part of"
                " it, and its rows would be deleted or changed too.",
                f"Load into {part}, or let the foreign key reference {target.name}.",
            )
    return True


def _is_childless(
    connection: Connection, target: Target, references: Sequence[tuple[str, str, list[str], str]]
) -> bool:
    """Tell whether no rows reference the table; False if the user may not look."""
    # Without row_security=off, rows that a policy hides would not be counted.
    wanted = {"lock_timeout": str(swap.LOCK_TIMEOUT_MS), "row_security": "off"}
    try:
        with connection.transaction() as savepoint, settings(connection, **wanted):
            # Adding a child locks its parent's table, so from here on it waits for our commit.
            lock = sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE")
            connection.execute(lock.format(target.name.sql))
            for schema, table, columns, _ in references:
                filled = join_names(columns, "{} IS NOT NULL", " AND ")
                query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})")
                if fetch_value(connection, query.format(sql.Identifier(schema, table), filled)):
                    raise psycopg.Rollback(savepoint)
            return True
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable):
        pass
    return False


def merge(
    connection: Connection,
    target: Target,
    stage: sql.Identifier,
    columns: Sequence[Column],
    key: Sequence[str],
) -> int:
    """Replace the table's rows by the staged ones, updating equal keys; return the rows changed.

    Args:
        target: table with a unique index on the key.
        stage: the table with the rows; its keys are unique.
    Raises:
        LoadError: a unique value moves between rows, or occurs twice.
        TargetError: the user lacks a privilege.
    """
    loose = connection.execute(_LOOSE, {"oid": target.oid, "key": list(key)}).fetchall()
    fixed = set(key).difference(row[0] for row in loose)
    changing = [column.name for column in columns if column.name not in fixed]
    try:
        return connection.execute(_build(target, stage, columns, key, changing)).rowcount
    except (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation) as error:
        diagnosis = error.diag
        raise LoadError(
            f"The rows break {diagnosis.constraint_name} of {target.name}:"
            f" {diagnosis.message_detail}",
            "If the value occurs once and only moves between rows that stay, either load twice with"
            ' mode="upsert", the first time with other values, or make the constraint DEFERRABLE:'
            " other tables reference these rows, so they are updated one by one.",
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise TargetError(
            f"{target.name} cannot be replaced: {error.diag.message_primary}",
            "Other tables reference it, so its rows are matched and updated, which needs SELECT,"
            " INSERT, UPDATE and DELETE on it, and row policies that allow them.",
        ) from error


def _build(
    target: Target,
    stage: sql.Identifier,
    columns: Sequence[Column],
    key: Sequence[str],
    changing: Sequence[str],
) -> sql.Composed:
    """Return one statement that deletes, updates and inserts.

    A foreign key to the table itself is checked at its end, when each row has its new parent.
    """
    gone = sql.SQL("NOT EXISTS (SELECT FROM {} AS s WHERE {})").format(
        stage, join_names(key, "s.{0} = t.{0}", " AND ")
    )
    if target.kind == "r":
        # A row of an inheriting table is found here too, but ON CONFLICT does not see it.
        gone += sql.SQL(" OR t.tableoid <> {}").format(target.oid)
    action: sql.Composable = sql.SQL("NOTHING")
    if changing:
        # An unchanged row is not written again; *<> finds equal values that look different.
        action = sql.SQL("UPDATE SET {} WHERE ROW({})::record *<> ROW({})::record").format(
            join_names(changing, "{0} = excluded.{0}"),
            join_names(changing, "t.{}"),
            join_names(changing, "excluded.{}"),
        )
    names = join_names(column.name for column in columns)
    # Counting the deleted rows has them deleted first: a new row may have one of their values.
    return sql.SQL(
        "WITH gone AS (DELETE FROM {target} AS t WHERE {gone} RETURNING 1)"
        " INSERT INTO {target} AS t ({names}) SELECT {names} FROM {stage}"
        " WHERE (SELECT count(*) FROM gone) >= 0 ON CONFLICT ({key}) DO {action}"
    ).format(
        target=target.name.sql,
        gone=gone,
        names=names,
        stage=stage,
        key=join_names(key),
        action=action,
    )
