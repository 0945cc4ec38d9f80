"""The form of a schedule: what is typed, what is stored, what is refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vixtract.language import Language
from vixtract.portal.api_models import ScheduleIn, ScheduleOut, TimingIn
from vixtract.portal.errors import FormError
from vixtract.portal.form import build_event, read_event, read_typed
from vixtract.portal.schedule_fields import FIELDS, ScheduleForm, list_group
from vixtract.scheduler.events import Problem, check_event

ENGLISH = Language("en")
BLANK = ScheduleForm(notebook="etl/load.ipynb", title="Load", owner="anna")
NUMBERS = st.integers(0, 100).map(str)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20))
FORMS = st.builds(
    ScheduleForm,
    notebook=st.from_regex(r"([a-z0-9 а-я_-]{1,8}/){0,3}[a-z0-9 а-я_-]{1,8}\.ipynb", fullmatch=True)
    .map(str.strip)
    # A first folder of blanks alone leaves an absolute path when it is stripped.
    .filter(lambda path: path[0] not in "./"),
    title=st.from_regex(r"[a-zA-Zа-я0-9 ]{0,20}[a-zа-я]", fullmatch=True).map(str.strip),
    owner=st.just("anna"),
    kind=st.sampled_from(["daily", "workdays", "manual"]),
    minute=st.just("30"),
    time=st.just("06:30"),
    timezone=st.sampled_from(["UTC", "Europe/Moscow", "America/St_Johns"]),
    parameters=st.dictionaries(NAMES, VALUES, max_size=3).map(
        lambda values: json.dumps(values, ensure_ascii=False, indent=2) if values else ""
    ),
    kernel=st.sampled_from(["", "python3"]),
    timeout_minutes=NUMBERS,
    memory_mb=NUMBERS,
    retries=NUMBERS,
    retry_delay_minutes=NUMBERS,
    catch_up=st.booleans(),
    enabled=st.booleans(),
)


@pytest.mark.slow
@given(FORMS)
def test_a_form_comes_back_from_its_event(form):
    event = build_event(form, ENGLISH)
    assert check_event(event) == []
    back = read_event({**event, "username": "anna"}, "UTC")
    # Only by hand keeps no time of day.
    kept = form if form.kind != "manual" else replace(form, minute="0", time="06:00")
    assert back == kept


def test_the_whole_event():
    form = replace(
        BLANK, kind="weekly", weekdays=("0", "3"), time="07:05", timezone="Europe/Moscow",
        parameters='{"year": 2026}', timeout_minutes="90", memory_mb="512", retries="2",
        retry_delay_minutes="10", catch_up=True,
    )  # fmt: skip
    assert build_event(form, ENGLISH) == {
        "title": "Load",
        "notify_fail": "",
        "notify_success": "",
        "web_hook": "",
        "web_hook_error": 1,
        "plugin": "notebook",
        "enabled": 1,
        "timing": {"weekdays": [0, 3], "hours": [7], "minutes": [5]},
        "timezone": "Europe/Moscow",
        "timeout": 5400,
        "catch_up": 1,
        "retries": 2,
        "retry_delay": 600,
        "params": {
            "notebook": "etl/load.ipynb",
            "owner": "anna",
            "parameters": {"year": 2026},
            "kernel": "",
            "memory_mb": 512,
        },
    }


@pytest.mark.parametrize(
    "path", ["etl/load.ipynb", "~/etl/load.ipynb", "/home/anna/etl/load.ipynb", " etl/load.ipynb "]
)
def test_a_notebook_may_be_named_in_three_ways(path):
    event = build_event(replace(BLANK, notebook=path), ENGLISH)
    assert event["params"]["notebook"] == "etl/load.ipynb"


@pytest.mark.parametrize(
    ("field", "values", "text"),
    [
        ("notebook", {"notebook": ""}, "Choose the notebook to run."),
        ("notebook", {"notebook": "../bob/x.ipynb"},
         "Enter the path below the home folder, such as etl/load.ipynb."),
        ("notebook", {"notebook": "/home/bob/x.ipynb"},
         "Enter the path below the home folder, such as etl/load.ipynb."),
        ("notebook", {"notebook": "a//b.ipynb"},
         "Enter the path below the home folder, such as etl/load.ipynb."),
        ("notebook", {"notebook": "load.py"}, "The name of a notebook ends in .ipynb."),
        ("notebook", {"notebook": ".ipynb"}, "The name of a notebook ends in .ipynb."),
        ("notebook", {"notebook": "a\0.ipynb"}, "This is not a file path."),
        ("notebook", {"notebook": "a" * 1024 + ".ipynb"}, "This is not a file path."),
        ("title", {"title": " "}, "Enter a name for the schedule."),
        ("title", {"title": "<b>"}, "title must not contain < or >"),
        ("kind", {"kind": "never"}, "Choose when it runs."),
        ("time", {"time": "24:00"}, "Enter a time such as 06:30."),
        ("minute", {"kind": "hourly", "minute": "60"}, "Enter a whole number from 0 to 59."),
        ("minute", {"kind": "hourly", "minute": "٣"}, "Enter a whole number from 0 to 59."),
        ("weekdays", {"kind": "weekly"}, "Choose at least one day."),
        ("weekdays", {"kind": "weekly", "weekdays": ("7",)}, "Choose at least one day."),
        ("day", {"kind": "monthly", "day": "0"}, "Enter a whole number from 1 to 31."),
        ("day", {"kind": "monthly", "day": ""}, "Enter a whole number from 1 to 31."),
        ("date", {"kind": "once", "date": "2027-02-30"}, "Enter a date such as 2027-01-31."),
        ("date", {"kind": "once", "date": ""}, "Enter a date such as 2027-01-31."),
        ("timing", {"kind": "custom", "timing": "0 6 * * *"},
         'Enter a JSON object with lists, such as {"hours": [6, 18], "minutes": [30]}.'),
        ("timing", {"kind": "custom", "timing": '{"hours": [24]}'},
         "timing.hours has 24, not a number from 0 to 23"),
        ("timezone", {"timezone": "Mars/Base"},
         "Unknown time zone; use a name such as Europe/Moscow."),
        ("timezone", {"timezone": "../../etc/passwd"},
         "Unknown time zone; use a name such as Europe/Moscow."),
        ("parameters", {"parameters": "{"},
         "This is not valid JSON: line 1, column 2: Expecting property name enclosed in double quotes."),
        ("parameters", {"parameters": "[1]"}, 'Enter a JSON object, such as {"year": 2026}.'),
        ("parameters", {"parameters": '{"a": NaN}'},
         "A value cannot be used: it is too large or not valid JSON."),
        ("parameters", {"parameters": '{"a": ' + "[" * 50_000 + "]" * 10_000 + "}"},
         "A value cannot be used: it is too large or not valid JSON."),
        ("parameters", {"parameters": '{"a b": 1}'}, "'a b' cannot be the name of a variable."),
        ("parameters", {"parameters": " " * 65_530 + '{"a": 12}'},
         "Enter at most 65536 characters."),
        ("kernel", {"kernel": "a/b"},
         "The name of a kernel has letters, digits, dots and dashes only."),
        ("retries", {"retries": "-1"}, "Enter a whole number from 0 to 100."),
        ("memory_mb", {"memory_mb": "1e3"}, "Enter a whole number from 0 to 10000000."),
        ("timeout_minutes", {"timeout_minutes": "527041"}, "Enter a whole number from 0 to 527040."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_beside_its_field(field, values, text):
    with pytest.raises(FormError) as caught:
        build_event(replace(BLANK, **values), ENGLISH)
    assert caught.value.problems == {field: text}


def test_all_problems_are_said_at_once():
    with pytest.raises(FormError) as caught:
        build_event(ScheduleForm(title="", time="", retries="x"), ENGLISH)
    assert set(caught.value.problems) == {"notebook", "title", "time", "retries"}


def test_a_timing_that_the_form_has_no_choice_for_is_kept():
    timing = {"hours": [6, 18], "minutes": [30], "months": [1, 7]}
    form = read_event({"plugin": "notebook", "timing": timing, "username": "anna"}, "UTC")
    assert form.kind == "custom"
    whole = replace(form, notebook="a.ipynb", title="a")
    assert build_event(whole, ENGLISH)["timing"] == timing


def test_an_event_of_another_engine_can_be_edited():
    """Cronicle's own page stores numbers and parameters as text."""
    event = {
        "title": "Old", "plugin": "notebook", "timing": {"minutes": [5]}, "timeout": "90",
        "retries": "1", "params": {"notebook": "a.ipynb", "parameters": '{"a": 1}'},
        "username": "anna",
    }  # fmt: skip
    form = read_event(event, "UTC")
    assert (form.kind, form.minute, form.timeout_minutes, form.retries) == ("hourly", "5", "2", "1")
    assert form.owner == "anna"
    assert build_event(form, ENGLISH)["params"]["parameters"] == {"a": 1}


def test_a_shell_script_keeps_its_parameters():
    form = read_event({"plugin": "shellplug", "title": "s", "params": {"script": "x"}}, "UTC")
    assert "params" not in build_event(form, ENGLISH)


def test_only_admins_name_an_owner():
    typed = {"owner": ["bob"], "title": ["T"], "enabled": ["on"]}
    assert read_typed(typed, BLANK, admin=False).owner == "anna"
    assert read_typed(typed, BLANK, admin=True).owner == "bob"
    assert read_typed({"owner": [" "]}, BLANK, admin=True).owner == "anna"


def test_absent_boxes_are_unticked():
    before = replace(BLANK, catch_up=True, enabled=True, weekdays=("1",))
    after = read_typed({"title": ["T"]}, before, admin=False)
    assert (after.catch_up, after.enabled, after.weekdays) == (False, False, ())


def test_every_field_comes_from_the_one_table():
    assert {each.name for each in fields(ScheduleForm)} - {"plugin"} == set(FIELDS)
    groups = {each.group for each in FIELDS.values()}
    assert groups == {"notebook", "when", "runs", "version", "messages", "limits"}
    assert sorted(name for group in groups for name in list_group(group)) == sorted(FIELDS)
    keys = [each.stored for each in FIELDS.values() if each.stored]
    assert len(keys) == len(set(keys))
    for name, each in FIELDS.items():
        assert each.default == getattr(ScheduleForm(), name)
        if each.kind == "number":
            assert each.low <= int(each.default) <= each.high


def test_programs_may_set_and_read_every_stored_field():
    stored = {name for name, each in FIELDS.items() if each.stored}
    assert set(ScheduleIn.model_fields) == stored | {"timing", "cron", "pin"}
    assert stored <= set(ScheduleOut.model_fields)
    assert set(TimingIn.model_fields) == set(list_group("when"))


@pytest.mark.parametrize("name", ["retry_delay_minutes", "timeout_minutes"])
def test_a_refusal_of_the_scheduler_stands_beside_the_field(name, monkeypatch):
    stored = FIELDS[name].stored
    refusal = [Problem(stored, f"{stored} is refused")]
    monkeypatch.setattr("vixtract.portal.form.check_event", lambda event, partial: refusal)
    with pytest.raises(FormError) as caught:
        build_event(BLANK, ENGLISH)
    assert caught.value.problems == {name: f"{stored} is refused"}


def test_wrong_addresses_are_said_together_with_everything_else():
    form = replace(BLANK, title="", notify_fail="anna", web_hook="ftp://x")
    with pytest.raises(FormError) as caught:
        build_event(form, ENGLISH)
    assert caught.value.problems == {
        "title": "Enter a name for the schedule.",
        "notify_fail": "Enter mail addresses separated by commas, such as anna@example.com.",
        "web_hook": "Enter an address such as https://chat.example.com/hook.",
    }
