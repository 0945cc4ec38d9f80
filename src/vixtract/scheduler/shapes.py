"""Runs as the REST calls show them: Cronicle's names for what the ledger keeps."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from vixtract.ledger.slots import ABORTED
from vixtract.scheduler.events import CATEGORIES, PLUGINS

# History rows show an aborted job as ended by signal 2, its own record as code 1: as in Cronicle.
ABORTED_CODE = 130


def _base(run: Mapping[str, Any]) -> dict[str, Any]:
    job = run["job"]
    return {
        "id": run["id"],
        "event": run["event"],
        "event_title": job["title"],
        "category": job["category"],
        "category_title": CATEGORIES.get(job["category"], job["category"]),
        "plugin": job["plugin"],
        "plugin_title": PLUGINS.get(job["plugin"], job["plugin"]),
        "hostname": socket.gethostname(),
        "username": run["username"],
        "source": run["source"],
        "now": run["due_at"] or int(run["queued_at"]),
        "due_at": run["due_at"],
        "time_start": run["time_start"],
        "attempt": run["attempt"] + run["crashes"],
        "outcome": run["outcome"],
        # Ours: a history row names whose it is, which Cronicle's does not.
        "owner": run["owner"],
    }


def job_shape(
    run: Mapping[str, Any],
    *,
    now: float,
    report: Mapping[str, Any] | None = None,
    pid: int | None = None,
    log_size: int = 0,
) -> dict[str, Any]:
    """Show one run without its parameters, as Cronicle's job object with `state` added.

    Args:
        now: time, for the elapsed time of a run that has not ended.
        report: what its plugin has reported so far; None takes what the ledger keeps.
        pid: process id of its plugin, while it runs.
        log_size: bytes of its log.
    """
    said: Mapping[str, Any] = run["result"] if report is None else report
    is_done = run["state"] == "done"
    shape = {
        **_base(run),
        "state": run["state"],
        "progress": 1 if is_done else _fraction(said.get("progress")),
        "memo": str(said.get("memo") or ""),
        "elapsed": _elapsed(run, now),
        "pid": pid,
        "log_file_size": log_size,
        "timeout": run["job"]["timeout"],
        **{key: said[key] for key in ("perf", "table", "chain_data") if key in said},
    }
    if is_done:
        shape.update(
            complete=1,
            code=run["code"],
            description=run["description"],
            time_end=run["time_end"],
            abort_reason=run["description"] if run["outcome"] == ABORTED else "",
        )
    return shape


def history_shape(run: Mapping[str, Any], *, log_size: int = 0) -> dict[str, Any]:
    """Show a finished run as a row of the history."""
    code = ABORTED_CODE if run["outcome"] == ABORTED else run["code"]
    shape = {
        **_base(run),
        "action": "job_complete",
        "code": code,
        "epoch": int(run["time_end"]),
        "elapsed": _elapsed(run, run["time_end"]),
        "memo": str(run["result"].get("memo") or ""),
        "perf": run["result"].get("perf") or "",
        "chain_data": run["result"].get("chain_data") or {},
        "log_file_size": log_size,
        "has_error": int(code % 255 != 0),
    }
    if code:
        shape["description"] = run["description"] or "Unknown Error"
    return shape


def recent_shape(run: Mapping[str, Any], title: str) -> dict[str, Any]:
    """Show an ended run, a row of `recent_runs`, as a list of schedules does."""
    started = run["time_start"] or run["time_end"]
    return {
        "id": run["id"],
        "event": run["event"],
        "event_title": title,
        "action": "job_complete",
        "username": run["username"],
        "source": run["source"],
        "due_at": run["due_at"],
        "time_start": run["time_start"],
        "elapsed": round(max(0.0, run["time_end"] - started), 3),
        "attempt": run["attempt"] + run["crashes"],
        "code": run["code"],
        "outcome": run["outcome"],
        "description": run["description"] if run["code"] else "",
    }


def queue_shape(run: Mapping[str, Any]) -> dict[str, Any]:
    """Show a run that waits in the queue."""
    return {**_base(run), "state": run["state"], "queued_at": run["queued_at"]}


def _elapsed(run: Mapping[str, Any], now: float) -> float:
    if run["time_start"] is None:
        return 0.0
    return round(max(0.0, float(run["time_end"] or now) - float(run["time_start"])), 3)


def _fraction(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return min(1.0, max(0.0, float(value)))
    return 0.0
