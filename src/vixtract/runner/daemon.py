"""The runner daemon: the only root process of the job container that touches people's work.

The engine's plugins connect to its unix socket, and each gets a supervisor, a process of its own:
what could take long or fail happens there.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from vixtract.errors import PreconditionError, VixtractError
from vixtract.processes import tree
from vixtract.processes.server import Peer, QuestionServer, ServerConfig
from vixtract.processes.spawn import set_subreaper
from vixtract.runner import accounts, supervisor
from vixtract.runner.config import RunnerConfig, load_config
from vixtract.runner.fork_client import ForkServer
from vixtract.runner.workspace import make_owner_directories, remove_leftovers

log = logging.getLogger(__name__)

# Connections that only root may have, beyond those of the engine.
_SPARE_CHILDREN = 4
_STOP_S = 6.0
_ORPHANS_S = 10.0
_SETTLED_NS = 5_000_000_000


class Runner(QuestionServer):
    """Starts a supervisor for each connection until it is told to stop."""

    def __init__(self, config: RunnerConfig) -> None:
        super().__init__(
            ServerConfig(
                config.socket_path,
                gid=config.engine_gid,
                uids=frozenset({config.engine_uid, 0}),
                max_children=config.max_connections + _SPARE_CHILDREN,
                max_of_account=config.max_connections,
                # A run has a time limit of its own.
                answer_s=0,
            )
        )
        self._config = config
        self._orphans_until = 0.0
        self._lock = -1
        self._homes_changed = 0
        self._left: set[tuple[str, int]] = set()
        self._fork_server = ForkServer(config)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then give the runs a moment to record their end."""
        if os.geteuid() != 0:
            raise PreconditionError("The runner must be root's.", "The entrypoint starts it.")
        # Orphans of a supervisor that was killed come here and are killed too.
        set_subreaper()
        remove_leftovers(self._config.tmp_root)
        self._lock = take_lock(self._config)
        super().run()

    def tend(self) -> None:
        """Keep the fork server running, and make run directories for new people."""
        # More than once: a process that dies meanwhile leaves others.
        if time.monotonic() < self._orphans_until:
            self._kill_orphans()
        self._fork_server.keep()
        try:
            changed = self._config.home_root.stat().st_mtime_ns
        except OSError:
            return
        if changed != self._homes_changed:
            # First, because a new person may have the name of a removed one.
            accounts.tidy(self._config.home_root, self._config.runs_root, self._left)
            make_owner_directories(self._config)
            # A home gets its owner shortly after it is made: check again until it is settled.
            if time.time_ns() - changed > _SETTLED_NS:
                self._homes_changed = changed

    @property
    def sources(self) -> list[socket.socket]:
        """The fork server's socket."""
        return self._fork_server.sockets

    def refusal(self, reason: str) -> Mapping[str, Any]:
        """Return the event that a refused plugin gets; `busy` says that a later try may do."""
        texts = {
            "stranger": "Only the scheduler may talk to the runner.",
            "busy": f"The runner has {len(self.children)} runs, its limit.",
            "no process": "The runner has no room for a process.",
        }
        refused = {"type": "refused", "description": texts[reason], "hint": "Try later."}
        return {**refused, "busy": reason != "stranger"}

    def start_child(self, connection: socket.socket, peer: Peer) -> int | None:
        """Start the supervisor of a connection, in the fork server where it is ready."""
        pid = self._fork_server.hand_over(connection)
        return super().start_child(connection, peer) if pid == 0 else pid

    def answer(self, connection: socket.socket, peer: Peer) -> None:
        """Supervise a run; this process has been forked for it."""
        os.setpgid(0, 0)
        # A lock is shared with forked processes: one that outlives the daemon must not hold it.
        os.close(self._lock)
        supervisor.serve(connection, self._config)

    def ended(self) -> Mapping[int, int]:
        """Collect what has ended, the fork server and its supervisors included."""
        ended = {**self._fork_server.collect(), **tree.reap()}
        if self._fork_server.pid in ended:
            self._fork_server.ended(ended.pop(self._fork_server.pid))
        return ended

    def child_ended(self, pid: int, code: int) -> None:
        """Take note of a supervisor that failed: its run is to be ended."""
        if code:
            log.error("The supervisor %s ended with code %s", pid, code)
            self._orphans_until = time.monotonic() + _ORPHANS_S

    def stop(self) -> None:
        """Have the supervisors end their runs, and kill what is left."""
        self._fork_server.kill()
        for pid in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        limit = time.monotonic() + _STOP_S
        while self.children and time.monotonic() < limit:
            self.collect()
            time.sleep(0.05)
        for pid in self.children:
            for process in (*tree.descendants(pid), pid):
                tree.kill(process)

    def _kill_orphans(self) -> None:
        """End what a killed supervisor left: its processes have become the daemon's children."""
        children = [pid for pid in tree.descendants(os.getpid()) if tree.parent(pid) == os.getpid()]
        for orphan in {*children} - {*self.children, self._fork_server.pid}:
            for pid in (orphan, *tree.descendants(orphan)):
                tree.kill(pid)


def take_lock(config: RunnerConfig) -> int:
    """Make the socket's directory, and return the descriptor of the lock of its only daemon.

    Raises:
        PreconditionError: another daemon runs already.
    """
    directory = config.socket_path.parent
    directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    os.chown(directory, 0, config.engine_gid)
    directory.chmod(0o750)
    lock = os.open(directory / "runner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise PreconditionError("Another runner listens already.", "Stop it first.") from None
    return lock


def main() -> int:
    """Run the daemon with the container's settings."""
    logging.basicConfig(level=logging.INFO, format="runner: %(levelname)s: %(message)s")
    try:
        Runner(load_config(os.environ)).run()
    except VixtractError as error:
        log.error("%s %s", error.message, error.hint)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
