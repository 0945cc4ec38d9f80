"""What a valid event is, and what the messages say where it is not."""

from __future__ import annotations

import pytest

from vixtract.scheduler.events import Event, Problem, check_event

GOOD = {"title": "Load sales", "plugin": "notebook", "params": {"notebook": "etl/load.ipynb"}}


def test_smallest_event_gets_cronicles_defaults():
    assert check_event(GOOD) == []
    event = Event.from_dict({**GOOD, "id": "e1"})
    assert event.to_dict() == {
        "id": "e1",
        "title": "Load sales",
        "plugin": "notebook",
        "enabled": 1,
        "category": "general",
        "target": "allgrp",
        "params": {"notebook": "etl/load.ipynb"},
        "timing": False,
        "timezone": "UTC",
        "max_children": 0,
        "timeout": 0,
        "catch_up": 0,
        "queue": 0,
        "queue_max": 0,
        "retries": 0,
        "retry_delay": 0,
        "notes": "",
        "notify_success": "",
        "notify_fail": "",
        "web_hook": "",
        "web_hook_error": 0,
        "username": "vixtract",
        "created": 0,
        "modified": 0,
    }


def test_booleans_are_stored_as_cronicle_does():
    event = Event.from_dict({**GOOD, "id": "e1", "enabled": False, "catch_up": True})
    assert (event.enabled, event.catch_up) == (0, 1)


def test_fields_of_cronicle_without_a_meaning_are_accepted_and_left_out():
    values = {**GOOD, "id": "e1", "algo": "random", "multiplex": 0, "web_hook": ""}
    assert check_event(values) == []
    assert "algo" not in Event.from_dict(values).to_dict()


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"title": " "}, "title", "1 to 200 printable"),
        ({"title": "a\nb"}, "title", "1 to 200 printable"),
        ({"title": "<i>"}, "title", "must not contain <"),
        ({"title": 5}, "title", "must be a text"),
        ({"id": "../x"}, "id", "letters, digits"),
        ({"plugin": "urlplug"}, "plugin", "one of notebook, shellplug"),
        ({"category": "other"}, "category", "no category 'other'"),
        ({"target": "host1"}, "target", "allgrp"),
        ({"enabled": "yes"}, "enabled", "1 or 0"),
        ({"enabled": 2}, "enabled", "1 or 0"),
        ({"timeout": -1}, "timeout", "from 0 to"),
        ({"timeout": "60"}, "timeout", "from 0 to"),
        ({"timeout": True}, "timeout", "from 0 to"),
        ({"retries": 101}, "retries", "from 0 to 100"),
        ({"timezone": "Mars/Base"}, "timezone", "no time zone 'Mars/Base'"),
        ({"timing": {"hours": []}}, "timing", "empty list"),
        ({"timing": {"months": [2], "days": [30]}}, "timing", "never happens"),
        ({"username": "Root"}, "username", "not a valid account name"),
        ({"username": "анна"}, "username", "not a valid account name"),
        ({"notes": "<script>"}, "notes", "must not contain <"),
        ({"retrys": 1}, "retrys", "not a field of an event"),
        ({"params": {}}, "params", "params.notebook is missing"),
        ({"params": {"notebook": 5}}, "params", "params.notebook is missing"),
        ({"params": {"notebook": "a\0b"}}, "params", "NUL"),
        ({"params": {"notebook": "a", "memory_mb": "1"}}, "params", "params.memory_mb"),
        ({"params": {"notebook": "a", "parameters": "{"}}, "params", "JSON object"),
        ({"params": {"notebook": "a", "parameters": "[1]"}}, "params", "JSON object"),
        ({"params": {"notebook": "a", "owner": 1}}, "params", "params.owner"),
        ({"params": {"notebook": "x" * 1_000_001}}, "params", "at most 1000000"),
        ({"plugin": "shellplug", "params": {"script": " "}}, "params", "params.script is missing"),
    ],
    ids=str,
)
def test_problem_names_the_field(change, field, message):
    problems = check_event({**GOOD, **change})
    assert len(problems) == 1 and problems[0].field == field and message in str(problems[0])


def test_all_problems_are_named_at_once():
    problems = check_event({"plugin": "notebook", "timeout": -1, "timezone": "x"})
    assert [problem.field for problem in problems] == ["title", "timeout", "timezone", "params"]


def test_update_checks_only_what_changes():
    assert check_event({"enabled": 0}, partial=True) == []
    assert check_event({"enabled": 3}, partial=True) == [
        Problem("enabled", "enabled must be 1 or 0")
    ]


@pytest.mark.parametrize("text", ['{"year": 2013}', "", " "])
def test_parameters_may_be_json_text(text):
    assert check_event({**GOOD, "params": {"notebook": "a.ipynb", "parameters": text}}) == []
