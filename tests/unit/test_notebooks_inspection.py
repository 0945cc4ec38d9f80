"""What a notebook says about its parameters, read without running it."""

from __future__ import annotations

import json

import pytest

from vixtract.errors import RequestError
from vixtract.notebooks.inspection import inspect_notebook, read_parameters

CELL = """\
from datetime import date
from typing import Literal

# Which year to load.
# Older ones are archived.
year: int = 2026
ratio = 0.5  # share of rows kept
full = False
since = date(2026, 1, 31)
until = "2026-12-31"
region: Literal["north", "south"] = "north"
size = 10  # rows; choices: 10, 100, 1000
# choices: csv, xlsx
form = "csv"
tables = ["a", "b"]
name: str
nothing = None
_hidden = 1
computed = year * 2
%matplotlib inline
"""


def shown(source: str) -> dict[str, tuple]:
    """Return name to (kind, default, help, choices)."""
    return {
        p["name"]: (p["kind"], p["default"], p["help"], p["choices"])
        for p in read_parameters(source)
    }


def test_names_kinds_defaults_help_and_choices_come_from_the_cell():
    assert shown(CELL) == {
        "year": ("integer", 2026, "Which year to load. Older ones are archived.", []),
        "ratio": ("number", 0.5, "share of rows kept", []),
        "full": ("yes_no", False, "", []),
        "since": ("date", "2026-01-31", "", []),
        "until": ("date", "2026-12-31", "", []),
        "region": ("choice", "north", "", ["north", "south"]),
        "size": ("choice", 10, "rows", [10, 100, 1000]),
        "form": ("choice", "csv", "", ["csv", "xlsx"]),
        "tables": ("json", ["a", "b"], "", []),
        "name": ("text", None, "", []),
        "nothing": ("text", None, "", []),
    }


def test_a_parameter_without_a_value_is_required():
    assert [(p["name"], p["required"]) for p in read_parameters("a: int\nb = 1")] == [
        ("a", True),
        ("b", False),
    ]


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ("float", "number"), ("'int'", "integer"), ("Optional[float]", "number"),
        ("int | None", "integer"), ("datetime.date", "date"), ("list[str]", "json"),
        ("Whatever", "text"), ("'('", "text"),
    ],
)  # fmt: skip
def test_an_annotation_decides_the_kind(annotation, kind):
    assert shown(f"x: {annotation} = None")["x"][0] == kind


def test_nothing_of_the_cell_is_run(tmp_path):
    mark = tmp_path / "mark"
    source = f"x = __import__('pathlib').Path({str(mark)!r}).touch()\ny = 1"
    assert list(shown(source)) == ["y"]
    assert not mark.exists()


def notebook(source, tags=("parameters",), language="python") -> str:
    """Return the text of a notebook with one cell."""
    cell = {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source}
    kernel = {"name": "python3", "language": language}
    return json.dumps({"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4})


def test_the_tagged_cell_counts():
    found = inspect_notebook(notebook(["a = 1\n", "b = 2"]))
    assert [p["name"] for p in found["parameters"]] == ["a", "b"]
    assert (found["kernel"], found["tagged"], found["problem"]) == ("python3", True, "")
    assert inspect_notebook(notebook("a = 1", tags=()))["tagged"] is False
    assert inspect_notebook(notebook("a <- 1", language="R"))["parameters"] == []


@pytest.mark.parametrize(
    ("language", "told", "count"),
    [
        ("python", None, 1), ("/usr/bin/python3", None, 1), ("/usr/bin/python3", "python", 1),
        ("python3.13", None, 1), ("R", None, 0), ("python", "R", 0), ("R", "python", 1),
    ],
)  # fmt: skip
def test_the_language_that_the_kernel_told_counts_first(language, told, count):
    whole = json.loads(notebook("a = 1", language=language))
    if told:
        whole["metadata"]["language_info"] = {"name": told}
    assert len(inspect_notebook(json.dumps(whole))["parameters"]) == count


def test_a_cell_that_is_no_python_says_where():
    found = inspect_notebook(notebook("a = 1\nb = = 2"))
    assert found["parameters"] == []
    assert found["problem"].startswith("line 2: ")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"cells": 1}', "[" * 100_000, "\x00", '"text"']
)
def test_what_is_no_notebook_is_refused(text):
    with pytest.raises(RequestError, match="no notebook"):
        inspect_notebook(text)


@pytest.mark.parametrize("metadata", [[], None, {"kernelspec": []}, {"kernelspec": {"name": None}}])
def test_odd_metadata_is_no_error(metadata):
    assert inspect_notebook(json.dumps({"cells": [[], None, 3], "metadata": metadata}))
