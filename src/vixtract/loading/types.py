"""PostgreSQL types of columns: which a source's values ask for, and which hold which others.

Types are named as PostgreSQL prints them (`format_type`). Inference is deliberately narrow: whole
numbers are always bigint, decimals numeric, so that tomorrow's values fit what today's chose.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

TEXT = "text"
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
    dt.time: "time without time zone",
    dt.timedelta: "interval",
    uuid.UUID: "uuid",
    dict: "jsonb",
    list: "jsonb",
    tuple: "jsonb",
}
TIMESTAMP = "timestamp without time zone"
TIMESTAMPTZ = "timestamp with time zone"
# Each type can be given up for the one behind it without losing a value.
_WIDER = {
    ("smallint", "integer"): "integer",
    ("smallint", "bigint"): "bigint",
    ("integer", "bigint"): "bigint",
    ("smallint", "double precision"): "double precision",
    ("integer", "double precision"): "double precision",
    ("smallint", "numeric"): "numeric",
    ("integer", "numeric"): "numeric",
    ("bigint", "numeric"): "numeric",
    # 2^53 + 1 is no double: numbers of both kinds meet in numeric, which holds either exactly.
    ("bigint", "double precision"): "numeric",
    ("double precision", "numeric"): "numeric",
    ("real", "double precision"): "double precision",
    ("real", "numeric"): "numeric",
    ("date", TIMESTAMP): TIMESTAMP,
}
BIGINT = range(-(2**63), 2**63)


def infer(values: Collection[Any]) -> str:
    """Return the PostgreSQL type that holds all the values of a column; `text` for none.

    Args:
        values: Python values, looked at more than once; None is ignored.
    """
    found: set[str] = set()
    for kind, example in _kinds(values).items():
        found.add(_infer_kind(kind, example))
    if "bigint" in found and any(type(v) is int and v not in BIGINT for v in values):
        found.add("numeric")
    if found == {"bigint", "double precision"}:
        # Python's usual mixture of 1 and 1.5 is meant as numbers with a fraction.
        return "double precision"
    return combine(found)


def _kinds(values: Collection[Any]) -> dict[Any, Any]:
    """Return the kinds of value, each with an example where its class does not tell the type."""
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
    """Return the classes of a column's values, without None's.

    Args:
        values: Python values.
    """
    return set(map(type, values)) - {type(None)}


def _infer_kind(kind: Any, example: Any) -> str:
    if isinstance(kind, tuple):
        return TIMESTAMPTZ if kind[1] else TIMESTAMP
    if kind in _BY_KIND:
        return _BY_KIND[kind]
    if hasattr(example, "item") and hasattr(example, "dtype"):
        # A numpy scalar tells by its Python value.
        return infer([example.item()])
    for base, name in _BY_KIND.items():
        if isinstance(example, base):
            return name
    return TEXT


def combine(names: Iterable[str]) -> str:
    """Return a type that holds what each of the types holds.

    Args:
        names: PostgreSQL types.
    """
    result = ""
    for name in sorted(names):
        result = wider(result, name) if result else name
    return result or TEXT


def wider(one: str, other: str) -> str:
    """Return the narrowest type that holds the values of both; `text` where no other does.

    Args:
        one: PostgreSQL type.
        other: PostgreSQL type.
    """
    plain, other_plain = base(one), base(other)
    if plain == other_plain:
        return one if one == other else plain
    found = _WIDER.get((plain, other_plain)) or _WIDER.get((other_plain, plain))
    return found or TEXT


def base(name: str) -> str:
    """Return a type without its length or precision: numeric(12,2) gives numeric.

    Args:
        name: PostgreSQL type.
    """
    start, bracket, rest = name.partition("(")
    return (start + rest.partition(")")[2]) if bracket else name


def infer_arrow(kind: pa.DataType) -> str:
    """Return the PostgreSQL type for an Arrow type.

    Args:
        kind: Arrow type.
    """
    import pyarrow as pa

    check = pa.types
    if check.is_dictionary(kind):
        return infer_arrow(kind.value_type)
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
        (check.is_time, "time without time zone"),
        (check.is_duration, "interval"),
        (is_binary, "bytea"),
        (check.is_nested, "jsonb"),
    )
    return next((name for matches, name in table if matches(kind)), TEXT)


def is_binary(kind: pa.DataType) -> bool:
    """Tell whether an Arrow type holds bytes.

    Args:
        kind: Arrow type.
    """
    import pyarrow as pa

    check = pa.types
    return bool(
        check.is_binary(kind)
        or check.is_large_binary(kind)
        or check.is_fixed_size_binary(kind)
        or check.is_binary_view(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Tell whether an Arrow type holds text.

    Args:
        kind: Arrow type.
    """
    import pyarrow as pa

    check = pa.types
    return bool(check.is_string(kind) or check.is_large_string(kind) or check.is_string_view(kind))


def infer_texts(texts: Sequence[str | None]) -> str:
    """Return the type for a text file's column; `text` where a value would not come back the same.

    A number with a leading zero or plus is a name (postcode, telephone, tax number): text.

    Args:
        texts: values as they stand in the file; None is ignored.
    """
    values = [text for text in texts if text is not None]
    if not values:
        return TEXT
    checks = (
        ("boolean", lambda t: t in {"true", "false"}),
        ("bigint", _is_integer),
        ("numeric", _is_decimal),
        ("double precision", _is_float),
        ("date", lambda t: len(t) == len("2020-01-02") and _parses(dt.date.fromisoformat, t)),
        (TIMESTAMP, lambda t: _moment(t) is False),
        (TIMESTAMPTZ, lambda t: _moment(t) is True),
    )
    for name, fits in checks:
        if all(fits(value) for value in values):
            return name
    return TEXT


def _digits(text: str) -> bool:
    plain = text.removeprefix("-")
    return plain.isascii() and plain.isdigit() and (plain == "0" or plain[0] != "0")


def _is_integer(text: str) -> bool:
    return _digits(text) and text != "-0" and len(text) < 20 and int(text) in BIGINT


def _is_decimal(text: str) -> bool:
    whole, _, fraction = text.partition(".")
    if not (whole == "-0" or _digits(whole)) or len(text) > 38:
        return False
    return not fraction if "." not in text else fraction.isascii() and fraction.isdigit()


def _is_float(text: str) -> bool:
    if text[:1] not in "-0123456789" or text[:2] in {"00", "--"}:
        return False
    return "_" not in text and _parses(float, text) and math.isfinite(float(text))


def _moment(text: str) -> bool | None:
    """Tell whether a date and time has a zone; None when it is none of both."""
    if len(text) < len("2020-01-02 10:00") or text[10] not in " T":
        return None
    try:
        return dt.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return None


def _parses(parse: Any, text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True
