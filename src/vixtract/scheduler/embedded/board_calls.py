"""The REST call behind lists of schedules: the newest runs of many events at once.

Cronicle does not have it; there a client asks `get_event_history` for each event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vixtract.ledger.database import Database
from vixtract.scheduler import store
from vixtract.scheduler.embedded.calls import Answer, ApiError, Call, get_number
from vixtract.scheduler.embedded.engine import Engine
from vixtract.scheduler.store import Caller

MAX_EVENTS = 5000
MAX_RUNS = 100
# All of these stand before the long JSON columns of a row, which are never read here.
COLUMNS = (
    "id, event, username, source, due_at, time_start, time_end, attempt, crashes, code, outcome,"
    " description"
)


def recent_runs(database: Database, event: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest ended runs of an event, newest first, without parameters and results.

    Args:
        database: the ledger.
        event: event id.
        limit: rows at most.
    """
    return database.rows(
        f"SELECT {COLUMNS} FROM run WHERE event = ? AND state = 'done'"  # noqa: S608 - own names
        " ORDER BY done_seq DESC LIMIT ?",
        (event, limit),
    )


def _get_recent_runs(engine: Engine, caller: Caller, params: Mapping[str, Any]) -> Answer:
    limit = min(get_number(params, "limit", 30) or 1, MAX_RUNS)
    wanted = params.get("ids")
    if wanted is not None and not isinstance(wanted, list):
        raise ApiError("api", "Malformed parameter value: ids (must be a list)")
    chosen = None if wanted is None else {str(identifier) for identifier in wanted[:MAX_EVENTS]}
    events = [stored.event for stored in store.list_events(engine.database)]
    found = {}
    for event in events:
        if caller.owns(event.username) and (chosen is None or event.id in chosen):
            rows = recent_runs(engine.database, event.id, limit)
            found[event.id] = [_shape(row, event.title) for row in rows]
    return {"runs": found}


def _shape(run: Mapping[str, Any], title: str) -> dict[str, Any]:
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


BOARD_CALLS: Mapping[str, Call] = {"get_recent_runs": _get_recent_runs}
