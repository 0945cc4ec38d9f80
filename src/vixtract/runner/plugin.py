"""The process that the scheduler starts for a job: Cronicle's plugin protocol, work by the runner.

One line of JSON on standard input; on standard output JSON lines only; the job's own output and the
runner's lines go to standard error as raw bytes. Runs under the engine's account, with the standard
library alone.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vixtract.errors import VixtractError
from vixtract.processes import questions
from vixtract.processes.questions import encode
from vixtract.runner.job import build_request
from vixtract.runner.protocol import CODE_ABORTED, CODE_FAILED, MAX_EVENT_BYTES, SOCKET

_CONNECT_S = 15.0
_ABORT_S = 8.0
_CHAIN_KEYS = (
    "owner",
    "run_dir",
    "output",
    "html",
    "notebook",
    "uid",
    "cells_done",
    "cells_total",
    "error",
    "hint",
    "loads",
    "peak_mb",
    "seconds",
)


class RunnerAwayError(VixtractError):
    """The runner daemon cannot be reached, or went away during the run."""


class Plugin:
    """One job, `notebook` or `shell`; `write` takes the lines of the protocol."""

    def __init__(
        self,
        kind: str,
        socket_path: Path = SOCKET,
        write: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._kind = kind
        self._socket_path = socket_path
        self._write = write or write_line
        self._abort_limit: float | None = None

    def run(self, line: str) -> int:
        """Run the job of a JSON line; return the process's code, the job's is in the last line."""
        signal.signal(signal.SIGTERM, self._abort)
        try:
            job = json.loads(line)
            request = build_request(self._kind, job if isinstance(job, dict) else {})
            end = self._follow(encode(request))
        except VixtractError as error:
            end = {"code": CODE_FAILED, "description": f"{error.message} {error.hint}".rstrip()}
        except (ValueError, RecursionError):
            end = {"code": CODE_FAILED, "description": "No job came on standard input."}
        self._write(complete(end))
        return 0

    @property
    def is_stopped(self) -> bool:
        """Whether the run was asked to end."""
        return self._abort_limit is not None

    def _abort(self, *_: object) -> None:
        if self._abort_limit is None:
            self._abort_limit = time.monotonic() + _ABORT_S

    def _follow(self, request: bytes) -> Mapping[str, Any]:
        with self._connect() as connection:
            questions.send(connection, request)
            for event in self._events(connection):
                kind = event.get("type")
                if kind == "log":
                    _write_log(base64.b64decode(event["data"]))
                elif kind == "progress":
                    self._write({"progress": event["progress"], "memo": event["memo"]})
                elif kind == "refused":
                    text = f"{event['description']} {event['hint']}".rstrip()
                    _write_log(f"[vixtract] {text}\n".encode())
                    return {"code": CODE_FAILED, "description": text}
                elif kind == "end":
                    return event
        if self._abort_limit is not None:
            return {"code": CODE_ABORTED, "description": "Aborted."}
        raise RunnerAwayError(
            "The runner went away during the run.",
            "See the container's log and start the job again.",
        )

    def _connect(self) -> socket.socket:
        """Connect; wait for a runner that is being restarted."""
        try:
            return questions.connect(
                self._socket_path,
                timeout_s=_CONNECT_S,
                patience_s=_CONNECT_S,
                is_wanted=lambda: self._abort_limit is None,
            )
        except questions.UnansweredError as error:
            raise RunnerAwayError(
                f"The runner cannot be reached ({error.message}).",
                "See the log of the container `cronicle`.",
            ) from None

    def _events(self, connection: socket.socket) -> Iterator[Mapping[str, Any]]:
        connection.settimeout(0.2)
        received = bytearray()
        is_abort_sent = False
        while True:
            if self._abort_limit is not None:
                if time.monotonic() > self._abort_limit:
                    return
                if not is_abort_sent:
                    is_abort_sent = True
                    with contextlib.suppress(OSError):
                        connection.send(b'{"abort":true}\n')
            try:
                data = connection.recv(65536)
            except (TimeoutError, socket.timeout):
                continue
            except OSError:
                return
            if not data:
                return
            received += data
            *lines, rest = received.split(b"\n")
            received = bytearray(rest)
            if len(received) > MAX_EVENT_BYTES:
                return
            for line in lines:
                yield json.loads(line)


def complete(end: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the runner's last event, or just a code and description, into the last line."""
    line: dict[str, Any] = {"complete": 1, "code": end["code"], "description": end["description"]}
    if "run_dir" in end:
        line["perf"] = {**(end.get("perf") or {}), "total": end["seconds"]}
        line["table"] = _table(end)
        line["chain_data"] = {key: end[key] for key in _CHAIN_KEYS if end.get(key) is not None}
    return line


def _table(end: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        ["Ran as", end.get("owner", "")],
        ["Seconds", end.get("seconds", 0)],
        ["Memory, MB", end.get("peak_mb", 0)],
    ]
    # A script has neither.
    if end.get("cells_total"):
        rows.append(["Cells", f"{end.get('cells_done', 0)} of {end['cells_total']}"])
    if end.get("output"):
        rows.append(["Executed notebook", end["output"]])
    rows.append(["Directory", end.get("run_dir", "")])
    rows += [[f"Loaded {load['table']}", _describe_load(load)] for load in end.get("loads") or []]
    return {"title": "Run", "header": ["", ""], "rows": rows}


def _describe_load(load: Mapping[str, Any]) -> str:
    parts = [f"{load['rows']:,} rows"] if "rows" in load else []
    parts += [f"{load['seconds']:.1f} s"] if "seconds" in load else []
    parts += [str(load["mode"])] if "mode" in load else []
    return ", ".join(parts)


def write_line(content: Mapping[str, Any]) -> None:
    """Write one line of the protocol."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def _write_log(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(2, view) :]


def main() -> int:
    """Run as a plugin: the only argument is the kind of job."""
    if len(sys.argv) != 2 or sys.argv[1] not in ("notebook", "shell"):
        sys.stderr.write("Usage: python -m vixtract.runner.plugin notebook|shell\n")
        return 2
    socket_path = Path(os.environ.get("RUNNER_SOCKET") or SOCKET)
    return Plugin(sys.argv[1], socket_path).run(sys.stdin.readline())


if __name__ == "__main__":
    sys.exit(main())
