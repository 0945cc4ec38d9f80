"""The bench's check: what counts as too slow."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from benchmarks import check, load

ROOT = Path(__file__).parents[2]


def test_twice_the_recorded_ratio_is_too_slow():
    recorded = {"load_csv": 0.5, "load_rows": 0.5}
    assert check.find_slower({"load_csv": 1.0, "load_rows": 0.3}, recorded) == []
    assert check.find_slower({"load_csv": 1.01, "load_rows": 0.3}, recorded) == ["load_csv"]


def test_what_is_not_recorded_is_not_passed_by():
    assert check.find_slower({"load_csv": 0.1}, {}) == ["load_csv"]


def test_everything_checked_is_recorded_and_measured():
    assert set(json.loads(check.RECORD.read_text("ascii"))) == set(check.CHECKED)
    assert {*check.CHECKED, *check.CHECKED.values()} <= set(load.EVERYTHING)


def test_an_installation_that_failed_is_done_again(tmp_path):
    stands = {
        "python3": 'mkdir -p "$3/bin"; cp "$STANDS/pip" "$STANDS/python" "$3/bin/"; echo made',
        "pip": '[ -e "$STANDS/registry" ] && echo installed',
        "python": '[ "$1" = -m ] || echo measured',
    }
    for name, code in stands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{code}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin", "STANDS": str(tmp_path), "BENCH_ENV": str(tmp_path / "env"),
    }  # fmt: skip

    def run():
        return subprocess.run(
            [ROOT / "benchmarks" / "run"],
            env=environment, capture_output=True, text=True, timeout=30, check=False,
        ).stdout.split()  # fmt: skip

    assert run() == ["made"]
    (tmp_path / "registry").touch()
    assert run() == ["made", "installed", "measured"]
    assert run() == ["measured"]
