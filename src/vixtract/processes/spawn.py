"""Becoming another account for good: identity changes here alone, and each change is checked.

Whatever way a process takes (fork and exec, fork alone, a service's own account), it ends in the
same check: root cannot be regained. Waits for such a process have a deadline, because its owner may
stop it at any moment; a stopped one is killed. Standard library alone.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from vixtract.errors import PreconditionError, VixtractError
from vixtract.processes import tree
from vixtract.processes.limits import Limits, apply

if TYPE_CHECKING:
    # Short-lived processes import this module and never look up a person.
    from vixtract.processes.person import Person

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

# High, because scripts use low numbers for themselves (`exec 3>&1`).
PROGRESS_FD = 321
_ERROR_FD = 3
_FIRST_SPARE_FD = 400

# Seconds for a process to become its owner's; a machine that starts everything at once is slow.
START_S = 60.0
_KILLER_S = 2.0
# No account has this uid.
_KILLER_UID = 65533

_libc = ctypes.CDLL(None, use_errno=True)


class SpawnError(VixtractError):
    """The owner's process could not be started."""


@dataclass(frozen=True)
class ProcessSpec:
    """One process to start.

    Args:
        argv: absolute program and its arguments.
        cwd: working directory, entered with the person's rights.
        stdin: descriptor; None is /dev/null.
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


def set_subreaper() -> None:
    """Become the parent of descendants that lose theirs, so that none can slip away.

    Source: https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(parent: int | None = None) -> None:
    """Have the kernel send this process SIGTERM when its parent ends.

    Args:
        parent: the parent's process id when this process began; None does not check it.
    Raises:
        PreconditionError: the parent has ended already.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent is not None and os.getppid() != parent:
        raise PreconditionError(
            "The parent process ended while this one started.", "A new one is started."
        )


def hide_memory() -> None:
    """Keep other processes of the same account from reading this one's memory."""
    _prctl(_PR_SET_DUMPABLE, 0)


def name_process(name: str) -> None:
    """Name this process (15 bytes at most), and let it read its own /proc/self.

    A change of ids hides /proc/self from the process itself, which an exec would undo.
    """
    _prctl(_PR_SET_DUMPABLE, 1)
    _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def spawn(command: ProcessSpec, start: Callable[[ProcessSpec], NoReturn] | None = None) -> int:
    """Fork, drop to the person and execute.

    Args:
        start: as for `become`. The forked process has this one's memory, so this one must not
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
        become(command, parent, writer, start)
    os.close(writer)
    wait_for_start(pid, reader)
    return pid


def wait_for_start(pid: int, errors: int) -> None:
    """Wait until a child is its owner's; closes `errors`, the read end of its error pipe.

    Raises:
        SpawnError: it failed, or its owner stopped it between the change of ids and the exec; it
            has been killed.
    """
    problem = _read_whole(errors, START_S)
    if problem == b"":
        return
    tree.end(pid)
    text = "it was stopped" if problem is None else problem.decode(errors="replace")
    raise SpawnError(f"The run could not be started: {text}")


def become(
    command: ProcessSpec,
    parent: int,
    errors: int,
    start: Callable[[ProcessSpec], NoReturn] | None = None,
) -> NoReturn:
    """Turn this process into the person's, for good, and execute the command.

    Runs between fork and exec of a single-threaded process: system calls alone.

    Args:
        parent: the process that supervises this one.
        errors: pipe that a failure is written to; closed when all went well.
        start: goes on in this process; None executes the command.
    """
    spare = errors
    try:
        spare = fcntl.fcntl(errors, fcntl.F_DUPFD_CLOEXEC, _FIRST_SPARE_FD)
        _reset_signals()
        os.setsid()
        _arrange_descriptors(command, spare)
        spare = _ERROR_FD
        apply(command.limits)
        drop_to(command.person)
        # Cleared by the change of ids, so it is set after it: the run ends with its supervisor.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SpawnError("the supervisor has ended")
        os.umask(0o077)
        os.chdir(command.cwd)
        if start is not None:
            os.close(_ERROR_FD)
            start(command)
        os.execve(command.argv[0], list(command.argv), command.environment)  # noqa: S606 - no shell
    except BaseException as error:
        os.write(spare, f"{type(error).__name__}: {error}".encode(errors="replace")[:4000])
    finally:
        os._exit(127)


def drop_to(person: Person) -> None:
    """Become a person in this process of root's, with no way back and no way to more rights.

    Raises:
        SpawnError: the change is not complete; the process must end.
    """
    os.setgroups(person.groups)
    os.setresgid(person.gid, person.gid, person.gid)
    os.setresuid(person.uid, person.uid, person.uid)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    check_dropped(person.uid, person.gid)


def check_dropped(uid: int, gid: int) -> None:
    """Check that this process has an account's real, effective and saved ids for good.

    Raises:
        SpawnError: it is not, or root can be regained; the process must end.
    """
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3:
        raise SpawnError("the identity did not change")
    _refuse_root()


def _refuse_root() -> None:
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise SpawnError("the way back to root is open")


def start_service(
    command: Sequence[str],
    environment: Mapping[str, str],
    uid: int | None,
    *,
    prepare: Callable[[], None] | None = None,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a process as an account of the appliance, in a session of its own.

    The calling process must have a single thread.

    Args:
        command: absolute program and its arguments.
        uid: user and group of the process, which gets no other groups and no new privileges; None
            leaves it root's.
        prepare: called in the process after the change of ids, before the program: its limits.
        options: further ones of `subprocess.Popen`, such as pipes; by default standard input is
            empty, the folder `/`, and the umask 0077.
    Raises:
        OSError: the program cannot be started.
        subprocess.SubprocessError: the change of ids or `prepare` failed.
    """

    def finish() -> None:
        if uid is not None:
            _prctl(_PR_SET_NO_NEW_PRIVS, 1)
            check_dropped(uid, uid)
        if prepare is not None:
            prepare()

    return subprocess.Popen(
        list(command),
        env=dict(environment),
        start_new_session=True,
        user=uid,
        group=uid,
        extra_groups=[] if os.geteuid() == 0 else None,
        # Between fork and exec of a single-threaded process.
        preexec_fn=finish,  # noqa: PLW1509
        **{"cwd": "/", "umask": 0o077, "stdin": subprocess.DEVNULL, **options},
    )


def compute_apart(work: Callable[[], bytes], deadline_s: float) -> bytes:
    """Return what a function returns in a process of its own, which ends at once.

    What the function reads (a key) is never in this process's memory. Returns nothing where it
    failed, or was killed at the deadline.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(work())
        finally:
            os._exit(0)
    os.close(writer)
    result = _read_whole(reader, deadline_s)
    tree.end(pid)
    return result or b""


def kill_tree(ancestor: int, person: Person, *, deadline_s: float = 5.0) -> bool:
    """Kill all descendants of this process and collect them.

    Args:
        ancestor: the calling process, a subreaper.
        deadline_s: seconds after which everything of that person in this container is killed, which
            ends even a chain of forks that is faster than the reading of /proc.
    Returns: whether all ended without that last resort.
    """
    limit = time.monotonic() + deadline_s
    while time.monotonic() < limit:
        tree.reap()
        pids = tree.descendants(ancestor)
        if not pids and not tree.has_children():
            return True
        for pid in pids:
            tree.kill(pid)
        time.sleep(0.01)
    kill_everything_of(person)
    limit = time.monotonic() + deadline_s
    while tree.has_children() and time.monotonic() < limit:
        tree.reap()
        time.sleep(0.01)
    return False


def kill_everything_of(person: Person) -> bool:
    """Kill every process of a person, who is never root, in this container at once.

    Returns: whether it was done.
    """
    # Another killer at the same moment may end this one, before or after its work: once more then.
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _become_killer(person)
                # The kernel signals all but the caller at once: no fork can slip between.
                os.kill(-1, signal.SIGKILL)
                code = 0
            except ProcessLookupError:
                code = 0  # there was none
            finally:
                os._exit(code)
        if tree.wait_for(pid, _KILLER_S) == 0:
            return True
        tree.end(pid)
    return False


def _become_killer(person: Person) -> None:
    """Take the right to signal a person's processes, which may not signal this one."""
    os.setgroups(person.groups)
    os.setresgid(person.gid, person.gid, person.gid)
    # By the effective id it reaches them; by the other two, which are its own, it is out of reach.
    os.setresuid(_KILLER_UID, person.uid, _KILLER_UID)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _refuse_root()


def _read_whole(descriptor: int, deadline_s: float) -> bytes | None:
    """Return what a pipe gives until its writers have closed it; None at the deadline."""
    limit = time.monotonic() + deadline_s
    received = bytearray()
    with os.fdopen(descriptor, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], max(0.0, limit - time.monotonic()))
            if not ready:
                return None
            data = pipe.read(65536)
            if not data:
                return bytes(received)
            received += data


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


def _arrange_descriptors(command: ProcessSpec, errors: int) -> None:
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


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
