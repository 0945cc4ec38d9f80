"""The runner daemon: the only root process of the job container that touches people's work.

Listens on a unix socket for the engine's plugins and forks one supervisor per connection. What
could take long or fail happens in the supervisors.
"""

from __future__ import annotations

import dataclasses
import fcntl
import logging
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping

from vixtract.errors import PreconditionError, VixtractError
from vixtract.processes import tree
from vixtract.processes.spawn import set_subreaper
from vixtract.runner import leavers, supervisor
from vixtract.runner.account import ensure_account
from vixtract.runner.config import FORK_SERVER, RunnerConfig, is_root
from vixtract.runner.fork_client import ForkServer
from vixtract.runner.protocol import encode
from vixtract.runner.workspace import make_owner_directories, remove_leftovers
from vixtract.settings import Settings, build_people_environment, read_workers

log = logging.getLogger(__name__)

_STOP_S = 6.0
_ORPHANS_S = 10.0
_SETTLED_NS = 5_000_000_000


class Runner:
    """Accepts connections until it is told to stop.

    Args:
        config: places and limits.
    """

    def __init__(self, config: RunnerConfig) -> None:
        self._config = config
        self._supervisors: set[int] = set()
        self._wants_stop = False
        self._orphans_until = 0.0
        self._lock = -1
        self._homes_changed = 0
        self._left: set[tuple[str, int]] = set()
        self._fork_server = ForkServer(config)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then give the runs a moment to record their end."""
        if not is_root():
            raise PreconditionError("The runner must be root's.", "The entrypoint starts it.")
        # Orphans of a supervisor that was killed come here and are killed too.
        set_subreaper()
        remove_leftovers(self._config.tmp_root)
        self._lock = take_lock(self._config)
        listener = open_listener(self._config)
        signals = self._catch_signals()
        log.info("Listening on %s", self._config.socket_path)
        try:
            while not self._wants_stop:
                self._collect()
                self._fork_server.keep()
                self._welcome()
                sources = [listener, signals, *self._fork_server.sockets]
                ready, _, _ = select.select(sources, [], [], 1.0)
                if signals in ready:
                    signals.recv(4096)
                if listener in ready:
                    self._accept(listener)
        finally:
            listener.close()
            self._config.socket_path.unlink(missing_ok=True)
            self._stop()

    def _welcome(self) -> None:
        """Make run directories when somebody came: the directory of homes has changed then."""
        try:
            changed = self._config.home_root.stat().st_mtime_ns
        except OSError:
            return
        if changed != self._homes_changed:
            # First: a new person may have the name of one who left.
            leavers.tidy(self._config.home_root, self._config.runs_root, self._left)
            make_owner_directories(self._config)
            # A home gets its owner a moment after it is made: look again until it is settled.
            if time.time_ns() - changed > _SETTLED_NS:
                self._homes_changed = changed

    def _catch_signals(self) -> socket.socket:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._waker = writer
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return reader

    def _ask_to_stop(self, *_: object) -> None:
        self._wants_stop = True

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            # Out of descriptors, or the peer was gone already: neither may end the loop.
            log.warning("A connection could not be accepted: %s", error)
            time.sleep(0.05)
            return
        with connection:
            if peer_uid(connection) not in (self._config.engine_uid, 0):
                _refuse(connection, "Only the scheduler may talk to the runner.")
            elif len(self._supervisors) >= self._config.max_connections:
                _refuse(connection, f"The runner has {len(self._supervisors)} runs, its limit.")
            else:
                self._supervise(connection, listener)

    def _supervise(self, connection: socket.socket, listener: socket.socket) -> None:
        pid = self._fork_server.hand_over(connection)
        if pid is None:
            _refuse(connection, "The runner has no room for a process.")
        elif pid:
            self._supervisors.add(pid)
        else:
            self._fork(connection, listener)

    def _fork(self, connection: socket.socket, listener: socket.socket) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            _refuse(connection, f"The runner cannot start a process: {error.strerror}.")
            return
        if pid:
            self._supervisors.add(pid)
            return
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.setpgid(0, 0)
            listener.close()
            # A lock is shared with forked processes: one that outlives the daemon must not hold it.
            os.close(self._lock)
            supervisor.serve(connection, self._config)
        except BaseException:
            log.exception("A supervisor failed")
            os._exit(1)
        finally:
            os._exit(0)

    def _collect(self) -> None:
        for pid, code in {**self._fork_server.collect(), **tree.reap()}.items():
            if pid == self._fork_server.pid:
                self._fork_server.ended(code)
            elif pid in self._supervisors:
                self._supervisors.discard(pid)
                if code:
                    log.error("The supervisor %s ended with code %s", pid, code)
                    self._orphans_until = time.monotonic() + _ORPHANS_S
        # More than once: a process that dies meanwhile leaves others.
        if time.monotonic() < self._orphans_until:
            self._kill_orphans()

    def _kill_orphans(self) -> None:
        """End what a killed supervisor left: its processes have become the daemon's children."""
        children = [pid for pid in tree.descendants(os.getpid()) if tree.parent(pid) == os.getpid()]
        for orphan in set(children) - self._supervisors - {self._fork_server.pid}:
            for pid in (orphan, *tree.descendants(orphan)):
                tree.kill(pid)

    def _stop(self) -> None:
        self._fork_server.kill()
        for pid in self._supervisors:
            _send(pid, signal.SIGTERM)
        limit = time.monotonic() + _STOP_S
        while self._supervisors and time.monotonic() < limit:
            self._collect()
            time.sleep(0.05)
        for pid in self._supervisors:
            for process in (*tree.descendants(pid), pid):
                tree.kill(process)


def take_lock(config: RunnerConfig) -> int:
    """Make the socket's directory and be the only daemon in it.

    Args:
        config: the daemon's.
    Returns: descriptor that holds the lock.
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


def open_listener(config: RunnerConfig) -> socket.socket:
    """Open the socket, in place of one that an earlier daemon left.

    Args:
        config: the daemon's; the lock on the socket's directory must be held.
    """
    path = config.socket_path
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old_mask = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(old_mask)
    os.chown(path, 0, config.engine_gid)
    listener.listen(128)
    listener.setblocking(False)
    return listener


def peer_uid(connection: socket.socket) -> int:
    """Return the uid of the process at the other end, as the kernel noted it at connect."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def _refuse(connection: socket.socket, text: str) -> None:
    connection.setblocking(False)
    try:
        connection.send(encode({"type": "refused", "description": text, "hint": "Try later."}))
    except OSError:
        log.info("Refused, and the peer did not listen: %s", text)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def load_config(environment: Mapping[str, str]) -> RunnerConfig:
    """Read the configuration of the runner of an appliance or of a worker.

    Args:
        environment: usually ``os.environ``; RUNNER_IS_WORKER is in it on a worker.
    Raises:
        SettingsError: a setting is missing or wrong.
    """
    is_worker = bool(environment.get("RUNNER_IS_WORKER"))
    process = "worker-runner" if is_worker else "appliance-runner"
    settings = Settings.for_process(process, environment)
    config = RunnerConfig(
        memory_mb=settings.integer("JOB_MEMORY_MB"),
        timeout_s=settings.integer("JOB_TIMEOUT_S"),
        processes=settings.integer("JOB_PROCESSES"),
        disk_floor_mb=settings.integer("DISK_FLOOR_MB"),
        environment=build_people_environment("job", environment),
        ensure_account=ensure_account,
        fork_server=FORK_SERVER if settings["JOB_WARM"] == "on" else (),
        is_worker=is_worker,
    )
    if not is_worker:
        return dataclasses.replace(config, workers=read_workers(settings["WORKERS"]))
    address = (settings["POSTGRES_HOST"], settings.integer("POSTGRES_PORT"))
    return dataclasses.replace(config, postgresql=address)


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
