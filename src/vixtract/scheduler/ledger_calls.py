"""The REST calls that the ledger alone answers, the same under both engines.

API keys, ended runs and due slots. Cronicle keeps a history of its own, which knows neither owners
nor filters and is cut at a number of rows; it is for Cronicle's page.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from vixtract.ledger import history, slots
from vixtract.ledger.database import Database
from vixtract.ledger.history import Filter
from vixtract.scheduler import store
from vixtract.scheduler.api import (
    Answer,
    ApiError,
    check_values,
    find_event,
    get_id,
    get_number,
    page,
    require,
)
from vixtract.scheduler.shapes import history_shape, recent_shape
from vixtract.scheduler.store import Caller

logger = logging.getLogger(__name__)

MAX_PAGE = 1000
MAX_WORD = 200
MAX_EVENTS = 5000
MAX_RECENT = 100
VERDICTS = ("succeeded", "warning", "failed", "aborted", "missed")


class Backend(Protocol):
    """What these calls need of an engine."""

    @property
    def database(self) -> Database:
        """The ledger."""

    def now(self) -> float:
        """Return the wall clock, epoch seconds."""

    def log_size(self, run: str) -> int:
        """Return the bytes of a run's log; 0 where that is not known."""


LedgerCall = Callable[[Backend, Caller, Mapping[str, Any]], Answer]


def get_limit(params: Mapping[str, Any], default: int) -> int:
    """Read how many rows are wanted, at most MAX_PAGE; 0 means as many as possible."""
    return min(get_number(params, "limit", default) or MAX_PAGE, MAX_PAGE)


def _history(
    backend: Backend, caller: Caller, params: Mapping[str, Any], event: str | None
) -> Answer:
    rows, length = history.run_history(
        backend.database,
        _read_filter(caller, params, event),
        offset=get_number(params, "offset", 0),
        limit=get_limit(params, 100 if event else 50),
    )
    shown = [history_shape(r, log_size=backend.log_size(r["id"])) for r in rows]
    return page(shown, length)


def _read_filter(caller: Caller, params: Mapping[str, Any], event: str | None) -> Filter:
    """Read the filters of a history; Cronicle's own call has none."""
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


def _get_history(backend: Backend, caller: Caller, params: Mapping[str, Any]) -> Answer:
    return _history(backend, caller, params, None)


def _get_event_history(backend: Backend, caller: Caller, params: Mapping[str, Any]) -> Answer:
    get_id(params)
    return _history(backend, caller, params, find_event(backend.database, caller, params).event.id)


def _get_event_slots(backend: Backend, caller: Caller, params: Mapping[str, Any]) -> Answer:
    """Page through an event's due slots and their outcomes; Cronicle does not have this call."""
    get_id(params)
    event = find_event(backend.database, caller, params).event
    rows, length = slots.slot_history(
        backend.database,
        event.id,
        offset=get_number(params, "offset", 0),
        limit=get_limit(params, 100),
    )
    return page(rows, length)


def _get_recent_runs(backend: Backend, caller: Caller, params: Mapping[str, Any]) -> Answer:
    limit = min(get_number(params, "limit", 30) or 1, MAX_RECENT)
    wanted = params.get("ids")
    if wanted is not None and not isinstance(wanted, list):
        raise ApiError("api", "Malformed parameter value: ids (must be a list)")
    chosen = None if wanted is None else {str(identifier) for identifier in wanted[:MAX_EVENTS]}
    events = [stored.event for stored in store.list_events(backend.database)]
    found = {}
    for event in events:
        if caller.owns(event.username) and (chosen is None or event.id in chosen):
            rows = history.recent_runs(backend.database, event.id, limit)
            found[event.id] = [recent_shape(row, event.title) for row in rows]
    return {"runs": found}


def _create_api_key(backend: Backend, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "admin")
    key, title = str(params.get("key") or ""), str(params.get("title") or "").strip()
    username, privileges = params.get("username") or caller.username, params.get("privileges") or {}
    if not re.fullmatch(r"\w{20,200}", key, re.ASCII):
        raise ApiError("api", "key must be 20 to 200 letters, digits or underscores")
    if not title or re.search("[<>]", title) or len(title) > 200:
        raise ApiError("api", "title must have 1 to 200 characters and no < or >")
    if not isinstance(privileges, Mapping) or set(privileges) - set(store.PRIVILEGES):
        raise ApiError("api", f"privileges may be {', '.join(store.PRIVILEGES)}")
    check_values({"username": username}, partial=True)
    owner = Caller(title, str(username), dict(privileges))
    identifier = store.create_key(backend.database, owner, key, int(backend.now()))
    logger.info("API key %s (%s) created by %s", identifier, title, caller.title)
    return {"id": identifier, "key": key}


def _get_api_keys(backend: Backend, caller: Caller, params: Mapping[str, Any]) -> Answer:
    del params
    require(caller, "admin")
    rows = store.list_keys(backend.database)
    return page(rows, len(rows))


def _delete_api_key(backend: Backend, caller: Caller, params: Mapping[str, Any]) -> Answer:
    require(caller, "admin")
    identifier = get_id(params)
    if not store.delete_key(backend.database, identifier):
        raise ApiError("api_key", f"Failed to locate API Key: {identifier}")
    return {}


def _disown_runs(backend: Backend, caller: Caller, params: Mapping[str, Any]) -> Answer:
    """Put another name on the runs of a person who left; Cronicle lacks this call."""
    # A later person of the same name must not see them.
    require(caller, "admin")
    name, to = params.get("username"), params.get("to")
    for username in (name, to):
        check_values({"username": username}, partial=True)
    count = history.disown(backend.database, str(name), str(to))
    logger.info("%d runs of %s belong to %s now", count, name, to)
    return {"runs": count}


LEDGER_CALLS: Mapping[str, LedgerCall] = {
    "get_history": _get_history,
    "get_event_history": _get_event_history,
    "get_event_slots": _get_event_slots,
    "get_recent_runs": _get_recent_runs,
    "create_api_key": _create_api_key,
    "get_api_keys": _get_api_keys,
    "delete_api_key": _delete_api_key,
    "disown_runs": _disown_runs,
}
