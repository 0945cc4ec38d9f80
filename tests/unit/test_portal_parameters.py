"""The fields of a notebook's parameters: what they show, and what they become."""

from __future__ import annotations

import json

import pytest

from vixtract.language import Language
from vixtract.portal.library import Parameter
from vixtract.portal.parameters import keep_typed, make_widgets, read_widgets

ENGLISH = Language("en")
PARAMETERS = (
    Parameter("year", "integer", 2026, "Which year."),
    Parameter("ratio", "number", 0.5),
    Parameter("full", "yes_no", False),
    Parameter("since", "date", "2026-01-31"),
    Parameter("region", "choice", "north", "", ("north", "south")),
    Parameter("tables", "json", ["a"]),
    Parameter("name", "text", "x"),
)


def submit(widgets, **typed: str) -> dict[str, list[str]]:
    """Return the request that a browser makes of the fields."""
    request = {}
    for widget in widgets:
        request["k-" + widget.name] = [widget.kind]
        request["d-" + widget.name] = [widget.default]
        if widget.required:
            request["r-" + widget.name] = ["1"]
        text = typed.get(widget.name, widget.text)
        if widget.kind == "yes_no":
            text = "" if text in ("false", "") else "1"
            if not text:
                continue
        request["p-" + widget.name] = [text]
    return request


def test_an_untouched_form_sets_nothing():
    assert read_widgets(submit(make_widgets(PARAMETERS, {})), ENGLISH) == ({}, {})


def test_what_was_changed_is_set_with_its_type():
    typed = submit(
        make_widgets(PARAMETERS, {}), year="1999", ratio="0,25", full="1", since="2027-02-01",
        region='"south"', tables='["b", 1]', name="",
    )  # fmt: skip
    assert read_widgets(typed, ENGLISH) == (
        {
            "year": 1999, "ratio": 0.25, "full": True, "since": "2027-02-01", "region": "south",
            "tables": ["b", 1], "name": "",
        },
        {},
    )  # fmt: skip


def test_what_a_schedule_sets_is_shown_and_comes_back():
    values = {"year": 1, "full": True, "region": "west", "tables": [], "ratio": 1.0}
    widgets = make_widgets(PARAMETERS, values)
    assert ('"west"', "west") in widgets[4].choices
    assert read_widgets(submit(widgets), ENGLISH) == (values, {})


def test_a_value_that_the_narrow_field_cannot_show_gets_the_wide_one():
    widgets = make_widgets(PARAMETERS, {"year": "all", "name": "a\nb"})
    assert (widgets[0].kind, widgets[0].text) == ("json", '"all"')
    assert (widgets[6].kind, json.loads(widgets[6].text)) == ("json", "a\nb")
    assert read_widgets(submit(widgets), ENGLISH)[0] == {"year": "all", "name": "a\nb"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("year", "1.5"), ("year", "x"), ("year", "٣"), ("year", "9" * 30), ("ratio", "nan"),
        ("ratio", "inf"), ("since", "31.01.2026"), ("since", "2026-02-30"), ("tables", "[1,"),
        ("tables", "NaN"), ("region", "west"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_said_beside_its_field(name, text):
    values, problems = read_widgets(submit(make_widgets(PARAMETERS, {}), **{name: text}), ENGLISH)
    assert list(problems) == ["p-" + name]
    assert values == {}


def test_a_parameter_without_a_value_must_be_given_one():
    widgets = make_widgets([Parameter("city", "text", None, required=True)], {})
    assert "p-city" in read_widgets(submit(widgets), ENGLISH)[1]
    assert read_widgets(submit(widgets, city="Oslo"), ENGLISH) == ({"city": "Oslo"}, {})


def test_what_was_typed_is_kept_right_or_wrong():
    widgets = make_widgets(PARAMETERS, {})
    kept = {w.name: w.text for w in keep_typed(widgets, submit(widgets, year="x", full="1"))}
    assert (kept["year"], kept["full"], kept["name"]) == ("x", "true", "x")


@pytest.mark.parametrize("key", ["k-a b", "k-", "k-__import__('os')"])
def test_a_name_that_is_no_variable_is_left_out(key):
    name = key[2:]
    assert read_widgets({key: ["text"], "p-" + name: ["x"]}, ENGLISH) == ({}, {})
