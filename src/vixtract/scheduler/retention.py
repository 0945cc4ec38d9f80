"""Deleting old runs: rows and logs here, folders through the runner, which alone may.

What is deleted in the ledger and what is deleted on disk can be cut apart by a crash or by a runner
that is away; the ledger's table `trash` holds what is still to do.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from vixtract.ledger.database import Database
from vixtract.ledger.history import delete_old_runs, empty_trash, list_trash
from vixtract.processes.questions import UnansweredError, ask
from vixtract.scheduler.api import FOREVER_DAYS
from vixtract.scheduler.config import EngineConfig

logger = logging.getLogger(__name__)

EVERY_S = 3600.0
# A thousand folders an hour would not keep up with a busy appliance; what is left goes soon.
AGAIN_S = 60.0
ANSWER_S = 60.0
STOP_S = 2.0


class Retention:
    """Keeps the archive within its limits; `log_path` returns the log of a run id."""

    def __init__(
        self,
        config: EngineConfig,
        database: Database,
        log_path: Callable[[str], Path],
        wall_clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._database = database
        self._log_path = log_path
        self._now = wall_clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="retention", daemon=True)

    def start(self) -> None:
        """Start deleting in a thread of its own: the runner may take its time."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; a request to the runner that takes longer than STOP_S is given up."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def _loop(self) -> None:
        # Never right after start: a machine may boot with a wrong date until it is corrected.
        pause = EVERY_S
        while not self._stopping.wait(pause):
            try:
                deleted = self.delete()
                pause = AGAIN_S if self.remove_folders() or deleted else EVERY_S
            except Exception:
                logger.exception("old runs were not deleted; the next try is in %g s", EVERY_S)
                pause = EVERY_S

    def delete(self) -> int:
        """Delete rows and logs of old runs; return how many."""
        days = self._config.keep_days or FOREVER_DAYS
        before = self._now() - days * 86400
        deleted = delete_old_runs(self._database, before, self._config.keep_runs)
        for run in deleted:
            self._log_path(run).unlink(missing_ok=True)
        return len(deleted)

    def remove_folders(self) -> bool:
        """Have the runner delete a block of folders; return whether some are left for later."""
        for run, owner in list_trash(self._database):
            if self._stopping.is_set():
                return True
            try:
                answer = ask(
                    self._config.runner_socket,
                    {"kind": "remove", "job": run, "owner": owner, "author": "vixtract"},
                    timeout_s=ANSWER_S,
                )
            except UnansweredError as error:
                logger.info("folders of old runs are not deleted for now: %s", error.message)
                return False
            if answer.get("busy"):
                return True
            if answer.get("type") == "refused":
                logger.warning("the folder of run %s stays: %s", run, answer.get("description"))
            empty_trash(self._database, run)
        return bool(list_trash(self._database, 1))
