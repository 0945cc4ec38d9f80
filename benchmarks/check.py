#!/usr/bin/env python3
"""Fail when loading or petl has become twice as slow as recorded, beside the same peers.

    ./vixtract test bench
    .venv/bin/python benchmarks/check.py [--record]

The small run of the tests: `benchmarks/load.py` with 200,000 rows, and only what the tests' own environment
has. Ratios, not seconds: the machine may be slow, not ViXtract beside `psql \\copy` and stock petl.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import load

RECORD = Path(__file__).with_name("recorded.json")
ROWS = 200_000
ROUNDS = 3
# How many times the recorded ratio is too slow.
LIMIT = 2.0
# What is measured, and what it is divided by.
CHECKED = {
    "load_csv": "psql_copy",
    "load_parquet": "psql_copy",
    "load_arrow": "psql_copy",
    "load_pandas": "psql_copy",
    "load_polars": "psql_copy",
    "load_rows": "psql_copy",
    "upsert_load": "psql_copy",
    "pipeline_fast": "pipeline_stock",
}


def measure_ratios(checked: Sequence[str]) -> dict[str, float]:
    """Return each contender's time divided by its reference's.

    Args:
        checked: contenders.
    """
    names = [*dict.fromkeys(CHECKED[name] for name in checked), *checked]
    medians = load.measure_all(names, ROUNDS, ROWS)
    missing = [name for name in names if name not in medians]
    if missing:
        sys.exit(f"not measured: {', '.join(missing)}")
    return {name: medians[name]["seconds"] / medians[CHECKED[name]]["seconds"] for name in checked}


def find_slower(ratios: dict[str, float], recorded: dict[str, float]) -> list[str]:
    """Return the contenders that are too slow, and those of which nothing is recorded.

    Args:
        ratios: measured.
        recorded: those to hold.
    """
    return [name for name, ratio in ratios.items() if ratio > LIMIT * recorded.get(name, 0.0)]


def main() -> None:
    """Measure, and record or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the ratios down")
    record = parser.parse_args().record
    ratios = measure_ratios(list(CHECKED))
    show(ratios)
    if record:
        RECORD.write_text(json.dumps({n: round(r, 3) for n, r in ratios.items()}, indent=2) + "\n")
        return
    recorded = json.loads(RECORD.read_text("ascii"))
    slower = find_slower(ratios, recorded)
    if slower:
        # A busy neighbour slows some rounds; what is slow is slow again.
        ratios = measure_ratios(slower)
        show(ratios)
        slower = find_slower(ratios, recorded)
    for name in slower:
        print(f"{name} is too slow: {ratios[name]:.2f}, recorded {recorded.get(name, 'nothing')}")
    sys.exit(bool(slower))


def show(ratios: dict[str, float]) -> None:
    """Print the ratios."""
    for name, ratio in ratios.items():
        print(f"{name} / {CHECKED[name]}: {ratio:.2f}")


if __name__ == "__main__":
    main()
