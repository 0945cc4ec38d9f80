"""The fork server's memory: what forks make lies side by side."""

from __future__ import annotations

import os
import subprocess
import sys

SCATTER = """
import sys
from vixtract.notebooks.warm import shared_memory as sharing

def pages(made):
    return len({id(thing) >> 12 for thing in made})

held = [bytes(67) for _ in range(200_000)]
sizes = [bytes(length) for length in range(1000, 20_000, 7)]
del held[::50], sizes[::3]
print(pages([bytes(67) for _ in range(2000)]))
kept = sharing.fill_gaps()
print(pages([bytes(67) for _ in range(2000)]))
"""


def run(code, **variables):
    """Run code in a process of its own, for memory is kept; returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path)), **variables}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, timeout=60, env=environment,
    )  # fmt: skip
    return done.stdout


def test_new_objects_lie_side_by_side_once_gaps_are_filled():
    before, after = map(int, run(SCATTER).split())
    # 2000 objects of 112 bytes fill 55 pages.
    assert before > 1000
    assert after < 70


def test_an_allocator_without_pools_does_not_keep_it_busy():
    code = "from vixtract.notebooks.warm import shared_memory as sharing; print(len(sharing._fill_pools(64)) * 64)"
    assert int(run(code, PYTHONMALLOC="malloc")) < 10_000_000
