"""`table.topostgres("schema.table")` and `etl.frompostgres(query)`, added as petl adds its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vixtract.loading.record import Result


def topostgres(table: Any, name: str, **options: Any) -> Result:
    """Load the table into PostgreSQL; see `vixtract.load`."""
    from vixtract.loading.loader import load

    return load(table, name, **options)


def frompostgres(query: str, **options: Any) -> Any:
    """Return a petl table that reads a query's rows when it is iterated; see `vixtract.read`."""
    from vixtract.loading.reader import read

    return read(query, to="petl", **options)


def register() -> Any:
    """Add both functions to petl and return petl; a second call changes nothing."""
    import petl
    from petl.util.base import Table

    Table.topostgres = topostgres
    petl.topostgres = topostgres
    petl.frompostgres = frompostgres
    return petl
