"""How far a load is: a bar in a notebook that somebody watches, lines in a scheduled run."""

from __future__ import annotations

import os
import sys
import time
import warnings
from typing import Any

# A log wants to be read: one line per so many seconds at most.
LINE_EVERY_S = 10.0


class Progress:
    """Shows rows as they are sent.

    Args:
        title: name of the table.
        total: rows, where known.
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
                # Without ipywidgets the bar is text; tqdm's advice to install them is no news.
                warnings.simplefilter("ignore")
                from tqdm.auto import tqdm

            self._bar = tqdm(total=total, unit=" rows", unit_scale=True, desc=title, leave=False)

    def add(self, rows: int) -> None:
        """Count rows.

        Args:
            rows: sent since the last call.
        """
        self._rows += rows
        if self._bar is not None:
            self._bar.update(rows)
        elif self._lines and time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_EVERY_S
            share = f" of {self.total:,}" if self.total else ""
            self.say(f"{self._rows:,}{share} rows sent")

    def say(self, step: str) -> None:
        """Show a step.

        Args:
            step: a few words.
        """
        if self._bar is not None:
            self._bar.set_postfix_str(step)
        elif self._lines:
            sys.stdout.write(f"{self.title}: {step}\n")
            sys.stdout.flush()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
