"""Checks of the staged rows: what fails here is never published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vixtract.loading.encode import Column
from vixtract.loading.errors import ExpectationError, LoadUsageError, shown
from vixtract.loading.options import Expectations
from vixtract.loading.stage import join_names

if TYPE_CHECKING:
    from psycopg import Connection, sql


def check(
    connection: Connection, stage: sql.Identifier, columns: Sequence[Column],
    expect: Expectations, rows: int, last_rows: int | None,
) -> None:  # fmt: skip
    """Check all expectations and report all that fail together.

    Args:
        connection: in a transaction.
        stage: quoted name of the table with the load's rows.
        columns: that were loaded.
        expect: what must hold.
        rows: of this load.
        last_rows: of the last one; None where there was none.
    Raises:
        ExpectationError: something does not hold.
    """
    _check_names(columns, expect)
    found = [
        *_check_null(connection, stage, expect),
        *_check_unique(connection, stage, expect),
        *_check_allowed(connection, stage, expect),
        *_check_rows(expect, rows, last_rows),
    ]
    if found:
        raise ExpectationError(
            f"The data is not as expected: {'; '.join(found)}.", "Nothing was published."
        )


def _check_names(columns: Sequence[Column], expect: Expectations) -> None:
    named = {*expect.get("not_null", ()), *expect.get("allowed", {})}
    for unique in expect.get("unique", ()):
        named |= {unique} if isinstance(unique, str) else set(unique)
    unknown = sorted(named - {column.name for column in columns})
    if unknown:
        raise LoadUsageError(f"expect names columns that are not loaded: {', '.join(unknown)}.")


def _check_null(
    connection: Connection, stage: sql.Identifier, expect: Expectations
) -> Iterator[str]:
    from psycopg import sql

    names = list(expect.get("not_null", ()))
    if not names:
        return
    counts = sql.SQL(", ").join(
        sql.SQL("count(*) FILTER (WHERE {} IS NULL)").format(sql.Identifier(name)) for name in names
    )
    row = connection.execute(sql.SQL("SELECT {} FROM {}").format(counts, stage)).fetchone()
    for name, count in zip(names, row or (), strict=False):
        if count:
            yield f"{name} is NULL in {count} rows"


def _check_unique(
    connection: Connection, stage: sql.Identifier, expect: Expectations
) -> Iterator[str]:
    from psycopg import sql

    for unique in expect.get("unique", ()):
        names = [unique] if isinstance(unique, str) else list(unique)
        # As a unique index sees it: rows with a NULL are never equal.
        present = sql.SQL(" AND ").join(
            sql.SQL("{} IS NOT NULL").format(sql.Identifier(name)) for name in names
        )
        query = sql.SQL(
            "SELECT {0}, count(*) FROM {1} WHERE {2} GROUP BY {0} HAVING count(*) > 1 LIMIT 1"
        ).format(join_names(names), stage, present)
        row = connection.execute(query).fetchone()
        if row:
            yield f"{', '.join(names)} = {', '.join(map(shown, row[:-1]))} appears {row[-1]} times"


def _check_allowed(
    connection: Connection, stage: sql.Identifier, expect: Expectations
) -> Iterator[str]:
    from psycopg import sql

    for name, allowed in expect.get("allowed", {}).items():
        column = sql.Identifier(name)
        values: Any = [str(value) for value in allowed]
        query = sql.SQL(
            "SELECT {0}::text, count(*), count(*) OVER () FROM {1}"
            " WHERE NOT {0}::text = ANY ({2}) GROUP BY {0}::text ORDER BY 2 DESC LIMIT 1"
        ).format(column, stage, sql.Literal(values))
        row = connection.execute(query).fetchone()
        if row:
            others = f" and {row[2] - 1} other values" if row[2] > 1 else ""
            yield f"{name} = {shown(row[0])} in {row[1]} rows{others} is not allowed"


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
