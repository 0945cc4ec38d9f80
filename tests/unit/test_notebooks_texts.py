"""Limits of output, and the words in which errors are told."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from vixtract.notebooks.budget import OutputBudget, measure
from vixtract.notebooks.execute import cell_timeout
from vixtract.notebooks.messages import (
    NotebookError,
    explain_failure,
    hint_for,
    load_notebook,
    plain_traceback,
)
from vixtract.notebooks.papermill_command import redirect
from vixtract.runner import watch
from vixtract.runner.channel import clean_result
from vixtract.runner.outcome import judge
from vixtract.runner.protocol import RunRequest
from vixtract.runner.watch import Watched


def stream(text):
    return {"msg_type": "stream", "header": {"msg_type": "stream"},
            "content": {"name": "stdout", "text": text}}  # fmt: skip


def test_output_of_a_cell_is_cut_once_and_the_next_cell_has_its_own():
    budget = OutputBudget(cell_bytes=10_000, notebook_bytes=25_000)
    kept = [budget.admit(stream("x" * 4000), 0) for _ in range(5)]
    assert [bool(message) for message in kept] == [True, True, True, False, False]
    assert "more than 0.01 MB in a cell" in kept[2]["content"]["text"]
    assert budget.admit(stream("next"), 1)["content"]["text"] == "next"


def test_output_of_a_notebook_is_cut_as_a_whole():
    budget = OutputBudget(cell_bytes=10_000, notebook_bytes=25_000)
    total = 0
    for cell in range(20):
        for _ in range(3):
            message = budget.admit(stream("y" * 3000), cell)
            total += measure(message["content"]) if message else 0
    assert total < 27_000


def test_pictures_and_endless_small_outputs_count_too():
    budget = OutputBudget(cell_bytes=50_000, notebook_bytes=100_000)
    picture = {"msg_type": "display_data", "header": {"msg_type": "display_data"},
               "content": {"data": {"image/png": "A" * 60_000}, "metadata": {}}}  # fmt: skip
    message = budget.admit(picture, 0)
    assert message["msg_type"] == "stream"
    assert "output cut here" in message["content"]["text"]
    admitted = sum(budget.admit(stream("."), 1) is not None for _ in range(1000))
    assert admitted < 260


def test_errors_are_always_kept_and_shortened():
    budget = OutputBudget(cell_bytes=10, notebook_bytes=10)
    content = {"ename": "E" * 5000, "evalue": "v" * 500_000, "traceback": ["t" * 90_000] * 5}
    message = budget.admit({"msg_type": "error", "content": content}, 0)
    assert measure(message["content"]) < 310_000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello", "not a notebook: it is not JSON"),
        (b"\x80\x81", "not text in UTF-8"),
        (b" \n ", "is empty"),
        (b'{"cells": [', "damaged"),
        (b"[1]", "not a notebook"),
        (b"{}", "not a notebook"),
        (b"[" * 100_000, "not a notebook"),
        (b'{"nbformat": 5, "nbformat_minor": 0, "metadata": {}, "cells": []}', "format 5"),
        (b'{"nbformat": "4"}', "which is none"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [7]}', "valid notebook"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": 3}', "valid notebook"),
    ],
)
def test_files_that_are_no_notebooks_are_told_apart(data, words):
    with pytest.raises(NotebookError) as error:
        load_notebook(data, "x.ipynb")
    assert words in error.value.message
    assert "x.ipynb" in error.value.message
    assert "\n" not in error.value.message


def test_old_format_is_upgraded():
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"metadata": {}, "cells": [
        {"cell_type": "code", "collapsed": False, "input": ["1"], "language": "python", "metadata": {}, "outputs": []}
    ]}]}  # fmt: skip
    assert load_notebook(json.dumps(old).encode(), "x.ipynb").nbformat == 4


def test_machinery_s_errors_have_plain_words():
    dead = type("DeadKernelError", (RuntimeError,), {})("Kernel died")
    assert explain_failure(dead, 3, "")[0].startswith("The kernel died in cell 3")
    assert "disk is full" in explain_failure(OSError(28, "No space"), 1, "")[0]
    assert "memory limit" in hint_for("MemoryError", "")
    assert "VIXTRACT_OUTPUT_DIR" in hint_for("OSError", "[Errno 30] Read-only file system: 'x'")
    assert hint_for("KeyError", "'a'") == ""
    assert plain_traceback(["\x1b[31mred\x1b[0m", *["line"] * 100]).startswith("…\nline")


@pytest.mark.parametrize(
    ("metadata", "seconds"),
    [({}, None), ({"execution": "auto"}, None), ({"execution": {"timeout": -1}}, None),
     ({"execution": {"allow_errors": True}}, None), ({"execution": {"timeout": 90}}, 90)],
)  # fmt: skip
def test_a_notebook_says_how_long_its_cells_may_take(metadata, seconds):
    assert cell_timeout(nbformat.v4.new_notebook(metadata=metadata), "a.ipynb") == seconds


@pytest.mark.parametrize("value", ["1 min", "60", 0, -2, 1.5, True, [60], {}])
def test_a_limit_that_is_no_number_of_seconds_is_refused(value):
    notebook = nbformat.v4.new_notebook(metadata={"execution": {"timeout": value}})
    with pytest.raises(NotebookError) as error:
        cell_timeout(notebook, "a.ipynb")
    assert error.value.message.startswith("a.ipynb says in its metadata that execution.timeout is ")


NOTEBOOK = RunRequest(kind="notebook")
SHELL = RunRequest(kind="shell")


@pytest.mark.parametrize(
    ("request_", "watched", "result", "code", "text"),
    [
        (NOTEBOOK, Watched(0, seconds=1.25), {"cells_total": 6}, 0, "All 6 cells ran in 1.2 s."),
        (NOTEBOOK, Watched(1), {"cells_total": 6, "error": {"cell": 3, "name": "ValueError", "message": "a\nb"}},
         1, "Cell 3 of 6 failed: ValueError: a b"),
        (NOTEBOOK, Watched(2), {"problem": "It is empty.", "hint": "Save it."}, 1, "It is empty. Save it."),
        (NOTEBOOK, Watched(-9), {}, 137, "Ended by signal 9 (SIGKILL)."),
        (NOTEBOOK, Watched(143, stopped=watch.TIMED_OUT, seconds=60), {"cells_total": 2, "cells_done": 1},
         124, "Timed out: stopped after 60 s with 1 of 2 cells done."),
        (NOTEBOOK, Watched(0, stopped=watch.OUT_OF_MEMORY), {}, 137, "Stopped by the memory limit of 100 MB."),
        (SHELL, Watched(0, seconds=2), {}, 0, "The script ended well in 2.0 s."),
        (SHELL, Watched(255), {}, 255, "The script ended with a warning (code 255)."),
        (SHELL, Watched(7), {}, 7, "The script failed with code 7."),
        (SHELL, Watched(-15, stopped=watch.ABORTED, seconds=1), {}, 130, "Aborted after 1.0 s."),
    ],
)  # fmt: skip
def test_outcomes_are_told_in_plain_words(request_, watched, result, code, text):
    facts = judge(request_, watched, result, 100)
    assert (facts["code"], facts["description"]) == (code, text)


def test_a_forged_result_is_cut_to_what_is_known():
    forged = {"cells_done": -1, "cells_total": True, "uid": 0, "code": 0, "description": "fine",
              "output": 7, "problem": "p" * 9000, "error": {"cell": "x", "name": None, "extra": 1}}  # fmt: skip
    assert clean_result(forged) == {
        "problem": "p" * 2000, "error": {"cell": 0, "name": "None", "message": ""},
    }  # fmt: skip


def test_a_result_can_be_stored_whatever_it_says():
    told = {
        "problem": "\udcff",
        "hint": "fine",
        "error": {"cell": 1, "name": "E\ud800", "message": "ж"},
    }
    assert clean_result(told) == {
        "problem": "\\udcff", "hint": "fine",
        "error": {"cell": 1, "name": "E\\ud800", "message": "ж"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("output", "place"),
    [
        ("./link/anna/x-output.ipynb", "x-output.ipynb"),
        ("{home}/anna/deep/x.ipynb", "x.ipynb"),
        ("x.ipynb", None), ("/tmp/x.ipynb", None), ("-", None), ("", None), ("s3://b/x.ipynb", None),
    ],
)  # fmt: skip
def test_outputs_below_the_homes_go_to_the_run_directory(tmp_path, monkeypatch, output, place):
    homes, run = tmp_path / "home", tmp_path / "run"
    homes.mkdir()
    run.mkdir()
    (run / "link").symlink_to(homes)
    monkeypatch.chdir(run)
    found = redirect(output.format(home=homes), homes=homes, run_dir=Path("/runs/anna/j1"))
    assert found == (Path("/runs/anna/j1") / place if place else None)
