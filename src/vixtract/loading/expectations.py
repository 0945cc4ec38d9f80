"""Checks of the staged rows before they are published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.adapt import PyFormat, Transformer

from vixtract.loading.errors import BadRowError, ExpectationError, LoadUsageError, shown
from vixtract.loading.options import Expectations
from vixtract.loading.python_values import adapt_row
from vixtract.loading.target import Column, join_names


def check(
    connection: Connection,
    stage: sql.Identifier,
    columns: Sequence[Column],
    expect: Expectations,
    rows: int,
    last_rows: int | None,
) -> None:
    """Check all expectations of the staged rows, and report all failures together.

    Args:
        expect: as `Options` has it, `unique` as tuples of columns.
        last_rows: of the last load; None if there was none.
    Raises:
        ExpectationError: at least one expectation fails.
    """
    _check_names(columns, expect)
    found = [
        *_check_null(connection, stage, expect),
        *_check_unique(connection, stage, expect),
        *_check_allowed(connection, stage, columns, expect),
        *_check_rows(expect, rows, last_rows),
    ]
    if found:
        raise ExpectationError(
            f"The data is not as expected: {'; '.join(found)}.", "Nothing was published."
        )


def _check_names(columns: Sequence[Column], expect: Expectations) -> None:
    named = {*expect.get("not_null", ()), *expect.get("allowed", {})}
    for unique in expect.get("unique", ()):
        named |= set(unique)
    unknown = sorted(named - {column.name for column in columns})
    if unknown:
        raise LoadUsageError(f"expect names columns that are not loaded: {', '.join(unknown)}.")


def _check_null(
    connection: Connection, stage: sql.Identifier, expect: Expectations
) -> Iterator[str]:
    names = list(expect.get("not_null", ()))
    if not names:
        return
    counts = join_names(names, "count(*) FILTER (WHERE {} IS NULL)")
    row = connection.execute(sql.SQL("SELECT {} FROM {}").format(counts, stage)).fetchone()
    for name, count in zip(names, row or (), strict=False):
        if count:
            yield f"{name} is NULL in {count} rows"


def _check_unique(
    connection: Connection, stage: sql.Identifier, expect: Expectations
) -> Iterator[str]:
    for unique in expect.get("unique", ()):
        names = list(unique)
        # As in a unique index, rows with a NULL are never equal.
        present = join_names(names, "{} IS NOT NULL", " AND ")
        query = sql.SQL(
            "SELECT {0}, count(*) FROM {1} WHERE {2} GROUP BY {0} HAVING count(*) > 1 LIMIT 1"
        ).format(join_names(names), stage, present)
        row = connection.execute(query).fetchone()
        if row:
            yield f"{', '.join(names)} = {', '.join(map(shown, row[:-1]))} appears {row[-1]} times"


def _check_allowed(
    connection: Connection, stage: sql.Identifier, columns: Sequence[Column], expect: Expectations
) -> Iterator[str]:
    by_name = {column.name: column for column in columns}
    for name, allowed in expect.get("allowed", {}).items():
        column = sql.Identifier(name)
        # Compared as the column's type: 20.00 equals 20, and time zones do not matter.
        query = sql.SQL(
            "SELECT {0}::text, count(*), count(*) OVER () FROM {1}"
            " WHERE {0} IS NOT NULL AND NOT {0} = ANY (%s)"
            " GROUP BY {0}::text ORDER BY 2 DESC LIMIT 1"
        )
        try:
            with connection.transaction():
                values = _as_array(connection, allowed, by_name[name])
                row = connection.execute(query.format(column, stage), [values]).fetchone()
        except (psycopg.DataError, psycopg.ProgrammingError, BadRowError):
            # The column's type cannot read a value, or has no equality.
            texts = [text for text in map(str, allowed) if "\0" not in text]
            by_text = query.format(sql.SQL("{}::text").format(column), stage)
            row = connection.execute(by_text, [texts]).fetchone()
        if row:
            others = f" and {row[2] - 1} other values" if row[2] > 1 else ""
            yield f"{name} = {shown(row[0])} in {row[1]} rows{others} is not allowed"


def _as_array(connection: Connection, values: Sequence[Any], column: Column) -> str:
    """Return values as the text of an array, which the server reads as the column's type."""
    transformer = Transformer(connection)

    def dump(value: Any) -> str:
        data = transformer.get_dumper(value, PyFormat.TEXT).dump(value)
        return "" if data is None else bytes(data).decode()

    adapted = adapt_row(values, [column] * len(values), 0)
    return dump([dump(value) for value in adapted if value is not None])


def _check_rows(expect: Expectations, rows: int, last_rows: int | None) -> Iterator[str]:
    least, most = expect.get("rows", (None, None))
    if least is not None and rows < least:
        yield f"{rows} rows, at least {least} expected"
    if most is not None and rows > most:
        yield f"{rows} rows, at most {most} expected"
    low, high = expect.get("rows_change", (None, None))
    if last_rows is None:
        return
    if low is not None and rows < low * last_rows:
        yield f"{rows} rows after {last_rows} in the last load, at least {low:g} of them expected"
    if high is not None and rows > high * last_rows:
        yield f"{rows} rows after {last_rows} in the last load, at most {high:g} times expected"
