"""From cron expressions to the scheduler's timing object.

Five fields: minute, hour, day of the month, month, weekday. Cron runs when the day *or* the weekday
matches, where both are given; the scheduler's object means *and*, so such an expression is refused.
"""

from __future__ import annotations

import re

from vixtract.errors import VixtractError

FIELDS = (
    ("minutes", 0, 59),
    ("hours", 0, 23),
    ("days", 1, 31),
    ("months", 1, 12),
    ("weekdays", 0, 7),
)
NAMES = {
    "months": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekdays": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class CronError(VixtractError):
    """An expression that cannot be used; `text` is translated before `values` fill it in."""

    def __init__(self, text: str, **values: object) -> None:
        super().__init__(text % values if values else text)
        self.text = text
        self.values = values


def parse_cron(expression: str) -> dict[str, list[int]]:
    """Return the scheduler's timing object of five fields, or of a word such as `@daily`.

    Returns: lists of `minutes`, `hours`, `days`, `months`, `weekdays` (0 is Sunday); a field that
        is free is left out.
    Raises:
        CronError: says which field is wrong, or what the scheduler cannot do.
    """
    text = WORDS.get(expression.strip().lower(), expression.strip())
    if text.startswith("@"):
        raise CronError("%(field)s cannot be used here.", field=text[:40])
    parts = text.split()
    if len(parts) != len(FIELDS):
        raise CronError(
            "A cron expression has five fields: minute, hour, day, month, weekday. This has"
            " %(count)s.",
            count=len(parts),
        )
    timing = {}
    for (name, low, high), part in zip(FIELDS, parts):
        values = _parse_field(part.lower(), name, low, high)
        if name == "weekdays":
            values = {value % 7 for value in values}
        if len(values) < (7 if name == "weekdays" else high - low + 1):
            timing[name] = sorted(values)
    if "days" in timing and "weekdays" in timing:
        raise CronError(
            "Cron means “day of the month or weekday” here, which the scheduler cannot do; give one"
            " of them, or make two schedules."
        )
    return timing


def _parse_field(text: str, name: str, low: int, high: int) -> set[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        if slash and not re.fullmatch("[1-9][0-9]{0,3}", step_text):
            raise _wrong(part)
        step = int(step_text) if slash else 1
        first, dash, last = span.partition("-")
        if span == "*":
            start, end = low, high
        else:
            start = _parse_value(first, name, part)
            end = _parse_value(last, name, part) if dash else high if slash else start
        if not low <= start <= end <= high:
            raise _wrong(part)
        values.update(range(start, end + 1, step))
    return values


def _parse_value(text: str, name: str, part: str) -> int:
    if re.fullmatch("[0-9]{1,2}", text, re.ASCII):
        return int(text)
    names = NAMES.get(name, ())
    if text in names:
        return names.index(text) + (1 if name == "months" else 0)
    raise _wrong(part)


def _wrong(part: str) -> CronError:
    return CronError("%(field)s cannot be used here.", field=part[:40])
