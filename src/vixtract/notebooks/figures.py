"""Seconds that a run spent on extracting, transforming and loading, by the tags of its cells.

Computed from the executed notebook, in the limited process that makes its HTML: papermill records
how long each cell took, and the author's tags say what a cell is for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

TAGS = ("extract", "transform", "load")


def measure(cells: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the seconds of the cells that ran by tag; a cell counts under its first tag."""
    sums: dict[str, float] = {}
    for cell in cells:
        metadata = cell.get("metadata") or {}
        found = [tag for tag in metadata.get("tags") or [] if tag in TAGS]
        seconds = (metadata.get("papermill") or {}).get("duration")
        if found and isinstance(seconds, (int, float)) and not isinstance(seconds, bool):
            sums[found[0]] = sums.get(found[0], 0.0) + seconds
    return {tag: round(sums[tag], 3) for tag in TAGS if tag in sums}


def clean(figures: object) -> dict[str, float]:
    """Return the valid figures in a report of the owner's process, which may send anything."""
    if not isinstance(figures, Mapping):
        return {}
    return {
        tag: round(float(figures[tag]), 3)
        for tag in TAGS
        if type(figures.get(tag)) in (int, float) and 0 <= figures[tag] < 10**9
    }


def tell(figures: Mapping[str, float]) -> None:
    """Report the figures to the supervisor, where its descriptor is open."""
    number = os.environ.get("VIXTRACT_PROGRESS_FD", "")
    if figures and number.isdecimal():
        os.write(int(number), json.dumps({"result": {"perf": dict(figures)}}).encode() + b"\n")
