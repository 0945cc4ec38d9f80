"""Messages of Jupyter's protocol between a driver and the kernel forked from it, as JSON lines."""

from __future__ import annotations

import base64
import json
import math
import signal
import socket
import threading
from datetime import date
from typing import Any


class MessageSocket:
    """One end of a socket pair, blocking to write, and not to read."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = bytearray()
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor, for polling."""
        return self._connection.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """Write one message, whose `buffers` are bytes, whole, whichever thread calls.

        Raises:
            OSError: the other end is gone.
        """
        buffers = [base64.b64encode(bytes(part)).decode() for part in message.get("buffers") or ()]
        content = {**message, "buffers": buffers}
        try:
            text = json.dumps(content, default=_plain, allow_nan=False)
        except ValueError:
            text = json.dumps(_without_nan(content), default=_plain)
        # JSON escapes line ends within texts.
        data = text.encode() + b"\n"
        # An interrupt in the middle of a message would leave half of it.
        with self._lock:
            old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self._connection.sendall(data)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, old)

    def receive(self) -> list[dict[str, Any]]:
        """Take the messages that have come whole; does not wait.

        Raises:
            EOFError: the other end is closed, and nothing is left.
        """
        is_open, is_whole = True, False
        while is_open:
            try:
                data = self._connection.recv(1 << 18, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            self._received += data
            is_open = bool(data)
            is_whole = is_whole or b"\n" in data
        messages = self._split() if is_whole else []
        if not is_open and not messages:
            raise EOFError
        return messages

    def _split(self) -> list[dict[str, Any]]:
        *lines, self._received = self._received.split(b"\n")
        messages = [json.loads(line) for line in lines]
        for message in messages:
            message["buffers"] = [base64.b64decode(part) for part in message.get("buffers", ())]
        return messages


def _without_nan(value: Any) -> Any:
    """Write NaN and infinities as words, as Jupyter's own session does: JSON has none of them."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, dict):
        return {_without_nan(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    """Write dates and bytes as Jupyter's own session does."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    return str(value)
