"""Encoding a chunk's columns as Arrow arrays of exactly the types of the table's columns.

Only values that stay unchanged are encoded. Others raise `InexactError` and are sent as text, which
is slower but leaves infinity, NaN in numeric and rounding to the server's rules.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from vixtract.loading import types
from vixtract.loading.chunks import Chunk
from vixtract.loading.target import Column


class InexactError(Exception):
    """The values cannot be encoded without a change."""


def encode_chunk(chunk: Chunk, columns: Sequence[Column]) -> pa.RecordBatch:
    """Return the chunk's rows with each column in the type of its target, in the chunk's order.

    Raises:
        InexactError: a column cannot be encoded without a change.
    """
    # The errors of Arrow; UnicodeEncodeError and ArrowInvalid are ValueErrors.
    refused = (pa.ArrowException, ValueError, TypeError, OverflowError, NotImplementedError)
    arrays = []
    for values, column in zip(chunk.columns, columns, strict=True):
        try:
            arrays.append(_encode(values, column))
        except refused as error:
            raise InexactError(column.name) from error
    return pa.record_batch(arrays, names=[column.name for column in columns])


def _encode(values: Any, column: Column) -> pa.Array:
    plain = types.base(column.type)
    if column.category == "e":
        plain = types.TEXT
    elif column.category != "b" or plain not in _ARROW:
        raise InexactError(column.name)
    if hasattr(values, "to_pylist"):
        return _from_arrow(values, plain, column.type)
    return _from_python(values, plain, column.type)


def arrow_type(name: str) -> pa.DataType | None:
    """Return the Arrow type whose binary form a PostgreSQL type reads, or None.

    A numeric without a scale, or with one that Arrow lacks, has none.
    """
    plain = types.base(name)
    if plain != "numeric" or name == plain:
        return _ARROW.get(plain)
    scale = int(name.rstrip(")").partition(",")[2] or 0)
    in_range = 0 <= scale <= types.NUMERIC_DIGITS
    return pa.decimal128(types.NUMERIC_DIGITS, scale) if in_range else None


_ARROW: dict[str, pa.DataType | None] = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "numeric": None,
    "boolean": pa.bool_(),
    "text": pa.string(),
    "character varying": pa.string(),
    "character": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    types.TIME: pa.time64("us"),
    types.TIMESTAMP: pa.timestamp("us"),
    types.TIMESTAMPTZ: pa.timestamp("us", "UTC"),
    "interval": pa.duration("us"),
}
# The Python types that each accepts; subclasses may mean something else (NaT is a datetime).
_KINDS: dict[str, set[type]] = {
    **{name: {int} for name in types.INTEGERS},
    **{name: {str} for name in types.TEXTS},
    "double precision": {float, int},
    "numeric": {decimal.Decimal, int},
    "boolean": {bool},
    "bytea": {bytes},
    "date": {dt.date},
    types.TIME: {dt.time},
    types.TIMESTAMP: {dt.datetime},
    types.TIMESTAMPTZ: {dt.datetime},
    "interval": {dt.timedelta},
}


def _from_python(values: Sequence[Any], plain: str, name: str) -> pa.Array:
    kinds = types.kinds_of(values)
    if kinds == {str} and plain not in types.TEXTS:
        return _from_arrow(pa.array(values, pa.string()), plain, name)
    if not kinds <= _KINDS.get(plain, set()):
        raise InexactError(name)
    if kinds & {dt.datetime, dt.time}:
        zoned = {value.tzinfo is not None for value in values if value is not None}
        if zoned != {plain == types.TIMESTAMPTZ}:
            raise InexactError(name)
    if plain == "numeric":
        return _decimals(values, kinds, name)
    return pa.array(values, _ARROW[plain])


def _decimals(values: Sequence[Any], kinds: set[type], name: str) -> pa.Array:
    target = arrow_type(name)
    if target is not None:
        return pa.array(values, target)
    if kinds == {int}:
        return pa.array(values, pa.int64()).cast(pa.decimal128(19, 0))
    if kinds != {decimal.Decimal}:
        if kinds:
            raise InexactError(name)
        return pa.nulls(len(values), pa.decimal128(19, 0))
    array = pa.array(values)
    # The precision is always the same: another type in the next chunk would break the COPY.
    return array.cast(pa.decimal128(types.NUMERIC_DIGITS, max(array.type.scale, 0)))


def _from_arrow(array: pa.Array, plain: str, name: str) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.ExtensionArray):
        raise InexactError(name)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    target = arrow_type(name) if plain == "numeric" else _ARROW[plain]
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target or pa.decimal128(19, 0))
    if target is None or not _is_same(array.type, target):
        array = _cast(array, plain, target)
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        _require_countable(array)
    return array


def _require_countable(array: pa.Array) -> None:
    """Fail if a value overflows when it is counted from PostgreSQL's year 2000, not from 1970."""
    import pyarrow.compute as pc

    is_date = pa.types.is_date32(array.type)
    whole = array.view(pa.int32() if is_date else pa.int64())
    least = -(2**31) + 10_957 if is_date else -(2**63) + 10_957 * 86_400_000_000
    lowest = pc.min(whole).as_py()
    if lowest is not None and lowest < least:
        raise InexactError(str(array.type))


def _is_same(kind: pa.DataType, target: pa.DataType) -> bool:
    """Tell whether the encoder writes both types alike."""
    if pa.types.is_decimal128(kind) and pa.types.is_decimal128(target):
        return bool(kind.scale == target.scale)
    if types.is_text(kind) and types.is_text(target):
        return True
    return bool(kind == target)


def _cast(array: pa.Array, plain: str, target: pa.DataType | None) -> pa.Array:
    """Cast if Arrow's checked cast is exact; leave all other pairs to the server."""
    check, kind = pa.types, array.type
    if plain == "numeric":
        return _cast_numeric(array, target)
    if types.is_text(kind):
        # Arrow reads 0x1F as a number, PostgreSQL only since 16: leave it to the server.
        if plain in types.INTEGERS and _has_letters(array):
            raise InexactError(plain)
        if plain in {"bytea", "interval", types.TIME, "real"}:
            raise InexactError(plain)
        found = array.cast(target)
        if plain == "double precision" and has_infinite(found):
            raise InexactError(plain)
        return found
    exact = {
        "boolean": check.is_boolean(kind),
        "bytea": types.is_binary(kind),
        "date": check.is_date(kind),
        "interval": check.is_duration(kind),
        types.TIME: check.is_time(kind),
        "real": check.is_float16(kind),
        "double precision": check.is_floating(kind) or check.is_integer(kind),
        types.TIMESTAMP: (check.is_timestamp(kind) and kind.tz is None) or check.is_date(kind),
        types.TIMESTAMPTZ: check.is_timestamp(kind) and kind.tz is not None,
        **dict.fromkeys(types.INTEGERS, check.is_integer(kind) or check.is_floating(kind)),
    }
    if not exact.get(plain, False):
        raise InexactError(plain)
    if check.is_temporal(kind) and not check.is_date(kind):
        return _to_microseconds(array, target)
    return array.cast(target)


def has_infinite(array: pa.Array) -> bool:
    """Tell whether a double is infinite: Arrow reads 1e400 as infinity, PostgreSQL refuses it."""
    import pyarrow.compute as pc

    return bool(pc.any(pc.is_inf(array)).as_py())


def _to_microseconds(array: pa.Array, target: pa.DataType | None) -> pa.Array:
    """Cut to microseconds, as PostgreSQL does; an overflow still fails."""
    import pyarrow.compute as pc

    options = pc.CastOptions(target_type=target, allow_time_truncate=True)
    return pc.cast(array, options=options)


def _cast_numeric(array: pa.Array, target: pa.DataType | None) -> pa.Array:
    check, kind = pa.types, array.type
    if check.is_decimal128(kind) and target is None and kind.scale >= 0:
        return array
    if check.is_decimal(kind):
        return array.cast(target or pa.decimal128(types.NUMERIC_DIGITS, max(kind.scale, 0)))
    if check.is_integer(kind):
        wide = array.cast(pa.decimal128(20, 0))
        return wide if target is None else wide.cast(target)
    if check.is_float64(kind) and target is not None:
        return _doubles_to_decimals(array, target.scale)
    if types.is_text(kind):
        if target is None:
            scale = min(types.scale_of(array), types.NUMERIC_DIGITS)
            target = pa.decimal128(types.NUMERIC_DIGITS, scale)
        return array.cast(target)
    raise InexactError("numeric")


def _doubles_to_decimals(array: pa.Array, scale: int) -> pa.Array:
    """Turn doubles into decimals with that many digits after the point; leave others to the server.

    No two decimals of at most 15 digits have the same double, and dividing a whole number of that
    size by a power of ten gives the nearest double. If that is the value, the decimal is right.
    """
    import pyarrow.compute as pc

    if scale > 15:
        raise InexactError("numeric")
    power = float(10**scale)
    whole = pc.round(pc.multiply(array, power))
    same = pc.and_(pc.equal(pc.divide(whole, power), array), pc.less(pc.abs(whole), 1e15))
    if pc.all(same).as_py() is False:
        raise InexactError("numeric")
    units = whole.cast(pa.int64()).cast(pa.decimal128(19, 0))
    # The same whole numbers, read as decimals with that scale.
    kind = pa.decimal128(types.NUMERIC_DIGITS, scale)
    return pa.Array.from_buffers(kind, len(units), units.buffers(), offset=units.offset)


def _has_letters(array: pa.Array) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.match_substring(array, "x", ignore_case=True)).as_py())
