"""Python values as text for the server, where psycopg's conversion would lose something."""

from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
from collections.abc import Sequence
from typing import Any

from vixtract.loading import types
from vixtract.loading.errors import BadRowError, shown
from vixtract.loading.target import Column


def adapt_row(row: Sequence[Any], columns: Sequence[Column], number: int) -> list[Any]:
    """Return a row's values as psycopg writes them without loss.

    Raises:
        BadRowError: the server would accept a value and silently drop a part of it.
    """
    adapted = []
    for value, column in zip(row, columns, strict=True):
        kind = type(value)
        if value is None or kind in {str, int} or _is_missing(value):
            adapted.append(value if kind in {str, int} else None)
            continue
        try:
            adapted.append(_adapt(_plain(value), column))
        except (ValueError, TypeError) as error:
            raise BadRowError(number, column.name, shown(value), str(error)) from error
    return adapted


def _plain(value: Any) -> Any:
    """Return an enumeration's value, a numpy scalar's Python value, an array as a list."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, uuid.UUID):
        # psycopg writes a UUID without dashes, and a text column would keep it so.
        return str(value)
    return value.tolist() if hasattr(value, "dtype") and hasattr(value, "tolist") else value


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=_json_default, allow_nan=False)
    except ValueError:
        # JSON has no NaN and no infinity: they become null, as in pandas.
        text = json.dumps(value, default=_json_default)
        return _json(json.loads(text, parse_constant=lambda _: None))


def _json_default(value: Any) -> Any:
    plain = None if _is_missing(value) else _plain(value)
    return str(value) if plain is value else plain


def _adapt(value: Any, column: Column) -> Any:
    plain = types.base(column.type)
    if isinstance(value, dt.datetime):
        return _adapt_moment(value, plain)
    if plain in {"json", "jsonb"}:
        return _json(value)
    if isinstance(value, dt.time) and value.tzinfo is not None and plain == types.TIME:
        raise ValueError("it has a time zone, the column has none")
    if isinstance(value, float):
        return int(value) if plain in types.INTEGERS and value.is_integer() else value
    if isinstance(value, bool):
        return ("true" if value else "false") if plain in types.TEXTS else value
    if isinstance(value, (dict, list, tuple)):
        return list(value) if plain.endswith("]") else _json(value)
    if isinstance(value, (bytes, bytearray, memoryview)) and plain != "bytea":
        raise ValueError(f"bytes are no {column.type}")
    return value


def _is_missing(value: Any) -> bool:
    """Tell whether a value is pandas' NaT or NA, without importing pandas."""
    return type(value).__name__ in {"NaTType", "NAType"}


def _adapt_moment(value: dt.datetime, plain: str) -> Any:
    if plain in {types.TIMESTAMP, types.TIME} and value.tzinfo is not None:
        raise ValueError("it has a time zone, the column has none")
    if plain == "date" and (value.time() != dt.time() or value.tzinfo is not None):
        raise ValueError("it has a time, the column is a date")
    if plain in types.TEXTS:
        return value.isoformat(sep=" ")
    return value
