"""Enforces limits on each person's Lab: memory, processes, disk space and processor time.

A root process beside the Hub. What the limits of `processes.limits` cannot hold (they count per
process, or not at all) is checked every second. What is over a limit is stopped, kernels of
notebooks first, and the person gets a notice: `hub.kernels` shows it in the cell that ran.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vixtract.errors import VixtractError
from vixtract.people.names import FIRST_UID
from vixtract.processes import tree
from vixtract.processes.person import Person, acting_as
from vixtract.processes.spawn import kill_everything_of
from vixtract.processes.usage import (
    BOMB_S,
    NEARLY_FULL,
    DiskFloor,
    Process,
    WriteMeter,
    proportional_bytes,
    read_processes,
)
from vixtract.settings import Settings
from vixtract.values import MIB

log = logging.getLogger("vixtract.labs")

LOOK_S = 1.0
#: Seconds of using more than half of all processors after which a person's processes get a lower
#: priority.
GREEDY_S = 10.0
_BACKGROUND = 15
_KERNEL = re.compile(rb"kernel-([0-9a-f-]{36})\.json")


@dataclass(frozen=True)
class LabBounds:
    """Limits of one person's Lab.

    Args:
        memory_mb: of all processes of a person; 0 means no limit.
        processes: threads and processes, likewise.
        runtime_root: `<runtime_root>/<name>` is the person's own directory for notices.
    """

    memory_mb: int
    processes: int
    disk: DiskFloor
    runtime_root: Path = Path("/run/vixtract")


@dataclass
class Seen:
    """Measurements of one person's processes from earlier checks."""

    full_since: float | None = None
    greedy_since: float | None = None
    cpu: dict[tuple[int, int], float] = field(default_factory=dict)
    writes: WriteMeter = field(default_factory=WriteMeter)


class LabWatch:
    """Checks the processes of all people."""

    def __init__(self, bounds: LabBounds) -> None:
        self._bounds = bounds
        self._seen: dict[int, Seen] = {}
        self._looked = time.monotonic()

    def check(self, people: Iterable[Person]) -> None:
        """Check once."""
        now = time.monotonic()
        processes = read_processes()
        is_full = self._bounds.disk.is_broken
        for person in people:
            own = [process for process in processes if process.uid == person.uid]
            if not own:
                self._seen.pop(person.uid, None)
                continue
            seen = self._seen.setdefault(person.uid, Seen())
            self._check_memory(person, own)
            self._check_processes(person, own, seen, now)
            self._check_disk(person, own, seen, is_full)
            self._check_processor(person, own, seen, now)
        self._looked = now

    def _check_memory(self, person: Person, own: list[Process]) -> None:
        limit = self._bounds.memory_mb * MIB
        if not limit or sum(process.resident for process in own) <= limit:
            return
        # Shared pages were counted several times: measure exactly.
        used = proportional_bytes([process.pid for process in own], person)
        victims = [process for process in own if not is_server(process, own)]
        if used > limit and victims:
            victim = max(victims, key=lambda process: process.resident)
            self._stop(
                person,
                [victim],
                f"{used // MIB} MB of memory in use, over your limit of "
                f"{self._bounds.memory_mb} MB (SERVER_MEMORY_MB): the biggest process was stopped. "
                "Read in smaller pieces, or shut down kernels that you do not need.",
            )

    def _check_processes(self, person: Person, own: list[Process], seen: Seen, now: float) -> None:
        limit = self._bounds.processes
        if not limit or sum(process.threads for process in own) < limit * NEARLY_FULL:
            seen.full_since = None
            return
        seen.full_since = seen.full_since or now
        if now - seen.full_since < BOMB_S:
            return
        seen.full_since = None
        note = (
            f"{limit} processes and threads in use, your limit (SERVER_PROCESSES): what had most "
            "of them was stopped."
        )
        self._notify(person, most_crowded(own), note)
        end_crowd(person)

    def _check_disk(self, person: Person, own: list[Process], seen: Seen, is_full: bool) -> None:
        grown = seen.writes.measure([process.pid for process in own], person)
        victims = [p for p in own if p.pid in grown and not is_server(p, own)]
        if is_full and victims:
            self._stop(
                person,
                victims,
                f"Less than {self._bounds.disk.floor_mb} MB of the disk are free (DISK_FLOOR_MB): "
                "what was writing was stopped. Delete what you do not need before you go on.",
            )

    def _check_processor(self, person: Person, own: list[Process], seen: Seen, now: float) -> None:
        used = {(process.pid, process.started): process.cpu_s for process in own}
        spent = sum(value - seen.cpu.get(key, value) for key, value in used.items())
        seen.cpu = used
        span = max(now - self._looked, 0.1)
        if spent / span < max(1.0, (os.cpu_count() or 1) / 2) * 0.9:
            seen.greedy_since = None
            return
        seen.greedy_since = seen.greedy_since or now
        if now - seen.greedy_since >= GREEDY_S:
            with acting_as(person):
                for process in own:
                    if not is_server(process, own):
                        _step_back(process.pid)

    def _stop(self, person: Person, victims: Sequence[Process], note: str) -> None:
        self._notify(person, victims, note)
        for victim in victims:
            tree.kill(victim.pid)

    def _notify(self, person: Person, victims: Sequence[Process], note: str) -> None:
        log.warning("%s: %s", person.name, note)
        kernels = sorted({kernel for victim in victims for kernel in kernels_of(victim.pid)})
        write_notice(self._bounds.runtime_root / person.name, person, kernels, note)


def is_server(process: Process, own: Sequence[Process]) -> bool:
    """Return whether a process is the person's server, which the Hub has started."""
    return process.parent > 1 and process.parent not in {other.pid for other in own}


def most_crowded(own: Sequence[Process]) -> list[Process]:
    """Return the session with most threads: a kernel or terminal with its descendants.

    Orphans are in it too; the server's own session only where there is no other.
    """
    sessions: dict[int, list[Process]] = {}
    for process in own:
        sessions.setdefault(process.session, []).append(process)
    servers = {process.session for process in own if is_server(process, own)}
    crowds = [found for leader, found in sessions.items() if leader not in servers]
    return max(crowds or sessions.values(), key=lambda found: sum(one.threads for one in found))


def end_crowd(person: Person, deadline_s: float = 4.0) -> None:
    """Kill the session with most threads of a person, with everything that it still forks.

    At the deadline everything of the person is killed in one system call, which no fork escapes.
    """
    limit = time.monotonic() + deadline_s
    leader = 0
    while time.monotonic() < limit:
        own = [process for process in read_processes() if process.uid == person.uid]
        crowd = most_crowded(own) if own and not leader else []
        # The first round picks the session; everything it forks later belongs to the same one.
        leader = leader or crowd[0].session if crowd else leader
        left = [process for process in own if process.session == leader]
        if not left:
            return
        for process in left:
            tree.kill(process.pid)
        time.sleep(0.02)
    if not kill_everything_of(person):
        log.error("the processes of %s could not be killed", person.name)


def kernels_of(pid: int) -> list[str]:
    """Return the id of the kernel that a process is or descends from, in a list; empty if none."""
    for _ in range(20):
        try:
            found = _KERNEL.search(Path(f"/proc/{pid}/cmdline").read_bytes())
        except OSError:
            return []
        if found:
            return [found.group(1).decode()]
        pid = tree.parent(pid)
        if pid <= 1:
            return []
    return []


def write_notice(folder: Path, person: Person, kernels: Sequence[str], note: str) -> None:
    """Write a notice of stopped kernels for the person's server, with the person's rights."""
    line = json.dumps({"at": time.time(), "kernels": list(kernels), "text": note}) + "\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    with acting_as(person):
        try:
            descriptor = os.open(folder / "notices", flags, 0o600)
        except OSError as error:
            log.info("No notice for %s: %s", person.name, error.strerror)
            return
        try:
            if os.fstat(descriptor).st_size < MIB:
                os.write(descriptor, line.encode())
        except OSError as error:
            log.info("No notice for %s: %s", person.name, error.strerror)
        finally:
            os.close(descriptor)


def _step_back(pid: int) -> None:
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, pid) < _BACKGROUND:
            os.setpriority(os.PRIO_PROCESS, pid, _BACKGROUND)


def main() -> int:
    """Check every second until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="labs: %(levelname)s: %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = Settings.for_process("labs", os.environ)
    except VixtractError as error:
        log.error("%s %s", error.message, error.hint)
        return error.exit_code
    bounds = LabBounds(
        memory_mb=settings.integer("SERVER_MEMORY_MB"),
        processes=settings.integer("SERVER_PROCESSES"),
        disk=DiskFloor(settings.integer("DISK_FLOOR_MB"), (Path("/home"), Path("/"))),
    )
    watch = LabWatch(bounds)
    while True:
        started = time.monotonic()
        try:
            watch.check(list_people())
        except Exception:
            # The next check must take place whatever failed in this one.
            log.exception("A check failed")
        # A check takes longer with many processes: it may use half of one processor at most.
        time.sleep(max(LOOK_S, time.monotonic() - started))


def list_people(home_root: Path = Path("/home")) -> list[Person]:
    """Return the people who have a home."""
    people = []
    for home in sorted(home_root.iterdir()):
        try:
            status = home.lstat()
        except OSError:
            continue
        if status.st_uid >= FIRST_UID:
            people.append(Person(home.name, status.st_uid, home))
    return people


if __name__ == "__main__":
    sys.exit(main())
