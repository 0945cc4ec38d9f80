"""Matching the source's columns with the table's; changes of the table need an explicit option."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import Connection, sql

from vixtract.loading import types
from vixtract.loading.errors import DriftError, LoadUsageError
from vixtract.loading.options import Options
from vixtract.loading.sources import Source
from vixtract.loading.target import Column, TableName, Target


@dataclass(frozen=True)
class ColumnChange:
    """A column of the table that is added, or whose type is changed."""

    column: Column
    is_new: bool

    def statement(self, table: TableName) -> sql.Composed:
        """Return the statement that makes the change."""
        word = "ADD COLUMN {} {}" if self.is_new else "ALTER COLUMN {} TYPE {}"
        name, kind = sql.Identifier(self.column.name), sql.SQL(self.column.type)
        return sql.SQL("ALTER TABLE {} {}").format(table.sql, sql.SQL(word).format(name, kind))

    def __str__(self) -> str:
        return f"{'added' if self.is_new else 'widened'} {self.column.name} {self.column.type}"


@dataclass(frozen=True)
class Shape:
    """The columns that a load fills, in the source's order, after the changes of the table."""

    columns: tuple[Column, ...]
    changes: tuple[ColumnChange, ...] = ()


def decide_shape(source: Source, target: Target | None, options: Options) -> Shape:
    """Match the source's columns with the table's by name; `drift` says what may change.

    In a table that does not exist yet, `types` wins over what the values say.

    Raises:
        DriftError: the columns differ in a way that is not allowed.
        LoadUsageError: `types` of a new table names a column that the source lacks.
    """
    return _decide_existing(source, target, options) if target else _decide_new(source, options)


def _decide_new(source: Source, options: Options) -> Shape:
    unknown = sorted(set(options.types) - set(source.columns))
    if unknown:
        raise LoadUsageError(
            f"types names columns that the source lacks: {', '.join(unknown)}.",
            f"It has {', '.join(source.columns)}.",
        )
    chosen = {**source.types, **options.types}
    return Shape(tuple(Column(name, chosen[name]) for name in source.columns))


def _decide_existing(source: Source, target: Target, options: Options) -> Shape:
    new = [name for name in source.columns if target.column(name) is None]
    present = set(source.columns)
    computed = {column.name for column in target.columns if column.generated}
    needed = {column.name for column in target.columns if not column.optional} - computed
    missing = [column.name for column in target.columns if column.name in needed - present]
    if options.drift == "fail" and (new or missing):
        raise _differ(target, new, missing)
    if refused := [name for name in source.columns if name in computed]:
        raise DriftError(
            f"{target.name} computes {', '.join(refused)} itself.", "Leave these columns out."
        )
    columns, changes = [], []
    for name in source.columns:
        wanted = options.types.get(name, source.types[name])
        column = target.column(name)
        if column is None:
            column = Column(name, wanted)
            changes.append(ColumnChange(column, is_new=True))
        elif options.drift == "widen" and (wider := _wider(column, wanted)):
            column = replace(column, type=wider)
            changes.append(ColumnChange(column, is_new=False))
        columns.append(column)
    return Shape(tuple(columns), tuple(changes))


def _wider(column: Column, wanted: str) -> str | None:
    """Return the type that holds both; None if the column's own does, or if no type is known."""
    if column.category != "b":
        return None
    found = types.wider(types.base(column.type), types.base(wanted))
    if found == types.base(column.type) or found == types.TEXT:
        # The server may read texts as the column's type: that is decided value by value.
        return None
    return found


def _differ(target: Target, new: Sequence[str], missing: Sequence[str]) -> DriftError:
    parts = []
    if new:
        parts.append(f"the source has {', '.join(new)}, the table has not")
    if missing:
        parts.append(f"the table has {', '.join(missing)}, the source has not")
    return DriftError(
        f"The columns differ from {target.name}: {'; '.join(parts)}.",
        'drift="add" adds new columns and leaves missing ones NULL; drift="widen" also widens'
        " types.",
    )


def apply_changes(connection: Connection, table: TableName, shape: Shape) -> None:
    """Change a table's columns.

    Raises:
        DriftError: PostgreSQL refuses, for example because a view shows the column.
    """
    for change in shape.changes:
        try:
            connection.execute(change.statement(table))
        except psycopg.errors.FeatureNotSupported as error:
            raise DriftError(
                f"{table}.{change.column.name} cannot become {change.column.type}:"
                f" {error.diag.message_detail or error.diag.message_primary}",
                "Drop what uses the column, load, and make it again.",
            ) from error
