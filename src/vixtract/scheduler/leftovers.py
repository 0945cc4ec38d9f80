"""Plugins that outlived the engine which started them: recognising and ending them."""

from __future__ import annotations

import os
import select
import signal

from vixtract.processes.tree import start_time

KILL_AFTER_S = 10.0


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process group, if there still is one."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def kill_leftover(pid: int, pid_start: int) -> bool:
    """End a plugin (pid and group) that outlived its engine; return whether there was one.

    A process with another start time is a stranger and left alone.
    """
    if not pid_start or start_time(pid) != pid_start:
        return False
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        signal_group(pid, signal.SIGTERM)
        # A pidfd becomes readable when its process ends, whoever its parent is.
        select.select([pidfd], [], [], KILL_AFTER_S)
        signal_group(pid, signal.SIGKILL)
    finally:
        os.close(pidfd)
    return True
