"""Rows of runs: from queued over running (and waiting for a retry) to done.

A run that is not done *is* the queue. Each change of state is one durable statement; the outcome
of a run and that of its slot are written together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vixtract.ledger.database import Database
from vixtract.ledger.slots import ABORTED, encode, finish_slot

WARNING, WARNING_CODE = "warning", 255


@dataclass(frozen=True)
class NewRun:
    """A run to be queued.

    Args:
        username: author of the event, who answers for it.
        source: who or what started it, one line.
        due_at: time of its slot; None when started by hand.
        job: the event as it is at this moment, params overridden where asked; kept with the run.
        owner: person whose account it runs under, according to the event.
    """

    id: str
    event: str
    username: str
    source: str
    due_at: int | None
    queued_at: float
    job: Mapping[str, Any]
    owner: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        code: 0 is success, WARNING_CODE a success with a warning.
        result: perf, table, chain_data, memo and the like, as the plugin reported them.
    """

    outcome: str
    code: int
    description: str
    time_end: float
    result: Mapping[str, Any] = field(default_factory=dict)


def add_run(database: Database, run: NewRun) -> None:
    """Queue a run."""
    database.execute(
        "INSERT INTO run (id, event, username, source, due_at, state, queued_at, job, title, owner)"
        " VALUES (:id, :event, :username, :source, :due_at, 'queued', :queued_at, :job, :title,"
        " :owner)",
        {
            **vars(run),
            "job": encode(run.job),
            "title": str(run.job.get("title") or ""),
            "owner": run.owner or run.username,
        },
    )


def mark_running(database: Database, run: str, now: float) -> bool:
    """Take a queued or waiting run to start it; False when it was aborted meanwhile."""
    return bool(
        database.execute(
            "UPDATE run SET state = 'running', pid = NULL, pid_start = NULL,"
            " time_start = coalesce(time_start, ?), version = version + 1"
            " WHERE id = ? AND state IN ('queued', 'waiting')",
            (now, run),
        )
    )


def mark_started(database: Database, run: str, pid: int, pid_start: int) -> None:
    """Record the process of a run, before it is told what to do.

    Args:
        pid: process id; also the id of its process group.
        pid_start: start time in clock ticks since boot, which tells a reused pid apart.
    """
    database.execute("UPDATE run SET pid = ?, pid_start = ? WHERE id = ?", (pid, pid_start, run))


def mark_waiting(database: Database, run: str, not_before: float) -> None:
    """Let a failed run wait for its next attempt."""
    database.execute(
        "UPDATE run SET state = 'waiting', not_before = ?, attempt = attempt + 1, pid = NULL,"
        " version = version + 1 WHERE id = ? AND state = 'running'",
        (not_before, run),
    )


def requeue_run(database: Database, run: str, *, crashed: bool) -> None:
    """Queue a run again that the engine stopped under; crashed attempts are counted."""
    database.execute(
        "UPDATE run SET state = 'queued', pid = NULL, crashes = crashes + ?, version = version + 1"
        " WHERE id = ? AND state = 'running'",
        (int(crashed), run),
    )


def finish_run(database: Database, run: str, outcome: Outcome) -> bool:
    """Give a run and its slot their one outcome; False when the run had one already."""
    with database.transaction() as connection:
        changed = connection.execute(
            "UPDATE run SET state = 'done', outcome = :outcome, code = :code,"
            " description = :description, time_end = :time_end, result = :result, pid = NULL,"
            " time_start = coalesce(time_start, :time_end), verdict = :verdict,"
            " owner = coalesce(nullif(:owner, ''), owner),"
            " done_seq = (SELECT coalesce(max(done_seq), 0) + 1 FROM run), version = version + 1"
            " WHERE id = :run AND state != 'done'",
            {
                **vars(outcome),
                "result": encode(outcome.result),
                "verdict": judge(outcome),
                "owner": _find_owner(outcome.result),
                "run": run,
            },
        ).rowcount
        if changed:
            finish_slot(database, run, outcome.outcome, outcome.description)
        return bool(changed)


def judge(outcome: Outcome) -> str:
    """Return the verdict on a run: its outcome, or `warning` for code 255."""
    return (
        WARNING if outcome.code == WARNING_CODE and outcome.outcome != ABORTED else outcome.outcome
    )


def _find_owner(result: Mapping[str, Any]) -> str:
    chain = result.get("chain_data")
    return str(chain.get("owner") or "") if isinstance(chain, Mapping) else ""


def decode_run(row: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a row into a dictionary with `job` and `result` as objects."""
    return {**row, "job": json.loads(row["job"]), "result": json.loads(row["result"])}


def get_run(database: Database, run: str) -> dict[str, Any] | None:
    """Return one run, or None."""
    row = database.row("SELECT * FROM run WHERE id = ?", (run,))
    return decode_run(row) if row else None


def open_runs(database: Database, *states: str) -> list[dict[str, Any]]:
    """Return runs that are not done, oldest first; only the given states, if any are given."""
    # Without INDEXED BY, SQLite reads all runs in the order of their ids.
    rows = database.rows("SELECT * FROM run INDEXED BY run_open WHERE state != 'done' ORDER BY id")
    return [decode_run(row) for row in rows if not states or row["state"] in states]


def count_runs(database: Database, event: str) -> dict[str, int]:
    """Count an event's runs that are not done, by state."""
    rows = database.rows(
        "SELECT state, count(*) AS n FROM run INDEXED BY run_open"
        " WHERE state != 'done' AND event = ? GROUP BY state",
        (event,),
    )
    counts = {"queued": 0, "running": 0, "waiting": 0}
    counts.update({row["state"]: row["n"] for row in rows})
    return counts


def last_run_id(database: Database) -> str:
    """Return the greatest run id, or an empty text."""
    row = database.row("SELECT max(id) AS id FROM run")
    return str(row["id"]) if row and row["id"] else ""
