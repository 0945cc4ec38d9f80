"""Questions over unix sockets to root's processes: the format, and the one client.

A question is one line of JSON, and so is its answer, which may bring open files along. The server
is `processes.server`; what asks is often short-lived, and does without it. Standard library alone.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vixtract.errors import VixtractError

# The largest form of the portal, each character of it written as six.
MAX_LINE = 2 * 1024 * 1024
MAX_FILES = 4
_PAUSE_S = 0.2


class UnansweredError(VixtractError):
    """The server is not there, is too slow, or does not answer with a line of JSON."""


def connect(
    path: Path,
    *,
    timeout_s: float,
    patience_s: float = 0.0,
    is_wanted: Callable[[], bool] = lambda: True,
) -> socket.socket:
    """Connect to a server.

    Args:
        timeout_s: for one try; also the timeout of the socket that is returned.
        patience_s: seconds to try again while the server is just being started.
        is_wanted: whether to try again at all.
    Raises:
        UnansweredError: it cannot be reached.
    """
    limit = time.monotonic() + patience_s
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
        except OSError as error:
            connection.close()
            if time.monotonic() >= limit or not is_wanted():
                raise UnansweredError(error.strerror or str(error)) from error
            time.sleep(_PAUSE_S)
        else:
            return connection


def ask(
    path: Path,
    question: Mapping[str, Any],
    *,
    timeout_s: float,
    patience_s: float = 0.0,
    files: list[int] | None = None,
) -> dict[str, Any]:
    """Ask a server one question.

    Args:
        timeout_s: for connection, question and answer together.
        patience_s: seconds to ask again while the server is being started or is busy.
        files: takes the descriptors that come with the answer, which the caller closes; None lets
            the kernel drop them.
    Returns: the answer, which is the last one of a busy server when patience ends.
    Raises:
        UnansweredError: there is no answer; `files` is left empty then.
    """
    limit = time.monotonic() + patience_s
    while True:
        try:
            answer = _ask_once(path, question, timeout_s, files)
            if not answer.get("busy") or time.monotonic() >= limit:
                return answer
        # The last one: the server's queue of connections is full.
        except (FileNotFoundError, ConnectionError, BlockingIOError) as error:
            if time.monotonic() >= limit:
                raise UnansweredError(str(error)) from error
        except (OSError, ValueError) as error:
            raise UnansweredError(str(error)) from error
        time.sleep(_PAUSE_S)


def _ask_once(
    path: Path, question: Mapping[str, Any], timeout_s: float, files: list[int] | None
) -> dict[str, Any]:
    limit = time.monotonic() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            send(connection, encode(question))
            line = receive_line(connection, limit - time.monotonic(), files=files)
        if not line:
            raise ConnectionResetError("no answer")
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise ValueError("the answer is no JSON object")
    except BaseException:
        while files:
            os.close(files.pop())
        raise
    return answer


def send(connection: socket.socket, question: bytes) -> None:
    """Send a question; a server that closed in the middle may have answered before, by a refusal.

    Raises:
        OSError: the connection broke otherwise, or its timeout is over.
    """
    try:
        connection.sendall(question)
    except (BrokenPipeError, ConnectionResetError):
        return


def receive_line(
    connection: socket.socket,
    timeout_s: float,
    *,
    limit: int = MAX_LINE,
    files: list[int] | None = None,
) -> bytes:
    """Read up to a line's end.

    Args:
        connection: its timeout is changed.
        files: takes descriptors that come along.
    Returns: the line with its end, or what came before the peer closed. Later lines are dropped.
    Raises:
        OSError: the connection broke, the line is too long, or the time is over.
    """
    deadline = time.monotonic() + timeout_s
    received = bytearray()
    while b"\n" not in received:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the line did not end in time")
        connection.settimeout(left)
        if files is None:
            part = connection.recv(65536)
        else:
            part, more, _, _ = socket.recv_fds(connection, 65536, MAX_FILES)
            files += more
        if not part:
            return bytes(received)
        received += part
        if len(received) > limit:
            raise OSError("the line is too long")
    return bytes(received[: received.index(b"\n") + 1])


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a JSON object as one line."""
    return json.dumps(message, separators=(",", ":"), default=str).encode() + b"\n"


def parse_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line, or an empty one where the line has none."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
