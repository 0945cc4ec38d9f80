"""The one server of questions: root's processes answer others over unix sockets.

It goes by the credentials that the kernel gives for the other end, which no peer can forge. A
process of its own answers each question, so that one answer can neither stop nor learn from
another; it is killed when it takes too long. How many questions an account has open is limited.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from vixtract.processes import tree
from vixtract.processes.questions import MAX_LINE, encode, parse_object, receive_line

log = logging.getLogger(__name__)

_CREDENTIALS = struct.Struct("3i")
_STOP_S = 5.0

Answer = tuple[Mapping[str, Any], Sequence[int]]
"""What a question is answered with: a JSON object, and descriptors of open files."""


@dataclass(frozen=True)
class Peer:
    """The process at the other end of a socket, as the kernel noted it at connect."""

    pid: int
    uid: int


@dataclass(frozen=True)
class ServerConfig:
    """Where a server listens and how many it serves.

    Args:
        gid: its group; None leaves root's.
        uids: accounts that may ask; None means any account.
        max_children: questions that are answered at the same time.
        max_of_account: of these, how many an account may have.
        question_s: seconds for a whole question to arrive.
        answer_s: seconds after which the process that answers is killed; 0 means never.
        max_question: bytes; so is `max_answer`.
    """

    path: Path
    mode: int = 0o660
    gid: int | None = None
    uids: frozenset[int] | None = None
    max_children: int = 64
    max_of_account: int = 8
    question_s: float = 5.0
    answer_s: float = 30.0
    max_question: int = MAX_LINE
    max_answer: int = MAX_LINE


@dataclass(frozen=True)
class _Child:
    """A process that answers one question; `deadline` is of the monotonic clock."""

    uid: int
    deadline: float


class QuestionServer:
    """Answers questions until SIGTERM or SIGINT. A server of its own kind overrides `reply`."""

    def __init__(self, config: ServerConfig) -> None:
        self.server_config = config
        self.children: dict[int, _Child] = {}
        self._wants_stop = False

    def reply(self, question: dict[str, Any], peer: Peer) -> Answer:
        """Return the answer to a question, which is empty where it was no JSON object.

        Runs in a process of its own.
        """
        raise NotImplementedError

    def refusal(self, reason: str) -> Mapping[str, Any] | None:
        """Return the answer to a peer that is turned away, or None to close without one.

        The reason is `stranger`, `busy` or `no process`.
        """
        if reason == "stranger":
            return None
        return {
            "busy": True,
            "code": "busy",
            "error": "Too many questions at once.",
            "hint": "Try again.",
        }

    def limit_of(self, peer: Peer) -> int:
        """Return how many questions of a peer's account are answered at once."""
        return self.server_config.max_of_account

    def start_child(self, connection: socket.socket, peer: Peer) -> int | None:
        """Start the process that answers a connection; return its id, or None where it failed."""
        try:
            pid = os.fork()
        except OSError as error:
            log.warning("No process for a question: %s", error)
            return None
        if pid == 0:
            self._answer_and_end(connection, peer)
        return pid

    def answer(self, connection: socket.socket, peer: Peer) -> None:
        """Answer the question of a connection; runs in a process of its own."""
        config = self.server_config
        line = receive_line(connection, config.question_s, limit=config.max_question)
        if not line:
            return
        reply, descriptors = self.reply(parse_object(line), peer)
        text = encode(reply)
        if len(text) > config.max_answer:
            text, descriptors = encode({"error": "The answer is too large.", "hint": ""}), ()
        connection.settimeout(config.answer_s or None)
        if descriptors:
            socket.send_fds(connection, [text], list(descriptors))
        else:
            connection.sendall(text)

    def tend(self) -> None:
        """Do what the server has to do besides questions; called at least once a second."""

    def ended(self) -> Mapping[int, int]:
        """Return the processes that have ended since the last call and their exit codes."""
        return tree.reap()

    def child_ended(self, pid: int, code: int) -> None:
        """Take note of the end of a process that answered."""

    @property
    def sources(self) -> list[socket.socket]:
        """Sockets that end the wait for the next question when they are readable."""
        return []

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        self._listener = open_listener(self.server_config)
        woken = self._catch_signals()
        log.info("Listening on %s", self.server_config.path)
        try:
            while not self._wants_stop:
                self.collect()
                self.tend()
                ready, _, _ = select.select([self._listener, woken, *self.sources], [], [], 1.0)
                if woken in ready:
                    woken.recv(4096)
                if self._listener in ready:
                    self._accept()
        finally:
            self._listener.close()
            self.server_config.path.unlink(missing_ok=True)
            self.stop()

    def stop(self) -> None:
        """End the processes that answer."""
        for pid in self.children:
            tree.end(pid, _STOP_S)

    def collect(self) -> None:
        """Forget the processes that ended, and kill those whose time is over."""
        for pid, code in self.ended().items():
            if self.children.pop(pid, None) is not None:
                self.child_ended(pid, code)
        now = time.monotonic()
        for pid, child in self.children.items():
            if now > child.deadline:
                tree.kill(pid)

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

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            # Out of descriptors, or the peer has closed already: neither may end the loop.
            log.warning("A connection could not be accepted: %s", error)
            time.sleep(0.05)
            return
        with connection:
            peer = peer_of(connection)
            reason = self._reason_to_refuse(peer)
            pid = None if reason else self.start_child(connection, peer)
            if pid:
                limit = self.server_config.answer_s or float("inf")
                self.children[pid] = _Child(peer.uid, time.monotonic() + limit)
            else:
                self._turn_away(connection, reason or "no process")

    def _reason_to_refuse(self, peer: Peer) -> str:
        config = self.server_config
        if config.uids is not None and peer.uid not in config.uids:
            return "stranger"
        same = sum(child.uid == peer.uid for child in self.children.values())
        if same >= self.limit_of(peer) or len(self.children) >= config.max_children:
            return "busy"
        return ""

    def _turn_away(self, connection: socket.socket, reason: str) -> None:
        refusal = self.refusal(reason)
        if refusal is None:
            return
        connection.setblocking(False)
        try:
            connection.send(encode(refusal))
        except OSError as error:
            log.info("A refused peer (%s) has closed already: %s", reason, error)

    def _answer_and_end(self, connection: socket.socket, peer: Peer) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            self._listener.close()
            self.answer(connection, peer)
        except OSError as error:
            log.info("A question was not answered: %s", error)
            os._exit(1)
        except BaseException:
            log.exception("A question was not answered")
            os._exit(1)
        finally:
            os._exit(0)


def peer_of(connection: socket.socket) -> Peer:
    """Return who is at the other end of an accepted unix socket, which the peer cannot forge."""
    pid, uid, _ = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return Peer(pid, uid)


def open_listener(config: ServerConfig) -> socket.socket:
    """Open a server's socket in a directory of root's, in place of an earlier server's."""
    path = config.path
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Never open wider than it will be.
    old_mask = os.umask(0o777 & ~config.mode)
    try:
        listener.bind(str(path))
    finally:
        os.umask(old_mask)
    if config.gid is not None and os.geteuid() == 0:
        os.chown(path, 0, config.gid)
    listener.listen(128)
    listener.setblocking(False)
    return listener
