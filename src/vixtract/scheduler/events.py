"""The event: what is to run, when, and what happens when it cannot.

`check_event` is the one place that says what a valid event is; the engine's create and update
calls and the portal's form both use it. Shapes are Cronicle's, so that the same objects go to
either engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from vixtract.scheduler.timing import (
    TimingError,
    TimingInput,
    build_timing,
    check_timing,
    get_zone,
    iterate_due,
)

PLUGINS: Mapping[str, str] = {"notebook": "Notebook", "shellplug": "Shell Script"}
CATEGORIES: Mapping[str, str] = {"general": "General"}
# The author of events made with the appliance's key; administrators alone see what it owns.
SERVICE_ACCOUNT = "vixtract"

MAX_TEXT = 1_000_000
BOOLEANS = ("enabled", "catch_up", "queue", "web_hook_error")
NUMBERS: Mapping[str, int] = {
    # field: greatest value
    "max_children": 1000,
    "timeout": 366 * 86400,
    "queue_max": 100_000,
    "retries": 100,
    "retry_delay": 7 * 86400,
}
# Fields of Cronicle's events that clients send along and that mean nothing here.
IGNORED = frozenset(
    (
        "abort_jobs",
        "algo",
        "api_key",
        "chain",
        "chain_error",
        "cpu_limit",
        "cpu_sustain",
        "created",
        "detached",
        "log_max_size",
        "memory_limit",
        "memory_sustain",
        "modified",
        "multiplex",
        "reset_cursor",
        "secret_value",
        "session_id",
        "stagger",
    )
)


@dataclass(frozen=True)
class Problem:
    """A problem with one field of an event."""

    field: str
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Event:
    """A scheduled job.

    Args:
        id: lower-case letters, digits and underscores; made by the engine when empty.
        title: unique among events.
        enabled: 1 or 0; a disabled event can still be run by hand.
        target: `allgrp` for the appliance itself, `workers` for the machines named by WORKERS.
        timing: Cronicle's timing object; {} is every minute, False on demand only.
        timezone: IANA name that the timing is meant in.
        max_children: runs of it at the same time; 0 is no limit of its own.
        timeout: seconds after which a run is stopped; 0 is the appliance's limit.
        catch_up: 1 when slots missed during a downtime are made up for.
        queue: 1 when runs wait instead of being refused while max_children are running.
        queue_max: largest number of waiting runs; 0 is no limit.
        retries: further attempts after a failure.
        retry_delay: seconds between attempts.
        notify_success: mail addresses that are told of runs that succeeded.
        notify_fail: mail addresses that are told of the others.
        web_hook: address that gets every ended run as JSON.
        web_hook_error: 1 when that address gets failures alone.
        username: author, whose rights decide what may be run.
    """

    id: str
    title: str
    plugin: str
    enabled: int = 1
    category: str = "general"
    target: str = "allgrp"
    params: Mapping[str, Any] = field(default_factory=dict)
    timing: TimingInput = False
    timezone: str = "UTC"
    max_children: int = 0
    timeout: int = 0
    catch_up: int = 0
    queue: int = 0
    queue_max: int = 0
    retries: int = 0
    retry_delay: int = 0
    notes: str = ""
    notify_success: str = ""
    notify_fail: str = ""
    web_hook: str = ""
    web_hook_error: int = 0
    username: str = SERVICE_ACCOUNT
    created: int = 0
    modified: int = 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Event:
        """Make an event of a checked object; unknown fields are left out."""
        return cls(**_clean(values))

    def updated(self, values: Mapping[str, Any]) -> Event:
        """Return a copy with some fields replaced."""
        return replace(self, **_clean(values))

    def to_dict(self) -> dict[str, Any]:
        """Return the event as the REST calls show it."""
        return asdict(self)

    def due_times(self, after: float) -> Iterator[int]:
        """Yield the event's due times after a moment; TimingError for an unknown time zone."""
        if isinstance(self.timing, Mapping):
            yield from iterate_due(build_timing(self.timing), get_zone(self.timezone), after)


FIELDS = frozenset(f.name for f in fields(Event))


def _clean(values: Mapping[str, Any]) -> dict[str, Any]:
    cleaned = {name: value for name, value in values.items() if name in FIELDS}
    for name in BOOLEANS:
        if name in cleaned:
            cleaned[name] = int(bool(cleaned[name]))
    if cleaned.get("timing", False) is None:
        cleaned["timing"] = False
    return cleaned


def find_owner(params: Mapping[str, Any], author: str) -> str:
    """Return the person whose account a job runs under, by the runner's rule."""
    owner = str(params.get("owner") or "")
    parts = PurePosixPath(str(params.get("notebook") or "")).parts
    if not owner and parts[:2] == ("/", "home") and len(parts) > 3:
        owner = parts[2]
    return owner or author


def check_event(values: Mapping[str, Any], *, partial: bool = False) -> list[Problem]:
    """Return every problem with an event that a client sent; fields may be absent if partial."""
    problems = [
        Problem(name, f"{name} is missing")
        for name in ("title", "plugin")
        if not partial and name not in values
    ]
    for name, value in values.items():
        if name in FIELDS:
            message = _check_field(name, value)
            problems += [Problem(name, message)] if message else []
        elif name not in IGNORED:
            problems.append(Problem(str(name), f"{name} is not a field of an event"))
    if "timing" in values:
        problems += [Problem("timing", message) for message in check_timing(values["timing"])]
    if isinstance(values.get("params"), Mapping) and "plugin" in values:
        problems += check_params(str(values["plugin"]), values["params"])
    elif not partial and values.get("plugin") in PLUGINS and "params" not in values:
        problems += check_params(values["plugin"], {})
    return problems


def _check_field(name: str, value: object) -> str:
    if name in BOOLEANS:
        return "" if value in (0, 1) and isinstance(value, int) else f"{name} must be 1 or 0"
    if name in NUMBERS:
        fits = type(value) is int and 0 <= value <= NUMBERS[name]
        return "" if fits else f"{name} must be a whole number from 0 to {NUMBERS[name]}"
    check = TEXT_CHECKS.get(name)
    if check is None:
        return ""
    if name != "params" and not isinstance(value, str):
        return f"{name} must be a text"
    return check(value)


def _check_title(value: Any) -> str:
    if not value.strip() or len(value) > 200 or not value.isprintable():
        return "title must have 1 to 200 printable characters"
    return "title must not contain < or >" if re.search("[<>]", value) else ""


def _check_notes(value: Any) -> str:
    if len(value) > 10_000:
        return "notes must have at most 10,000 characters"
    return "notes must not contain < or >" if re.search("[<>]", value) else ""


def _check_addresses(value: Any) -> str:
    # Cronicle's own rule for the field, then that of each address.
    addresses = re.split(r"[,\s]+", value.strip()) if value.strip() else []
    good = all(re.fullmatch(r"[\w.-]{1,64}@[\w-]+(\.[\w-]+)*", a, re.ASCII) for a in addresses)
    return "" if good and len(value) <= 1000 else "must be mail addresses, separated by commas"


def _check_web_hook(value: Any) -> str:
    try:
        parts = urlsplit(value)
        named = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        named = False
    clean = value.isascii() and value.isprintable() and " " not in value and len(value) <= 2000
    return "" if not value or (named and clean) else "web_hook must be an http or https address"


def _check_zone(value: Any) -> str:
    try:
        get_zone(value)
    except TimingError as error:
        return f"timezone: {error.message} {error.hint}"
    return ""


def _check_params_object(value: Any) -> str:
    if not isinstance(value, Mapping):
        return "params must be an object"
    size = len(json.dumps(value, ensure_ascii=False))
    return "" if size <= MAX_TEXT else f"params must have at most {MAX_TEXT} characters as JSON"


def _matcher(pattern: str, message: str) -> Callable[[Any], str]:
    return lambda value: "" if re.fullmatch(pattern, value, re.ASCII) else message


TEXT_CHECKS: Mapping[str, Callable[[Any], str]] = {
    "id": _matcher(r"\w{0,64}", "id must have letters, digits and underscores only, at most 64"),
    "title": _check_title,
    "plugin": lambda v: "" if v in PLUGINS else f"plugin must be one of {', '.join(PLUGINS)}",
    "category": lambda v: "" if v in CATEGORIES else f"There is no category {v!r}",
    "target": lambda v: "" if v in ("allgrp", "workers") else "target must be allgrp or workers",
    "params": _check_params_object,
    "timezone": _check_zone,
    "notes": _check_notes,
    "notify_success": _check_addresses,
    "notify_fail": _check_addresses,
    "web_hook": _check_web_hook,
    "username": _matcher(r"[a-z_][a-z0-9._-]{0,31}", "username is not a valid account name"),
}


def check_params(plugin: str, params: Mapping[str, Any]) -> list[Problem]:
    """Return the problems with a plugin's parameters.

    notebook has notebook, owner, parameters (object or JSON text), kernel, memory_mb; shellplug has
    script, owner.
    """
    problems = []
    needed = {"notebook": "notebook", "shellplug": "script"}.get(plugin)
    if needed and not (isinstance(params.get(needed), str) and params[needed].strip()):
        problems.append(f"params.{needed} is missing: the {plugin} plugin needs it")
    if needed and "\0" in str(params.get(needed, "")):
        problems.append(f"params.{needed} contains a NUL character")
    problems += [
        f"params.{name} must be a text"
        for name in ("owner", "kernel")
        if not isinstance(params.get(name, ""), str)
    ]
    memory = params.get("memory_mb", 0)
    if plugin == "notebook" and not (type(memory) is int and 0 <= memory <= 10**7):
        problems.append("params.memory_mb must be a whole number of MiB, 0 for the default")
    if plugin == "notebook" and not _is_json_object(params.get("parameters") or {}):
        problems.append("params.parameters must be a JSON object")
    return [Problem("params", message) for message in problems]


def _is_json_object(value: object) -> bool:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else {}
        except (ValueError, RecursionError):
            return False
    return isinstance(value, Mapping)
