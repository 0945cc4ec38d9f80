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
from collections.abc import Callable, Iterable, Sequence
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
    """The types seen in one column of a key.

    Args:
        index: of the column in a row.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.kinds: set[type] = set()
        self.zoned: set[bool] = set()

    def look(self, rows: Sequence[Row]) -> None:
        """Note the types in this column.

        Args:
            rows: all must be looked at before they are ordered.
        Raises:
            UnknownOrderError: a value is of a type, or a row of a length, that is left to petl.
        """
        try:
            self.look_at(list(map(operator.itemgetter(self.index), rows)))
        except (IndexError, KeyError, TypeError) as error:
            raise UnknownOrderError from error

    def look_at(self, values: Iterable[Any]) -> None:
        """Note the types of this column's values.

        Args:
            values: iterated more than once.
        Raises:
            UnknownOrderError: a value is of a type that is left to petl.
        """
        kinds = set(map(type, values))
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
    """Return a function from a row to a key that orders as petl's does.

    Args:
        columns: they have looked at all the rows.
    """
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
    """Return the rows in petl's order.

    Args:
        columns: of the key; they note the types of these rows.
        reverse: highest first; equal rows keep their order either way.
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
    """Return distinct keys in petl's order.

    Args:
        keys: values, or tuples of `width` values if that is more than one.
        width: columns of a key.
    Raises:
        UnknownOrderError: the order is left to petl.
    """
    rows = keys if width > 1 else [(key,) for key in keys]
    ordered = sort_rows(rows, [KeyColumn(i) for i in range(width)], reverse=False)
    return ordered if width > 1 else [row[0] for row in ordered]
