"""Texts of dates and times of which PostgreSQL would silently drop a part.

It accepts `2024-01-02 15:30` as a date and `15:30+03` as a time without a zone. How it reads them:
https://www.postgresql.org/docs/current/datetime-input-rules.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from vixtract.loading import types
from vixtract.loading.errors import BadRowError, shown
from vixtract.loading.target import Column

_DAY = r"(?:\d+[-./]\d+[-./]\d+)"
# The usual forms, which lose nothing; all others are parsed below.
_PLAIN = {
    "date": re.compile(rf"{_DAY}(?:[ T]00:00(?::00(?:\.0*)?)?| 12:00(?::00)? AM)?"),
    types.TIMESTAMP: re.compile(rf"{_DAY}(?:[ T][\d:.]*)?"),
    types.TIME: re.compile(r"[\d:.]*"),
}
# "+3" is always an offset; "-3" is one after a time or a blank, or if minutes follow.
_OFFSET = re.compile(
    r"\+\d|-\d{1,2}:\d|(?::\d\d(?:\.\d*)?|\s)\s*-\d|\d[T\s]\s*\d{4,6}(?:\.\d*)?-\d+(?![-\d])",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"[a-z]+(?:[/_][a-z_]+)*", re.IGNORECASE)
_NO_ZONE = re.compile(
    r"jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?"
    r"|nov(ember)?|dec(ember)?|mon(day)?|tue(s(day)?)?|wed(s|nesday)?|thu(rs?(day)?)?|fri(day)?"
    r"|sat(urday)?|sun(day)?|today|tomorrow|yesterday|allballs|julian",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d(?:\.\d*)?))?\s*(am)?", re.IGNORECASE)
# 153000, or 1530 if it cannot be a year.
_COMPACT = re.compile(
    rf"(?:\dT|{_DAY}\s+|\b\d{{8}}\s+)(\d{{4,6}}(?:\.\d*)?)\b|\s(\d{{6}}(?:\.\d*)?)\b", re.IGNORECASE
)


def require_whole(values: Sequence[Any], column: Column, first: int) -> None:
    """Fail if the server would keep only a part of a text.

    Args:
        values: only texts are checked.
        column: only dates and times without a zone can lose a part.
        first: number of the first value's row.
    Raises:
        BadRowError: a text has a time that is not midnight, or a zone, and the column has none.
    """
    plain = types.base(column.type)
    if plain not in _PLAIN or column.category != "b":
        return
    is_plain = _PLAIN[plain].fullmatch
    for number, value in enumerate(values, first):
        # Arrow writes a moment beyond its range as "<value out of range: …>".
        if not isinstance(value, str) or value.startswith("<"):
            continue
        text = value.strip()
        if is_plain(text):
            continue
        if _has_zone(text):
            reason = "it has a time zone, the column has none"
        elif plain == "date" and _has_time(text):
            reason = "it has a time, the column is a date"
        else:
            continue
        raise BadRowError(number, column.name, shown(value), reason)


def _has_zone(text: str) -> bool:
    if _OFFSET.search(text):
        return True
    # Shorter words are not zones but AM, BC, or the T before a time. A text without a number is
    # not a moment, or a word like "now".
    return _DIGIT.search(text) is not None and any(
        word in {"Z", "z"} or (len(word) > 2 and not _NO_ZONE.fullmatch(word))
        for word in _WORD.findall(text)
    )


def _has_time(text: str) -> bool:
    if clock := _CLOCK.search(text):
        hour = 0 if clock[4] and clock[1] == "12" else int(clock[1])
        return bool(hour or int(clock[2]) or float(clock[3] or 0))
    compact = _COMPACT.search(text)
    return compact is not None and float(compact[1] or compact[2]) != 0
