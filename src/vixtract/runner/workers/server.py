"""A worker's server: takes runs from the appliance and hands them to the runner of this machine.

Runs under the engine's account, without further rights. Whoever has the worker's key may run
anything as any person here, like the appliance; others do not get past the handshake.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import ssl
import sys
import threading
from pathlib import Path

from vixtract.errors import SettingsError
from vixtract.processes.questions import UnansweredError, connect, encode
from vixtract.runner.protocol import SOCKET
from vixtract.runner.workers.connection import PORT, Pump, keep_alive, make_context
from vixtract.settings import Settings

log = logging.getLogger(__name__)

HANDSHAKE_S = 5.0
# Connections before the handshake is done; more are closed at once.
MAX_STRANGERS = 32
_RUNNER_S = 10.0


class WorkerServer:
    """Accepts connections for at most `max_jobs` runs at a time; more get the answer `busy`."""

    def __init__(self, key: str, max_jobs: int, runner: Path = SOCKET) -> None:
        self._context = make_context(ssl.PROTOCOL_TLS_SERVER, key)
        self._places = threading.BoundedSemaphore(max(1, max_jobs))
        self._strangers = threading.BoundedSemaphore(MAX_STRANGERS)
        self._runner = runner

    def serve(self, listener: socket.socket) -> None:
        """Accept until the process is ended."""
        while True:
            try:
                connection, address = listener.accept()
            except OSError as error:
                log.warning("A connection could not be accepted: %s", error)
                continue
            if not self._strangers.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(
                target=self._welcome, args=(connection, address[0]), daemon=True
            ).start()

    def _welcome(self, connection: socket.socket, peer: str) -> None:
        try:
            with connection:
                try:
                    connection.settimeout(HANDSHAKE_S)
                    keep_alive(connection)
                    outer = self._context.wrap_socket(connection, server_side=True)
                finally:
                    self._strangers.release()
                with outer:
                    self._admit(outer)
        except ssl.SSLError as error:
            log.warning("%s does not have this worker's key: %s", peer, error.reason)
        except UnansweredError as error:
            log.error("The runner does not answer: %s", error.message)
        except OSError as error:
            log.info("A connection from %s broke: %s", peer, error)

    def _admit(self, outer: ssl.SSLSocket) -> None:
        if not self._places.acquire(blocking=False):
            outer.sendall(encode({"type": "busy"}))
            return
        try:
            with connect(self._runner, timeout_s=_RUNNER_S) as inner:
                outer.sendall(encode({"type": "ready"}))
                Pump(inner, outer).run()
        finally:
            self._places.release()


def is_well(key: str, port: int = PORT) -> str:
    """Return the problem of this machine's worker or its runner, or an empty string."""
    from vixtract.runner.workers.connection import connect, read_line

    try:
        with connect(("127.0.0.1", port), key) as connection:
            if json.loads(read_line(connection)).get("type") == "busy":
                return ""
            connection.sendall(encode({"kind": "ping"}))
            answer = json.loads(read_line(connection))
    except (OSError, ValueError) as error:
        return f"The worker does not answer: {error}"
    return "" if answer.get("code") == 0 else f"The runner answers: {answer}"


def main() -> int:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="worker: %(levelname)s: %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        max_jobs = Settings.for_process("worker-server", os.environ).integer("MAX_JOBS")
    except SettingsError as error:
        log.error("%s %s", error.message, error.hint)
        return error.exit_code
    server = WorkerServer(os.environ.pop("WORKER_KEY"), max_jobs)
    listener = socket.create_server(("", PORT), backlog=64)
    log.info("Taking runs on port %d", PORT)
    with contextlib.closing(listener):
        server.serve(listener)
    return 0


if __name__ == "__main__":
    sys.exit(main())
