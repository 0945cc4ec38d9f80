"""Plugins that outlived the engine which started them: recognising and ending them."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

KILL_AFTER_S = 10.0


def read_start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 if there is no such process.

    Process ids are used again: only both together name a process.
    Source: proc(5), field 22 of /proc/PID/stat.
    """
    fields = _read_stat(pid)
    return int(fields[19]) if fields else 0


def is_ending(pid: int) -> bool:
    """Say whether a process is gone, or its first thread is.

    Source: proc(5), field 3 of /proc/PID/stat.
    """
    fields = _read_stat(pid)
    return not fields or fields[0] in "ZX"


def _read_stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the command; empty if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    # The command stands in parentheses and may contain some itself.
    return stat.rpartition(")")[2].split()


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process group, if there still is one."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def kill_leftover(pid: int, pid_start: int, grace_s: float = KILL_AFTER_S) -> bool:
    """End a plugin that outlived its engine.

    Args:
        pid: its process id and group.
        pid_start: its start time; a process with another one is a stranger and left alone.
        grace_s: seconds between SIGTERM and SIGKILL.
    Returns: whether there was such a process.
    """
    if not pid_start or read_start_time(pid) != pid_start:
        return False
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        signal_group(pid, signal.SIGTERM)
        # A pidfd becomes readable when its process ends, whoever its parent is.
        select.select([pidfd], [], [], grace_s)
        signal_group(pid, signal.SIGKILL)
    finally:
        os.close(pidfd)
    return True
