"""Limits of a person's JupyterLab server, which its kernels and terminals inherit."""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from vixtract.values import MIB

#: File in a person's runtime directory: variables that changed since their server started.
ENVIRONMENT = "environment.json"

# Allocators of pyarrow and polars reserve 1 GiB arenas that count as data before they are touched;
# memory in use is watched by `vixtract.processes.labs`.
RESERVED_MB = 1152


@dataclass(frozen=True)
class ServerLimits:
    """What one person's processes may take.

    Args:
        memory_mb: MiB; 0 means no limit. One process gets a MemoryError at it.
        processes: threads and processes together; 0 means no limit.
        file_bytes: largest file.
        nice: added to the nice value, so that the Hub and its proxy go first.
        oom_score: kernel's oom_score_adj: they end before the Hub when memory runs out.
    """

    memory_mb: int = 4096
    processes: int = 1024
    file_bytes: int = 8192 * MIB
    nice: int = 5
    oom_score: int = 500


def apply(limits: ServerLimits) -> None:
    """Limit this process and what it will start; runs as root between fork and exec.

    Args:
        limits: what it may take. A lower limit of the container stays.
    """
    if limits.memory_mb:
        _limit(resource.RLIMIT_DATA, (limits.memory_mb + RESERVED_MB) * MIB)
    if limits.processes:
        _limit(resource.RLIMIT_NPROC, limits.processes)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    os.setpriority(os.PRIO_PROCESS, 0, limits.nice)
    # Some containers hide the file; memory is watched all the same.
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
