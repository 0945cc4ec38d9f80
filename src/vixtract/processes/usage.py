"""What the processes of this container take: memory, threads, processor time, bytes written.

Also whether a run takes from others what no limit of the kernel holds: it fills the disk, or forks
without end.

Reads /proc as root without special capabilities: what only the owner may read is read with the
owner's rights (`acting_as`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vixtract.processes import tree
from vixtract.processes.person import Person, acting_as
from vixtract.values import MIB

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")

# Bytes between two measurements below which a process is not filling the disk.
_WRITER_BYTES = 4 * MIB

# Seconds at the limit of processes before it counts as a fork bomb: a parallel job may touch it.
BOMB_S = 3.0
# Below the limit: the system counts the same account in other containers too.
NEARLY_FULL = 0.8

DISK_FULL = "disk floor"
TOO_MANY_PROCESSES = "process limit"


@dataclass(frozen=True)
class Process:
    """One process at one moment.

    Args:
        session: pid of its session's leader: the kernel or terminal that it comes from.
        resident: bytes in memory, shared ones included.
        started: clock ticks since boot: with the pid it names the process for ever.
    """

    pid: int
    parent: int
    session: int
    uid: int
    threads: int
    resident: int
    cpu_s: float
    started: int


def read_processes() -> list[Process]:
    """Return all living processes of the container; those that end during the call are left out."""
    found = (_read(int(name)) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208
    return [process for process in found if process is not None]


def _read(pid: int) -> Process | None:
    fields = tree.read_stat(pid)
    if not fields or fields[0] in (b"Z", b"X"):
        return None
    try:
        uid = (_PROC / str(pid)).stat().st_uid
    except OSError:
        return None
    return Process(
        pid=pid,
        parent=int(fields[1]),
        session=int(fields[3]),
        uid=uid,
        threads=int(fields[17]),
        resident=int(fields[21]) * _PAGE,
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS,
        started=int(fields[19]),
    )


def proportional_bytes(pids: list[int], person: Person) -> int:
    """Return the memory of a person's processes with shared pages split: slower, and exact.

    Where a process hides its map, its resident size counts.
    """
    with acting_as(person):
        return sum(_proportional(pid) for pid in pids)


def _proportional(pid: int) -> int:
    kib = _find_number(pid, "smaps_rollup", b"Pss:")
    return tree.resident(pid) if kib is None else kib * 1024


def _find_number(pid: int, file: str, key: bytes) -> int | None:
    """Return the number behind a key in a file of /proc/PID, or None where there is none."""
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / file).read_bytes().splitlines():
            if line.startswith(key):
                return int(line.split()[1])
    return None


class WriteMeter:
    """Measures which processes write to disk between two calls.

    Young ones started just before the first call, which then counts all that they wrote.
    """

    def __init__(self, *, is_young: bool = False) -> None:
        self._before: dict[int, int] = {}
        self._is_first = not is_young

    def measure(self, pids: Iterable[int], person: Person) -> dict[int, int]:
        """Return the bytes that each process wrote since the last call, small amounts left out."""
        with acting_as(person):
            now = {pid: _find_number(pid, "io", b"write_bytes:") or 0 for pid in pids}
        # A new process has written everything since the last call. At the first call the counts
        # of old ones say nothing about when they wrote.
        before = now if self._is_first else self._before
        self._is_first = False
        grown = {pid: size - before.get(pid, 0) for pid, size in now.items()}
        self._before.update(now)
        for pid in set(self._before) - set(now):
            del self._before[pid]
        return {pid: size for pid, size in grown.items() if size >= _WRITER_BYTES}


@dataclass(frozen=True)
class DiskFloor:
    """Free space that people's processes must leave.

    Args:
        floor_mb: MiB; 0 means no floor.
        paths: a path on each file system that they can write to.
    """

    floor_mb: int = 0
    paths: tuple[Path, ...] = (Path("/"),)

    def free_mb(self) -> int:
        """Return the free MiB of the fullest of the file systems."""
        return min(free_mb(path) for path in self.paths)

    @property
    def is_broken(self) -> bool:
        """Whether less is free than the floor."""
        return bool(self.floor_mb) and self.free_mb() < self.floor_mb


def free_mb(path: Path) -> int:
    """Return free MiB for accounts other than root; a huge number where the path does not exist."""
    try:
        status = os.statvfs(path)
    except OSError:
        return 1 << 40
    return status.f_bavail * status.f_frsize // MIB


class Overuse:
    """Detects a run that fills the disk or forks without end; 0 processes means no limit."""

    def __init__(self, person: Person, processes: int, disk: DiskFloor) -> None:
        self._person = person
        self._processes = processes
        self._disk = disk
        self._writes = WriteMeter(is_young=True)
        self._full_since: float | None = None

    def check(self, pids: Sequence[int]) -> str:
        """Return why the run must be stopped: DISK_FULL, TOO_MANY_PROCESSES or an empty string."""
        if self._disk.floor_mb:
            writers = self._writes.measure(pids, self._person)
            if writers and self._disk.is_broken:
                return DISK_FULL
        return TOO_MANY_PROCESSES if self._forks_without_end(pids) else ""

    def describe(self, why: str) -> str:
        """Return the log line for a run that is stopped for this result of `check`."""
        if why == DISK_FULL:
            return (
                f"Stopped: it wrote while less than {self._disk.floor_mb} MB of the disk were free "
                "(DISK_FLOOR_MB)."
            )
        return f"Stopped: {self._processes} processes and threads in use, the limit."

    def _forks_without_end(self, pids: Sequence[int]) -> bool:
        limit = self._processes * NEARLY_FULL
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
