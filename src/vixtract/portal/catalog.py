"""The tables of database `etl`, read with the rights of the person who asks.

Each question is a session of the person's own role, with the person's own password, which the homes
server tells for one person at a time. A role of the portal's that may `SET ROLE` to people was
turned down: a function in a view could `RESET ROLE` inside such a session and become any role. In
a person's own session there is nothing to reset to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import Connection, sql
from psycopg.rows import dict_row, tuple_row

from vixtract.portal.archive import ask_homes
from vixtract.portal.config import PortalConfig
from vixtract.portal.errors import AwayError, NotFoundError
from vixtract.portal.identity import User

log = logging.getLogger(__name__)

MAX_TABLES = 500
MAX_COLUMNS = 200
SAMPLE = 20
SHOWN = 200
# Counting the rows of a larger table would take too long for a page.
COUNTED_BYTES = 64 * 1024 * 1024

READABLE = """
    c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
    AND n.nspname NOT LIKE 'pg\\_%%' AND n.nspname NOT IN ('information_schema', 'vixtract')
    AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
"""
TABLES: LiteralString = """
SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
    coalesce(obj_description(c.oid, 'pg_class'), '') AS comment,
    pg_get_userbyid(c.relowner) AS owner,
    CASE WHEN c.reltuples >= 0 AND c.relkind IN ('r', 'm') THEN c.reltuples::bigint END AS rows,
    CASE WHEN c.relkind IN ('r', 'm') THEN pg_total_relation_size(c.oid)
        WHEN c.relkind = 'p' THEN (SELECT sum(pg_total_relation_size(relid))
            FROM pg_partition_tree(c.oid))::bigint END AS size
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE """
# ICU's collation ignores the case of all letters, also where the database's locale is C.
MATCHES: LiteralString = """
    AND (position(lower(%(word)s COLLATE "und-x-icu") IN lower((n.nspname || '.' || c.relname
            || ' ' || coalesce(obj_description(c.oid, 'pg_class'), '')) COLLATE "und-x-icu")) > 0
        OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
            AND NOT a.attisdropped AND position(lower(%(word)s COLLATE "und-x-icu") IN
            lower((a.attname || ' ' || coalesce(col_description(c.oid, a.attnum), ''))
                COLLATE "und-x-icu")) > 0))
ORDER BY n.nspname, c.relname LIMIT %(limit)s"""
COLUMNS: LiteralString = """
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required,
    coalesce(col_description(a.attrelid, a.attnum), '') AS comment
FROM pg_attribute a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
    AND has_column_privilege(a.attrelid, a.attnum, 'SELECT')
ORDER BY a.attnum LIMIT %s"""
KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized", "f": "foreign"}


@dataclass(frozen=True)
class Table:
    """A table or view that the person may read.

    Args:
        kind: table, view, materialized or foreign.
        rows: estimate of the planner, or None where there is none.
        size: bytes with indexes, or None.
        loaded: row of `vixtract.freshness`, or None.
    """

    schema: str
    name: str
    kind: str
    comment: str
    owner: str
    rows: int | None
    size: int | None
    loaded: Mapping[str, Any] | None

    @property
    def is_late(self) -> bool:
        """Whether its next load should have come by now."""
        return bool(self.loaded and self.loaded.get("is_late"))


@dataclass(frozen=True)
class Details:
    """A table with all that its page shows.

    Args:
        columns: name, type, required and comment of each.
        rows: number of rows, or None where counting would take too long.
        sample: some rows as texts, None for NULL; None where none may be taken.
        refusal: why there is no sample: `view`, `foreign`, or what PostgreSQL said.
    """

    table: Table
    columns: Sequence[Mapping[str, Any]]
    rows: int | None
    sample: Sequence[Sequence[str | None]] | None
    refusal: str = ""


class Catalog:
    """One person's view of database `etl`; every call blocks."""

    def __init__(self, config: PortalConfig, person: User) -> None:
        self._config = config
        self._person = person

    def list_tables(self, word: str = "") -> list[Table]:
        """Return what the person may read, by schema and name, MAX_TABLES at most.

        Args:
            word: part of a name or comment of a table or column; empty for all.
        Raises:
            AwayError: PostgreSQL does not answer, or the person has no role yet.
        """
        with self._connect() as connection:
            fresh = _read_freshness(connection)
            values = {"word": word, "limit": MAX_TABLES}
            found = connection.execute(TABLES + READABLE + MATCHES, values).fetchall()
        return [_make_table(row, fresh) for row in found]

    def find_table(self, schema: str, name: str) -> Details:
        """Return one table with columns and some rows.

        Raises:
            NotFoundError: it does not exist, or the person may not read it.
            AwayError: PostgreSQL does not answer, or the person has no role yet.
        """
        if "\0" in schema + name:
            raise _no_table()
        with self._connect() as connection:
            only: LiteralString = " AND n.nspname = %s AND c.relname = %s"
            row = connection.execute(TABLES + READABLE + only, (schema, name)).fetchone()
            if row is None:
                raise _no_table()
            table = _make_table(row, _read_freshness(connection))
            columns = connection.execute(COLUMNS, (row["oid"], MAX_COLUMNS)).fetchall()
            refusal = self._refuse(table)
            if refusal or not columns:
                return Details(table, columns, None, None, refusal)
            sample, refusal = _take_sample(connection, table, columns)
            rows = _count(connection, table) if sample is not None else None
        return Details(table, columns, rows, sample, refusal)

    def _refuse(self, table: Table) -> str:
        """Return why no rows may be read: reading a view runs its owner's code as the reader."""
        if table.kind == "foreign":
            return "foreign"
        return "view" if table.kind == "view" and table.owner != self._person.name else ""

    @contextmanager
    def _connect(self) -> Iterator[Connection[dict[str, Any]]]:
        name = self._person.name
        host, port = self._config.postgresql
        try:
            answer, _ = ask_homes(self._config.homes, {"do": "login", "person": name})
        except NotFoundError as error:
            raise _no_role() from error
        try:
            with psycopg.connect(
                host=host,
                port=port,
                user=name,
                password=str(answer["password"]),
                dbname="etl",
                connect_timeout=4,
                tcp_user_timeout=8000,
                application_name="vixtract-portal",
                row_factory=dict_row,
                # row_security off: a policy's functions do not run, PostgreSQL refuses instead.
                options="-c statement_timeout=4000 -c lock_timeout=1000 -c row_security=off"
                " -c default_transaction_read_only=on -c search_path=pg_catalog",
            ) as connection:
                yield connection
        except psycopg.OperationalError as error:
            text = str(error)
            log.info("PostgreSQL as %s: %s", name, text.strip().partition("\n")[0])
            if "password authentication failed" in text or "not permitted to log in" in text:
                raise _no_role() from error
            raise AwayError(
                "PostgreSQL does not answer.", "It may be starting: try again in a moment."
            ) from error


def _make_table(row: Mapping[str, Any], fresh: Mapping[tuple[str, str], Any]) -> Table:
    same = {name: row[name] for name in ("schema", "name", "comment", "owner", "rows", "size")}
    loaded = fresh.get((row["schema"], row["name"]))
    return Table(kind=KINDS[row["kind"]], loaded=loaded, **same)


def _read_freshness(connection: Connection[dict[str, Any]]) -> dict[tuple[str, str], Any]:
    found = connection.execute("SELECT to_regclass('vixtract.freshness') AS view").fetchone()
    if found is None or found["view"] is None:
        return {}
    rows = connection.execute(
        "SELECT schema_name, table_name, data_as_of, late_after, is_late, rows, mode, owner,"
        " notebook, schedule, event, run FROM vixtract.freshness"
    ).fetchall()
    return {(row["schema_name"], row["table_name"]): row for row in rows}


def _take_sample(
    connection: Connection[dict[str, Any]], table: Table, columns: Sequence[Mapping[str, Any]]
) -> tuple[list[list[str | None]] | None, str]:
    """Return some rows, shortened by the database; or None and the database's message."""
    texts = [
        sql.SQL("left({}::text, {})").format(sql.Identifier(column["name"]), SHOWN)
        for column in columns
    ]
    statement = sql.SQL("SELECT {} FROM {} LIMIT {}").format(
        sql.SQL(", ").join(texts), sql.Identifier(table.schema, table.name), SAMPLE
    )
    try:
        with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
            return [list(row) for row in cursor.execute(statement).fetchall()], ""
    except psycopg.Error as error:
        return None, str(error).strip().partition("\n")[0]


def _count(connection: Connection[dict[str, Any]], table: Table) -> int | None:
    if table.size is None or table.size > COUNTED_BYTES:
        return None
    name = sql.Identifier(table.schema, table.name)
    try:
        with connection.transaction():
            row = connection.execute(
                sql.SQL("SELECT count(*) AS n FROM {}").format(name)
            ).fetchone()
    except psycopg.Error:
        return None
    return int(row["n"]) if row else None


def _no_table() -> NotFoundError:
    return NotFoundError("Table not found.", "It may have been dropped, or is not shared.")


def _no_role() -> AwayError:
    return AwayError(
        "You have no PostgreSQL account yet.", "Start JupyterLab once: it makes the account."
    )
