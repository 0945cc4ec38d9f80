"""Keeps the processes of one container running until the container is told to stop."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vixtract.errors import PreconditionError, VixtractError
from vixtract.processes.spawn import start_service

log = logging.getLogger("vixtract.containers")

PERIOD_S = 0.2
SHORTEST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
KILLED_S = 5.0


def do_nothing() -> None:
    """Stand for a step that a service does not need."""


@dataclass(frozen=True)
class Service:
    """A process that is kept running.

    Args:
        uid: account and group; None leaves the process root's.
        stop_s: seconds that it gets to end after SIGTERM.
        stable_s: a process that ran for longer is started again at once when it ends.
        after_end: called after each end that was not asked for.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    uid: int | None = None
    stop_s: float = 8.0
    stable_s: float = 20.0
    cwd: Path = Path("/")
    umask: int = 0o077
    before_start: Callable[[], None] = do_nothing
    after_end: Callable[[], object] = do_nothing


class _Kept:
    """The process of one service, and when it is started next."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause_s = SHORTEST_PAUSE_S
        self._next_start = 0.0

    def keep(self) -> None:
        """Start the process if it is not there, later each time it ended early."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._next_start:
                self._start(now)
        elif (code := self._process.poll()) is not None:
            self._process = None
            self._wait(now, f"ended with {describe_exit(code)}")
            self.service.after_end()

    def _start(self, now: float) -> None:
        service = self.service
        service.before_start()
        self._started = now
        try:
            self._process = start_service(
                service.command,
                service.environment,
                service.uid,
                cwd=service.cwd,
                umask=service.umask,
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._wait(now, f"could not be started: {error}")

    def _wait(self, now: float, what: str) -> None:
        is_stable = now - self._started > self.service.stable_s
        self._pause_s = SHORTEST_PAUSE_S if is_stable else min(self._pause_s * 2, LONGEST_PAUSE_S)
        self._next_start = now + self._pause_s
        log.error("The %s %s; starting again in %.1f s", self.service.name, what, self._pause_s)

    def stop(self) -> None:
        """End the process: by SIGTERM, then by SIGKILL."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(self.service.stop_s)
        except subprocess.TimeoutExpired:
            log.error(
                "The %s did not end in %.0f s and is killed",
                self.service.name,
                self.service.stop_s,
            )
            self._process.kill()
            self._wait_killed(self._process)

    def _wait_killed(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(KILLED_S)
        except subprocess.TimeoutExpired:
            log.error("The %s does not end, not even by SIGKILL", self.service.name)


class ServiceKeeper:
    """Starts services, starts them again when they end, and stops them by SIGTERM or SIGINT.

    Args:
        services: in the order of their start; they are stopped in the opposite order.
        on_period: called several times a second while the services run.
        before_stop: called once before the services are stopped.
    """

    def __init__(
        self,
        services: tuple[Service, ...],
        *,
        on_period: Callable[[], None] = do_nothing,
        before_stop: Callable[[], None] = do_nothing,
        after_stop: Callable[[], object] = do_nothing,
    ) -> None:
        self._kept = [_Kept(service) for service in services]
        self._on_period = on_period
        self._before_stop = before_stop
        self._after_stop = after_stop
        self._is_stopping = False

    def run(self) -> int:
        """Keep the services running until a signal comes; return the container's exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        while not self._is_stopping:
            for kept in self._kept:
                # Asked again for each: a service that starts now would only delay the stop.
                if not self._is_stopping:
                    kept.keep()
            self._on_period()
            time.sleep(PERIOD_S)
        log.info("Stopping")
        self._before_stop()
        for kept in reversed(self._kept):
            kept.stop()
        self._after_stop()
        return 0

    def _ask_to_stop(self, *_: object) -> None:
        self._is_stopping = True


def run_container(build: Callable[[], ServiceKeeper]) -> int:
    """Be a container's main process; return 0 after a stop, 3 or more where it cannot start."""
    logging.basicConfig(
        level=logging.INFO, format="[%(levelname).1s %(asctime)s %(name)s] %(message)s"
    )
    try:
        keeper = build()
    except VixtractError as error:
        sys.stderr.write(f"{error.message}\n{error.hint}\n")
        return max(error.exit_code, PreconditionError.exit_code)
    return keeper.run()


def describe_exit(code: int) -> str:
    """Return the words for a return code of subprocess: `code 1` or `SIGKILL`."""
    # Not every signal has a name.
    names = (number.name for number in signal.Signals if number == -code)
    return f"code {code}" if code >= 0 else next(names, f"signal {-code}")
