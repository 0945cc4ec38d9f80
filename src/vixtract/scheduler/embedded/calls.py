"""The REST calls that need the embedded engine: events, jobs, logs, the queue.

Each function takes the engine, the caller and the call's parameters, and returns the answer
without its code.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vixtract import __version__
from vixtract.ledger import runs
from vixtract.scheduler import store
from vixtract.scheduler.api import (
    Answer,
    ApiError,
    add_event,
    build_event,
    check_values,
    choose_author,
    choose_cursor,
    find_event,
    get_id,
    get_number,
    override_params,
    page,
    require,
)
from vixtract.scheduler.config import ENGINE_VERSION
from vixtract.scheduler.embedded.engine import EmbeddedEngine, LaunchError
from vixtract.scheduler.events import CATEGORIES, PLUGINS, Event
from vixtract.scheduler.ledger_calls import LEDGER_CALLS, get_limit
from vixtract.scheduler.shapes import job_shape, queue_shape
from vixtract.scheduler.store import Caller

logger = logging.getLogger(__name__)

Call = Callable[[EmbeddedEngine, Caller, Mapping[str, Any]], Answer]

CONSOLE_PAGE = 64 * 1024


# Events.


def _get_schedule(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    events = [s.event for s in store.list_events(engine.database)]
    rows = [event.to_dict() for event in events if caller.owns(event.username)]
    offset, limit = get_number(params, "offset", 0), get_number(params, "limit", 0)
    return page(rows[offset : offset + limit] if limit else rows[offset:], len(rows))


def _get_event(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    event = find_event(engine.database, caller, params).event
    answer: Answer = {"event": event.to_dict()}
    if event.queue:
        answer["queue"] = runs.count_runs(engine.database, event.id)["queued"]
    active = [job for job in show_active(engine, caller).values() if job["event"] == event.id]
    return {**answer, "jobs": active} if active else answer


def _create_event(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "create_events")
    check_values(params, partial=False)
    now = int(engine.now())
    event = build_event(params, caller, engine.config, now)
    # The minute that has begun is over, the next one counts: as in Cronicle.
    add_event(engine.database, event, now - now % 60)
    engine.alarms.set(event)
    logger.info("event %s (%s) created by %s", event.id, event.title, caller.title)
    return {"id": event.id}


def _update_event(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "edit_events")
    identifier = get_id(params)
    find_event(engine.database, caller, params)
    # What was due until now was due by the old timing.
    engine.settle(identifier)
    with engine.database.transaction():
        stored = find_event(engine.database, caller, {"id": identifier})
        changes = {k: v for k, v in params.items() if k not in ("id", "created")}
        check_values({"plugin": stored.event.plugin, **changes}, partial=True)
        changes["username"] = choose_author(caller, params, stored.event.username)
        changes["modified"] = int(engine.now())
        event = stored.event.updated(changes)
        if "plugin" in changes and "params" not in changes:
            check_values({"plugin": event.plugin, "params": event.params}, partial=True)
        namesake = store.get_event(engine.database, title=event.title)
        if namesake is not None and namesake.event.id != event.id:
            raise ApiError("event", f'Event with title "{event.title}" already exists')
        now = int(engine.now())
        cursor = choose_cursor(stored.event, event, params, engine.config, now)
        store.put_event(engine.database, event, cursor)
    engine.alarms.set(event)
    if not event.enabled and params.get("abort_jobs"):
        _abort_jobs(engine, caller, event)
    engine.settle(event.id)
    engine.dispatch()
    logger.info("event %s (%s) updated by %s", event.id, event.title, caller.title)
    return {}


def _abort_jobs(engine: EmbeddedEngine, caller: Caller, event: Event) -> None:
    require(caller, "abort_events")
    for run in runs.open_runs(engine.database):
        if run["event"] == event.id:
            engine.abort(run["id"], f"Event '{event.title}' has been disabled.")


def _delete_event(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "delete_events")
    get_id(params)
    event = find_event(engine.database, caller, params).event
    with engine.database.transaction():
        counts = runs.count_runs(engine.database, event.id)
        if counts["running"] or counts["waiting"]:
            raise ApiError("event", "Failed to delete event: Still has running jobs")
        store.delete_event(engine.database, event.id)
    engine.alarms.remove(event.id)
    engine.flush_queue(event.id, f"Event '{event.title}' has been deleted.")
    logger.info("event %s (%s) deleted by %s", event.id, event.title, caller.title)
    return {}


def _run_event(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "run_events")
    event = find_event(engine.database, caller, params).event
    merged = override_params(event.plugin, event.params, params, caller)
    if merged is not None:
        event = event.updated({"params": merged})
    try:
        run, waiting = engine.launch(event, f"API Key ({caller.title})")
    except LaunchError as error:
        raise ApiError("event", f"Failed to launch event: {error.message}") from error
    logger.info("event %s started by %s as job %s", event.id, caller.title, run)
    # A run that waits for its own event has no id in Cronicle's answer; `queued` is ours.
    return {"ids": [], "queue": waiting, "queued": [run]} if waiting else {"ids": [run]}


def _get_plugins(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    del engine, caller, params
    return page([{"id": i, "title": t, "enabled": 1} for i, t in PLUGINS.items()], len(PLUGINS))


def _get_categories(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    del engine, caller, params
    rows = [{"id": i, "title": t, "enabled": 1, "max_children": 0} for i, t in CATEGORIES.items()]
    return page(rows, len(rows))


def show_config(engine: EmbeddedEngine) -> Answer:
    """Answer the call `config`, which needs no key."""
    return {
        "version": __version__,
        "engine": ENGINE_VERSION,
        "config": {
            "timezone": engine.config.timezone,
            "max_jobs": engine.config.max_jobs,
            "catch_up_cap": engine.config.catch_up_cap,
            "job_timeout": engine.config.job_timeout_s,
            "base_path": "/cronicle",
        },
    }


# Jobs.


def find_run(engine: EmbeddedEngine, caller: Caller, identifier: str) -> dict[str, Any]:
    """Return a run that the caller may see, or raise ApiError."""
    run = runs.get_run(engine.database, identifier)
    if run is None or not caller.owns(run["username"]):
        raise ApiError("job", f"Failed to fetch job details: no job {identifier}")
    return run


def _show(engine: EmbeddedEngine, run: Mapping[str, Any]) -> dict[str, Any]:
    attempt = engine.jobs.active.get(run["id"]) if run["state"] != "done" else None
    return job_shape(
        run,
        now=engine.now(),
        report=attempt.process.report if attempt else None,
        pid=attempt.process.pid if attempt else None,
        log_size=engine.log_size(run["id"]),
    )


def show_active(engine: EmbeddedEngine, caller: Caller) -> dict[str, dict[str, Any]]:
    """Show running jobs, and those that wait for a retry, by id and without parameters."""
    active = runs.open_runs(engine.database, "running", "waiting")
    return {run["id"]: _show(engine, run) for run in active if caller.owns(run["username"])}


def _get_active_jobs(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    del params
    return {"jobs": show_active(engine, caller)}


def _get_job_status(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    run = find_run(engine, caller, get_id(params))
    return {"job": {**_show(engine, run), "params": run["job"]["params"]}}


def _get_job_details(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    run = find_run(engine, caller, get_id(params))
    if run["state"] != "done":
        raise ApiError("job", f"Failed to fetch job details: job {run['id']} has not ended")
    return {"job": {**_show(engine, run), "params": {}}}


def _get_live_console(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    """Return the log from an offset on, at most CONSOLE_PAGE bytes, cut at whole characters."""
    run = find_run(engine, caller, get_id(params))
    offset = get_number(params, "offset", 0)
    path = engine.jobs.log_path(run["id"])
    size = engine.log_size(run["id"])
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


def find_log(engine: EmbeddedEngine, caller: Caller, identifier: str) -> Path | None:
    """Return the log file of a finished run that the caller may see, or None."""
    run = runs.get_run(engine.database, identifier)
    if run is None or run["state"] != "done" or not caller.owns(run["username"]):
        return None
    path = engine.jobs.log_path(identifier)
    return path if path.is_file() else None


def _abort_job(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "abort_events")
    identifier = get_id(params)
    run = runs.get_run(engine.database, identifier)
    reason = f"Manually aborted by API Key: {caller.title}"
    visible = run is not None and caller.owns(run["username"])
    if not visible or not engine.abort(identifier, reason):
        raise ApiError("job", f"Failed to locate job: {identifier}")
    return {}


def _get_queue(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    """List what waits; `queues` counts it by event, as Cronicle's own page does."""
    waiting = [
        run for run in runs.open_runs(engine.database, "queued") if caller.owns(run["username"])
    ]
    offset, limit = get_number(params, "offset", 0), get_limit(params, 100)
    rows = [queue_shape(run) for run in waiting[offset : offset + limit]]
    return {**page(rows, len(waiting)), "queues": Counter(run["event"] for run in waiting)}


def _flush_event_queue(engine: EmbeddedEngine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "abort_events")
    get_id(params)
    event = find_event(engine.database, caller, params).event
    engine.flush_queue(event.id, f"Queue emptied by API Key: {caller.title}")
    return {}


CALLS: Mapping[str, Call] = {
    **LEDGER_CALLS,
    "get_schedule": _get_schedule,
    "get_event": _get_event,
    "create_event": _create_event,
    "update_event": _update_event,
    "delete_event": _delete_event,
    "run_event": _run_event,
    "get_plugins": _get_plugins,
    "get_categories": _get_categories,
    "get_active_jobs": _get_active_jobs,
    "get_job_status": _get_job_status,
    "get_job_details": _get_job_details,
    "get_live_console": _get_live_console,
    "abort_job": _abort_job,
    "get_queue": _get_queue,
    "flush_event_queue": _flush_event_queue,
}
