"""Notices that the wall clock was set while the engine runs."""

from __future__ import annotations

import time
from collections.abc import Callable


class ClockWatch:
    """Compares the wall clock with the monotonic one, which is never set."""

    def __init__(
        self,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall, self._monotonic = wall_clock, monotonic
        self._offset = 0.0
        self.rebase()

    def drift(self) -> float:
        """Return by how many seconds the wall clock was set forward (negative: back)."""
        return self._wall() - self._monotonic() - self._offset

    def rebase(self) -> None:
        """Take the present time as right."""
        self._offset = self._wall() - self._monotonic()
