"""What a run may not do to others besides taking memory: fill the disk, or fork without end."""

from __future__ import annotations

import time
from collections.abc import Sequence

from vixtract.processes.person import Person
from vixtract.processes.usage import DiskFloor, WriteMeter, read_processes

#: Seconds at the limit of processes before it counts as a bomb: a parallel job may touch it.
BOMB_S = 3.0
# Below the limit: the system counts the same account in other containers too.
_FULL = 0.8

DISK_FULL = "disk floor"
TOO_MANY_PROCESSES = "process limit"


class Overuse:
    """Looks at the processes of one run.

    Args:
        person: their owner.
        processes: threads and processes that the person may have; 0 means no limit.
        disk: free space to be left.
    """

    def __init__(self, person: Person, processes: int, disk: DiskFloor) -> None:
        self._person = person
        self._processes = processes
        self._disk = disk
        self._writes = WriteMeter(is_young=True)
        self._full_since: float | None = None

    def look(self, pids: Sequence[int]) -> str:
        """Look once.

        Args:
            pids: the run's processes.
        Returns: `DISK_FULL`, `TOO_MANY_PROCESSES`, or an empty text.
        """
        if self._disk.floor_mb:
            writers = self._writes.measure(pids, self._person)
            if writers and self._disk.is_broken:
                return DISK_FULL
        return TOO_MANY_PROCESSES if self._forks_without_end(pids) else ""

    def describe(self, why: str) -> str:
        """Say for the log why the run is stopped.

        Args:
            why: outcome of `look`.
        """
        if why == DISK_FULL:
            return (
                f"Stopped: it wrote while less than {self._disk.floor_mb} MB of the disk were free "
                "(DISK_FLOOR_MB)."
            )
        return f"Stopped: {self._processes} processes and threads in use, the limit."

    def _forks_without_end(self, pids: Sequence[int]) -> bool:
        limit = self._processes * _FULL
        wanted = set(pids)
        if not self._processes or not wanted:
            return False
        own = sum(p.threads for p in read_processes() if p.pid in wanted)
        if own < limit:
            self._full_since = None
            return False
        now = time.monotonic()
        self._full_since = self._full_since or now
        return now - self._full_since >= BOMB_S
