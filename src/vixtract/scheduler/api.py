"""The REST contract of both engines: its errors, privileges, and the reading of parameters.

Callers get JSON with Cronicle's codes: 0, or a short code such as `api`, `event` or `job` with a
description for people. What a caller may not do or has malformed raises ApiError here.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vixtract.errors import VixtractError
from vixtract.ledger.database import Database
from vixtract.scheduler import store
from vixtract.scheduler.events import Event, check_event, check_params
from vixtract.scheduler.store import Caller, StoredEvent

if TYPE_CHECKING:
    # A job's process imports this module, and not the mail library that the configuration needs.
    from vixtract.scheduler.config import EngineConfig

Answer = dict[str, Any]
FOREVER_DAYS = 36500


class ApiError(VixtractError):
    """A call that is answered with one of Cronicle's codes: api, event, job, session, api_key."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


def find_caller(database: Database, api_key: str, given: str) -> Caller:
    """Return the caller that a key belongs to; none, unknown and inactive keys are refused."""
    if not given:
        raise ApiError("session", "No Session ID or API Key could be found")
    caller = store.find_caller(database, api_key, given)
    if caller is None:
        raise ApiError("api", "Invalid API Key")
    return caller


def require(caller: Caller, privilege: str) -> None:
    """Refuse a caller whose key lacks a privilege."""
    if not caller.may(privilege):
        raise ApiError(
            "api",
            f"API Key ('{caller.title}') does not have the required privileges to perform this"
            f" action ({privilege}).",
        )


def get_number(params: Mapping[str, Any], name: str, default: int) -> int:
    """Return a whole number of 0 or more, which may be sent as text."""
    value = params.get(name, default)
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,12}", text):
        raise ApiError("api", f"Malformed parameter value: {name}")
    return int(text)


def get_id(params: Mapping[str, Any]) -> str:
    """Return the id that a call is about."""
    value = params.get("id")
    if value is None:
        raise ApiError("api", "Missing parameter: id")
    if not isinstance(value, str) or not re.fullmatch(r"\w{1,64}", value, re.ASCII):
        raise ApiError("api", "Malformed parameter value: id")
    return value


def find_event(database: Database, caller: Caller, params: Mapping[str, Any]) -> StoredEvent:
    """Return the event that a call names by id or title, if the caller may see it."""
    wanted = params.get("id") or params.get("title")
    if not wanted:
        raise ApiError("event", "Failed to locate event: No criteria specified")
    by = {"id": str(params["id"])} if params.get("id") else {"title": str(wanted)}
    stored = store.get_event(database, **by)
    if stored is None or not caller.owns(stored.event.username):
        raise ApiError("event", f"Failed to locate event: {wanted}")
    return stored


def check_values(values: Mapping[str, Any], *, partial: bool) -> None:
    """Refuse a malformed event, with every problem; in an update (partial) fields may be absent."""
    problems = check_event(values, partial=partial)
    if problems:
        raise ApiError("api", "; ".join(str(problem) for problem in problems))


def build_event(params: Mapping[str, Any], caller: Caller, config: EngineConfig, now: int) -> Event:
    """Build the event of a checked `create_event`; the configuration has the default time zone."""
    values = {
        "timezone": config.timezone,
        **{name: value for name, value in params.items() if value is not None},
        "id": str(params.get("id") or "e" + secrets.token_hex(6)).lower(),
        "username": choose_author(caller, params, caller.username),
        "created": now,
        "modified": now,
    }
    return Event.from_dict(values)


def add_event(database: Database, event: Event, cursor: int) -> None:
    """Store a new event; one whose id or title is taken is refused."""
    with database.transaction():
        if store.get_event(database, id=event.id) or store.get_event(database, title=event.title):
            taken = f'Event with title "{event.title}" or id ({event.id}) already exists'
            raise ApiError("event", taken)
        store.put_event(database, event, cursor)


def choose_author(caller: Caller, params: Mapping[str, Any], present: str) -> str:
    """Return the author that a call asks for, or the present one where the key may not choose."""
    asked = params.get("username")
    return str(asked) if asked and caller.is_admin else present


def choose_cursor(
    old: Event, new: Event, params: Mapping[str, Any], config: EngineConfig, now: int
) -> int | None:
    """Return the time from which an updated event's slots are settled; None leaves it as it was.

    `reset_cursor` goes back to a time, with catch-up, at most as far as runs are kept.
    """
    if params.get("reset_cursor") and new.catch_up:
        # One minute back, so that the slot at that very time is settled again, as in Cronicle.
        cursor = get_number(params, "reset_cursor", 0) - 60
        oldest = now - ((config.keep_days or FOREVER_DAYS) - 1) * 86400
        return max(oldest, min(cursor, now))
    is_changed = (old.timing, old.timezone, old.enabled) != (new.timing, new.timezone, new.enabled)
    return now if is_changed else None


def override_params(
    plugin: str, params: Mapping[str, Any], call: Mapping[str, Any], caller: Caller
) -> dict[str, Any] | None:
    """Return the plugin's parameters for one run, or None where the event's own are used.

    The `params` of the call `run_event` replace single ones. Keys without the privilege `admin` may
    start what is there, not change what it does, as in Cronicle.
    """
    override = call.get("params")
    if not override or not caller.is_admin:
        return None
    if not isinstance(override, Mapping):
        raise ApiError("api", "Malformed event parameter: params (must be object)")
    merged = {**params, **override}
    problems = check_params(plugin, merged)
    if problems:
        raise ApiError("api", "; ".join(str(problem) for problem in problems))
    return merged


def page(rows: list[dict[str, Any]], length: int) -> Answer:
    """Shape one page of a list."""
    return {"rows": rows, "list": {"length": length}}
