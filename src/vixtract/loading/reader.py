"""`read`: the rows of a query as a petl table, or as a pandas, polars or Arrow frame."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import Connection, Cursor, ServerCursor, sql
from psycopg.adapt import Loader
from psycopg.pq import Format
from psycopg.rows import tuple_row

from vixtract.loading.connections import is_free, open_connection, require_free
from vixtract.loading.errors import LoadError, LoadUsageError
from vixtract.loading.target import parse_name

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 20_000
FORMS = ("petl", "pandas", "polars", "arrow")
# A comment, a bracket, or the first word of a query with more text after it.
_SQL = re.compile(r"\s*(--|/\*|\(|(select|with|values|table)(?![.\w$-])\s*\S)", re.IGNORECASE)
# Python has no infinite dates: the last and first moments stand for them, as in psycopg2.
_INFINITE: dict[str, tuple[Any, Any]] = {
    "date": (dt.date.max, dt.date.min),
    "timestamp": (dt.datetime.max, dt.datetime.min),
    "timestamptz": (
        dt.datetime.max.replace(tzinfo=dt.timezone.utc),
        dt.datetime.min.replace(tzinfo=dt.timezone.utc),
    ),
    "interval": (dt.timedelta.max, dt.timedelta.min),
}


def read(
    query: str,
    *,
    to: str = "petl",
    params: Sequence[Any] | Mapping[str, Any] | None = None,
    connection: Any = None,
) -> Any:
    """Read rows from PostgreSQL.

    Args:
        query: SQL with %s or %(name)s for parameters, or the name of a table.
        to: petl: a table that runs the query each time it is iterated, with some thousand rows in
            memory; pandas, polars, arrow: a frame.
        params: values for the query; None: a % in it is an ordinary character.
        connection: psycopg connection or connection text; None: as the environment says.
    Raises:
        LoadError: PostgreSQL cannot be reached or refuses the query.
        LoadUsageError: an unknown form.
    """
    if to not in FORMS:
        raise LoadUsageError(f"to={to!r} is unknown.", f"Known: {', '.join(FORMS)}.")
    if to == "petl":
        return _petl_view(query, params, connection)
    table = _read_arrow(query, params, connection)
    if to == "pandas":
        return table.to_pandas()
    if to == "polars":
        import polars

        return polars.from_arrow(_without_wide_decimals(table))
    return table


def _petl_view(query: str, params: Any, connection: Any) -> Any:
    from petl.util.base import Table

    shared = isinstance(connection, Connection)

    class PostgresView(Table):  # type: ignore[misc]
        """Rows of a query."""

        def __iter__(self) -> Iterator[tuple[Any, ...]]:
            with open_connection(connection) as opened:
                for cursor, rows in _pieces(opened, query, params, shared=shared):
                    if rows is None:
                        yield tuple(column.name for column in cursor.description or ())
                    else:
                        yield from rows

    return PostgresView()


def _pieces(
    connection: Connection, query: str, params: Any, *, shared: bool = False
) -> Iterator[tuple[Cursor[Any], list[Any] | None]]:
    """Yield the cursor with its description first, then some thousand rows at a time.

    If the connection is shared, its owner may read, commit or roll back between the rows: the
    cursor is WITH HOLD, and no transaction stays open. The server then stores the whole result
    first.
    """
    name = f"read_{secrets.token_hex(6)}"
    step = connection.transaction if shared else nullcontext
    try:
        with nullcontext() if shared else connection.transaction():
            cursor = psycopg.ServerCursor(connection, name, row_factory=tuple_row, withhold=shared)
            try:
                _accept_infinity(cursor)
                with step():
                    cursor.execute(_statement(connection, query, params), params)
                yield cursor, None
                while True:
                    require_free(connection)
                    with step():
                        rows = cursor.fetchmany(ROWS)
                    if not rows:
                        return
                    yield cursor, rows
            finally:
                _close(connection, cursor)
    except psycopg.errors.InvalidCursorName as error:
        raise LoadError(
            "No more rows can be read: the transaction of the query has ended.",
            "Read them again, or before rolling back.",
        ) from error
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error).strip().partition("\n")[0]
        hint = "" if _SQL.match(query) else "A query begins with SELECT, WITH, VALUES or TABLE."
        raise LoadError(f"PostgreSQL: {message}", hint) from error


def _close(connection: Connection, cursor: ServerCursor[Any]) -> None:
    """Close the cursor, unless its transaction has ended or the connection is in use."""
    # The garbage collector may close a generator at any moment, also during a statement.
    if is_free(connection, wait_s=0):
        try:
            with connection.transaction():
                cursor.close()
        except psycopg.Error:
            pass  # it is closed already
    psycopg.Cursor.close(cursor)  # sends nothing to the server


def _statement(connection: Connection, query: str, params: Any) -> Any:
    """Return the query; a text that does not begin like one is a table's name, as in `load`."""
    if params is None and not _SQL.match(query):
        return sql.SQL("SELECT * FROM {}").format(parse_name(connection, query.strip()).sql)
    return sql.SQL(query)


def _accept_infinity(cursor: Cursor[Any]) -> None:
    """Read infinite dates and times as Python's last and first ones."""
    for name, ends in _INFINITE.items():
        info = cursor.adapters.types[name]
        ordinary: Any = cursor.adapters.get_loader(info.oid, Format.TEXT)
        cursor.adapters.register_loader(info.oid, _tolerant(ordinary, ends))


def _tolerant(ordinary: Any, ends: tuple[Any, Any]) -> Any:
    class Tolerant(Loader):
        """A loader that reads infinity; the ordinary one is compiled and has no subclasses."""

        def __init__(self, oid: int, context: Any = None) -> None:
            super().__init__(oid, context)
            self._load = ordinary(oid, context).load

        def load(self, data: Any) -> Any:
            try:
                return self._load(data)
            except psycopg.DataError:
                text = bytes(data)
                if text not in {b"infinity", b"-infinity"}:
                    raise
                return ends[text == b"-infinity"]

    return Tolerant


def _read_arrow(query: str, params: Any, connection: Any) -> pa.Table:
    import pyarrow as pa

    columns: list[list[pa.Array]] = []
    names: list[str] = []
    kinds: list[Any] = []
    with open_connection(connection) as opened:
        for cursor, rows in _pieces(opened, query, params):
            if rows is None:
                names = [column.name for column in cursor.description or ()]
                kinds = [_arrow_kind(column, cursor) for column in cursor.description or ()]
                columns = [[] for _ in names]
                continue
            for position, values in enumerate(zip(*rows, strict=True)):
                columns[position].append(_to_array(values, kinds[position]))
    joined = [_join(parts, kind) for parts, kind in zip(columns, kinds, strict=True)]
    return pa.Table.from_arrays(joined, names=names)


def _arrow_kind(column: Any, cursor: Cursor[Any]) -> Any:
    """Return the Arrow type of a result's column; None if the values decide."""
    import pyarrow as pa

    info = cursor.adapters.types.get(column.type_code)
    is_array = info is not None and column.type_code == info.array_oid
    name = info.name if info is not None else "text"
    if name == "numeric" and not is_array and column.precision and column.scale is not None:
        return pa.decimal128(min(column.precision, 38), column.scale)
    known = {
        "int2": pa.int16(),
        "int4": pa.int32(),
        "int8": pa.int64(),
        "float4": pa.float32(),
        "float8": pa.float64(),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", "UTC"),
        "interval": pa.duration("us"),
        "bytea": pa.binary(),
        "numeric": None,
    }
    kind = known.get(name, pa.string())
    return pa.list_(kind) if is_array and kind is not None else kind


def _to_array(values: Sequence[Any], kind: Any) -> pa.Array:
    import pyarrow as pa

    if kind is not None and pa.types.is_string(kind):
        values = [_text(value) for value in values]
    elif kind is not None and pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        values = [value and _texts(value) for value in values]
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, ValueError, TypeError):
        if kind is not None and pa.types.is_list(kind):
            # An array of arrays, which has the same type in PostgreSQL.
            return _to_array(values, None)
        # NaN in numeric, or more digits than Arrow has: the closest type that every frame has.
        if any(isinstance(value, decimal.Decimal) for value in values):
            return pa.array([None if v is None else float(v) for v in values], pa.float64())
        return pa.array([_text(value) for value in values], pa.string())


def _texts(values: list[Any]) -> list[Any]:
    return [_texts(value) if isinstance(value, list) else _text(value) for value in values]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _join(parts: list[pa.Array], kind: Any) -> pa.ChunkedArray:
    """Join the parts of a column; parts of different decimal types get the widest type."""
    import pyarrow as pa

    kinds = {part.type for part in parts} - {pa.null()}
    if len(kinds) <= 1:
        final = kinds.pop() if kinds else (kind or pa.null())
    elif any(pa.types.is_nested(found) for found in kinds):
        # Parts of different array types: only the whole column tells its type.
        whole = [value for part in parts for value in part.to_pylist()]
        return pa.chunked_array([_to_array(whole, None)])
    elif all(pa.types.is_decimal(found) for found in kinds):
        scale = max(found.scale for found in kinds)
        digits = scale + max(found.precision - found.scale for found in kinds)
        final = pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale)
    elif any(pa.types.is_floating(found) for found in kinds):
        final = pa.float64()
    else:
        final = pa.string()
    return pa.chunked_array([part.cast(final) for part in parts], type=final)


def _without_wide_decimals(table: pa.Table) -> pa.Table:
    """Turn decimals with more digits than polars has into doubles."""
    import pyarrow as pa

    schema = pa.schema([field.with_type(_narrow(field.type)) for field in table.schema])
    return table if schema == table.schema else table.cast(schema)


def _narrow(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_list(kind):
        return pa.list_(_narrow(kind.value_type))
    return pa.float64() if pa.types.is_decimal256(kind) else kind
