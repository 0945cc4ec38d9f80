"""The process of one job: claims the slot, waits for one of MAX_JOBS places, asks the runner.

One line of JSON on standard input, JSON lines on standard output, the job's own output on standard
error. Runs under the engine's account.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vixtract.cronicle_edge import claims, paths
from vixtract.cronicle_edge.plugins import escape_line
from vixtract.errors import VixtractError
from vixtract.ledger.database import Database
from vixtract.processes.spawn import end_with_parent
from vixtract.processes.tree import is_ending
from vixtract.runner.plugin import Plugin, write_line
from vixtract.runner.protocol import CODE_ABORTED, SOCKET, WORKERS
from vixtract.scheduler.settling import GOOD_CODES

_POLL_S = 0.25
_DYING_S = 0.5


class Job:
    """A job that Cronicle started, of kind `notebook` or `shell`."""

    def __init__(self, kind: str, job: Mapping[str, Any], database: Database) -> None:
        self._job = dict(job)
        self._database = database
        self._parent = os.getppid()
        self._is_stopped = False
        self._end: dict[str, Any] = {}
        socket_path = Path(os.environ.get("RUNNER_SOCKET") or SOCKET)
        self._plugin = Plugin(kind, socket_path, self._report)

    def run(self) -> None:
        """Run it and record how it ended."""
        signal.signal(signal.SIGTERM, self._stop)
        # No job outlives the engine unseen.
        end_with_parent()
        decision = claims.begin(self._database, self._job, os.getpid())
        if decision.refusal:
            self._say({"complete": 1, "code": 0, "description": decision.refusal})
            return
        self._job["username"] = decision.event.username
        is_here = self._job.get("target") != WORKERS
        limit = max(1, int(os.environ["MAX_JOBS"]))
        # A run that is not admitted here waits for a place on a worker, in the runner.
        if is_here and self._wait_for_place(limit) is None:
            self._end = {"complete": 1, "code": CODE_ABORTED, "description": "Aborted."}
        else:
            self._plugin.run(json.dumps(self._job))
        self._record()
        self._say(self._end)

    def _stop(self, *_: object) -> None:
        self._is_stopped = True

    def _report(self, line: Mapping[str, Any]) -> None:
        if line.get("complete"):
            self._end = dict(line)
        else:
            self._say(line)

    def _say(self, line: Mapping[str, Any]) -> None:
        # The engine may be gone; the ledger has the outcome.
        with contextlib.suppress(OSError):
            write_line(escape_line(line, str(self._job["id"])))

    def _record(self) -> None:
        stopped = self._is_stopped or self._plugin.is_stopped
        identifier = str(self._job["id"])
        if self._end.get("complete") and int(self._end.get("code") or 0) in GOOD_CODES:
            # It had finished its work when the signal came.
            claims.finish(self._database, self._job, self._end, stopped=False)
        elif stopped and self._is_engine_gone():
            claims.cut_off(self._database, identifier, crashed=True)
        elif stopped and paths.STOPPING.exists():
            claims.cut_off(self._database, identifier, crashed=False)
        else:
            claims.finish(self._database, self._job, self._end, stopped=stopped)

    def _is_engine_gone(self) -> bool:
        """Return whether the signal came because the engine died, not from the engine."""
        limit = time.monotonic() + _DYING_S
        while time.monotonic() < limit:
            if os.getppid() != self._parent or is_ending(self._parent):
                return True
            time.sleep(0.05)
        return False

    def _wait_for_place(self, count: int) -> int | None:
        """Wait for one of MAX_JOBS places; return its locked descriptor, or None when stopped."""
        paths.JOB_LOCKS.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_told = False
        while not self._is_stopped:
            for number in range(count):
                descriptor = os.open(
                    paths.JOB_LOCKS / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
                )
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                else:
                    return descriptor
            if not is_told:
                is_told = True
                self._say(
                    {"progress": 0, "memo": f"waits: {count} jobs run, the appliance's limit"}
                )
            time.sleep(_POLL_S)
        return None


def main() -> int:
    """Run as a plugin: the only argument is the kind of job."""
    if len(sys.argv) != 2 or sys.argv[1] not in ("notebook", "shell"):
        sys.stderr.write("Usage: python -m vixtract.cronicle_edge.job notebook|shell\n")
        return 2
    os.umask(0o077)
    try:
        job = json.loads(sys.stdin.readline())
        database = Database(paths.LEDGER)
        Job(sys.argv[1], job, database).run()
    except (VixtractError, ValueError) as error:
        text = getattr(error, "message", "No job came on standard input.")
        write_line({"complete": 1, "code": 1, "description": text})
    return 0


if __name__ == "__main__":
    sys.exit(main())
