"""Seconds by cell tags: what counts, and what is believed of a process's report."""

from __future__ import annotations

import json
import os

from vixtract.notebooks import figures
from vixtract.runner.channel import clean_result
from vixtract.runner.plugin import complete


def cell(tags, seconds):
    papermill = {} if seconds is None else {"papermill": {"duration": seconds}}
    return {"metadata": {"tags": tags, **papermill}}


def test_seconds_are_added_up_by_the_first_known_tag():
    cells = [
        cell(["extract"], 1.25), cell(["parameters"], 9.0), cell(["extract", "load"], 0.5),
        cell(["other", "load"], 2), cell(["transform"], None), {"metadata": {}}, {},
    ]  # fmt: skip
    assert figures.measure(cells) == {"extract": 1.75, "load": 2.0}
    assert figures.measure([]) == {}


def test_a_process_cannot_report_anything_else():
    report = {"extract": 1.23456, "transform": -1, "load": True, "evil": 3, "c_x": "<b>"}
    assert figures.clean(report) == {"extract": 1.235}
    assert figures.clean([1]) == {} and figures.clean({"load": float("nan")}) == {}
    assert clean_result({"perf": report}) == {"perf": {"extract": 1.235}}


def test_figures_go_to_the_supervisors_descriptor_where_there_is_one(monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setenv("VIXTRACT_PROGRESS_FD", str(writer))
    figures.tell({"load": 2.0})
    assert json.loads(os.read(reader, 1000)) == {"result": {"perf": {"load": 2.0}}}
    monkeypatch.delenv("VIXTRACT_PROGRESS_FD")
    figures.tell({"load": 2.0})
    os.close(reader)
    os.close(writer)


def test_the_jobs_page_gets_figures_and_loaded_tables():
    load = {"table": "anna.t", "rows": 1234, "seconds": 0.52, "mode": "replace"}
    end = {
        "code": 0, "description": "", "run_dir": "/runs/x", "seconds": 9.5,
        "perf": {"extract": 1.0}, "loads": [load, {"table": "anna.bare"}],
    }  # fmt: skip
    line = complete(end)
    assert line["perf"] == {"extract": 1.0, "total": 9.5}
    assert line["table"]["rows"][-2:] == [
        ["Loaded anna.t", "1,234 rows, 0.5 s, replace"],
        ["Loaded anna.bare", ""],
    ]
