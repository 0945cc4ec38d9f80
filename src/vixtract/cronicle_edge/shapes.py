"""Cronicle's events and the ledger's, and what callers of the contract are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vixtract.cronicle_edge.checks import tell_params
from vixtract.cronicle_edge.plugins import read_text, read_title, show_title
from vixtract.ledger import runs
from vixtract.ledger.database import Database
from vixtract.ledger.slots import FAILED, SUCCEEDED
from vixtract.scheduler import store
from vixtract.scheduler.events import FIELDS, NUMBERS, PLUGINS, Event

# Kept in the ledger alone: the appliance's own notifier sends these messages under both engines,
# and Cronicle would send them a second time.
MESSAGES = ("notify_success", "notify_fail", "web_hook", "web_hook_error")
# Never shown, of jobs and events, and of jobs.
SECRETS = ("api_key", "secret", "secret_value", "secret_preview", "session_id", "token", "salt")
INTERNAL = ("command", "env", "log_file", "globalenv", "cat_secret", "plug_secret", "uid")


def read_event(values: Mapping[str, Any], known: Event | None = None) -> Event | None:
    """Make an event of Cronicle's record, or None where it cannot be one.

    Args:
        known: the same event in the ledger, which has fields that Cronicle does not get.
    """
    if values.get("plugin") not in PLUGINS or not values.get("id") or not values.get("title"):
        return None
    kept = {
        name: value
        for name, value in values.items()
        if name in FIELDS and name not in MESSAGES and value is not None
    }
    for name in (*NUMBERS, "created", "modified"):
        kept[name] = _whole(kept.get(name))
    kept["title"] = read_title(str(kept["title"]))
    kept["username"] = str(kept.get("username") or "")
    kept["timezone"] = str(kept.get("timezone") or "UTC")
    if not isinstance(kept.get("params"), Mapping):
        kept["params"] = {}
    return Event.from_dict({**kept, **messages_of(known)})


def messages_of(event: Event | None) -> dict[str, Any]:
    """Return the fields of an event that Cronicle does not get; none without an event."""
    return {name: getattr(event, name) for name in MESSAGES} if event else {}


def _whole(value: Any) -> int:
    try:
        return max(0, int(value or 0))
    except (TypeError, ValueError):
        return 0


def tell(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event's fields in the form that Cronicle and its page can handle."""
    told = dict(values)
    if isinstance(told.get("title"), str):
        told["title"] = show_title(told["title"])
    if isinstance(told.get("params"), Mapping):
        told["params"] = tell_params(told["params"])
    return told


def clean_event(database: Database, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event as callers see it: without secrets, with the fields of the ledger alone."""
    shown = {name: value for name, value in values.items() if name not in SECRETS}
    shown["title"] = read_title(str(shown.get("title") or ""))
    stored = store.get_event(database, id=str(values.get("id") or ""))
    return {**shown, **messages_of(stored.event if stored else None)}


def clean_job(database: Database, job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job as callers see it: with author, due time and outcome from the ledger."""
    shown = {name: value for name, value in job.items() if name not in (*SECRETS, *INTERNAL)}
    # Cronicle says that a job is complete when its plugin does, before it has noted the end.
    if shown.get("complete") and not shown.get("time_end") and shown.get("action") is None:
        shown["complete"] = 0
    reads = {"description": read_text, "memo": read_text, "event_title": read_title}
    for name, read in reads.items():
        if isinstance(shown.get(name), str):
            shown[name] = read(shown[name])
    run = runs.get_run(database, str(job.get("id") or ""))
    if run is not None:
        shown.update(username=run["username"], due_at=run["due_at"], outcome=run["outcome"])
        if run["outcome"] in (SUCCEEDED, FAILED) and run["description"]:
            # Cronicle has this text with its quotes replaced.
            shown["description"] = run["description"]
        shown.setdefault("chain_data", run["result"].get("chain_data") or {})
        if run["outcome"] == "aborted" and job.get("action") != "job_complete":
            shown.setdefault("abort_reason", shown.get("description") or "Aborted")
    return shown
