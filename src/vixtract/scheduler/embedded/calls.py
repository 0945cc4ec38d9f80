"""The REST calls over events, API keys and the engine itself.

Each function takes the engine, the caller and the call's parameters, and returns the answer
without its code; `ApiError` carries Cronicle's word for what is wrong. Calls over jobs are in
`job_calls`.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from vixtract import __version__
from vixtract.errors import VixtractError
from vixtract.ledger import history, runs
from vixtract.scheduler import store
from vixtract.scheduler.config import ENGINE_VERSION
from vixtract.scheduler.embedded.engine import Engine, LaunchError
from vixtract.scheduler.embedded.retention import FOREVER_DAYS
from vixtract.scheduler.events import CATEGORIES, PLUGINS, Event, check_event, check_params
from vixtract.scheduler.store import Caller, StoredEvent

logger = logging.getLogger(__name__)

Answer = dict[str, Any]
Call = Callable[[Engine, Caller, Mapping[str, Any]], Answer]


class ApiError(VixtractError):
    """A call that is answered with an error.

    Args:
        code: Cronicle's word: api, event, job, session, api_key.
        description: one line for people.
    """

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


def require(caller: Caller, privilege: str) -> None:
    """Refuse a caller whose key lacks a privilege.

    Raises:
        ApiError: with Cronicle's text.
    """
    if not caller.may(privilege):
        raise ApiError(
            "api",
            f"API Key ('{caller.title}') does not have the required privileges to perform this"
            f" action ({privilege}).",
        )


def get_number(params: Mapping[str, Any], name: str, default: int) -> int:
    """Read a whole number of 0 or more that may have come as text.

    Raises:
        ApiError: it is something else.
    """
    value = params.get(name, default)
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,12}", text):
        raise ApiError("api", f"Malformed parameter value: {name}")
    return int(text)


def get_id(params: Mapping[str, Any]) -> str:
    """Read the id that a call is about.

    Raises:
        ApiError: it is absent or no id.
    """
    value = params.get("id")
    if value is None:
        raise ApiError("api", "Missing parameter: id")
    if not isinstance(value, str) or not re.fullmatch(r"\w{1,64}", value, re.ASCII):
        raise ApiError("api", "Malformed parameter value: id")
    return value


def find_event(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> StoredEvent:
    """Return the event that a call names by id or title.

    Raises:
        ApiError: there is none, or it is another author's and the key is no admin's.
    """
    wanted = params.get("id") or params.get("title")
    if not wanted:
        raise ApiError("event", "Failed to locate event: No criteria specified")
    by = {"id": str(params["id"])} if params.get("id") else {"title": str(wanted)}
    stored = store.get_event(engine.database, **by)
    if stored is None or not caller.owns(stored.event.username):
        raise ApiError("event", f"Failed to locate event: {wanted}")
    return stored


def page(rows: list[dict[str, Any]], length: int) -> Answer:
    """Shape one page of a list."""
    return {"rows": rows, "list": {"length": length}}


def _get_schedule(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    events = [s.event for s in store.list_events(engine.database)]
    rows = [event.to_dict() for event in events if caller.owns(event.username)]
    offset, limit = get_number(params, "offset", 0), get_number(params, "limit", 0)
    return page(rows[offset : offset + limit] if limit else rows[offset:], len(rows))


def _get_event(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    from vixtract.scheduler.embedded.job_calls import show_active

    event = find_event(engine, caller, params).event
    answer: Answer = {"event": event.to_dict()}
    if event.queue:
        answer["queue"] = runs.count_runs(engine.database, event.id)["queued"]
    active = [job for job in show_active(engine, caller).values() if job["event"] == event.id]
    return {**answer, "jobs": active} if active else answer


def _check(values: Mapping[str, Any], *, partial: bool) -> None:
    problems = check_event(values, partial=partial)
    if problems:
        raise ApiError("api", "; ".join(str(problem) for problem in problems))


def _choose_author(caller: Caller, values: Mapping[str, Any], present: str) -> str:
    asked = values.get("username")
    return str(asked) if asked and caller.is_admin else present


def _create_event(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "create_events")
    _check(params, partial=False)
    now = int(engine.now())
    values = {
        "timezone": engine.config.timezone,
        **{name: value for name, value in params.items() if value is not None},
        "id": str(params.get("id") or "e" + secrets.token_hex(6)).lower(),
        "username": _choose_author(caller, params, caller.username),
        "created": now,
        "modified": now,
    }
    event = Event.from_dict(values)
    with engine.database.transaction():
        taken = store.get_event(engine.database, id=event.id) or store.get_event(
            engine.database, title=event.title
        )
        if taken is not None:
            raise ApiError(
                "event", f'Event with title "{event.title}" or id ({event.id}) already exists'
            )
        # The minute that has begun is over, the next one counts: as in Cronicle.
        store.put_event(engine.database, event, now - now % 60)
    engine.clock.set(event)
    logger.info("event %s (%s) created by %s", event.id, event.title, caller.title)
    return {"id": event.id}


def _update_event(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "edit_events")
    identifier = get_id(params)
    find_event(engine, caller, params)
    # What was due until now was due by the old timing.
    engine.settle(identifier)
    with engine.database.transaction():
        stored = find_event(engine, caller, {"id": identifier})
        changes = {k: v for k, v in params.items() if k not in ("id", "created")}
        _check({"plugin": stored.event.plugin, **changes}, partial=True)
        changes["username"] = _choose_author(caller, params, stored.event.username)
        changes["modified"] = int(engine.now())
        event = stored.event.updated(changes)
        if "plugin" in changes and "params" not in changes:
            _check({"plugin": event.plugin, "params": event.params}, partial=True)
        namesake = store.get_event(engine.database, title=event.title)
        if namesake is not None and namesake.event.id != event.id:
            raise ApiError("event", f'Event with title "{event.title}" already exists')
        store.put_event(engine.database, event, _choose_cursor(engine, stored, event, params))
    engine.clock.set(event)
    if not event.enabled and params.get("abort_jobs"):
        _abort_jobs(engine, caller, event)
    engine.settle(event.id)
    engine.dispatch()
    logger.info("event %s (%s) updated by %s", event.id, event.title, caller.title)
    return {}


def _choose_cursor(
    engine: Engine, stored: StoredEvent, event: Event, params: Mapping[str, Any]
) -> int | None:
    """Say from when on an updated event's slots are settled; None leaves it as it was."""
    now = int(engine.now())
    old = stored.event
    if params.get("reset_cursor"):
        # One minute back, so that the slot at that very time is settled again, as in Cronicle.
        cursor = get_number(params, "reset_cursor", 0) - 60
        oldest = now - ((engine.config.keep_days or FOREVER_DAYS) - 1) * 86400
        return max(oldest, min(cursor, now)) if event.catch_up else None
    if (old.timing, old.timezone, old.enabled) != (event.timing, event.timezone, event.enabled):
        return now
    return None


def _abort_jobs(engine: Engine, caller: Caller, event: Event) -> None:
    require(caller, "abort_events")
    for run in runs.open_runs(engine.database):
        if run["event"] == event.id:
            engine.abort(run["id"], f"Event '{event.title}' has been disabled.")


def _delete_event(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "delete_events")
    get_id(params)
    event = find_event(engine, caller, params).event
    with engine.database.transaction():
        counts = runs.count_runs(engine.database, event.id)
        if counts["running"] or counts["waiting"]:
            raise ApiError("event", "Failed to delete event: Still has running jobs")
        store.delete_event(engine.database, event.id)
    engine.clock.remove(event.id)
    engine.flush_queue(event.id, f"Event '{event.title}' has been deleted.")
    logger.info("event %s (%s) deleted by %s", event.id, event.title, caller.title)
    return {}


def _run_event(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "run_events")
    event = find_event(engine, caller, params).event
    override = params.get("params")
    # Other keys may start what is there, not change what it does; Cronicle drops theirs too.
    if override and caller.is_admin:
        if not isinstance(override, Mapping):
            raise ApiError("api", "Malformed event parameter: params (must be object)")
        event = event.updated({"params": {**event.params, **override}})
        problems = check_params(event.plugin, event.params)
        if problems:
            raise ApiError("api", "; ".join(str(problem) for problem in problems))
    try:
        run, waiting = engine.launch(event, f"API Key ({caller.title})")
    except LaunchError as error:
        raise ApiError("event", f"Failed to launch event: {error.message}") from error
    logger.info("event %s started by %s as job %s", event.id, caller.title, run)
    # A run that waits for its own event has no id in Cronicle's answer; `queued` is ours.
    return {"ids": [], "queue": waiting, "queued": [run]} if waiting else {"ids": [run]}


def _get_plugins(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    del engine, caller, params
    return page([{"id": i, "title": t, "enabled": 1} for i, t in PLUGINS.items()], len(PLUGINS))


def _get_categories(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    del engine, caller, params
    rows = [{"id": i, "title": t, "enabled": 1, "max_children": 0} for i, t in CATEGORIES.items()]
    return page(rows, len(rows))


def show_config(engine: Engine) -> Answer:
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


def _create_api_key(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "admin")
    key, title = str(params.get("key") or ""), str(params.get("title") or "").strip()
    username, privileges = params.get("username") or caller.username, params.get("privileges") or {}
    if not re.fullmatch(r"\w{20,200}", key, re.ASCII):
        raise ApiError("api", "key must be 20 to 200 letters, digits or underscores")
    if not title or re.search("[<>]", title) or len(title) > 200:
        raise ApiError("api", "title must have 1 to 200 characters and no < or >")
    if not isinstance(privileges, Mapping) or set(privileges) - set(store.PRIVILEGES):
        raise ApiError("api", f"privileges may be {', '.join(store.PRIVILEGES)}")
    problems = check_event({"username": username}, partial=True)
    if problems:
        raise ApiError("api", str(problems[0]))
    owner = Caller(title, str(username), dict(privileges))
    identifier = store.create_key(engine.database, owner, key, int(engine.now()))
    logger.info("API key %s (%s) created by %s", identifier, title, caller.title)
    return {"id": identifier, "key": key}


def _get_api_keys(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    del params
    require(caller, "admin")
    rows = store.list_keys(engine.database)
    return page(rows, len(rows))


def _delete_api_key(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "admin")
    identifier = get_id(params)
    if not store.delete_key(engine.database, identifier):
        raise ApiError("api_key", f"Failed to locate API Key: {identifier}")
    return {}


def _disown_runs(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    """Not Cronicle's: a person left, and their name must lead nobody to their runs."""
    require(caller, "admin")
    names = {"username": params.get("username"), "to": params.get("to")}
    for name in names.values():
        problems = check_event({"username": name}, partial=True)
        if not name or problems:
            raise ApiError("api", str(problems[0]) if problems else "Missing parameter: username")
    count = history.disown(engine.database, str(names["username"]), str(names["to"]))
    logger.info("%d runs of %s belong to %s now", count, names["username"], names["to"])
    return {"runs": count}


EVENT_CALLS: Mapping[str, Call] = {
    "get_schedule": _get_schedule,
    "get_event": _get_event,
    "create_event": _create_event,
    "update_event": _update_event,
    "delete_event": _delete_event,
    "run_event": _run_event,
    "get_plugins": _get_plugins,
    "get_categories": _get_categories,
    "create_api_key": _create_api_key,
    "get_api_keys": _get_api_keys,
    "delete_api_key": _delete_api_key,
    "disown_runs": _disown_runs,
}
