"""When events are due: Cronicle's timing, four zones' nights of change, and cron as the oracle."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vixtract.scheduler.timing import (
    RANGES,
    TimingError,
    build_timing,
    check_timing,
    get_zone,
    iterate_due,
    next_due,
)

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
ALMATY, LORD_HOWE = "Asia/Almaty", "Australia/Lord_Howe"


def listed(timing, zone, start, count):
    """Return the next due times after a local start as short local texts with their offset."""
    after = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
    return [due.strftime("%m-%d %H:%M%z") for due in next_due(timing, zone, after, count)]


@pytest.mark.parametrize(
    ("zone", "timing", "start", "expected"),
    [
        # Spring: 02:30 does not exist, so the event runs at once after the gap.
        (
            BERLIN,
            {"hours": [2], "minutes": [30]},
            "2026-03-28T03:00",
            ["03-29 03:00+0200", "03-30 02:30+0200"],
        ),
        # Several times within the gap are one run, not one after another.
        (
            BERLIN,
            {"hours": [2, 3], "minutes": [0, 20, 40]},
            "2026-03-29T00:00",
            ["03-29 03:00+0200", "03-29 03:20+0200", "03-29 03:40+0200", "03-30 02:00+0200"],
        ),
        # Autumn: 02:30 comes twice and counts once, the first time.
        (
            BERLIN,
            {"hours": [2], "minutes": [30]},
            "2026-10-24T03:00",
            ["10-25 02:30+0200", "10-26 02:30+0100"],
        ),
        # Free hours follow real time: none is skipped in spring, none is left out in autumn.
        (
            BERLIN,
            {"minutes": [30]},
            "2026-03-29T00:45",
            ["03-29 01:30+0100", "03-29 03:30+0200", "03-29 04:30+0200"],
        ),
        (
            BERLIN,
            {"minutes": [30]},
            "2026-10-25T01:45",
            ["10-25 02:30+0200", "10-25 02:30+0100", "10-25 03:30+0100"],
        ),
        # All hours ticked one by one are "every hour".
        (
            BERLIN,
            {"hours": list(range(24)), "minutes": [30]},
            "2026-10-25T01:45",
            ["10-25 02:30+0200", "10-25 02:30+0100"],
        ),
        # Free minutes follow real time too: an hour that is not there has no minutes.
        (
            BERLIN,
            {"hours": [2]},
            "2026-03-28T02:58",
            ["03-28 02:59+0100", "03-30 02:00+0200"],
        ),
        (
            NEW_YORK,
            {"hours": [2], "minutes": [15]},
            "2026-03-07T12:00",
            ["03-08 03:00-0400", "03-09 02:15-0400"],
        ),
        (
            NEW_YORK,
            {"hours": [1], "minutes": [59]},
            "2026-10-31T12:00",
            ["11-01 01:59-0400", "11-02 01:59-0500"],
        ),
        # Almaty left UTC+6 for UTC+5 on 1 March 2024 and changes no more.
        (
            ALMATY,
            {"hours": [23], "minutes": [30]},
            "2024-02-28T12:00",
            ["02-28 23:30+0600", "02-29 23:30+0600", "03-01 23:30+0500"],
        ),
        (
            ALMATY,
            {"hours": [2], "minutes": [30]},
            "2026-03-28T12:00",
            ["03-29 02:30+0500", "03-30 02:30+0500"],
        ),
        # Lord Howe moves by half an hour, at 02:00 in both directions.
        (
            LORD_HOWE,
            {"hours": [2], "minutes": [10]},
            "2026-10-03T12:00",
            ["10-04 02:30+1100", "10-05 02:10+1100"],
        ),
        (
            LORD_HOWE,
            {"hours": [1], "minutes": [45]},
            "2026-04-04T12:00",
            ["04-05 01:45+1100", "04-06 01:45+1030"],
        ),
        (
            LORD_HOWE,
            {"minutes": [45]},
            "2026-04-05T01:00",
            ["04-05 01:45+1100", "04-05 01:45+1030", "04-05 02:45+1030"],
        ),
        # Two cases that cronsim gets wrong; see the module.
        (LORD_HOWE, {"hours": [3]}, "2026-10-04T00:00", ["10-04 03:00+1100", "10-04 03:01+1100"]),
        (
            LORD_HOWE,
            {"hours": [2], "minutes": [0, 10]},
            "2026-04-05T01:50",
            ["04-05 02:00+1030", "04-05 02:10+1030"],
        ),
        # Samoa skipped 30 December 2011 altogether.
        (
            "Pacific/Apia",
            {"hours": [9], "minutes": [0]},
            "2011-12-29T12:00",
            ["12-31 00:00+1400", "12-31 09:00+1400"],
        ),
        # Beirut's clock goes from midnight to one o'clock.
        (
            "Asia/Beirut",
            {"hours": [0], "minutes": [0]},
            "2026-03-28T12:00",
            ["03-29 01:00+0300", "03-30 00:00+0300"],
        ),
    ],
)
def test_nights_of_change(zone, timing, start, expected):
    assert listed(timing, zone, start, len(expected)) == expected


def test_second_pass_of_an_hour_repeats_nothing():
    zone = ZoneInfo(BERLIN)
    second_pass = datetime(2026, 10, 25, 2, 10, tzinfo=zone, fold=1)
    due = next_due({"hours": [2], "minutes": [30]}, BERLIN, second_pass, 1)
    assert due[0].isoformat() == "2026-10-26T02:30:00+01:00"


def test_days_and_weekdays_must_both_match():
    timing = {"days": [13], "weekdays": [5], "hours": [9], "minutes": [0]}
    assert listed(timing, "UTC", "2026-01-01T00:00", 3) == [
        "02-13 09:00+0000",
        "03-13 09:00+0000",
        "11-13 09:00+0000",
    ]


def test_sunday_is_weekday_zero():
    assert listed(
        {"weekdays": [0], "hours": [0], "minutes": [0]}, "UTC", "2026-11-21T00:00", 1
    ) == ["11-22 00:00+0000"]


def test_years_end_a_schedule():
    timing = {"years": [2027], "months": [12], "days": [31], "hours": [0], "minutes": [0]}
    after = datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert [d.year for d in next_due(timing, "UTC", after, 5)] == [2027]
    assert next_due(timing, "UTC", datetime(2028, 1, 1, tzinfo=timezone.utc), 5) == []


def test_leap_day_on_a_monday_is_found():
    timing = {"months": [2], "days": [29], "weekdays": [1], "hours": [0], "minutes": [0]}
    due = next_due(timing, "UTC", datetime(2026, 1, 1, tzinfo=timezone.utc), 1)
    assert due[0].date().isoformat() == "2044-02-29"


def test_false_is_never_due_and_empty_is_every_minute():
    after = datetime(2026, 1, 1, 0, 0, 30, tzinfo=timezone.utc)
    assert next_due(False, "UTC", after, 3) == []
    assert [d.minute for d in next_due({}, "UTC", after, 3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("timing", "message"),
    [
        ({"hours": []}, "empty list"),
        ({"hours": [24]}, "not a number from 0 to 23"),
        ({"minutes": [True]}, "not a number from 0 to 59"),
        ({"minutes": ["1"]}, "not a number from 0 to 59"),
        ({"minutes": 5}, "must be a list"),
        ({"seconds": [1]}, "unknown"),
        ({"months": [2], "days": [30]}, "never happens"),
        ({"years": [2025], "months": [2], "days": [29]}, "never happens"),
        ("daily", "must be an object"),
        ([], "must be an object"),
    ],
    ids=str,
)
def test_meaningless_timing_is_named(timing, message):
    assert message in check_timing(timing)[0]


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "Europe", "../etc/passwd", "/etc/passwd"])
def test_unknown_zone_is_named(name):
    with pytest.raises(TimingError, match="no time zone"):
        get_zone(name)


ZONES = st.sampled_from([BERLIN, NEW_YORK, ALMATY, LORD_HOWE, "UTC", "America/Santiago"])
TIMINGS = st.fixed_dictionaries(
    {},
    optional={
        key: st.lists(st.integers(*RANGES[key]), min_size=1, max_size=4, unique=True)
        for key in ("days", "weekdays", "hours", "minutes")
    },
)
# Two years with all their changes of time.
EPOCHS = st.integers(1767225600, 1767225600 + 730 * 86400)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(ZONES, TIMINGS, EPOCHS)
def test_due_times_ascend_and_do_not_depend_on_where_one_starts(zone, timing, start):
    built, zone_info = build_timing(timing), ZoneInfo(zone)
    due = list(islice(iterate_due(built, zone_info, start), 40))
    assert all(a < b for a, b in zip([start, *due], due))
    assert all(t % 60 == 0 for t in due)
    for index in (0, len(due) // 2, len(due) - 1):
        assert (
            list(islice(iterate_due(built, zone_info, due[index]), 5)) == due[index + 1 : index + 6]
            or index > len(due) - 6
        )


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.sampled_from([BERLIN, NEW_YORK, ALMATY, "UTC"]), TIMINGS, EPOCHS)
def test_cron_agrees_where_it_can_say_the_same(zone, timing, start):
    # Cron joins days and weekdays with "or", and knows full lists as lists.
    assume(not ("days" in timing and "weekdays" in timing))
    fields = [
        ",".join(map(str, sorted(timing[key]))) if key in timing else "*"
        for key in ("minutes", "hours", "days", "months", "weekdays")
    ]
    start -= start % 60
    local = datetime.fromtimestamp(start, ZoneInfo(zone))
    expected = [int(d.timestamp()) for d in islice(CronSim(" ".join(fields), local), 30)]
    expected = [t for t in expected if t > start]
    due = list(islice(iterate_due(build_timing(timing), ZoneInfo(zone), start), len(expected)))
    assert due == expected


def test_a_quarter_of_every_minute_is_enumerated_quickly():
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    end = (start + timedelta(days=90)).timestamp()
    begun = datetime.now(timezone.utc)
    due = list(
        takewhile(
            lambda t: t <= end, iterate_due(build_timing({}), ZoneInfo(BERLIN), start.timestamp())
        )
    )
    assert len(due) == 90 * 1440
    assert (datetime.now(timezone.utc) - begun).total_seconds() < 2
