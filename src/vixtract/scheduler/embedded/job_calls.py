"""The REST calls over jobs: state, logs, history, queue, abort."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vixtract.ledger import runs, slots
from vixtract.ledger.history import Filter, run_history
from vixtract.scheduler.embedded.calls import (
    Answer,
    ApiError,
    Call,
    find_event,
    get_id,
    get_number,
    page,
    require,
)
from vixtract.scheduler.embedded.engine import Engine
from vixtract.scheduler.shapes import history_shape, job_shape, queue_shape
from vixtract.scheduler.store import Caller

CONSOLE_PAGE = 64 * 1024
MAX_PAGE = 1000
MAX_WORD = 200
VERDICTS = ("succeeded", "warning", "failed", "aborted", "missed")


def _limit(params: Mapping[str, Any], default: int) -> int:
    return min(get_number(params, "limit", default) or MAX_PAGE, MAX_PAGE)


def find_run(engine: Engine, caller: Caller, identifier: str) -> dict[str, Any]:
    """Return a run that the caller may see.

    Raises:
        ApiError: there is none, or it is another author's and the key is no admin's.
    """
    run = runs.get_run(engine.database, identifier)
    if run is None or not caller.owns(run["username"]):
        raise ApiError("job", f"Failed to fetch job details: no job {identifier}")
    return run


def _log_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _show(engine: Engine, run: Mapping[str, Any]) -> dict[str, Any]:
    attempt = engine.jobs.active.get(run["id"]) if run["state"] != "done" else None
    size = _log_size(engine.jobs.log_path(run["id"]))
    return job_shape(run, now=engine.now(), attempt=attempt, log_size=size)


def show_active(engine: Engine, caller: Caller) -> dict[str, dict[str, Any]]:
    """Show running jobs, and those that wait for a retry, by id and without parameters."""
    active = runs.open_runs(engine.database, "running", "waiting")
    return {run["id"]: _show(engine, run) for run in active if caller.owns(run["username"])}


def _get_active_jobs(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    del params
    return {"jobs": show_active(engine, caller)}


def _get_job_status(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    run = find_run(engine, caller, get_id(params))
    return {"job": {**_show(engine, run), "params": run["job"]["params"]}}


def _get_job_details(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    run = find_run(engine, caller, get_id(params))
    if run["state"] != "done":
        raise ApiError("job", f"Failed to fetch job details: job {run['id']} has not ended")
    return {"job": {**_show(engine, run), "params": {}}}


def _get_live_console(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    """Return the log from an offset on, at most CONSOLE_PAGE bytes, cut at whole characters."""
    run = find_run(engine, caller, get_id(params))
    offset = get_number(params, "offset", 0)
    path = engine.jobs.log_path(run["id"])
    size = _log_size(path)
    data = b""
    if offset < size:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(CONSOLE_PAGE)
        data = data[: _whole_characters(data)]
    following = min(offset, size) + len(data)
    return {
        "data": data.decode(errors="replace"),
        "next": following,
        "fileSize": size,
        "skipBytes": 0,
        "event_title": run["job"]["title"],
        "hostname": job_shape(run, now=engine.now())["hostname"],
        # 1 once the job has ended and the page reaches the end of its log.
        "complete": int(run["state"] == "done" and following >= size),
    }


def _whole_characters(data: bytes) -> int:
    """Return how many bytes hold whole UTF-8 characters, so that none is cut between pages."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if back < needed and len(data) > back else len(data)
    return len(data)


def find_log(engine: Engine, caller: Caller, identifier: str) -> Path | None:
    """Return the log file of a finished run that the caller may see, or None."""
    run = runs.get_run(engine.database, identifier)
    if run is None or run["state"] != "done" or not caller.owns(run["username"]):
        return None
    path = engine.jobs.log_path(identifier)
    return path if path.is_file() else None


def _history(
    engine: Engine, caller: Caller, params: Mapping[str, Any], event: str | None
) -> Answer:
    rows, length = run_history(
        engine.database,
        _read_filter(caller, params, event),
        offset=get_number(params, "offset", 0),
        limit=_limit(params, 100 if event else 50),
    )
    shown = [history_shape(r, log_size=_log_size(engine.jobs.log_path(r["id"]))) for r in rows]
    # Tells a client that it need not filter by itself, as it must with Cronicle's answers.
    return {**page(shown, length), "filtered": 1}


def _read_filter(caller: Caller, params: Mapping[str, Any], event: str | None) -> Filter:
    """Read the filters of a history; Cronicle knows none of them and pages through everything."""
    states = params.get("state") or ()
    if isinstance(states, str):
        states = [state for state in states.split(",") if state]
    if not isinstance(states, (list, tuple)) or set(map(str, states)) - set(VERDICTS):
        raise ApiError("api", f"state may be {', '.join(VERDICTS)}")
    texts = {}
    for name in ("event", "person", "owner", "word"):
        value = params.get(name) or ""
        if not isinstance(value, str) or len(value) > MAX_WORD:
            raise ApiError("api", f"{name} must be a text of at most {MAX_WORD} characters")
        texts[name] = value
    moments = {
        name: get_number(params, name, 0) if params.get(name) not in (None, "") else None
        for name in ("since", "until")
    }
    return Filter(
        event=event or texts["event"] or None,
        username=None if caller.is_admin else caller.username,
        person=texts["person"],
        owner=texts["owner"],
        word=texts["word"],
        states=[str(state) for state in states],
        **moments,
    )


def _get_history(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    return _history(engine, caller, params, None)


def _get_event_history(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    get_id(params)
    return _history(engine, caller, params, find_event(engine, caller, params).event.id)


def _get_event_slots(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    """Page through an event's due slots and their outcomes: the ledger's own call."""
    get_id(params)
    event = find_event(engine, caller, params).event
    rows, length = slots.slot_history(
        engine.database,
        event.id,
        offset=get_number(params, "offset", 0),
        limit=_limit(params, 100),
    )
    return page(rows, length)


def _abort_job(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "abort_events")
    identifier = get_id(params)
    run = runs.get_run(engine.database, identifier)
    reason = f"Manually aborted by API Key: {caller.title}"
    visible = run is not None and caller.owns(run["username"])
    if not visible or not engine.abort(identifier, reason):
        raise ApiError("job", f"Failed to locate job: {identifier}")
    return {}


def _get_queue(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    """List what waits; `queues` counts it by event, as Cronicle's own page does."""
    waiting = [
        run for run in runs.open_runs(engine.database, "queued") if caller.owns(run["username"])
    ]
    queues: dict[str, int] = {}
    for run in waiting:
        queues[run["event"]] = queues.get(run["event"], 0) + 1
    offset, limit = get_number(params, "offset", 0), _limit(params, 100)
    rows = [queue_shape(run) for run in waiting[offset : offset + limit]]
    return {**page(rows, len(waiting)), "queues": queues}


def _flush_event_queue(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "abort_events")
    get_id(params)
    event = find_event(engine, caller, params).event
    engine.flush_queue(event.id, f"Queue emptied by API Key: {caller.title}")
    return {}


JOB_CALLS: Mapping[str, Call] = {
    "get_active_jobs": _get_active_jobs,
    "get_job_status": _get_job_status,
    "get_job_details": _get_job_details,
    "get_live_console": _get_live_console,
    "get_history": _get_history,
    "get_event_history": _get_event_history,
    "get_event_slots": _get_event_slots,
    "abort_job": _abort_job,
    "get_queue": _get_queue,
    "flush_event_queue": _flush_event_queue,
}
