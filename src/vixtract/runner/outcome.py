"""The outcome of a run, as a code and as text."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from vixtract.processes import usage
from vixtract.runner import watch
from vixtract.runner.protocol import (
    CODE_ABORTED,
    CODE_FAILED,
    CODE_MEMORY,
    CODE_OK,
    CODE_TIMEOUT,
    CODE_WARNING,
    RunRequest,
)
from vixtract.runner.watch import Watched
from vixtract.values import MIB

_STOP_CODES = {
    watch.ABORTED: CODE_ABORTED,
    watch.TIMED_OUT: CODE_TIMEOUT,
    watch.OUT_OF_MEMORY: CODE_MEMORY,
    usage.DISK_FULL: CODE_FAILED,
    usage.TOO_MANY_PROCESSES: CODE_FAILED,
}


def judge(
    request: RunRequest, watched: Watched, result: Mapping[str, Any], memory_mb: int
) -> dict[str, Any]:
    """Return a run's `code`, `description`, `seconds`, `peak_mb`, `exit` and its cleaned result."""
    code = _code(request, watched)
    facts: dict[str, Any] = {
        "code": code,
        "seconds": round(watched.seconds, 3),
        "peak_mb": round(watched.peak_bytes / MIB),
        "exit": watched.exit_code,
        **result,
    }
    facts["description"] = _describe(request, watched, facts, memory_mb)
    return facts


def _code(request: RunRequest, watched: Watched) -> int:
    if watched.stopped:
        return _STOP_CODES[watched.stopped]
    if watched.exit_code < 0:
        return 128 - watched.exit_code
    if request.kind == "shell" or watched.exit_code == CODE_OK:
        return watched.exit_code
    return CODE_FAILED


def _describe(
    request: RunRequest, watched: Watched, facts: Mapping[str, Any], memory_mb: int
) -> str:
    if watched.stopped:
        return _describe_stop(watched, facts, memory_mb)
    if facts.get("problem"):
        return " ".join(part for part in (facts["problem"], facts.get("hint", "")) if part)
    if facts.get("error"):
        return _describe_error(facts)
    if watched.exit_code < 0:
        return f"Ended by signal {-watched.exit_code} ({_signal_name(-watched.exit_code)})."
    return _describe_script(watched) if request.kind == "shell" else _describe_end(watched, facts)


def _describe_stop(watched: Watched, facts: Mapping[str, Any], memory_mb: int) -> str:
    total = facts.get("cells_total")
    where = f" with {facts.get('cells_done', 0)} of {total} cells done" if total else ""
    texts = {
        watch.ABORTED: f"Aborted after {watched.seconds:.1f} s{where}.",
        watch.TIMED_OUT: f"Timed out: stopped after {watched.seconds:.0f} s{where}.",
        watch.OUT_OF_MEMORY: f"Stopped by the memory limit of {memory_mb} MB{where}.",
        usage.DISK_FULL: f"Stopped because the disk is nearly full{where}.",
        usage.TOO_MANY_PROCESSES: f"Stopped by the limit of processes and threads{where}.",
    }
    return texts[watched.stopped]


def _describe_end(watched: Watched, facts: Mapping[str, Any]) -> str:
    if watched.exit_code:
        return f"The notebook's driver ended with code {watched.exit_code}; see the log."
    return f"All {facts.get('cells_total', 0)} cells ran in {watched.seconds:.1f} s."


def _describe_error(facts: Mapping[str, Any]) -> str:
    error = facts["error"]
    total = facts.get("cells_total", 0)
    message = " ".join(str(error["message"]).split())
    text = f"Cell {error['cell']} of {total} failed: {error['name']}"
    if message:
        text += f": {message[:300]}"
    if facts.get("hint"):
        text += f" ({facts['hint']})"
    return text


def _describe_script(watched: Watched) -> str:
    if watched.exit_code == CODE_OK:
        return f"The script ended well in {watched.seconds:.1f} s."
    if watched.exit_code == CODE_WARNING:
        return "The script ended with a warning (code 255)."
    return f"The script failed with code {watched.exit_code}."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
