"""Cron expressions: what they become, and what is refused."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vixtract.portal.cron import CronError, parse_cron
from vixtract.scheduler.timing import next_due


@pytest.mark.parametrize(
    ("expression", "timing"),
    [
        ("30 6 * * *", {"minutes": [30], "hours": [6]}),
        ("*/15 * * * *", {"minutes": [0, 15, 30, 45]}),
        ("0 9-17/4 * * mon-fri", {"minutes": [0], "hours": [9, 13, 17], "weekdays": [1, 2, 3, 4, 5]}),
        ("5 4 * * 7", {"minutes": [5], "hours": [4], "weekdays": [0]}),
        ("0 0 1 jan,JUL *", {"minutes": [0], "hours": [0], "days": [1], "months": [1, 7]}),
        ("* * * * *", {}), ("0-59 * * * 0-7", {}), ("@daily", {"minutes": [0], "hours": [0]}),
        ("50/5 * * * *", {"minutes": [50, 55]}),
    ],
)  # fmt: skip
def test_an_expression_becomes_a_timing(expression, timing):
    assert parse_cron(expression) == timing


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "has 0"), ("* * * *", "has 4"), ("0 0 0 * * *", "has 6"), ("60 * * * *", "60"),
        ("* 24 * * *", "24"), ("* * 0 * *", "0"), ("* * * 13 *", "13"), ("* * * * 8", "8"),
        ("5-1 * * * *", "5-1"), ("*/0 * * * *", "*/0"), ("a * * * *", "a"), ("1,,2 * * * *", "cannot"),
        ("0 0 L * *", "l"), ("0 0 ? * *", "?"), ("@reboot", "@reboot"), ("0 0 1 * 1", "two schedules"),
        ("٣ * * * *", "cannot"), ("-1 * * * *", "-1"), ("1-2-3 * * * *", "1-2-3"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused(expression, says):
    with pytest.raises(CronError, match=re.escape(says)):
        parse_cron(expression)


def fields(low: int, high: int):
    """Make fields of an expression: free, one value, a step, a range."""
    number = st.integers(low, high)
    pair = st.tuples(number, number).map(sorted).map(lambda p: f"{p[0]}-{p[1]}")
    return st.one_of(
        st.just("*"), number.map(str), st.integers(1, high).map(lambda n: f"*/{n}"), pair
    )


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12))
def test_the_next_times_are_those_that_cron_means(minute, hour, day, month):
    expression = f"{minute} {hour} {day} {month} *"
    start = datetime(2026, 3, 1, 0, 0, tzinfo=timezone.utc)
    # CronSim treats `*/n` of days like a free field, as Debian's cron does; the values are the same.
    assume(not day.startswith("*/"))
    oracle = CronSim(expression, start)
    found = next_due(parse_cron(expression), "UTC", start, 3)
    assert [t.astimezone(ZoneInfo("UTC")) for t in found] == [next(oracle) for _ in range(3)]
