"""What the processes of this container take: memory, threads, processor time, bytes written.

Reads /proc as root without special capabilities: what only the owner may read is read with the
owner's rights (`acting_as`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vixtract.processes.person import Person, acting_as
from vixtract.values import MIB

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")

#: Less than this between two looks is nobody's disk filling.
_WRITER_BYTES = 4 * MIB


@dataclass(frozen=True)
class Process:
    """One process at one moment.

    Args:
        pid: its number.
        parent: its parent's.
        session: pid of its session's leader: the kernel or terminal that it comes from.
        uid: its owner.
        threads: how many it has.
        resident: bytes in memory, shared ones included.
        cpu_s: processor time so far, seconds.
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
    """Return all living processes of the container; those that end meanwhile are left out."""
    found = (_read(int(name)) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208
    return [process for process in found if process is not None]


def _read(pid: int) -> Process | None:
    try:
        folder = _PROC / str(pid)
        text = (folder / "stat").read_bytes()
        uid = folder.stat().st_uid
    except OSError:
        return None
    # The name may contain blanks and brackets: fields count from the last bracket.
    fields = text[text.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
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


class WriteMeter:
    """Tells who writes to disk between two looks.

    Args:
        is_young: whether the processes began a moment before the first look.
    """

    def __init__(self, *, is_young: bool = False) -> None:
        self._before: dict[int, int] = {}
        self._is_first = not is_young

    def measure(self, pids: Iterable[int], person: Person) -> dict[int, int]:
        """Return bytes written since the last look, by process; small amounts are left out.

        Args:
            pids: processes of the person.
            person: their owner.
        """
        with acting_as(person):
            now = {pid: _written(pid) for pid in pids}
        # One that was not there at the last look has written all of it since; at the first look
        # at old ones nobody knows when it was.
        before = now if self._is_first else self._before
        self._is_first = False
        grown = {pid: size - before.get(pid, 0) for pid, size in now.items()}
        self._before.update(now)
        for pid in set(self._before) - set(now):
            del self._before[pid]
        return {pid: size for pid, size in grown.items() if size >= _WRITER_BYTES}


def _written(pid: int) -> int:
    try:
        for line in (_PROC / str(pid) / "io").read_bytes().splitlines():
            if line.startswith(b"write_bytes:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


@dataclass(frozen=True)
class DiskFloor:
    """Free space that people's processes must leave.

    Args:
        floor_mb: MiB; 0 means no floor.
        paths: a place on each file system that they can write to.
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
    """Return free MiB for accounts other than root; much where the path is not there."""
    try:
        status = os.statvfs(path)
    except OSError:
        return 1 << 40
    return status.f_bavail * status.f_frsize // MIB
