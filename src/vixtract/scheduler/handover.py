"""A person's schedules when they are disabled, come back or leave: by the scheduler's calls."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vixtract.errors import VixtractError
from vixtract.scheduler.client import SchedulerClient
from vixtract.scheduler.events import SERVICE_ACCOUNT, find_owner

ABORT_S = 40.0
_BLOCK = 1000


@dataclass(frozen=True)
class ScheduleChanges:
    """Ids of changed schedules, and the number of runs that were ended."""

    events: tuple[str, ...] = ()
    jobs: int = 0


def pause(scheduler: SchedulerClient, name: str) -> ScheduleChanges:
    """Switch off the schedules of an author or owner, end their runs; return those changed."""
    paused, seen = [], set()
    for event in _events_of(scheduler, name):
        identifier = str(event["id"])
        seen.add(identifier)
        if event.get("enabled"):
            scheduler.call("update_event", {"id": identifier, "enabled": 0})
            paused.append(identifier)
        if event.get("queue"):
            scheduler.call("flush_event_queue", {"id": identifier})
    return ScheduleChanges(tuple(paused), _end_jobs(scheduler, name, seen))


def resume(scheduler: SchedulerClient, name: str, events: frozenset[str]) -> ScheduleChanges:
    """Switch schedules on again that were switched off with the person.

    Args:
        events: ids from `pause`; schedules that are gone, or that the person had switched off, are
            left alone.
    """
    changed = []
    for event in _events_of(scheduler, name):
        if event["id"] in events and not event.get("enabled"):
            scheduler.call("update_event", {"id": event["id"], "enabled": 1})
            changed.append(str(event["id"]))
    return ScheduleChanges(tuple(changed))


def hand_over(
    scheduler: SchedulerClient, name: str, to: str, folder: str, enabled: frozenset[str]
) -> ScheduleChanges:
    """Give a person's schedules to another, whose account they run under from then on.

    Args:
        folder: folder of the other's home that the files are in now.
        enabled: ids of the schedules that were on before they were paused.
    """
    changed = []
    for event in _events_of(scheduler, name):
        change = _reassign(event, name, to)
        params = change["params"]
        if _owner(event) == name and params.get("notebook"):
            params["notebook"] = _move_path(str(params["notebook"]), name, to, folder)
        change["enabled"] = int(event["id"] in enabled or bool(event.get("enabled")))
        scheduler.call("update_event", change)
        changed.append(str(event["id"]))
    scheduler.call("disown_runs", {"username": name, "to": to})
    return ScheduleChanges(tuple(changed))


def archive(scheduler: SchedulerClient, name: str, now: datetime.datetime) -> ScheduleChanges:
    """Leave a person's schedules switched off, to be seen by administrators alone."""
    changed = []
    for event in _events_of(scheduler, name):
        author, owner = event.get("username") or "", _owner(event)
        note = f"{name} was removed on {now:%Y-%m-%d}; author was {author}, owner {owner}."
        notes = f"{event.get('notes') or ''}\n{note}".strip()
        change = {**_reassign(event, name, SERVICE_ACCOUNT), "enabled": 0, "notes": notes}
        scheduler.call("update_event", change)
        changed.append(str(event["id"]))
    scheduler.call("disown_runs", {"username": name, "to": SERVICE_ACCOUNT})
    return ScheduleChanges(tuple(changed))


def delete_keys(scheduler: SchedulerClient, name: str) -> int:
    """Delete the keys that act as this person; returns how many there were."""
    rows = scheduler.call("get_api_keys").get("rows") or []
    mine = [str(row["id"]) for row in rows if row.get("username") == name]
    for identifier in mine:
        scheduler.call("delete_api_key", {"id": identifier})
    return len(mine)


def _reassign(event: Mapping[str, Any], name: str, to: str) -> dict[str, Any]:
    author, params = str(event.get("username") or ""), dict(event.get("params") or {})
    if _owner(event) == name:
        params["owner"] = to
    return {"id": event["id"], "params": params, "username": to if author == name else author}


def _events_of(scheduler: SchedulerClient, name: str) -> list[dict[str, Any]]:
    return [
        event for event in _all_events(scheduler) if name in (event.get("username"), _owner(event))
    ]


def _all_events(scheduler: SchedulerClient) -> Iterator[dict[str, Any]]:
    offset = 0
    while True:
        answer = scheduler.call("get_schedule", {"offset": offset, "limit": _BLOCK})
        rows = answer.get("rows") or []
        yield from rows
        offset += len(rows)
        if not rows or offset >= int((answer.get("list") or {}).get("length") or 0):
            return


def _owner(row: Mapping[str, Any]) -> str:
    params = row.get("params")
    return find_owner(params if isinstance(params, Mapping) else {}, str(row.get("username") or ""))


def _end_jobs(scheduler: SchedulerClient, name: str, events: set[str]) -> int:
    """Abort all runs and wait until they are recorded; returns how many there were."""
    aborted: set[str] = set()
    limit = time.monotonic() + ABORT_S
    while running := _jobs_of(scheduler, name, events):
        for identifier in running - aborted:
            scheduler.call("abort_job", {"id": identifier})
        aborted |= running
        if time.monotonic() > limit:
            raise VixtractError(
                f"{len(running)} runs of {name} have not ended within {ABORT_S:.0f} s.",
                "Run the same command again.",
            )
        time.sleep(0.3)
    return len(aborted)


def _jobs_of(scheduler: SchedulerClient, name: str, events: set[str]) -> set[str]:
    jobs = dict(scheduler.call("get_active_jobs").get("jobs") or {})
    waiting = scheduler.call("get_queue", {"limit": _BLOCK}).get("rows") or []
    jobs.update({str(row["id"]): row for row in waiting})
    return {
        str(identifier)
        for identifier, job in jobs.items()
        if name in (job.get("username"), job.get("owner"), _owner(job))
        or job.get("event") in events
    }


def _move_path(path: str, name: str, to: str, folder: str) -> str:
    home = f"/home/{name}/"
    if path.startswith(home):
        return f"/home/{to}/{folder}/{path.removeprefix(home)}"
    return f"{folder}/{path}" if not path.startswith("/") else path
