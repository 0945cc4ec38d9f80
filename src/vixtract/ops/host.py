"""The machine that the command runs on: the only module that starts programs.

Every program is given as a list of arguments and has a deadline. Nothing here prints: output goes
to the caller or line by line to a callback. Tests put another `Host` in its place.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vixtract.errors import VixtractError

#: Lines of a long program's output that are kept for a report of its failure.
KEPT_LINES = 200


class CommandError(VixtractError):
    """A program could not be run, failed, or did not end in time."""


@dataclass(frozen=True)
class Completed:
    """The outcome of a program.

    Args:
        returncode: its exit code; 127 when it was not found, 124 when it was ended at its deadline.
        stdout: standard output; for streamed programs the last lines of both outputs.
        stderr: standard error; empty for streamed programs.
    """

    returncode: int
    stdout: str
    stderr: str = ""

    @property
    def ok(self) -> bool:
        """Whether the program ended with exit code 0."""
        return self.returncode == 0

    @property
    def last_line(self) -> str:
        """The last line that is not empty, of standard error where it has one."""
        for text in (self.stderr, self.stdout):
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            if lines:
                return lines[-1]
        return f"exit code {self.returncode}"

    def require(self, error: type[VixtractError], message: str, hint: str) -> str:
        """Return standard output; where the program failed, raise an error with its last line."""
        if not self.ok:
            raise error(f"{message}: {self.last_line[:300]}", hint)
        return self.stdout


class Host:
    """Runs programs and looks at the machine.

    Args:
        root: top of the file system that is looked at; another one only in tests.
    """

    def __init__(
        self, root: Path = Path("/"), environment: Mapping[str, str] | None = None
    ) -> None:
        self.root = root
        self.environment = dict(os.environ if environment is None else environment)

    def which(self, name: str) -> str:
        """Return the full path of a program, or an empty text."""
        path = self.environment.get("PATH", "") + ":/usr/sbin:/sbin"
        return shutil.which(name, path=path) or ""

    def is_root(self) -> bool:
        """Whether this process may change the machine."""
        return os.geteuid() == 0

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def clock(self) -> float:
        """Return seconds of a clock that never jumps."""
        return time.monotonic()

    def _variables(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        return {**self.environment, **(extra or {})}

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        environment: Mapping[str, str] | None = None,
        input_text: str = "",
    ) -> Completed:
        """Run a short program and keep its output; `environment` is added to the own variables."""
        try:
            done = subprocess.run(
                list(argv),
                input=input_text,
                capture_output=True,
                check=False,
                encoding="utf-8",
                errors="replace",
                timeout=timeout_s,
                env=self._variables(environment),
            )
        except FileNotFoundError:
            return Completed(127, "", f"{argv[0]}: program not found")
        except subprocess.TimeoutExpired:
            return Completed(124, "", f"{argv[0]} did not answer within {timeout_s:.0f} s")
        return Completed(done.returncode, done.stdout, done.stderr)

    def stream(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        on_line: Callable[[str], None],
        first_line_s: float = 0.0,
        environment: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a long program and hand over its output line by line.

        Args:
            on_line: called with each line of standard output and standard error.
            first_line_s: seconds within which the first line must come; 0 means no limit.
        Returns: exit code and last lines, see `Completed`.
        """
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                env=self._variables(environment),
                # A process group of its own can be ended as a whole at the deadline.
                start_new_session=True,
            )
        except FileNotFoundError:
            return Completed(127, f"{argv[0]}: program not found")
        assert process.stdout is not None
        lines = _lines_of(process.stdout)
        kept: deque[str] = deque(maxlen=KEPT_LINES)
        end = self.clock() + timeout_s
        limit = min(end, self.clock() + first_line_s) if first_line_s else end
        try:
            while True:
                line = lines.get(timeout=max(0.01, limit - self.clock()))
                if line is None:
                    return Completed(process.wait(timeout=30), "\n".join(kept))
                limit = end
                kept.append(line)
                on_line(line)
        except (queue.Empty, subprocess.TimeoutExpired):
            kept.append(f"{argv[0]} was ended at its deadline")
            return Completed(124, "\n".join(kept))
        finally:
            _end_group(process)

    def attach(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> int:
        """Run a program on the person's own terminal.

        Returns: its exit code; 127 when it was not found, 124 at the deadline.
        """
        try:
            done = subprocess.run(
                list(argv),
                check=False,
                timeout=timeout_s,
                env=self._variables(environment),
                cwd=directory,
            )
        except FileNotFoundError:
            return 127
        except subprocess.TimeoutExpired:
            return 124
        return done.returncode

    def spawn(self, argv: Sequence[str], log: Path) -> Callable[[], int | None]:
        """Start a program that outlives this one and appends its output to a log.

        Returns: a function that returns its exit code, or None while it runs.
        """
        with log.open("ab") as output:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        return process.poll


def _lines_of(stream: IO[str]) -> queue.Queue[str | None]:
    """Read a stream in a thread, so that waiting for a line can have a deadline."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        with stream:
            for line in stream:
                lines.put(line.rstrip("\n"))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _end_group(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        return
