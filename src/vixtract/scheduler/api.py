"""The REST contract of both engines: its errors, privileges, and the reading of parameters.

Callers get JSON with Cronicle's codes: 0, or a short code such as `api`, `event` or `job` with a
description for people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vixtract.errors import VixtractError
from vixtract.ledger.database import Database
from vixtract.scheduler import store
from vixtract.scheduler.events import check_event
from vixtract.scheduler.store import Caller, StoredEvent

Answer = dict[str, Any]


class ApiError(VixtractError):
    """A call that is answered with an error.

    Args:
        code: Cronicle's code: api, event, job, session, api_key.
        description: one line for people.
    """

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


def find_caller(database: Database, api_key: str, given: str) -> Caller:
    """Return the caller that a key belongs to.

    Args:
        database: holds the hashes of further keys.
        api_key: the appliance's own key.
        given: the key sent with the call.
    Raises:
        ApiError: no key was sent, or it is unknown or inactive.
    """
    if not given:
        raise ApiError("session", "No Session ID or API Key could be found")
    caller = store.find_caller(database, api_key, given)
    if caller is None:
        raise ApiError("api", "Invalid API Key")
    return caller


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
    """Read a whole number of 0 or more, which may be sent as text.

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
        ApiError: it is absent or malformed.
    """
    value = params.get("id")
    if value is None:
        raise ApiError("api", "Missing parameter: id")
    if not isinstance(value, str) or not re.fullmatch(r"\w{1,64}", value, re.ASCII):
        raise ApiError("api", "Malformed parameter value: id")
    return value


def find_event(database: Database, caller: Caller, params: Mapping[str, Any]) -> StoredEvent:
    """Return the event that a call names by id or title.

    Raises:
        ApiError: there is none, or it is another author's and the key is no administrator's.
    """
    wanted = params.get("id") or params.get("title")
    if not wanted:
        raise ApiError("event", "Failed to locate event: No criteria specified")
    by = {"id": str(params["id"])} if params.get("id") else {"title": str(wanted)}
    stored = store.get_event(database, **by)
    if stored is None or not caller.owns(stored.event.username):
        raise ApiError("event", f"Failed to locate event: {wanted}")
    return stored


def check_values(values: Mapping[str, Any], *, partial: bool) -> None:
    """Refuse a malformed event.

    Args:
        values: fields of an event.
        partial: whether fields may be absent, as in an update.
    Raises:
        ApiError: lists every problem.
    """
    problems = check_event(values, partial=partial)
    if problems:
        raise ApiError("api", "; ".join(str(problem) for problem in problems))


def page(rows: list[dict[str, Any]], length: int) -> Answer:
    """Shape one page of a list."""
    return {"rows": rows, "list": {"length": length}}
