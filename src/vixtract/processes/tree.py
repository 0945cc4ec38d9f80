"""Processes by their numbers: their state, their descendants and memory, and the end of each.

Nothing here changes identity; `processes.spawn` does. A process that leaves its group by setsid or
a double fork stays a descendant, because its supervisor is the subreaper. Standard library alone.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")
_PAUSE_S = 0.005


def read_stat(pid: int | str) -> list[bytes]:
    """Return the fields of /proc/PID/stat after the name: state, parent, group, session and so on.

    Returns: field N of the manual at index N - 3; empty where the process does not exist.
    Source: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    try:
        stat = Path(_PROC, str(pid), "stat").read_bytes()
    except OSError:
        return []
    # The name may contain blanks and brackets: fields count from the last bracket.
    return stat[stat.rindex(b")") + 2 :].split()


def parent(pid: int | str) -> int:
    """Return the parent of a process; 0 where the process does not exist."""
    fields = read_stat(pid)
    return int(fields[1]) if fields else 0


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 where it does not exist.

    With the process id it names the process for as long as the machine runs.
    """
    fields = read_stat(pid)
    return int(fields[19]) if fields else 0


def is_ending(pid: int) -> bool:
    """Return whether a process has ended, or its first thread has."""
    fields = read_stat(pid)
    return not fields or fields[0] in (b"Z", b"X")


def descendants(ancestor: int) -> list[int]:
    """Return the living descendants of a process, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(_PROC):  # noqa: PTH208 (called twice a second)
        if entry.isdigit():
            # A zombie counts too: its other threads may live on, and its children hang on it.
            above = parent(entry)
            if above:
                children.setdefault(above, []).append(int(entry))
    found: list[int] = []
    queue = [ancestor]
    while queue:
        next_ones = children.get(queue.pop(0), [])
        found += next_ones
        queue += next_ones
    return found


def resident_bytes(pids: list[int]) -> int:
    """Return the resident memory of processes; pages that several share count several times."""
    return sum(resident(pid) for pid in pids)


def reserved_bytes(pids: list[int]) -> int:
    """Return the private memory that processes have asked for, touched or not."""
    return sum(_statm(pid, 5) for pid in pids)


def biggest(pids: list[int]) -> int | None:
    """Return the process that has most memory, or None where there is none."""
    return max(pids, key=resident, default=None)


def resident(pid: int) -> int:
    """Return the resident memory of one process, in bytes."""
    return _statm(pid, 1)


def reap() -> dict[int, int]:
    """Collect the children that have ended: process id to exit code, negative for a signal."""
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
    """Return whether this process has children, ended and uncollected ones included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def kill(pid: int) -> None:
    """Kill a process, running or stopped; it may have ended already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_for(pid: int, deadline_s: float) -> int | None:
    """Collect one child.

    Returns: its exit code, negative for a signal; None where it goes on, or is stopped.
    """
    limit = time.monotonic() + deadline_s
    while True:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            # Collected elsewhere.
            return 0
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= limit:
            return None
        time.sleep(_PAUSE_S)


def end(pid: int, deadline_s: float = 5.0) -> int | None:
    """Kill one child and collect it, as `wait_for` does; only the kernel can delay its end."""
    kill(pid)
    return wait_for(pid, deadline_s)


def _statm(pid: int, field: int) -> int:
    try:
        return int(Path(_PROC, str(pid), "statm").read_bytes().split()[field]) * _PAGE
    except (OSError, IndexError):
        return 0
