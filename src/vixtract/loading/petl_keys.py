"""Keys that Python compares natively, in exactly the order of petl's `Comparable`.

Comparable orders all values: None, then numbers, then the rest by its own comparison or, if that
fails, by the name of its type. For the types below that is a total order, and a pair of a rank and
the value gives the same one. All other values (lists, NaN, times with and without zones) are left
to petl.
"""

from __future__ import annotations

import datetime as dt
import decimal
import operator
import uuid
from collections.abc import Callable, Sequence
from typing import Any

Row = Sequence[Any]
Key = Callable[[Row], Any]

_NUMBER = 1
# petl calls bytes "str" and str "unicode", as Python 2 did; the other names are the types' own.
RANKS: dict[type, int] = {
    type(None): 0,
    bool: _NUMBER,
    int: _NUMBER,
    float: _NUMBER,
    decimal.Decimal: _NUMBER,
    uuid.UUID: 2,
    dt.date: 3,
    dt.datetime: 4,
    bytes: 5,
    dt.time: 6,
    dt.timedelta: 7,
    str: 8,
}
_MAY_BE_NAN = {float, decimal.Decimal}
_MAY_BE_ZONED = {dt.datetime, dt.time}


class UnknownOrderError(Exception):
    """Only petl's own comparison knows the order of these values."""


class KeyColumn:
    """The types seen in one column of a key, by its index in a row."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.kinds: set[type] = set()
        self.zoned: set[bool] = set()

    def look(self, rows: Sequence[Row]) -> None:
        """Note the types in this column; look at all rows before they are ordered.

        Raises:
            UnknownOrderError: a value is of a type, or a row of a length, that is left to petl.
        """
        try:
            values = list(map(operator.itemgetter(self.index), rows))
            kinds = set(map(type, values))
        except (IndexError, KeyError, TypeError) as error:
            raise UnknownOrderError from error
        if not kinds <= RANKS.keys():
            raise UnknownOrderError
        if kinds & _MAY_BE_NAN and any(v != v for v in values):  # noqa: PLR0124 - only NaN differs
            raise UnknownOrderError
        if kinds & _MAY_BE_ZONED:
            self.zoned |= {v.tzinfo is not None for v in values if type(v) in _MAY_BE_ZONED}
            if len(self.zoned) > 1:
                raise UnknownOrderError
        self.kinds |= kinds

    @property
    def is_plain(self) -> bool:
        """Whether the values can be compared with each other as they are."""
        return len({RANKS[kind] for kind in self.kinds}) <= 1


def build_key(columns: Sequence[KeyColumn]) -> Key:
    """Return a key function for petl's order, of columns that have looked at all the rows."""
    indices = [column.index for column in columns]
    if all(column.is_plain for column in columns):
        return operator.itemgetter(*indices)
    if len(columns) == 1:
        index = indices[0]
        return lambda row: (RANKS[type(row[index])], row[index])
    plain = [column.is_plain for column in columns]

    def key(row: Row) -> Any:
        parts: list[Any] = []
        for index, is_plain in zip(indices, plain, strict=True):
            value = row[index]
            if not is_plain:
                parts.append(RANKS[type(value)])
            parts.append(value)
        return tuple(parts)

    return key


def sort_rows(rows: list[Row], columns: Sequence[KeyColumn], *, reverse: bool) -> list[Row]:
    """Return the rows in petl's order; equal rows keep theirs, also in reverse.

    Raises:
        UnknownOrderError: the order is left to petl.
    """
    for column in columns:
        column.look(rows)
    try:
        return sorted(rows, key=build_key(columns), reverse=reverse)
    except TypeError as error:
        raise UnknownOrderError from error


def sort_keys(keys: list[Any], width: int) -> list[Any]:
    """Return distinct keys, which are tuples if `width` is more than one, in petl's order.

    Raises:
        UnknownOrderError: the order is left to petl.
    """
    rows = keys if width > 1 else [(key,) for key in keys]
    ordered = sort_rows(rows, [KeyColumn(i) for i in range(width)], reverse=False)
    return ordered if width > 1 else [row[0] for row in ordered]
