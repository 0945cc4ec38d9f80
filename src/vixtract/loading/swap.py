"""Publishing by exchange: a filled new table takes the old one's name, and what depends on it.

What depends on the old table by its number (grants, comments, indexes, views) is made again for the
new one before the old one is dropped. A table with anything else on it (triggers, foreign keys,
policies, identity columns, …) is not exchanged, nor is one that is being read for longer than
LOCK_TIMEOUT_MS. All of it happens in the load's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import Connection, sql

from vixtract.loading.connections import fetch_value
from vixtract.loading.errors import LoadError
from vixtract.loading.stage import create_like
from vixtract.loading.target import TableName, Target

# New readers wait as long as we wait for old ones.
LOCK_TIMEOUT_MS = 2000

_OBSTACLES = """
SELECT array_remove(ARRAY[
  CASE WHEN c.relkind <> 'r' THEN 'is not an ordinary table' END,
  CASE WHEN NOT pg_has_role(c.relowner, 'USAGE') THEN 'belongs to another role' END,
  CASE WHEN NOT has_schema_privilege(c.relnamespace, 'CREATE')
       THEN 'is in a schema without the CREATE privilege' END,
  CASE WHEN c.relpersistence <> 'p' OR c.reloptions IS NOT NULL OR c.reltablespace <> 0
            OR c.relreplident <> 'd' OR c.reloftype <> 0 THEN 'has storage options' END,
  CASE WHEN c.relrowsecurity OR EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = c.oid)
       THEN 'has row policies' END,
  CASE WHEN EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = c.oid)
       THEN 'has triggers or foreign keys' END,
  CASE WHEN EXISTS (SELECT 1 FROM pg_rewrite WHERE ev_class = c.oid) THEN 'has rules' END,
  CASE WHEN EXISTS (SELECT 1 FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent))
       THEN 'inherits' END,
  CASE WHEN EXISTS (SELECT 1 FROM pg_publication_rel WHERE prrelid = c.oid)
       THEN 'is replicated' END,
  CASE WHEN EXISTS (SELECT 1 FROM pg_statistic_ext WHERE stxrelid = c.oid)
       THEN 'has extended statistics' END,
  CASE WHEN EXISTS (SELECT 1 FROM pg_seclabel WHERE objoid = c.oid)
       THEN 'has security labels' END,
  CASE WHEN EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
       AND (a.attidentity <> '' OR coalesce(a.attstattarget, -1) <> -1 OR a.attoptions IS NOT NULL))
       THEN 'has identity columns or column options' END,
  CASE WHEN EXISTS (SELECT 1 FROM pg_depend WHERE refobjid = c.oid AND deptype IN ('a', 'i')
       AND classid = 'pg_class'::regclass
       AND objid IN (SELECT oid FROM pg_class WHERE relkind = 'S'))
       THEN 'owns a sequence' END,
  CASE WHEN EXISTS (SELECT 1 FROM pg_index WHERE indrelid = c.oid
       AND (indisclustered OR indisreplident OR NOT indisvalid)) THEN 'has special indexes' END,
  CASE WHEN EXISTS (SELECT 1 FROM pg_depend d JOIN pg_rewrite r
       ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
       JOIN pg_class v ON v.oid = r.ev_class
       WHERE d.refobjid = c.oid AND d.refclassid = 'pg_class'::regclass AND v.oid <> c.oid
       AND (v.relkind <> 'v' OR NOT pg_has_role(v.relowner, 'USAGE')))
       THEN 'has a view that is materialized or belongs to another role' END
], NULL) FROM pg_class c WHERE c.oid = %s
"""

_VIEWS = """
SELECT DISTINCT v.oid, n.nspname, v.relname, pg_get_viewdef(v.oid),
       array_to_string(v.reloptions, ', ')
FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
JOIN pg_namespace n ON n.oid = v.relnamespace
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
  AND d.refobjid = %s AND v.relkind = 'v' ORDER BY v.oid
"""

_INDEXES = """
SELECT i.relname, pg_get_indexdef(i.oid), con.conname, pg_get_constraintdef(con.oid),
       obj_description(i.oid, 'pg_class'), obj_description(con.oid, 'pg_constraint'),
       format(' INDEX %%I ON %%I.%%I ', i.relname, n.nspname, t.relname)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN pg_constraint con ON con.conindid = i.oid AND con.contype IN ('p', 'u', 'x')
     AND con.conrelid = t.oid
WHERE x.indrelid = %s ORDER BY i.oid
"""

_GRANTS = """
SELECT CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END, a.privilege_type,
       a.is_grantable, NULL::text
FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a WHERE c.oid = %(oid)s
UNION ALL
SELECT CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END, a.privilege_type,
       a.is_grantable, att.attname
FROM pg_attribute att, aclexplode(att.attacl) a
WHERE att.attrelid = %(oid)s AND att.attnum > 0 AND NOT att.attisdropped
"""

# Every command that changes a table writes new versions of its catalog rows; vacuum does not.
# Changes that lock the table exclusively (columns, checks, defaults) wait for the end of the load.
_STATE = """
SELECT string_agg(part, ' ' ORDER BY part) FROM (
  SELECT format('class %%s', xmin) FROM pg_class WHERE oid = %(oid)s
  UNION ALL SELECT format('column %%s %%s', attnum, xmin) FROM pg_attribute
            WHERE attrelid = %(oid)s AND attnum > 0
  UNION ALL SELECT format('index %%s %%s %%s', indexrelid, x.xmin, i.xmin)
            FROM pg_index x JOIN pg_class i ON i.oid = indexrelid WHERE indrelid = %(oid)s
  UNION ALL SELECT format('comment %%s %%s', objsubid, xmin) FROM pg_description
            WHERE objoid = %(oid)s AND classoid = 'pg_class'::regclass
) AS parts (part)
"""


class ChangedError(Exception):
    """The old table was changed while the new one was filled."""


@dataclass(frozen=True)
class Stage:
    """A new table beside the old one, with the old one's state when it was made."""

    name: TableName
    state: str


def create_stage(connection: Connection, target: Target) -> Stage:
    """Make an empty table with the old one's columns."""
    state = _read_state(connection, target)
    return Stage(create_like(connection, target), state)


def _read_state(connection: Connection, target: Target) -> str:
    return str(fetch_value(connection, _STATE, {"oid": target.oid}))


def find_obstacles(connection: Connection, target: Target) -> list[str]:
    """Return the reasons why a table cannot be exchanged; empty if it can."""
    row = connection.execute(_OBSTACLES, [target.oid]).fetchone()
    return list(row[0]) if row else ["is gone"]


def _require_same(connection: Connection, target: Target, stage: Stage) -> None:
    if _read_state(connection, target) != stage.state or find_obstacles(connection, target):
        raise ChangedError("the table was changed during the load")


def copy_properties(
    connection: Connection, target: Target, stage: Stage
) -> list[tuple[str, str, str]]:
    """Give the new table the old one's owner, indexes, comments and grants.

    Args:
        stage: new table, already filled, which makes building the indexes faster.
    Returns: (kind, present name, later name) of what must be renamed when the old table is gone.
    Raises:
        ChangedError: the old table was changed since the new one was made.
        LoadError: the rows break a unique index.
    """
    _require_same(connection, target, stage)
    names = []
    indexes = connection.execute(_INDEXES, [target.oid]).fetchall()
    for number, index in enumerate(indexes):
        name, definition, constraint, body, comment, other_comment, place = index
        present = f"{stage.name.table[-18:]}_{number}"
        kind, later = ("CONSTRAINT", constraint) if constraint else ("INDEX", name)
        if constraint:
            add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}")
            statement = add.format(stage.name.sql, sql.Identifier(present), sql.SQL(body))
        else:
            before, found, after = definition.partition(place)
            if not found:
                raise ValueError(f"unexpected definition of index {name}")
            make = sql.SQL("{} INDEX {} ON {} {}")
            statement = make.format(
                sql.SQL(before), sql.Identifier(present), stage.name.sql, sql.SQL(after)
            )
        try:
            connection.execute(statement)
        except psycopg.errors.UniqueViolation as error:
            raise LoadError(
                f"The rows break {later} of {target.name}: {error.diag.message_detail}",
                "Nothing was changed.",
            ) from error
        names.append((kind, present, later))
        relation = sql.Identifier(stage.name.schema, present)
        _comment(connection, sql.SQL("INDEX {}").format(relation), comment)
        on = sql.SQL("CONSTRAINT {} ON {}").format(sql.Identifier(present), stage.name.sql)
        _comment(connection, on, other_comment)
    text = fetch_value(connection, "SELECT obj_description(%s, 'pg_class')", [target.oid])
    _comment(connection, sql.SQL("TABLE {}").format(stage.name.sql), text)
    _copy_grants(connection, target, stage.name)
    return names


def exchange(
    connection: Connection, target: Target, stage: Stage, names: Sequence[tuple[str, str, str]]
) -> None:
    """Give the new table the old one's name; on failure the caller's savepoint undoes it.

    Args:
        connection: in a savepoint, with an empty search_path and a lock_timeout.
        names: what `copy_properties` returned.
    Raises:
        ChangedError: the old table was changed since the new one was made.
    """
    views = connection.execute(_VIEWS, [target.oid]).fetchall()
    # Readers lock a view before its table; the same order here prevents deadlocks.
    for _, schema, name, *_ in views:
        lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE")
        connection.execute(lock.format(sql.Identifier(schema, name)))
    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(target.name.sql))
    _require_same(connection, target, stage)
    old = TableName(target.name.schema, f"{stage.name.table[-18:]}_old")
    rename = sql.SQL("ALTER TABLE {} RENAME TO {}")
    connection.execute(rename.format(target.name.sql, sql.Identifier(old.table)))
    connection.execute(rename.format(stage.name.sql, sql.Identifier(target.name.table)))
    for _, schema, name, definition, reloptions in views:
        options = sql.SQL("WITH ({})").format(sql.SQL(reloptions)) if reloptions else sql.SQL("")
        again = sql.SQL("CREATE OR REPLACE VIEW {} {} AS {}")
        connection.execute(again.format(sql.Identifier(schema, name), options, sql.SQL(definition)))
    # This fails if anything else depends on the old table, and the savepoint undoes the rest.
    connection.execute(sql.SQL("DROP TABLE {} RESTRICT").format(old.sql))
    for kind, present, later in names:
        if kind == "CONSTRAINT":
            change = sql.SQL("ALTER TABLE {} RENAME CONSTRAINT {} TO {}").format(
                target.name.sql, sql.Identifier(present), sql.Identifier(later)
            )
        else:
            change = sql.SQL("ALTER INDEX {} RENAME TO {}").format(
                sql.Identifier(target.name.schema, present), sql.Identifier(later)
            )
        connection.execute(change)


def _copy_grants(connection: Connection, target: Target, stage: TableName) -> None:
    row = connection.execute(
        "SELECT pg_get_userbyid(relowner), pg_get_userbyid(relowner) = current_user,"
        " to_regclass(%s)::oid FROM pg_class WHERE oid = %s",
        [stage.sql.as_string(connection), target.oid],
    ).fetchone()
    assert row is not None
    owner, is_own, stage_oid = row
    # Default privileges of the schema may have changed since the old table was made.
    for grantee, *_ in connection.execute(_GRANTS, {"oid": stage_oid}).fetchall():
        revoke = sql.SQL("REVOKE ALL ON {} FROM {}")
        connection.execute(revoke.format(stage.sql, _grantee(grantee)))
    granted = connection.execute(_GRANTS, {"oid": target.oid}).fetchall()
    for grantee, privilege, grantable, column in granted:
        part = sql.SQL("({})").format(sql.Identifier(column)) if column else sql.SQL("")
        option = sql.SQL("WITH GRANT OPTION" if grantable and grantee != owner else "")
        grant = sql.SQL("GRANT {} {} ON {} TO {} {}")
        connection.execute(
            grant.format(sql.SQL(privilege), part, stage.sql, _grantee(grantee), option)
        )
    if not is_own:
        change = sql.SQL("ALTER TABLE {} OWNER TO {}")
        connection.execute(change.format(stage.sql, sql.Identifier(owner)))


def _grantee(name: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if name is None else sql.Identifier(name)


def _comment(connection: Connection, on: sql.Composable, text: str | None) -> None:
    if text is not None:
        connection.execute(sql.SQL("COMMENT ON {} IS {}").format(on, sql.Literal(text)))
