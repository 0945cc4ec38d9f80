"""When an event is due: Cronicle's timing object, time zones, and the two nights a year.

Owns the arithmetic alone; knows nothing of events' storage. A timing has up to six lists, all of
which must match (days *and* weekdays); a missing list matches everything.

Daylight saving follows Debian's cron. An event with fixed hours and minutes whose local time does
not exist runs at once after the gap, and one whose local time happens twice runs the first time.
An event with free hours or minutes follows real time. The library cronsim has the same rules and
is the oracle of the tests; it is not used here because it loses minutes where the clock moves by
half an hour (`* 3 * * *` in Australia/Lord_Howe starts at 03:30 after the gap), and because cron
can say neither years nor "days and weekdays".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from itertools import islice
from typing import Union
from zoneinfo import ZoneInfo

from vixtract.errors import VixtractError

RANGES: Mapping[str, tuple[int, int]] = {
    "years": (1970, 9999),
    "months": (1, 12),
    "days": (1, 31),
    "weekdays": (0, 6),
    "hours": (0, 23),
    "minutes": (0, 59),
}
# 29 February on one given weekday comes back after 28 years, or 40 across a skipped leap year.
HORIZON_YEARS = 41

TimingInput = Union[Mapping[str, Sequence[int]], bool, None]


class TimingError(VixtractError):
    """A timing or a time zone is invalid; the message says which part."""


@dataclass(frozen=True)
class Timing:
    """A checked timing; a field of None matches everything, weekday 0 is Sunday."""

    years: tuple[int, ...] | None = None
    months: tuple[int, ...] | None = None
    days: tuple[int, ...] | None = None
    weekdays: tuple[int, ...] | None = None
    hours: tuple[int, ...] | None = None
    minutes: tuple[int, ...] | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether the event names its hours and minutes, so that local wall time decides."""
        return self.hours is not None and self.minutes is not None

    def matches_day(self, day: date) -> bool:
        """Say whether a local date is one of the event's days."""
        return (
            (self.years is None or day.year in self.years)
            and (self.days is None or day.day in self.days)
            and (self.weekdays is None or day.isoweekday() % 7 in self.weekdays)
        )

    def days_from(self, first: date) -> Iterator[date]:
        """Yield matching local dates in order, from `first`, for HORIZON_YEARS."""
        last_year = min(first.year + HORIZON_YEARS, max(self.years or (9998,)), 9998)
        day = first
        while day.year <= last_year:
            if self.months is not None and day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            if self.matches_day(day):
                yield day
            day += timedelta(days=1)


def check_timing(timing: object) -> list[str]:
    """Return one sentence for each problem with a timing; false or None is "on demand only"."""
    if timing is None or timing is False:
        return []
    if not isinstance(timing, Mapping):
        return ["timing must be an object of lists, or false for an event without a schedule"]
    problems = []
    for key, values in timing.items():
        if key not in RANGES:
            problems.append(f"timing.{key} is unknown; known are {', '.join(RANGES)}")
        else:
            problems += _check_values(str(key), values)
    if not problems and not _happens(build_timing(timing)):
        problems.append("timing never happens: no date has all of its years, months and days")
    return problems


def _check_values(key: str, values: object) -> list[str]:
    low, high = RANGES[key]
    if not isinstance(values, (list, tuple)):
        return [f"timing.{key} must be a list of numbers"]
    if not values:
        return [f"timing.{key} is an empty list; leave it out to mean every one"]
    wrong = [v for v in values if type(v) is not int or not low <= v <= high]
    return [f"timing.{key} has {v!r}, not a number from {low} to {high}" for v in wrong[:3]]


def _happens(timing: Timing) -> bool:
    first = date(min(timing.years), 1, 1) if timing.years else date(2024, 1, 1)
    return next(timing.days_from(first), None) is not None


def build_timing(timing: Mapping[str, Sequence[int]]) -> Timing:
    """Convert a checked timing object to a Timing.

    A list that holds the whole range says the same as no list, so it becomes None: twenty-four
    ticked hours are "every hour", and follow real time.
    """
    fields = {}
    for key, (low, high) in RANGES.items():
        values = tuple(sorted(set(timing.get(key) or ())))
        fields[key] = values if values and len(values) <= high - low else None
    return Timing(**fields)


@lru_cache(maxsize=64)
def get_zone(name: str) -> ZoneInfo:
    """Return a time zone by its name; TimingError when it is unknown."""
    try:
        return ZoneInfo(name)
    # ValueError: absolute paths and "..", OSError: a directory such as "Europe".
    except (KeyError, ValueError, OSError) as error:
        raise TimingError(
            f"There is no time zone {name!r}.", "Use a name such as Europe/Berlin or UTC."
        ) from error


def iterate_due(timing: Timing, zone: ZoneInfo, after: float) -> Iterator[int]:
    """Yield the due times of a timing after a time in order, each once, for HORIZON_YEARS."""
    # One day back: where a whole day is skipped (Samoa, 2011), its slots fall on the next.
    first = datetime.fromtimestamp(after, zone).date() - timedelta(days=1)
    last = after
    for day in timing.days_from(first):
        times = (
            _fixed_times(timing, zone, day) if timing.is_fixed else _real_times(timing, zone, day)
        )
        for due in times:
            if due > last:
                last = due
                yield due


def _fixed_times(timing: Timing, zone: ZoneInfo, day: date) -> Iterator[int]:
    for hour in timing.hours or ():
        for minute in timing.minutes or ():
            yield _first_instant(datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone))


def _first_instant(local: datetime) -> int:
    """Return epoch seconds of a local time: its first pass, or the end of the gap it lies in."""
    epoch = int(local.timestamp())
    if local.utcoffset() == local.replace(fold=1).utcoffset():
        return epoch
    while datetime.fromtimestamp(epoch, local.tzinfo).replace(tzinfo=None) != local.replace(
        tzinfo=None
    ):
        local += timedelta(minutes=1)
        epoch = int(local.timestamp())
    return epoch


def _real_times(timing: Timing, zone: ZoneInfo, day: date) -> Iterator[int]:
    start = _first_instant(datetime(day.year, day.month, day.day, tzinfo=zone))
    tomorrow = day + timedelta(days=1)
    end = _first_instant(datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=zone))
    hours = range(24) if timing.hours is None else timing.hours
    minutes = range(60) if timing.minutes is None else timing.minutes
    if end - start == 86400:
        yield from (start + hour * 3600 + minute * 60 for hour in hours for minute in minutes)
        return
    for epoch in range(start, end, 60):
        local = datetime.fromtimestamp(epoch, zone)
        if local.hour in hours and local.minute in minutes:
            yield epoch


def next_due(
    timing: TimingInput, timezone_name: str, after: datetime, count: int = 1
) -> list[datetime]:
    """Return the next times an event is due, aware in its own zone, earliest first.

    Args:
        timing: Cronicle's timing object; false or None is never due, {} is due every minute.
        timezone_name: IANA name.
        after: aware; only later times are listed.
        count: largest number of times.
    Raises:
        TimingError: the timing or the zone is invalid, or `after` has no zone.
    """
    problems = check_timing(timing)
    if problems:
        raise TimingError("; ".join(problems), "Correct the event's timing.")
    if after.tzinfo is None:
        raise TimingError("The time to start from has no time zone.", "Pass an aware datetime.")
    zone = get_zone(timezone_name)
    if not isinstance(timing, Mapping):
        return []
    dues = islice(iterate_due(build_timing(timing), zone, after.timestamp()), max(0, count))
    return [datetime.fromtimestamp(due, timezone.utc).astimezone(zone) for due in dues]
