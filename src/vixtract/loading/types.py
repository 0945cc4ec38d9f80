"""PostgreSQL types of columns: inferring them from values, and which type holds which others.

Types are named as PostgreSQL prints them (`format_type`). Inference knows few types: whole numbers
are always bigint, decimals numeric, so that tomorrow's values fit the type that today's chose.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import functools
import math
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import pyarrow as pa

TEXT = "text"
TEXTS = {"text", "character varying", "character"}
INTEGERS = {"smallint", "integer", "bigint"}
TIME = "time without time zone"
TIMESTAMP = "timestamp without time zone"
TIMESTAMPTZ = "timestamp with time zone"
# The most digits of Arrow's decimals.
NUMERIC_DIGITS = 38
_BY_KIND: dict[type, str] = {
    bool: "boolean",
    int: "bigint",
    float: "double precision",
    decimal.Decimal: "numeric",
    str: TEXT,
    bytes: "bytea",
    bytearray: "bytea",
    memoryview: "bytea",
    dt.date: "date",
    dt.time: TIME,
    dt.timedelta: "interval",
    uuid.UUID: "uuid",
    dict: "jsonb",
    list: "jsonb",
    tuple: "jsonb",
}
# Each type can be replaced by the next one without losing a value.
_WIDER = {
    ("smallint", "integer"): "integer",
    ("smallint", "bigint"): "bigint",
    ("integer", "bigint"): "bigint",
    ("smallint", "double precision"): "double precision",
    ("integer", "double precision"): "double precision",
    ("smallint", "numeric"): "numeric",
    ("integer", "numeric"): "numeric",
    ("bigint", "numeric"): "numeric",
    # 2^53 + 1 has no double; numeric holds both kinds of numbers exactly.
    ("bigint", "double precision"): "numeric",
    ("double precision", "numeric"): "numeric",
    ("real", "double precision"): "double precision",
    ("real", "numeric"): "numeric",
    ("date", TIMESTAMP): TIMESTAMP,
}
BIGINT = range(-(2**63), 2**63)


def infer(values: Collection[Any]) -> str:
    """Return the PostgreSQL type that holds all the values of a column; `text` if all are None."""
    found = {_infer_kind(kind, example) for kind, example in _kinds(values).items()}
    if "bigint" in found and any(type(v) is int and v not in BIGINT for v in values):
        found.add("numeric")
    if found == {"bigint", "double precision"}:
        # A column of 1 and 1.5 in Python is meant as numbers with a fraction.
        return "double precision"
    return combine(found)


def _kinds(values: Collection[Any]) -> dict[Any, Any]:
    """Return the classes of the values, each with a value if the class does not tell the type."""
    classes = kinds_of(values)
    if classes <= _BY_KIND.keys():
        return dict.fromkeys(classes)
    kinds: dict[Any, Any] = {}
    for value in values:
        if value is not None:
            kind: Any = type(value)
            if isinstance(value, dt.datetime):
                kind = (kind, value.tzinfo is not None)
            kinds.setdefault(kind, value)
    return kinds


def kinds_of(values: Iterable[Any]) -> set[type]:
    """Return the classes of a column's values, without that of None."""
    return set(map(type, values)) - {type(None)}


def _infer_kind(kind: Any, example: Any) -> str:
    if isinstance(kind, tuple):
        return TIMESTAMPTZ if kind[1] else TIMESTAMP
    if kind in _BY_KIND:
        return _BY_KIND[kind]
    if isinstance(example, enum.Enum):
        return infer([member.value for member in type(example)])
    if hasattr(example, "tolist") and hasattr(example, "dtype"):
        # The Python value of a numpy scalar tells its type; an array is a list.
        return infer([example.tolist()])
    return next((name for base, name in _BY_KIND.items() if isinstance(example, base)), TEXT)


def combine(names: Iterable[str]) -> str:
    """Return a type that holds the values of all these types."""
    return functools.reduce(wider, sorted(names) or [TEXT])


def wider(one: str, other: str) -> str:
    """Return the narrowest type that holds the values of both; `text` if no other does."""
    plain, other_plain = base(one), base(other)
    if plain == other_plain:
        return one if one == other else plain
    found = _WIDER.get((plain, other_plain)) or _WIDER.get((other_plain, plain))
    return found or TEXT


def base(name: str) -> str:
    """Return a type without its length or precision: numeric(12,2) gives numeric."""
    start, bracket, rest = name.partition("(")
    return (start + rest.partition(")")[2]) if bracket else name


def infer_arrow(kind: pa.DataType) -> str:
    """Return the PostgreSQL type for an Arrow type."""
    check = pa.types
    if check.is_dictionary(kind):
        return infer_arrow(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return "uuid" if is_uuid(kind) else infer_arrow(kind.storage_type)
    if check.is_timestamp(kind):
        return TIMESTAMPTZ if kind.tz else TIMESTAMP
    if check.is_decimal(kind):
        plain = kind.scale >= 0 and kind.precision < 38
        return f"numeric({kind.precision},{kind.scale})" if plain else "numeric"
    table = (
        (check.is_boolean, "boolean"),
        (check.is_uint64, "numeric"),
        (check.is_int8, "smallint"),
        (check.is_uint8, "smallint"),
        (check.is_int16, "smallint"),
        (lambda t: check.is_int32(t) or check.is_uint16(t), "integer"),
        (check.is_integer, "bigint"),
        (lambda t: check.is_float16(t) or check.is_float32(t), "real"),
        (check.is_floating, "double precision"),
        (check.is_date, "date"),
        (check.is_time, TIME),
        (check.is_duration, "interval"),
        (is_binary, "bytea"),
        (check.is_nested, "jsonb"),
    )
    return next((name for matches, name in table if matches(kind)), TEXT)


def is_uuid(kind: pa.DataType) -> bool:
    """Tell whether an Arrow type holds UUIDs."""
    return getattr(kind, "extension_name", "") == "arrow.uuid"


def is_binary(kind: pa.DataType) -> bool:
    """Tell whether an Arrow type holds bytes."""
    check = pa.types
    is_sized = check.is_fixed_size_binary(kind) or check.is_binary_view(kind)
    return bool(is_sized or check.is_binary(kind) or check.is_large_binary(kind))


def is_text(kind: pa.DataType) -> bool:
    """Tell whether an Arrow type holds text."""
    check = pa.types
    return bool(check.is_string(kind) or check.is_large_string(kind) or check.is_string_view(kind))


# Values as a text file has them. A number with a leading zero or plus is an identifier (postcode,
# region code, tax number), and a text with a blank or an underscore is not a number either.
_WHOLE = "(0|[1-9][0-9]*)"
_INTEGER = "0|-?[1-9][0-9]*"
_DECIMAL = rf"-?{_WHOLE}([.][0-9]+)?"
_FLOAT = rf"-?{_WHOLE}([.][0-9]*)?([eE][-+]?[0-9]+)?|-[.][0-9]+([eE][-+]?[0-9]+)?"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MOMENT = rf"{_DAY}[ T].{{5,}}"
_FIRST = 50


def infer_texts(array: pa.StringArray) -> str:
    """Return the type of a text file's column; `text` if another would change a value."""
    array = array.drop_null()
    if not len(array):
        return TEXT
    for name, form, is_kept in _forms():
        if _all_are(array, form) and is_kept(array):
            return name
    return TEXT


def _forms() -> Iterator[tuple[str, str, Callable[[pa.StringArray], bool]]]:
    """Return each type's pattern, and a further check of its values."""

    def zones(array: pa.StringArray) -> set[bool]:
        return {one.tzinfo is not None for one in _parse(array, dt.datetime.fromisoformat)}

    yield "boolean", "true|false", lambda _: True
    yield "bigint", _INTEGER, lambda array: _casts(array, pa.int64())
    yield "numeric", _DECIMAL, lambda _: True
    yield "double precision", _FLOAT, lambda array: all(map(_is_double, array.to_pylist()))
    yield "numeric", _FLOAT, lambda array: all(math.isfinite(float(x)) for x in array.to_pylist())
    yield "date", _DAY, lambda array: bool(_parse(array, dt.date.fromisoformat))
    yield TIMESTAMP, _MOMENT, lambda array: zones(array) == {False}
    yield TIMESTAMPTZ, _MOMENT, lambda array: zones(array) == {True}


def _is_double(text: str) -> bool:
    """Tell whether a double holds all digits of a number."""
    number = float(text)
    return math.isfinite(number) and decimal.Decimal(repr(number)) == decimal.Decimal(text)


def scale_of(array: pa.StringArray) -> int:
    """Return the largest number of digits after the decimal point, of decimals as texts."""
    import pyarrow.compute as pc

    # Arithmetic with a Python number would make Arrow import pandas.
    behind = pc.replace_substring_regex(array, pattern="^[^.]*[.]?", replacement="")
    return int(pc.max(pc.binary_length(behind)).as_py() or 0)


def _all_are(array: pa.StringArray, form: str) -> bool:
    import pyarrow.compute as pc

    # The first values already exclude most other patterns.
    parts = array.slice(0, _FIRST), array
    whole = rf"(?s)\A(?:{form})\z"
    return all(pc.all(pc.match_substring_regex(part, whole)).as_py() for part in parts)


def _casts(array: pa.StringArray, kind: pa.DataType) -> bool:
    try:
        array.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _parse(array: pa.StringArray, parse: Callable[[str], Any]) -> list[Any]:
    """Parse all values; return an empty list if one of them is of another type."""
    try:
        return list(map(parse, array.to_pylist()))
    except ValueError:
        return []
