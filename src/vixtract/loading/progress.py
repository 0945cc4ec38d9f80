"""The progress of a load: a bar in an open notebook, lines in a scheduled run."""

from __future__ import annotations

import os
import sys
import time
import warnings
from typing import Any

# Seconds between two lines of a log.
LINE_EVERY_S = 10.0


class Progress:
    """Shows how many rows were sent.

    Args:
        total: rows, if known.
        wanted: True or False; None: in notebooks and scheduled runs.
    """

    def __init__(self, title: str, total: int | None, wanted: bool | None) -> None:
        self.title = title
        self.total = total
        in_run = bool(os.environ.get("VIXTRACT_OUTPUT_DIR"))
        watched = "ipykernel" in sys.modules and not in_run
        show = (in_run or watched) if wanted is None else wanted
        self._bar: Any = None
        self._lines = show and not watched
        self._rows = 0
        self._next = time.monotonic() + LINE_EVERY_S
        if show and watched:
            with warnings.catch_warnings():
                # Without ipywidgets the bar is text; tqdm's advice to install them is not shown.
                warnings.simplefilter("ignore")
                from tqdm.auto import tqdm

            self._bar = tqdm(total=total, unit=" rows", unit_scale=True, desc=title, leave=False)

    def add(self, rows: int) -> None:
        """Add rows that were sent since the last call."""
        self._rows += rows
        if self._bar is not None:
            self._bar.update(rows)
        elif self._lines and time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_EVERY_S
            share = f" of {self.total:,}" if self.total else ""
            self.say(f"{self._rows:,}{share} rows sent")

    def say(self, step: str) -> None:
        """Show what begins now, in a few words."""
        if self._bar is not None:
            self._bar.set_postfix_str(step)
        elif self._lines:
            sys.stdout.write(f"{self.title}: {step}\n")
            sys.stdout.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
