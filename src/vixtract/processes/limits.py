"""Limits that a process hands on to all that it starts: a person's server, or a run."""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from vixtract.values import MIB

# Allocators of pyarrow and polars reserve 1 GiB arenas that count as data before they are touched,
# so the kernel's limit stands above ours; what is really used is watched (`labs`, `runner.watch`).
# RLIMIT_AS is no choice: with 2048 MiB of it polars cannot even start its threads.
RESERVED_MB = 1152


@dataclass(frozen=True)
class Limits:
    """What one process may take; 0 means no limit of ours.

    Args:
        memory_mb: MiB of private memory, before the allocators' reserve. A process gets a
            MemoryError at it.
        processes: threads and processes of the account together.
        file_bytes: largest file.
        oom_score: how much sooner it ends than the services when memory runs out.
    """

    memory_mb: int = 2048
    processes: int = 1024
    file_bytes: int = 8192 * MIB
    open_files: int = 4096
    cpu_s: int = 0
    nice: int = 5
    oom_score: int = 800


#: Of a person's JupyterLab server.
LAB = Limits(memory_mb=4096, open_files=0, oom_score=500)


def apply(limits: Limits) -> None:
    """Limit this process and what it will start; a lower limit of the container stays.

    Runs as root between fork and exec.
    """
    if limits.memory_mb:
        _limit(resource.RLIMIT_DATA, (limits.memory_mb + RESERVED_MB) * MIB)
    for which, value in (
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CPU, limits.cpu_s),
    ):
        if value:
            _limit(which, value)
    _limit(resource.RLIMIT_CORE, 0)
    os.setpriority(os.PRIO_PROCESS, 0, limits.nice)
    # Some containers hide it: memory is watched all the same.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(limits.oom_score), encoding="ascii")


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def close_shared_directories() -> None:
    """Let no account list the directories that all accounts share.

    Each may still make and use files of its own there; TMPDIR leads to a private directory.
    """
    for path in ("/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - closed here, not used
        if Path(path).is_dir():
            Path(path).chmod(0o1733)
