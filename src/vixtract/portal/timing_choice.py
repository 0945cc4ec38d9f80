"""When a schedule runs: the form's choices, the scheduler's timing object, and text.

Every timing can be shown and kept: one that the form has no choice for is of kind `custom`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from vixtract.language import Language, mark
from vixtract.scheduler.timing import Timing, TimingInput, build_timing

KINDS = {
    "hourly": mark("Every hour"),
    "daily": mark("Every day"),
    "workdays": mark("Monday to Friday"),
    "weekly": mark("On chosen days of the week"),
    "monthly": mark("On a day of the month"),
    "once": mark("Once"),
    "cron": mark("Cron expression"),
    "custom": mark("Custom timing"),
    "manual": mark("Only by hand"),
}
WORKDAYS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class TimingChoice:
    """A choice of the form.

    Args:
        kind: one of KINDS; it decides which of the others count.
        minute: 0-59; of every hour (hourly) or of the hour given.
        hour: 0-23, local.
        weekdays: 0 is Sunday; for kind weekly.
        day: of the month, 1-31; months without it are left out; for kind monthly.
        timing: the scheduler's own object; for kind custom.
    """

    kind: str = "daily"
    minute: int = 0
    hour: int = 6
    weekdays: tuple[int, ...] = ()
    day: int = 1
    date: date | None = None
    timing: Mapping[str, Sequence[int]] | None = None


def build_timing_of_choice(when: TimingChoice) -> TimingInput:
    """Return the scheduler's timing object of a choice, or False for "only by hand".

    Args:
        when: complete: kind once has a date, weekly has weekdays, custom has a timing.
    """
    if when.kind == "manual":
        return False
    if when.kind == "custom":
        return {key: list(values) for key, values in (when.timing or {}).items()}
    if when.kind == "hourly":
        return {"minutes": [when.minute]}
    return {**_build_days(when), "hours": [when.hour], "minutes": [when.minute]}


def _build_days(when: TimingChoice) -> dict[str, list[int]]:
    if when.kind == "workdays":
        return {"weekdays": list(WORKDAYS)}
    if when.kind == "weekly":
        return {"weekdays": sorted(set(when.weekdays))}
    if when.kind == "monthly":
        return {"days": [when.day]}
    if when.kind == "once":
        assert when.date is not None
        return {"years": [when.date.year], "months": [when.date.month], "days": [when.date.day]}
    return {}


def read_choice(timing: TimingInput) -> TimingChoice:
    """Return the simplest choice with the meaning of a checked timing; kind custom if none has."""
    if timing is False or timing is None:
        return TimingChoice("manual")
    assert isinstance(timing, Mapping)
    checked = build_timing(timing)
    given = {name: list(values) for name, values in vars(checked).items() if values is not None}
    custom = TimingChoice("custom", timing={key: tuple(values) for key, values in timing.items()})
    choices = _list_candidates(checked)
    return next((each for each in choices if build_timing_of_choice(each) == given), custom)


def _list_candidates(timing: Timing) -> Iterator[TimingChoice]:
    """Yield the choice of each kind that has the first values of a timing."""
    if not timing.minutes:
        return
    minute = timing.minutes[0]
    yield TimingChoice("hourly", minute)
    if not timing.hours:
        return
    hour = timing.hours[0]
    yield TimingChoice("daily", minute, hour)
    yield TimingChoice("workdays", minute, hour)
    if timing.weekdays:
        yield TimingChoice("weekly", minute, hour, weekdays=timing.weekdays)
    if timing.days:
        yield TimingChoice("monthly", minute, hour, day=timing.days[0])
        if timing.years and timing.months:
            with suppress(ValueError):
                day = date(timing.years[0], timing.months[0], timing.days[0])
                yield TimingChoice("once", minute, hour, date=day)


def describe_timing(timing: TimingInput, language: Language) -> str:
    """Return a text that says when a timing, which has been checked, runs."""
    when = read_choice(timing)
    if when.kind == "custom":
        return _describe_custom(build_timing(when.timing or {}), language)
    texts = {
        "manual": language.say("only by hand"),
        "hourly": language.say("every hour at minute %(minute)s"),
        "daily": language.say("every day at %(time)s"),
        "workdays": language.say("Monday to Friday at %(time)s"),
        "weekly": language.say("%(weekdays)s at %(time)s"),
        "monthly": language.say("on day %(day)s of the month at %(time)s"),
        "once": language.say("once, on %(date)s at %(time)s"),
    }
    return texts[when.kind] % {
        "minute": f"{when.minute:02d}",
        "time": f"{when.hour:02d}:{when.minute:02d}",
        "weekdays": ", ".join(language.weekday(day) for day in _from_monday(when.weekdays)),
        "day": when.day,
        "date": when.date,
    }


def _from_monday(weekdays: Sequence[int]) -> list[int]:
    return sorted(weekdays, key=lambda day: (day - 1) % 7)


def _describe_custom(timing: Timing, language: Language) -> str:
    """Return the text part by part, from the time of day to the years, without grammar between."""
    say = language.say
    parts = [_describe_clock(timing, language)]
    if timing.weekdays is not None:
        days = ", ".join(language.weekday(day) for day in _from_monday(timing.weekdays))
        parts.append(say("weekdays: %(list)s", list=days))
    if timing.days is not None:
        parts.append(say("days of the month: %(list)s", list=_numbers(timing.days)))
    if timing.months is not None:
        months = ", ".join(language.month(month) for month in timing.months)
        parts.append(say("months: %(list)s", list=months))
    if timing.years is not None:
        parts.append(say("years: %(list)s", list=", ".join(map(str, timing.years))))
    return "; ".join(parts)


def _describe_clock(timing: Timing, language: Language) -> str:
    say = language.say
    hours, minutes = timing.hours, timing.minutes
    if hours is not None and minutes is not None and len(hours) * len(minutes) <= 6:
        times = ", ".join(f"{hour:02d}:{minute:02d}" for hour in hours for minute in minutes)
        return say("at %(times)s", times=times)
    if minutes is None:
        words = say("every minute")
    else:
        step = 60 // len(minutes)
        if len(minutes) > 1 and minutes == tuple(range(0, 60, step)):
            words = language.say_many("every %(count)s minute", "every %(count)s minutes", step)
        else:
            words = say("at minutes: %(list)s", list=_numbers(minutes))
    if hours is not None:
        words += "; " + say("hours: %(list)s", list=_numbers(hours))
    return words


def _numbers(values: Sequence[int]) -> str:
    """Return numbers with ranges of three or more joined: `1, 2, 8-17`."""
    texts: list[str] = []
    # Numbers of one range have the same distance from their position.
    for _, pairs in groupby(enumerate(values), lambda pair: pair[1] - pair[0]):
        part = [value for _, value in pairs]
        texts += [f"{part[0]}-{part[-1]}"] if len(part) > 2 else map(str, part)
    return ", ".join(texts)
