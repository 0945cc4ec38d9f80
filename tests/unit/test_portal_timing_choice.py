"""From the form's choice to a timing, to words, and back."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vixtract.language import Language, load_languages
from vixtract.portal.timing_choice import (
    WORKDAYS,
    TimingChoice,
    build_timing_of_choice,
    describe_timing,
    read_choice,
)
from vixtract.scheduler.timing import RANGES, build_timing, check_timing

ENGLISH = Language("en")
RUSSIAN = load_languages(Path(__file__).parents[2] / "web" / "locale")["ru"]
HOURS = st.integers(0, 23)
MINUTES = st.integers(0, 59)
CHOICES = st.one_of(
    st.builds(TimingChoice, st.just("hourly"), MINUTES),
    st.builds(TimingChoice, st.sampled_from(["daily", "workdays"]), MINUTES, HOURS),
    st.builds(
        TimingChoice,
        st.just("weekly"),
        MINUTES,
        HOURS,
        weekdays=st.sets(st.integers(0, 6), min_size=1, max_size=6)
        .map(lambda days: tuple(sorted(days)))
        .filter(lambda days: days != WORKDAYS),
    ),
    st.builds(TimingChoice, st.just("monthly"), MINUTES, HOURS, day=st.integers(1, 31)),
    st.builds(
        TimingChoice,
        st.just("once"),
        MINUTES,
        HOURS,
        date=st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    ),
    st.just(TimingChoice("manual")),
)
TIMINGS = st.fixed_dictionaries(
    {},
    optional={
        name: st.sets(st.integers(max(low, 2000 if name == "years" else low), min(high, 2100)), min_size=1, max_size=8)
        .map(sorted)
        for name, (low, high) in RANGES.items()
    },
)  # fmt: skip


@given(CHOICES)
def test_a_choice_comes_back_from_its_timing(when):
    timing = build_timing_of_choice(when)
    assert check_timing(timing) == []
    assert read_choice(timing) == when


@pytest.mark.slow
@given(TIMINGS)
def test_any_timing_keeps_its_meaning_through_the_form(timing):
    kept = build_timing_of_choice(read_choice(timing))
    assert build_timing(kept) == build_timing(timing)


@pytest.mark.slow
@given(TIMINGS, TIMINGS)
def test_different_timings_have_different_words(first, second):
    for language in (ENGLISH, RUSSIAN):
        same_words = describe_timing(first, language) == describe_timing(second, language)
        assert same_words == (build_timing(first) == build_timing(second))


@pytest.mark.parametrize(
    ("timing", "english", "russian"),
    [
        (False, "only by hand", "только вручную"),
        ({}, "every minute", "каждую минуту"),
        ({"minutes": [5]}, "every hour at minute 05", "каждый час в 05 минут"),
        ({"minutes": [0, 15, 30, 45]}, "every 15 minutes", "каждые 15 минут"),
        ({"hours": [6], "minutes": [30]}, "every day at 06:30", "каждый день в 06:30"),
        ({"hours": [6], "minutes": [30], "weekdays": [1, 2, 3, 4, 5]},
         "Monday to Friday at 06:30", "с понедельника по пятницу в 06:30"),
        ({"hours": [6], "minutes": [0], "weekdays": [0, 3]}, "Wed, Sun at 06:00", "ср, вс в 06:00"),
        ({"hours": [6], "minutes": [0], "days": [31]},
         "on day 31 of the month at 06:00", "31-го числа каждого месяца в 06:00"),
        ({"hours": [6], "minutes": [0], "days": [1], "months": [2], "years": [2027]},
         "once, on 2027-02-01 at 06:00", "один раз, 2027-02-01 в 06:00"),
        ({"hours": [6, 18], "minutes": [0, 30]},
         "at 06:00, 06:30, 18:00, 18:30", "в 06:00, 06:30, 18:00, 18:30"),
        ({"hours": [8, 9, 10, 11, 13], "minutes": [1, 2], "months": [1]},
         "at minutes: 1, 2; hours: 8-11, 13; months: January",
         "в минуты: 1, 2; часы: 8-11, 13; месяцы: январь"),
    ],
)  # fmt: skip
def test_words(timing, english, russian):
    assert describe_timing(timing, ENGLISH) == english
    assert describe_timing(timing, RUSSIAN) == russian
