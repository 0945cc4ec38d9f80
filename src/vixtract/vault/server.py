"""The vault: the root process that hands people their connections.

One runs in each container that people's processes run in. Everybody may connect to its unix socket;
what is answered goes by the uid that the kernel tells of the other end. It forks for each question,
so that no process keeps more than one person's values, and none for long.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import pwd
import resource
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass

from vixtract.errors import PreconditionError, VixtractError
from vixtract.vault.answers import VaultConfig, answer
from vixtract.vault.cipher import Cipher
from vixtract.vault.wire import MAX_LINE, SOCKET, Peer, peer_of, receive_line

log = logging.getLogger(__name__)

PORTAL_USER = "portal"
MAX_CHILDREN = 64
MAX_OF_ONE = 8
QUESTION_S = 5.0
CHILD_S = 30.0
"""Longer than a test, which has a deadline of its own."""
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


@dataclass(frozen=True)
class Child:
    """A process that answers one question.

    Args:
        uid: who asked.
        deadline: when it is killed, of the monotonic clock.
    """

    uid: int
    deadline: float


class Vault:
    """Answers questions until it is told to stop.

    Args:
        config: places and accounts.
    """

    def __init__(self, config: VaultConfig) -> None:
        self._config = config
        self._children: dict[int, Child] = {}
        self._wants_stop = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        # The key is there before the first question, and a wrong one is told at once.
        Cipher(self._config.secrets_dir)
        listener = open_listener(self._config)
        log.info("Listening on %s", self._config.socket_path)
        with listener:
            while not self._wants_stop:
                self._collect()
                # Soon again while there is a child to be collected.
                ready, _, _ = select.select([listener], [], [], 0.1 if self._children else 1.0)
                if ready:
                    self._accept(listener)
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)

    def _ask_to_stop(self, *_: object) -> None:
        self._wants_stop = True

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            log.warning("A connection could not be accepted: %s", error)
            time.sleep(0.05)
            return
        with connection:
            peer = peer_of(connection)
            if self._is_busy(peer):
                _refuse(connection)
                return
            try:
                pid = os.fork()
            except OSError as error:
                log.warning("No process for a question: %s", error)
                _refuse(connection)
                return
            if pid:
                self._children[pid] = Child(peer.uid, time.monotonic() + CHILD_S)
                return
            listener.close()
            _serve_child(connection, peer, self._config)

    def _is_busy(self, peer: Peer) -> bool:
        """Say whether this asker has to wait; nobody can take all places."""
        same = sum(child.uid == peer.uid for child in self._children.values())
        most = MAX_CHILDREN // 2 if peer.uid in (0, self._config.portal_uid) else MAX_OF_ONE
        return same >= most or len(self._children) >= MAX_CHILDREN

    def _collect(self) -> None:
        now = time.monotonic()
        for pid, child in list(self._children.items()):
            if now > child.deadline:
                os.kill(pid, signal.SIGKILL)
            done, _ = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._children[pid]


def _refuse(connection: socket.socket) -> None:
    connection.setblocking(False)
    text = {"busy": True, "error": "The vault has many questions at once.", "hint": "Try again."}
    try:
        connection.send(json.dumps(text).encode() + b"\n")
    except OSError as error:
        log.info("Somebody who had to wait is gone: %s", error)


def _serve_child(connection: socket.socket, peer: Peer, config: VaultConfig) -> None:
    """Answer one question and end; never returns."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        line = receive_line(connection, QUESTION_S)
        if line:
            connection.settimeout(CHILD_S)
            text = answer(_parse(line), peer, config)
            connection.sendall(json.dumps(text).encode() + b"\n")
    except OSError as error:
        log.info("A question was not answered: %s", error)
        os._exit(1)
    except BaseException:
        log.exception("A question was not answered")
        os._exit(1)
    finally:
        os._exit(0)


def _parse(line: bytes) -> dict[str, object]:
    try:
        question = json.loads(line) if len(line) <= MAX_LINE else {}
    except (ValueError, RecursionError):
        return {}
    return question if isinstance(question, dict) else {}


def open_listener(config: VaultConfig) -> socket.socket:
    """Open the socket for everybody, in place of one that an earlier vault left.

    Args:
        config: places and accounts.
    """
    path = config.socket_path
    # Its directory is root's: nobody else can put a socket of theirs there.
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.parent.chmod(0o755)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen(64)
    return listener


def main() -> int:
    """Run the vault until the process that starts it ends."""
    logging.basicConfig(level=logging.INFO, format="vault: %(levelname)s: %(message)s")
    os.umask(0o077)
    parent, libc = os.getppid(), ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    libc.prctl(_PR_SET_DUMPABLE, 0)
    try:
        if os.getppid() != parent:
            raise PreconditionError("The parent ended while the vault started.", "It is restarted.")
        try:
            portal = pwd.getpwnam(PORTAL_USER).pw_uid
        except KeyError:
            portal = -1  # the job container has no portal
        Vault(VaultConfig(SOCKET, portal_uid=portal)).run()
    except VixtractError as error:
        log.error("%s %s", error.message, error.hint)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
