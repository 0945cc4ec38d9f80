"""Watches one process: its output, its memory and its time; stops it at a limit or by an abort."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass, field

from vixtract.processes import tree
from vixtract.processes.person import Person
from vixtract.processes.spawn import kill_tree
from vixtract.processes.usage import DiskFloor, Overuse, proportional_bytes
from vixtract.runner.channel import Channel, Reports, RunLog
from vixtract.values import MIB

_TICK_S = 0.5
_GLANCE_S = 0.1
_DRAIN_S = 2.0

# Reasons for which a run is stopped.
ABORTED = "aborted"
TIMED_OUT = "timed out"
OUT_OF_MEMORY = "memory limit"


@dataclass(frozen=True)
class Bounds:
    """When a run is stopped.

    Args:
        memory_bytes: all its processes together; 0 means no limit.
        timeout_s: 0 means none.
        grace_s: seconds between the polite signal and the end, for saving.
        stops_group: whether the polite signal goes to the whole group (scripts), or to the leader
            alone (the driver, which saves the notebook and would lose its kernel first).
        processes: threads and processes of the person; 0 means no limit.
        is_forked: whether it shares memory with the fork server, which then must not count whole.
    """

    memory_bytes: int
    timeout_s: float
    grace_s: float = 3.0
    stops_group: bool = False
    processes: int = 0
    disk: DiskFloor = field(default_factory=DiskFloor)
    is_forked: bool = False


@dataclass
class Watched:
    """How the process ended.

    Args:
        exit_code: negative for a signal.
        stopped: reason, or empty where it ended by itself.
        peak_bytes: most memory seen, all processes together.
    """

    exit_code: int = 0
    stopped: str = ""
    peak_bytes: int = 0
    seconds: float = 0.0
    ended: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Streams:
    """Where the process's output goes.

    Args:
        output: read end of its standard output and error.
        progress: read end of its reports; None where it has none.
    """

    output: int
    progress: int | None
    log: RunLog
    reports: Reports
    channel: Channel


class Watcher:
    """Watches a child that leads its process group until it and its descendants have ended."""

    def __init__(self, pid: int, person: Person, streams: Streams, bounds: Bounds) -> None:
        self._pid = pid
        self._person = person
        self._streams = streams
        self._bounds = bounds
        self._overuse = Overuse(person, bounds.processes, bounds.disk)
        self._started = time.monotonic()
        self._kill_at: float | None = None
        # Many runs end before the first check, which costs milliseconds; a glance costs less.
        self._next_look = self._started + _TICK_S
        self._next_glance = self._started + _GLANCE_S
        self._shared = tree.reserved_bytes([os.getpid()]) if bounds.is_forked else 0
        self._result = Watched()
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._waker = socket.socketpair()

    def run(self) -> Watched:
        """Wait for the process to end by itself, at a limit, or by an abort."""
        self._prepare()
        try:
            while self._pid not in self._result.ended:
                self._wait()
                self._result.ended.update(tree.reap())
                self._check()
        finally:
            kill_tree(os.getpid(), self._person)
            self._drain()
            signal.set_wakeup_fd(-1)
            self._selector.close()
            self._wakeup.close()
            self._waker.close()
        self._result.exit_code = self._result.ended.get(self._pid, 1)
        self._result.seconds = time.monotonic() - self._started
        return self._result

    def _prepare(self) -> None:
        for end in (self._wakeup, self._waker):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._woken)
        self._selector.register(self._streams.channel, selectors.EVENT_READ, self._heard)
        for descriptor in (self._streams.output, self._streams.progress):
            if descriptor is not None:
                os.set_blocking(descriptor, False)
        self._selector.register(self._streams.output, selectors.EVENT_READ, self._read_output)
        progress = self._streams.progress
        if progress is not None:
            self._selector.register(progress, selectors.EVENT_READ, self._read_reports)

    def _wait(self) -> None:
        channel = self._streams.channel
        if channel.is_pending:
            channel.flush()
        # A child that ended before the wakeup was set up is found at the next tick.
        timeout = 0.05 if channel.is_pending or self._kill_at else _TICK_S / 5
        for key, _ in self._selector.select(timeout):
            key.data()

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wakeup.recv(4096)

    def _heard(self) -> None:
        channel = self._streams.channel
        channel.receive()
        if not channel.is_open:
            self._selector.unregister(channel)

    def _read_output(self) -> None:
        # While the plugin does not read, the job blocks on its full pipe.
        if self._streams.channel.has_room:
            data = _read(self._streams.output)
            if data is None:
                self._selector.unregister(self._streams.output)
            else:
                self._streams.log.write(data)
        else:
            time.sleep(0.05)

    def _read_reports(self) -> None:
        assert self._streams.progress is not None
        data = _read(self._streams.progress)
        if data is None:
            self._selector.unregister(self._streams.progress)
        else:
            self._streams.reports.feed(data)

    def _check(self) -> None:
        now = time.monotonic()
        if self._kill_at is not None:
            if now >= self._kill_at and self._pid not in self._result.ended:
                self._signal(signal.SIGKILL)
            return
        channel = self._streams.channel
        if channel.abort_wanted or not channel.is_open:
            self._stop(ABORTED, "Aborted.")
        elif self._bounds.timeout_s and now - self._started > self._bounds.timeout_s:
            self._stop(TIMED_OUT, f"Stopped after {self._bounds.timeout_s:.0f} s, the time limit.")
        elif now >= self._next_look or self._is_suddenly_big(now):
            self._next_look = now + _TICK_S
            self._look_at_memory()

    def _is_suddenly_big(self, now: float) -> bool:
        """Return whether a run that has just started reserves more than its limit already."""
        if now < self._next_glance or now > self._started + _TICK_S:
            return False
        self._next_glance = now + _GLANCE_S
        pids = tree.descendants(os.getpid())
        own = tree.reserved_bytes(pids) - len(pids) * self._shared
        return own > self._bounds.memory_bytes > 0

    def _look_at_memory(self) -> None:
        pids = tree.descendants(os.getpid())
        used = tree.resident_bytes(pids)
        limit = self._bounds.memory_bytes
        if self._bounds.is_forked or (limit and used > limit):
            used = proportional_bytes(pids, self._person)
        self._result.peak_bytes = max(self._result.peak_bytes, used)
        if limit and used > limit:
            why = OUT_OF_MEMORY
            note = f"Stopped: {used // MIB} MB in use, over the memory limit of {limit // MIB} MB."
        elif why := self._overuse.check(pids):
            note = self._overuse.describe(why)
        else:
            return
        # At once, before the machine runs out; the driver still saves the notebook.
        tree.kill(tree.biggest([pid for pid in pids if pid != self._pid]) or self._pid)
        self._stop(why, note)

    def _stop(self, why: str, note: str) -> None:
        self._result.stopped = why
        self._streams.log.note(note)
        self._kill_at = time.monotonic() + self._bounds.grace_s
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        send = os.killpg if self._bounds.stops_group else os.kill
        with contextlib.suppress(ProcessLookupError):
            send(self._pid, number)

    def _drain(self) -> None:
        """Read what is left in the pipes after the processes have ended."""
        limit = time.monotonic() + _DRAIN_S
        for descriptor, take in (
            (self._streams.progress, self._streams.reports.feed),
            (self._streams.output, self._streams.log.write),
        ):
            while descriptor is not None and time.monotonic() < limit:
                data = _read(descriptor)
                if not data:
                    break
                take(data)
                self._streams.channel.flush()


def _read(descriptor: int) -> bytes | None:
    """Return what can be read now, which may be nothing; None at the end of the stream."""
    try:
        return os.read(descriptor, 65536) or None
    except BlockingIOError:
        return b""
