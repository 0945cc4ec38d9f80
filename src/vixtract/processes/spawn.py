"""Starting a process as its owner with no way back to root: here alone identity changes for good.

Runs between fork and exec of a single-threaded process, so it uses nothing but system calls.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from vixtract.errors import VixtractError
from vixtract.processes.person import Person
from vixtract.values import MIB

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

# High, because scripts use low numbers for themselves (`exec 3>&1`).
PROGRESS_FD = 321
_ERROR_FD = 3
_FIRST_SPARE_FD = 400

# Allocators of pyarrow and polars reserve 1 GiB arenas that count as data before they are touched,
# so this limit stands above the run's own; what is really used is watched by the supervisor.
# RLIMIT_AS is no choice: with 2048 MiB of it polars cannot even start its threads.
RESERVED_MB = 1152

_libc = ctypes.CDLL(None, use_errno=True)


class SpawnError(VixtractError):
    """The owner's process could not be started."""


@dataclass(frozen=True)
class Limits:
    """What one process of a run may take.

    Args:
        memory_mb: MiB of private memory, before the allocators' reserve; 0 means no limit.
        processes: threads and processes of the person together.
        file_bytes: largest file.
        cpu_s: seconds of processor time; 0 means no limit.
        nice: how far behind others it stands.
    """

    memory_mb: int = 2048
    processes: int = 1024
    file_bytes: int = 8192 * MIB
    cpu_s: int = 0
    nice: int = 5


@dataclass(frozen=True)
class Command:
    """One process to start.

    Args:
        argv: absolute program and its arguments.
        environment: the whole environment.
        cwd: working directory, entered with the person's rights.
        person: whose process it will be.
        limits: what it may take.
        stdin: descriptor; None is /dev/null.
        output: descriptor for standard output and error.
        progress: descriptor that becomes number `PROGRESS_FD`; None leaves it closed.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    cwd: Path
    person: Person
    output: int
    limits: Limits = field(default_factory=Limits)
    stdin: int | None = None
    progress: int | None = None


def start_service(
    command: Sequence[str],
    environment: Mapping[str, str],
    uid: int | None,
    *,
    cwd: Path = Path("/"),
    umask: int = 0o077,
) -> subprocess.Popen[bytes]:
    """Start a process as an account of the appliance, in a session of its own.

    Args:
        command: absolute program and its arguments.
        environment: the whole environment.
        uid: user and group of the process, which gets no other groups; None leaves it root's.
        cwd: working directory.
        umask: file mode mask.
    Raises:
        OSError: the program cannot be started.
        subprocess.SubprocessError: the change of ids failed.
    """
    return subprocess.Popen(
        list(command),
        env=dict(environment),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        extra_groups=[] if uid is not None else None,
        umask=umask,
        # Signals to the container are its main process's to hand on.
        start_new_session=True,
        user=uid,
        group=uid,
    )


def set_subreaper() -> None:
    """Become the parent of descendants that lose theirs, so that none can slip away.

    Source: https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def spawn(command: Command, begin: Callable[[Command], NoReturn] | None = None) -> int:
    """Fork, drop to the person and execute.

    Args:
        command: what to start.
        begin: as for `become`. The forked process has this one's memory, so this one must not
            have read a secret.
    Returns: process id of the leader of a new session and process group.
    Raises:
        SpawnError: a step between fork and exec failed; nothing runs.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        become(command, parent, writer, begin)
    os.close(writer)
    hear_problem(pid, reader)
    return pid


def hear_problem(pid: int, reader: int) -> None:
    """Wait until a process is its owner's.

    Args:
        pid: the process.
        reader: read end of its error pipe; closed here.
    Raises:
        SpawnError: it failed on the way, and is gone.
    """
    with os.fdopen(reader, "rb") as pipe:
        problem = pipe.read(4096)
    if problem:
        os.waitpid(pid, 0)
        raise SpawnError(f"The run could not be started: {problem.decode(errors='replace')}")


def become(
    command: Command,
    parent: int,
    errors: int,
    begin: Callable[[Command], NoReturn] | None = None,
) -> NoReturn:
    """Drop to the person in this process, for good, and go on as the command says.

    Args:
        command: what to become.
        parent: the process that supervises this one.
        errors: pipe that a failure is written to; closed when all went well.
        begin: goes on in this process; None executes the command.
    """
    spare = errors
    try:
        spare = fcntl.fcntl(errors, fcntl.F_DUPFD_CLOEXEC, _FIRST_SPARE_FD)
        _reset_signals()
        os.setsid()
        _arrange_descriptors(command, spare)
        spare = _ERROR_FD
        _set_limits(command.limits)
        _drop(command.person)
        # Cleared by the change of ids, so it is set after it: the run ends with its supervisor.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SpawnError("the supervisor is gone")
        os.umask(0o077)
        os.chdir(command.cwd)
        if begin is not None:
            os.close(_ERROR_FD)
            begin(command)
        os.execve(command.argv[0], list(command.argv), command.environment)  # noqa: S606 - no shell
    except BaseException as error:
        os.write(spare, f"{type(error).__name__}: {error}".encode(errors="replace")[:4000])
    finally:
        os._exit(127)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            # Numbers that the C library keeps to itself cannot be set.
            try:
                signal.signal(number, signal.SIG_DFL)
            except OSError:
                continue
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _arrange_descriptors(command: Command, errors: int) -> None:
    """Leave 0, 1, 2, progress and the error pipe (closed by exec), nothing else of the daemon's."""
    stdin = os.open("/dev/null", os.O_RDONLY) if command.stdin is None else command.stdin
    wanted = {0: stdin, 1: command.output, 2: command.output}
    if command.progress is not None:
        wanted[PROGRESS_FD] = command.progress
    # First out of the way, so that no target overwrites a source.
    moved = {
        target: fcntl.fcntl(source, fcntl.F_DUPFD, _FIRST_SPARE_FD)
        for target, source in wanted.items()
    }
    for target, source in moved.items():
        os.dup2(source, target, inheritable=True)
    os.dup2(errors, _ERROR_FD, inheritable=False)
    os.closerange(_ERROR_FD + 1, PROGRESS_FD)
    os.closerange(PROGRESS_FD + (PROGRESS_FD in wanted), 1 << 20)


def _set_limits(limits: Limits) -> None:
    if limits.memory_mb:
        _limit(resource.RLIMIT_DATA, (limits.memory_mb + RESERVED_MB) * MIB)
    _limit(resource.RLIMIT_NPROC, limits.processes)
    _limit(resource.RLIMIT_NOFILE, 4096)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    if limits.cpu_s:
        _limit(resource.RLIMIT_CPU, limits.cpu_s)
    os.setpriority(os.PRIO_PROCESS, 0, limits.nice)
    # When memory runs out, a job ends before the engine or the daemon does.
    Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def _drop(person: Person) -> None:
    os.setgroups(person.groups)
    os.setresgid(person.gid, person.gid, person.gid)
    os.setresuid(person.uid, person.uid, person.uid)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if os.getresuid() != (person.uid,) * 3 or os.getresgid() != (person.gid,) * 3:
        raise SpawnError("the identity did not change")
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise SpawnError("the way back to root is open")


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
