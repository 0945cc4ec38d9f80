"""The shape of a failure that runs and loads store, and errors that carry it."""

from __future__ import annotations

import json
import pickle

import pytest

from vixtract.errors import MAX_PARTS, MAX_TEXT, Failure, SettingsError, VixtractError
from vixtract.loading.errors import BadRowError

PARTS = {"row": 7, "column": "city", "ok": False, "at": 1.5, "x": None}
FAILURE = Failure("load.bad_row", PARTS, "types")


def test_a_failure_goes_through_json_unchanged():
    text = json.dumps(FAILURE.to_json(), allow_nan=False)
    assert Failure.from_json(json.loads(text)) == FAILURE
    assert json.loads(text) == {"code": "load.bad_row", "parts": PARTS, "cure": "types"}


def test_long_texts_are_shortened_and_what_json_lacks_is_text():
    values = {"text": "x" * 10_000, "value": float("inf"), "nan": float("nan")}
    failure = Failure("run.failed", values)
    assert len(failure.parts["text"]) == MAX_TEXT and failure.parts["text"].endswith("…")
    assert (failure.parts["value"], failure.parts["nan"]) == ("inf", "nan")
    assert Failure.from_json(json.loads(json.dumps(failure.to_json(), allow_nan=False))) == failure


@pytest.mark.parametrize(
    "values",
    [
        {"code": ""},
        {"code": "Bad row"},
        {"code": "a.b.c.d"},
        {"code": "x" * 40},
        {"code": "run", "cure": "Do this."},
        {"code": "run", "parts": {"Row": 1}},
        {"code": "run", "parts": {"row": [1]}},
        {"code": "run", "parts": {f"p{number}": 1 for number in range(MAX_PARTS + 1)}},
    ],
)
def test_a_failure_of_another_form_is_refused(values):
    with pytest.raises(ValueError, match=r"failure|cure"):
        Failure(**values)
    with pytest.raises(ValueError, match=r"failure|cure"):
        Failure.from_json({"parts": {}, "cure": "", **values})


@pytest.mark.parametrize(
    "value",
    [
        None,
        "run",
        {"code": "run"},
        {"code": "run", "parts": [], "cure": ""},
        {"code": 1, "parts": {}, "cure": ""},
        {"code": "run", "parts": {1: 2}, "cure": ""},
        {"code": "run", "parts": {}, "cure": "", "more": 1},
    ],
)
def test_what_is_no_failure_is_not_read_as_one(value):
    with pytest.raises(ValueError, match="failure"):
        Failure.from_json(value)


def test_errors_carry_their_failure_between_processes():
    for error in (VixtractError("m", "h", FAILURE), SettingsError("m", "h", FAILURE)):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert (copy.message, copy.hint, copy.failure) == ("m", "h", FAILURE)
    assert pickle.loads(pickle.dumps(VixtractError("m"))).failure is None
    row = pickle.loads(pickle.dumps(BadRowError(3, "city", "'x'", "too long")))
    assert (row.row, row.column, row.failure) == (3, "city", None)
