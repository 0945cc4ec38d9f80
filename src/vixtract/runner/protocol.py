"""The protocol between the plugin and the runner daemon: one JSON object per line.

The plugin sends one request and then, at most, `{"abort": true}`. The daemon answers with events:

- `{"type": "started", "uid", "run_dir"}`
- `{"type": "log", "data": base64}`: raw bytes that the job wrote, or the runner's own lines
- `{"type": "progress", "progress": 0..1, "memo"}`
- `{"type": "end", "code", "description", ...facts}` or `{"type": "refused", "description", "hint"}`

Owns the shapes and their limits, nothing that acts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vixtract.errors import RequestError
from vixtract.people.names import is_name

SOCKET = Path("/run/vixtract/runner.sock")
MAX_REQUEST_BYTES = 2 * 1024 * 1024
MAX_EVENT_BYTES = 256 * 1024

KINDS = ("notebook", "shell", "remove", "ping")
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

# The event's target that means another machine.
WORKERS = "workers"

CODE_OK = 0
CODE_FAILED = 1
CODE_TIMEOUT = 124
CODE_ABORTED = 130
CODE_MEMORY = 137
CODE_WARNING = 255


class NoRequestError(RequestError):
    """The connection closed without a request: a health check."""


@dataclass(frozen=True)
class RunRequest:
    """One run, checked for shape only; whether it is allowed is decided later.

    Args:
        kind: `notebook`, `shell`, `remove` (deletes the folders of an ended job), or `ping`
            (answered at once, no other field needed).
        job: the engine's job id, which becomes the name of the run's directory.
        author: who scheduled it; `vixtract` is the appliance itself.
        notebook: path in the owner's home, or absolute below it.
        pinned: SHA-256 of the copy that runs instead of the notebook, or empty.
        kernel: kernel name; empty takes the notebook's own.
        memory_mb: limit in MiB of all processes together; 0 takes the appliance's.
        timeout_s: seconds; 0 takes the appliance's.
        facts: what the record keeps of the event: `event`, `event_title`, `due`.
        target: `workers` for a run on another machine; anything else is this one.
        database: the owner's database variables; only a worker uses them.
    """

    kind: str
    job: str = ""
    owner: str = ""
    author: str = ""
    notebook: str = ""
    pinned: str = ""
    script: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    kernel: str = ""
    memory_mb: int = 0
    timeout_s: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    target: str = ""
    database: Mapping[str, Any] = field(default_factory=dict)


def parse_request(line: bytes) -> RunRequest:
    """Check one line from the socket.

    Raises:
        RequestError: names the first field that is wrong.
    """
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        raise RequestError("The request is not JSON.") from None
    if not isinstance(content, dict):
        raise RequestError("The request is not a JSON object.")
    kind = content.get("kind")
    if kind not in KINDS:
        raise RequestError(f"The request's kind is none of {', '.join(KINDS)}.")
    if kind == "ping":
        return RunRequest(kind="ping")
    request = RunRequest(
        kind=kind,
        job=_text(content, "job", 64),
        owner=_text(content, "owner", 64),
        author=_text(content, "author", 64),
        notebook=_text(content, "notebook", 4096),
        pinned=_text(content, "pinned", 64),
        script=_text(content, "script", MAX_REQUEST_BYTES),
        parameters=_mapping(content, "parameters"),
        kernel=_text(content, "kernel", 100),
        memory_mb=_whole(content, "memory_mb"),
        timeout_s=_whole(content, "timeout_s"),
        facts=_mapping(content, "facts"),
        target=_text(content, "target", 64),
        database=_mapping(content, "database"),
    )
    _check_names(request)
    return request


def _check_names(request: RunRequest) -> None:
    if not _JOB.fullmatch(request.job):
        raise RequestError("The job id must be 1 to 64 letters, digits, dashes or underscores.")
    for what, name in (("owner", request.owner), ("author", request.author)):
        if not is_name(name):
            raise RequestError(f"The {what} {name[:40]!r} is not a name that a person can have.")
    if request.kind == "notebook" and not request.notebook:
        raise RequestError("No notebook is named.", "Give its path in the owner's home.")
    if request.pinned and not re.fullmatch("[0-9a-f]{64}", request.pinned):
        raise RequestError("The pinned version is no SHA-256.", "Pin the notebook again.")
    if request.kind == "shell" and not request.script.strip():
        raise RequestError("The script is empty.", "Write the commands into the event.")


def _text(content: Mapping[str, Any], key: str, limit: int) -> str:
    value = content.get(key, "")
    if not isinstance(value, str) or len(value) > limit or "\0" in value:
        raise RequestError(f"The request's {key} must be a text of at most {limit} characters.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RequestError(f"The request's {key} is not valid Unicode.") from None
    return value


def _whole(content: Mapping[str, Any], key: str) -> int:
    value = content.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
        raise RequestError(f"The request's {key} must be a whole number of 0 or more.")
    return value


def _mapping(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise RequestError(f"The request's {key} must be a JSON object.")
    return value
