"""Attempts at runs: one thread each, from the plugin's start to the recorded outcome."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vixtract.ledger import runs
from vixtract.ledger.database import Database
from vixtract.ledger.slots import ABORTED, FAILED, SUCCEEDED
from vixtract.scheduler import settling
from vixtract.scheduler.config import EngineConfig
from vixtract.scheduler.embedded.plugin import JobLog, PluginCall, PluginProcess, PluginResult
from vixtract.scheduler.timing import get_zone

logger = logging.getLogger(__name__)

PLUGIN_WORDS: Mapping[str, str] = {"notebook": "notebook", "shellplug": "shell"}
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class JobIds:
    """Job ids that are unique and sort by time: j and the milliseconds in base 36."""

    def __init__(self, last: str = "") -> None:
        self._last = int(last[1:], 36) if last else 0
        self._lock = threading.Lock()

    def new(self, now: float) -> str:
        """Return an id greater than all before it, also when the clock was set back."""
        with self._lock:
            self._last = max(int(now * 1000), self._last + 1)
            number, text = self._last, ""
        while number:
            number, digit = divmod(number, 36)
            text = DIGITS[digit] + text
        return "j" + text.rjust(8, "0")


@dataclass
class Attempt:
    """One attempt at a run (a row of the ledger), while it lasts."""

    run: Mapping[str, Any]
    process: PluginProcess
    log: JobLog


class Jobs:
    """Starts attempts and records how they end.

    `on_end` is called after each attempt, when its place is free again.
    """

    def __init__(
        self,
        config: EngineConfig,
        database: Database,
        on_end: Callable[[], None],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.database = database
        self.active: dict[str, Attempt] = {}
        self._on_end = on_end
        self._clock = wall_clock
        self._threads: dict[str, threading.Thread] = {}
        self._guard = threading.Lock()
        self._log_dir = config.data_dir / "logs" / "jobs"
        self._log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)

    def log_path(self, run: str) -> Path:
        """Return the log file of a run."""
        return self._log_dir / f"{run}.log"

    def start(self, run: Mapping[str, Any]) -> None:
        """Start an attempt at a run that was marked running; returns at once."""
        call = PluginCall(
            (*self.config.plugin_command, PLUGIN_WORDS[run["job"]["plugin"]]),
            {**self.config.plugin_environment, "JOB_ID": run["id"], "JOB_EVENT": run["event"]},
            self._message(run),
            run["job"]["timeout"] or self.config.job_timeout_s,
        )
        log = JobLog(self.log_path(run["id"]), self.config.log_limit)
        attempt = Attempt(run, PluginProcess(call, log), log)
        thread = threading.Thread(target=self._work, args=(attempt,), name=run["id"], daemon=True)
        self.active[run["id"]] = attempt
        self._threads[run["id"]] = thread
        thread.start()

    def stop(self, run: str, kind: str, reason: str) -> bool:
        """Ask a running attempt to end; return whether there is one."""
        with self._guard:
            attempt = self.active.get(run)
            if attempt is not None:
                attempt.process.stop(kind, reason)
            return attempt is not None

    def stop_all(self, reason: str, timeout_s: float) -> bool:
        """End all attempts, because the engine stops; return whether all ended in time."""
        deadline = time.monotonic() + timeout_s
        for run in list(self.active):
            self.stop(run, "shutdown", reason)
        for thread in list(self._threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))
        return not self.active

    def _message(self, run: Mapping[str, Any]) -> dict[str, Any]:
        job = run["job"]
        return {
            "id": run["id"],
            "event": run["event"],
            "event_title": job["title"],
            "category": job["category"],
            "target": job["target"],
            "plugin": job["plugin"],
            "params": job["params"],
            "username": run["username"],
            "source": run["source"],
            "now": run["due_at"] or int(run["queued_at"]),
            "time_start": run["time_start"],
            "timezone": job["timezone"],
            "timeout": job["timeout"] or self.config.job_timeout_s,
            "retries": job["retries"],
            "attempt": run["attempt"] + run["crashes"],
            "hostname": socket.gethostname(),
            "log_file": str(self.log_path(run["id"])),
        }

    def _work(self, attempt: Attempt) -> None:
        run = attempt.run
        try:
            _write_header(attempt, self._clock())
            result = attempt.process.run(
                lambda pid, start: runs.mark_started(self.database, run["id"], pid, start)
            )
            self._conclude(attempt, result)
        except Exception:
            # The run stays `running` on record; the reconciler gives it its outcome.
            logger.exception("attempt at job %s broke", run["id"])
        finally:
            attempt.log.close()
            with self._guard:
                self.active.pop(run["id"], None)
            self._honour_late_abort(attempt)
            self._threads.pop(run["id"], None)
            self._on_end()

    def _honour_late_abort(self, attempt: Attempt) -> None:
        """Abort a run whose process had just ended when it was asked to, if it is to go on."""
        if attempt.process.stopped_by == "abort":
            ended = runs.Outcome(ABORTED, 1, "Job Aborted", self._clock())
            runs.finish_run(self.database, attempt.run["id"], ended)

    def _conclude(self, attempt: Attempt, result: PluginResult) -> None:
        """Record what an attempt led to: an outcome, a further attempt, or a place in the queue."""
        run, job, now = attempt.run, attempt.run["job"], self._clock()
        if result.stopped_by == "shutdown" and settling.may_run_again(run, 0):
            attempt.log.note("# The scheduler stops; this slot is run again when it is back.")
            runs.requeue_run(self.database, run["id"], crashed=False)
            return
        outcome = settling.judge(result.code, stopped=result.stopped_by in ("abort", "shutdown"))
        if outcome == FAILED and not result.stopped_by and run["attempt"] <= job["retries"]:
            attempt.log.note(
                f"# Attempt {run['attempt']} failed with code {result.code}: {result.description}\n"
                f"# The next one starts in {job['retry_delay']} s."
            )
            runs.mark_waiting(self.database, run["id"], now + job["retry_delay"])
            return
        word = {SUCCEEDED: "completed", FAILED: "failed", ABORTED: "was aborted"}[outcome]
        detail = f": {result.description}" if result.description else ""
        attempt.log.note(f"# Job {word} (code {result.code}){detail}")
        ended = runs.Outcome(outcome, result.code, result.description, now, result.report)
        runs.finish_run(self.database, run["id"], ended)


def _write_header(attempt: Attempt, now: float) -> None:
    run, job = attempt.run, attempt.run["job"]
    number = run["attempt"] + run["crashes"]
    if number > 1:
        attempt.log.note(f"# Attempt {number}")
        return
    when = datetime.fromtimestamp(now, get_zone(job["timezone"])).isoformat(" ", "seconds")
    attempt.log.note(
        f"# Job ID: {run['id']}\n# Event: {job['title']} ({run['event']})\n"
        f"# Started: {when} {job['timezone']} by {run['source']}"
    )
