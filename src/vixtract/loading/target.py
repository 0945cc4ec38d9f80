"""The table that is loaded into, as PostgreSQL's catalog describes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import Connection, sql

from vixtract.loading.connections import fetch_value
from vixtract.loading.errors import LoadUsageError, TargetError

_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod),
       CASE WHEN t.typtype = 'b' AND t.typnamespace = 'pg_catalog'::regnamespace AND t.typelem = 0
                 OR t.typname IN ('varchar', 'bpchar') THEN 'b'
            WHEN t.typtype = 'e' THEN 'e' ELSE 'o' END,
       a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a'
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: as in the catalog, unquoted.
        type: as `format_type` prints it.
        category: "b" for a built-in base type, "e" for an enumeration, "o" for others.
        optional: rows may lack it: it has a default, or is new and may be NULL.
    """

    name: str
    type: str
    category: str = "b"
    optional: bool = False
    generated: bool = False


@dataclass(frozen=True)
class TableName:
    """A table's schema and name, unquoted."""

    schema: str
    table: str

    @property
    def sql(self) -> sql.Identifier:
        """The quoted name for a statement."""
        return sql.Identifier(self.schema, self.table)

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class Target:
    """An existing table; its kind is pg_class.relkind, "r" for an ordinary table."""

    name: TableName
    oid: int
    kind: str
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column | None:
        """Return a column by its name."""
        return next((column for column in self.columns if column.name == name), None)


def parse_name(connection: Connection, text: str) -> TableName:
    """Split "schema.table"; a name without a schema is in the first one of the search_path.

    A name is taken as written; one with quotes is read as PostgreSQL reads it.

    Raises:
        LoadUsageError: the text is not the name of a table.
        TargetError: the search_path has no schema.
    """
    if '"' in text:
        try:
            parts = fetch_value(connection, "SELECT parse_ident(%s)", [text])
        except psycopg.Error as error:
            raise LoadUsageError(f"{text!r} is not the name of a table.") from error
    else:
        parts = text.split(".")
    if len(parts) == 1 and parts[0]:
        schema = fetch_value(connection, "SELECT current_schema()")
        if not schema:
            raise TargetError("There is no schema to write to.", 'Name one: "schema.table".')
        parts = [schema, parts[0]]
    if len(parts) != 2 or not all(parts):
        raise LoadUsageError(f"{text!r} is not the name of a table.", 'Write "schema.table".')
    if any(len(part.encode()) > 63 for part in parts):
        raise LoadUsageError(f"{text!r} is too long.", "PostgreSQL's names have 63 bytes.")
    return TableName(*parts)


def find_target(connection: Connection, name: TableName) -> Target | None:
    """Return a table, or None if it does not exist.

    Raises:
        TargetError: the name is of something else than a table, or the schema does not exist.
    """
    query = (
        "SELECT c.oid, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname = %s AND relname = %s"
    )
    row = connection.execute(query, [name.schema, name.table]).fetchone()
    if row is None:
        schema = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
        if connection.execute(schema, [name.schema]).fetchone() is None:
            raise TargetError(
                f"There is no schema {name.schema}.", "Each person has one of their own name."
            )
        return None
    if row[1] not in {"r", "p", "f", "v"}:
        raise TargetError(f"{name} is not a table that can be loaded.", "Choose another name.")
    columns = connection.execute(_COLUMNS, [row[0]]).fetchall()
    return Target(name, row[0], row[1], tuple(Column(*column) for column in columns))


def join_names(
    names: Iterable[str], form: LiteralString = "{}", separator: LiteralString = ", "
) -> sql.Composed:
    """Return names, each quoted and put into a form, with a separator between them."""
    parts = sql.SQL(form)
    return sql.SQL(separator).join(parts.format(sql.Identifier(name)) for name in names)
