"""The supervisor's side of the socket, and the run's log; both are bounded in size and time."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from vixtract.errors import RequestError
from vixtract.notebooks import figures
from vixtract.processes.questions import encode, receive_line
from vixtract.runner.protocol import MAX_REQUEST_BYTES, NoRequestError, RunRequest, parse_request
from vixtract.secret_settings import Masker
from vixtract.values import MIB

_HIGH_WATER = MIB
_REQUEST_S = 5.0


def read_request(connection: socket.socket) -> RunRequest:
    """Read the one request of a connection, which is left non-blocking.

    Raises:
        RequestError: too long, too slow, cut off or malformed.
    """
    try:
        line = receive_line(connection, _REQUEST_S, limit=MAX_REQUEST_BYTES)
    except OSError as error:
        raise RequestError(f"The request did not arrive: {error}.") from None
    finally:
        connection.setblocking(False)
    if not line:
        raise NoRequestError("The connection closed without a request.")
    if not line.endswith(b"\n"):
        raise RequestError("The connection closed before the request was complete.")
    return parse_request(line)


class Channel:
    """Buffered events to the plugin. A plugin that does not read only slows the job down."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()
        self.is_open = True
        self.abort_wanted = False

    def fileno(self) -> int:
        """Return the socket's descriptor, for selectors."""
        return self._connection.fileno()

    @property
    def has_room(self) -> bool:
        """Whether more of the job's output may be read."""
        return len(self._buffer) < _HIGH_WATER or not self.is_open

    @property
    def is_pending(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._buffer) and self.is_open

    def send(self, event: Mapping[str, Any]) -> None:
        """Queue an event and send what goes at once."""
        if self.is_open:
            self._buffer += encode(event)
            self.flush()

    def flush(self) -> None:
        """Send what the socket takes now."""
        while self._buffer and self.is_open:
            try:
                sent = self._connection.send(self._buffer[:65536])
            except BlockingIOError:
                return
            except OSError:
                self.is_open = False
                return
            del self._buffer[:sent]

    def want_abort(self) -> None:
        """Have the run stopped at the next check."""
        self.abort_wanted = True

    def receive(self) -> None:
        """Read from the plugin: an abort, or the end of the connection."""
        try:
            data = self._connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            # A plugin sends one request; anything after it is the abort.
            self.abort_wanted = True
        else:
            self.is_open = False

    def finish(self, event: Mapping[str, Any], deadline_s: float = 5.0) -> None:
        """Send the last event, wait until it has been sent, and close the connection."""
        self.send(event)
        limit = time.monotonic() + deadline_s
        while self.is_pending and time.monotonic() < limit:
            time.sleep(0.01)
            self.flush()
        self._connection.close()
        self.is_open = False


class RunLog:
    """The run's log, written to `log.txt` and sent to the plugin; cut at a limit, with a note."""

    def __init__(self, descriptor: int, channel: Channel, limit: int) -> None:
        self._descriptor = descriptor
        self._channel = channel
        self._left = limit
        self._limit = limit
        self._is_line_start = True
        self._masker = Masker([])

    def mask(self, secrets: list[str]) -> None:
        """Mask values of eight characters or more in what the job writes from now on."""
        self._masker = Masker(secrets)

    def write(self, data: bytes) -> None:
        """Add output of the job; what is over the limit is dropped."""
        if self._left <= 0 or not data:
            return
        kept = self._masker.feed(data)[: self._left]
        if not kept:
            return
        self._left -= len(kept)
        self._put(kept)
        if self._left <= 0:
            self.note(f"The log is over {self._limit // MIB} MB: more output is dropped.")

    def note(self, text: str) -> None:
        """Add a line of the runner's own, whatever the limit."""
        if self._masker.holds:
            self._put(self._masker.flush())
        start = "" if self._is_line_start else "\n"
        self._put(f"{start}[vixtract] {text}\n".encode(errors="replace"))

    def close(self) -> None:
        """Close the file."""
        if self._masker.holds:
            self._put(self._masker.flush())
        os.close(self._descriptor)

    def _put(self, data: bytes) -> None:
        self._is_line_start = data.endswith(b"\n")
        # A full disk must not end the run: the live log goes on.
        with contextlib.suppress(OSError):
            os.write(self._descriptor, data)
        self._channel.send({"type": "log", "data": base64.b64encode(data).decode()})


class Reports:
    """Progress reports of the driver. The owner's code could forge them, so they are checked, and
    only affect what is shown of this run.
    """

    _MAX_LINE = 65536

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._rest = b""
        self.result: dict[str, Any] = {}

    def feed(self, data: bytes) -> None:
        """Take bytes from the driver's pipe."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > self._MAX_LINE:
            self._rest = b""
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            report = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(report, dict):
            return
        progress = report.get("progress")
        if isinstance(progress, (int, float)) and 0 <= progress <= 1:
            memo = _text(report.get("memo", ""), 200)
            self._channel.send({"type": "progress", "progress": progress, "memo": memo})
        if isinstance(report.get("result"), dict):
            self.result = clean_result(report["result"])


def clean_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the known fields of a driver's result, with bounded sizes."""
    clean: dict[str, Any] = {}
    for key in ("cells_done", "cells_total"):
        value = result.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**6:
            clean[key] = value
    for key in ("output", "notebook", "kernel", "problem", "hint"):
        if isinstance(result.get(key), str):
            clean[key] = _text(result[key], 2000)
    if "perf" in result:
        clean["perf"] = figures.clean(result["perf"])
    error = result.get("error")
    if isinstance(error, dict):
        cell = error.get("cell")
        clean["error"] = {
            "cell": cell if isinstance(cell, int) and 0 <= cell < 10**6 else 0,
            "name": _text(error.get("name", ""), 200),
            "message": _text(error.get("message", ""), 2000),
        }
    return clean


def _text(value: object, limit: int) -> str:
    """Return a text that can be stored: neither SQLite nor PostgreSQL takes lone surrogates."""
    return str(value)[:limit].encode(errors="backslashreplace").decode()
