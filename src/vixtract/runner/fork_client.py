"""The daemon's side of the fork server: starts it, keeps it running, hands connections over."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
import subprocess
import time
from typing import Any

from vixtract.processes import tree
from vixtract.processes.questions import encode, parse_object
from vixtract.runner.config import RunnerConfig

log = logging.getLogger(__name__)

# Slow while the machine starts everything at once; runs start cold until then.
_READY_S = 600.0
_ANSWER_S = 10.0
_FIRST_BACK_OFF_S = 1.0
_LONGEST_BACK_OFF_S = 60.0
_STABLE_S = 60.0


class ForkServer:
    """Root's process that has imported the image's libraries and forks supervisors from itself.

    Where it is not there (starting, ended, switched off) the daemon forks supervisors itself, and
    runs start cold.
    """

    def __init__(self, config: RunnerConfig) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._is_ready = False
        self._ended: dict[int, int] = {}
        self._started = 0.0
        self._next_start = 0.0
        self._back_off_s = _FIRST_BACK_OFF_S

    @property
    def pid(self) -> int:
        """Its process id; 0 where it does not run."""
        return self._process.pid if self._process else 0

    def keep(self) -> None:
        """Start it if it does not run, and check whether it is ready."""
        if not self._config.fork_server:
            return
        now = time.monotonic()
        if self._process is None:
            if now >= self._next_start:
                self._start()
        elif not self._is_ready:
            self._look()
            if not self._is_ready and now - self._started > _READY_S:
                log.error("The fork server is not ready after %.0f s", _READY_S)
                self.kill()

    def ended(self, code: int) -> None:
        """Record that its process has ended; the daemon has collected it."""
        stable = time.monotonic() - self._started > _STABLE_S
        self._back_off_s = (
            _FIRST_BACK_OFF_S if stable else min(self._back_off_s * 2, _LONGEST_BACK_OFF_S)
        )
        log.error(
            "The fork server ended with code %s; runs start cold, it again in %.0f s",
            code,
            self._back_off_s,
        )
        if self._process is not None:
            self._process.returncode = code
        self._listen()
        if self._control is not None:
            self._control.close()
        self._process = self._control = None
        self._is_ready = False
        self._next_start = time.monotonic() + self._back_off_s

    def hand_over(self, connection: socket.socket) -> int | None:
        """Have a supervisor forked for a connection.

        Returns: the supervisor's process id; 0 if none was started; None if that is unknown, and
            the connection must not be used.
        """
        if not self._is_ready or self._control is None:
            return 0
        try:
            socket.send_fds(self._control, [encode({"do": "supervise"})], [connection.fileno()])
        except OSError:
            self.kill()
            return 0
        self._control.settimeout(_ANSWER_S)
        answer: dict[str, Any] = {}
        with contextlib.suppress(OSError):
            answer = self._receive(self._control)
        if "pid" not in answer:
            self.kill()
            return None
        return max(int(answer["pid"]), 0)

    @property
    def sockets(self) -> list[socket.socket]:
        """Sockets that become readable when supervisors have ended."""
        return [self._control] if self._control is not None and self._is_ready else []

    def collect(self) -> dict[int, int]:
        """Return the supervisors that have ended and their exit codes.

        After the fork server's end they are this process's children: `tree.reap` has them.
        """
        if self._is_ready:
            self._listen()
        ended, self._ended = self._ended, {}
        return ended

    def _listen(self) -> None:
        """Read the messages that have arrived."""
        if self._control is None:
            return
        self._control.setblocking(False)
        with contextlib.suppress(OSError):
            while self._receive(self._control):
                continue

    def _receive(self, control: socket.socket) -> dict[str, Any]:
        """Return the next message; ends of supervisors are stored, not returned."""
        while "ended" in (message := parse_object(control.recv(256))):
            self._ended[message["ended"]] = message["code"]
        return message

    def kill(self) -> None:
        """End it; `keep` starts it again."""
        self._is_ready = False
        if self._process is not None:
            tree.kill(self._process.pid)

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader, writer = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*self._config.fork_server, str(theirs.fileno()), str(reader)],
                pass_fds=(theirs.fileno(), reader),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            log.error("The fork server cannot be started: %s", error)
            ours.close()
            os.close(writer)
            self._next_start = time.monotonic() + _LONGEST_BACK_OFF_S
            return
        finally:
            theirs.close()
            os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(self._config, pipe)
        self._control = ours
        self._started = time.monotonic()

    def _look(self) -> None:
        assert self._control is not None
        self._control.setblocking(False)
        try:
            self._is_ready = parse_object(self._control.recv(256)).get("ready") is True
        except OSError:
            return
        if self._is_ready:
            log.info("The fork server is ready after %.1f s", time.monotonic() - self._started)
