"""Running one plugin process: Cronicle's plugin protocol, seen from the engine.

The plugin gets one line of JSON on its standard input, reports JSON lines on its standard output,
and everything it writes to standard error is the job's log. It runs under the engine's own uid in
a session of its own, with an environment that holds none of the engine's secrets.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from vixtract.processes.tree import start_time
from vixtract.scheduler.leftovers import KILL_AFTER_S, signal_group

logger = logging.getLogger(__name__)

# How long output is still read from children that outlive the plugin.
DRAIN_S = 2.0
MAX_LINE = 1024 * 1024
CHUNK = 65536
# What a plugin may report; `html` is left out, for it would be shown unescaped in a browser.
REPORTED = ("progress", "memo", "complete", "code", "description", "perf", "table", "chain_data")


@dataclass(frozen=True)
class PluginCall:
    """What to run.

    Args:
        environment: the whole environment of the process.
        job: sent as JSON on standard input.
        timeout_s: seconds after which it is stopped.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    job: Mapping[str, Any]
    timeout_s: float


@dataclass(frozen=True)
class PluginResult:
    """How the process ended.

    Args:
        code: as reported, or 1.
        description: as reported, or what happened instead.
        report: last reported value of each of REPORTED.
        stopped_by: "" or why the engine stopped it: abort, timeout, shutdown.
    """

    code: int
    description: str
    report: Mapping[str, Any] = field(default_factory=dict)
    stopped_by: str = ""


class JobLog:
    """A job's log file, append-only; output after `limit` bytes is dropped, and a line says so."""

    def __init__(self, path: Path, limit: int) -> None:
        self._file = path.open("ab", buffering=0)
        self._left = limit - self._file.tell()
        self._limit = limit

    def write(self, data: bytes) -> None:
        """Append the job's own output, as far as the limit allows."""
        if self._left <= 0:
            return
        self._put(data[: self._left])
        self._left -= len(data)
        if self._left <= 0:
            self.note(f"\n# The log reached {self._limit} bytes; further output is dropped.")

    def note(self, text: str) -> None:
        """Append a line of the engine's own, whatever the limit."""
        self._put(text.encode() + b"\n")

    def _put(self, data: bytes) -> None:
        # A full disk must not end the run.
        with contextlib.suppress(OSError):
            self._file.write(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class PluginProcess:
    """One plugin process from start to end; `run` blocks, `stop` may come from any thread."""

    def __init__(self, call: PluginCall, log: JobLog) -> None:
        self.call = call
        self.log = log
        self.report: dict[str, Any] = {}
        self.pid = 0
        self._stop: tuple[str, str] = ("", "")
        self._terminated_at = 0.0
        self._line = b""
        self._skipping = False

    def stop(self, kind: str, reason: str) -> None:
        """Send SIGTERM soon, SIGKILL after KILL_AFTER_S; the first kind and reason count."""
        if not self._stop[0]:
            self._stop = (kind, reason)

    @property
    def stopped_by(self) -> str:
        """Why the process was asked to end: abort, timeout, shutdown, or an empty text."""
        return self._stop[0]

    def run(self, on_started: Callable[[int, int], None]) -> PluginResult:
        """Run the plugin to its end.

        `on_started` is called with pid and start time before the plugin is told its job, so that a
        process that knows its job is always on record.
        """
        try:
            process = subprocess.Popen(
                self.call.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(self.call.environment),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            return PluginResult(1, f"The plugin cannot be started: {error}")
        self.pid = process.pid
        try:
            on_started(process.pid, start_time(process.pid))
            self._supervise(process)
        finally:
            # The leader is not reaped yet, so the group's id cannot belong to other processes.
            signal_group(process.pid, signal.SIGKILL)
            exit_code = process.wait(timeout=KILL_AFTER_S)
            for stream in (process.stdin, process.stdout, process.stderr):
                _close(stream)
        return self._result(exit_code)

    def _supervise(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.call.timeout_s
        pending = json.dumps(self.call.job, ensure_ascii=False).encode() + b"\n"
        pidfd = os.pidfd_open(process.pid)
        drain_until = 0.0
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(pidfd, selectors.EVENT_READ, "exit")
                _register(selector, process)
                while not drain_until or time.monotonic() < drain_until:
                    for key, _ in selector.select(0.25):
                        if key.data == "exit":
                            drain_until = time.monotonic() + DRAIN_S
                            selector.unregister(pidfd)
                        elif key.data == "stdin":
                            pending = _feed(selector, process.stdin, pending)
                        elif not self._read(key.fd, key.data):
                            selector.unregister(key.fd)
                    if drain_until and not _is_reading(selector):
                        return
                    self._enforce(process.pid, deadline)
        finally:
            os.close(pidfd)

    def _enforce(self, pid: int, deadline: float) -> None:
        now = time.monotonic()
        if now > deadline:
            self.stop("timeout", f"Exceeded maximum run time ({self.call.timeout_s:g} seconds)")
        if not self._stop[0]:
            return
        if not self._terminated_at:
            self._terminated_at = now
            self.log.note(f"# {self._stop[1]}; the job is told to end.")
            signal_group(pid, signal.SIGTERM)
        elif now > self._terminated_at + KILL_AFTER_S:
            signal_group(pid, signal.SIGKILL)

    def _read(self, fd: int, stream: str) -> bool:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return True
        if stream == "stderr":
            self.log.write(data)
        elif data:
            self._parse(data)
        elif self._line:
            self._parse(b"\n")
        return bool(data)

    def _parse(self, data: bytes) -> None:
        *lines, rest = (self._line + data).split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
            else:
                self._parse_line(line)
        self._line = rest
        if len(rest) > MAX_LINE:
            if not self._skipping:
                self.log.note(f"# A report of more than {MAX_LINE} bytes was dropped.")
            self._line, self._skipping = b"", True

    def _parse_line(self, line: bytes) -> None:
        try:
            report = json.loads(line)
        except (ValueError, RecursionError):
            report = None
        if isinstance(report, dict):
            self.report.update({key: report[key] for key in REPORTED if key in report})
        elif line.strip():
            self.log.write(line + b"\n")

    def _result(self, exit_code: int) -> PluginResult:
        kind, reason = self._stop
        if kind:
            return PluginResult(1, f"Job Aborted: {reason}", self.report, kind)
        if not self.report.get("complete"):
            how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
            text = f"Process exited without reporting job completion ({how})"
            return PluginResult(1, text, self.report)
        code = self.report.get("code") or 0
        description = str(self.report.get("description") or "")
        if type(code) is not int:
            return PluginResult(1, description or f"The plugin reported code {code!r}", self.report)
        return PluginResult(code, description, self.report)


def _register(selector: selectors.BaseSelector, process: subprocess.Popen[bytes]) -> None:
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(process, name)
        os.set_blocking(stream.fileno(), False)
        event = selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ
        selector.register(stream.fileno(), event, name)


def _is_reading(selector: selectors.BaseSelector) -> bool:
    return any(key.data in ("stdout", "stderr") for key in selector.get_map().values())


def _feed(selector: selectors.BaseSelector, stdin: IO[bytes] | None, pending: bytes) -> bytes:
    if stdin is None:
        return b""
    try:
        pending = pending[os.write(stdin.fileno(), pending) :]
    except BlockingIOError:
        return pending
    except OSError:
        pending = b""  # the plugin closed its input, as it may
    if not pending:
        selector.unregister(stdin.fileno())
        _close(stdin)
    return pending


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        try:
            stream.close()
        except OSError:
            logger.debug("a plugin's pipe was closed by its other end")
