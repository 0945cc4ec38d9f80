"""The bench's check: what counts as too slow."""

from __future__ import annotations

import json

from benchmarks import check, load


def test_twice_the_recorded_ratio_is_too_slow():
    recorded = {"load_csv": 0.5, "load_rows": 0.5}
    assert check.find_slower({"load_csv": 1.0, "load_rows": 0.3}, recorded) == []
    assert check.find_slower({"load_csv": 1.01, "load_rows": 0.3}, recorded) == ["load_csv"]


def test_what_is_not_recorded_is_not_passed_by():
    assert check.find_slower({"load_csv": 0.1}, {}) == ["load_csv"]


def test_everything_checked_is_recorded_and_measured():
    assert set(json.loads(check.RECORD.read_text("ascii"))) == set(check.CHECKED)
    assert {*check.CHECKED, *check.CHECKED.values()} <= set(load.EVERYTHING)
