"""All processes that came from one: finding them, measuring their memory, and ending every one.

A process that leaves its group by setsid or a double fork stays a descendant, because its
supervisor is the subreaper.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from vixtract.processes.person import Person, acting_as
from vixtract.values import MIB

_PAGE = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


def descendants(ancestor: int) -> list[int]:
    """List the living descendants of a process, parents before children.

    Args:
        ancestor: process id, not in the list itself.
    """
    children: dict[int, list[int]] = {}
    for entry in os.listdir(_PROC):  # noqa: PTH208 (called twice a second)
        if entry.isdigit():
            parent = _parent(entry)
            if parent:
                children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    queue = [ancestor]
    while queue:
        next_ones = children.get(queue.pop(0), [])
        found += next_ones
        queue += next_ones
    return found


def resident_bytes(pids: list[int]) -> int:
    """Add up resident memory; pages that several processes share count several times.

    Args:
        pids: processes; those that are gone count nothing.
    """
    return sum(_resident(pid) for pid in pids)


def reserved_bytes(pids: list[int]) -> int:
    """Add up the private memory that processes have asked for, touched or not.

    Args:
        pids: processes; those that are gone count nothing.
    """
    return sum(_statm(pid, 5) for pid in pids)


def proportional_bytes(pids: list[int], person: Person) -> int:
    """Add up memory with shared pages split among their users; slower, and exact.

    Args:
        pids: processes of the person; where a process hides its map, its resident size counts.
        person: their owner, whose rights the reading needs.
    """
    with acting_as(person):
        return sum(_proportional(pid) for pid in pids)


def biggest(pids: list[int]) -> int | None:
    """Return the process that has most memory, or None of none."""
    return max(pids, key=_resident, default=None)


def kill_tree(ancestor: int, person: Person, *, deadline_s: float = 5.0) -> bool:
    """Kill all descendants of this process and collect them.

    Args:
        ancestor: the calling process, a subreaper.
        person: owner of the descendants.
        deadline_s: seconds after which everything of that person in this container is killed, which
            ends even a chain of forks that is faster than the reading of /proc.
    Returns: whether all ended without that last resort.
    """
    limit = time.monotonic() + deadline_s
    while time.monotonic() < limit:
        reap()
        pids = descendants(ancestor)
        if not pids and not has_children():
            return True
        for pid in pids:
            kill(pid)
        time.sleep(0.01)
    kill_everything_of(person)
    limit = time.monotonic() + deadline_s
    while has_children() and time.monotonic() < limit:
        reap()
        time.sleep(0.01)
    return False


def reap() -> dict[int, int]:
    """Collect children that ended.

    Returns: process id to exit code, negative for a signal.
    """
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = os.waitstatus_to_exitcode(status)


def has_children() -> bool:
    """Say whether this process has children, ended and uncollected ones included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def megabytes(size: int) -> int:
    """Round bytes to MiB."""
    return round(size / MIB)


def parent(pid: int) -> int:
    """Return the parent of a process; 0 where it is gone."""
    return _parent(str(pid))


def _parent(entry: str) -> int:
    try:
        stat = Path(_PROC, entry, "stat").read_bytes()
    except OSError:
        return 0
    # The name may contain blanks and brackets: fields count from the last bracket.
    fields = stat[stat.rindex(b")") + 2 :].split()
    # A zombie counts too: its other threads may live on, and its children hang on it.
    return int(fields[1])


def _resident(pid: int) -> int:
    return _statm(pid, 1)


def _statm(pid: int, field: int) -> int:
    try:
        return int(Path(_PROC, str(pid), "statm").read_bytes().split()[field]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        for line in Path(_PROC, str(pid), "smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return _resident(pid)


def kill(pid: int) -> None:
    """Kill a process that may be gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_everything_of(person: Person) -> None:
    """Kill every process of a person in this container at once.

    Args:
        person: their owner; never root.
    """
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(person.groups)
            os.setresgid(person.gid, person.gid, person.gid)
            os.setresuid(person.uid, person.uid, person.uid)
            # The kernel signals all at once: no fork can slip between.
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
