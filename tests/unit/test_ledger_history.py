"""Filters over the history, and what retention may never delete."""

from __future__ import annotations

import pytest

from vixtract.ledger.database import Database
from vixtract.ledger.history import (
    Filter,
    delete_old_runs,
    disown,
    empty_trash,
    list_trash,
    run_history,
)
from vixtract.ledger.runs import NewRun, Outcome, add_run, finish_run


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "ledger.sqlite3")
    yield database
    database.close()


def put(database, run, event="e1", outcome="succeeded", code=0, end=100.0, **fields):
    author, owner = fields.get("author", "anna"), fields.get("owner", "")
    job = {"title": fields.get("title", "Sales"), "params": {}}
    add_run(database, NewRun(run, event, author, "Scheduler", None, end, job, owner))
    finish_run(database, run, Outcome(outcome, code, "", end, fields.get("result", {})))


def found(database, **wanted):
    rows, length = run_history(database, Filter(**wanted))
    assert length == len(rows)
    return [row["id"] for row in rows]


def test_each_filter_finds_its_runs_newest_first(database):
    put(database, "j1", end=10)
    put(database, "j2", event="e2", outcome="failed", code=1, end=20, title="Запасы склада")
    put(database, "j3", outcome="aborted", code=1, end=30, author="boris", owner="anna")
    put(database, "j4", code=255, end=40, author="boris")
    # The runner knows whose account it was; the event may have said less.
    put(database, "j5", end=50, author="boris", result={"chain_data": {"owner": "vera"}})
    assert found(database) == ["j5", "j4", "j3", "j2", "j1"]
    assert found(database, person="anna") == ["j3", "j2", "j1"]
    assert found(database, person="vera") == ["j5"]
    assert found(database, owner="boris") == ["j4"]
    assert found(database, username="boris") == ["j5", "j4", "j3"]
    assert found(database, states=["failed", "aborted"]) == ["j3", "j2"]
    assert found(database, states=["warning"]) == ["j4"]
    assert found(database, since=20, until=40) == ["j3", "j2"]
    assert found(database, word="запасы") == ["j2"]
    assert found(database, word="j3") == ["j3"]
    assert found(database, word="%") == []
    assert found(database, event="e1", person="anna", states=["succeeded"]) == ["j1"]


@pytest.mark.slow
def test_filters_read_100000_runs_by_indexes_alone(database):
    body = '{"params": "' + "x" * 1500 + '"}'
    with database.transaction() as connection:
        connection.executemany(
            "INSERT INTO run (id, event, username, owner, source, state, queued_at, time_start,"
            " time_end, code, outcome, verdict, title, job, done_seq)"
            " VALUES (?, ?, ?, ?, 'x', 'done', 0, 0, ?, 0, 'succeeded', ?, ?, ?, ?)",
            [
                (
                    *(f"j{n:08d}", f"e{n % 1000}", f"p{n % 50}", f"p{n % 50}", n),
                    *("failed" if n % 500 == 0 else "succeeded", f"Load {n % 1000}", body, n),
                )
                for n in range(100_000)
            ],
        )
    for wanted in (
        {"person": "p7"},
        {"states": ["failed"]},
        {"event": "e7"},
        {"since": 50_000, "until": 50_100},
        {"word": "load 777"},
    ):
        asked: list[str] = []
        with database.transaction() as connection:
            connection.set_trace_callback(asked.append)
        rows, length = run_history(database, Filter(**wanted), offset=0, limit=25)
        with database.transaction() as connection:
            connection.set_trace_callback(None)
        assert rows and length, wanted
        # Reading the JSON of all runs takes seconds: only the chosen few are looked up by their key.
        plans = [
            step["detail"]
            for sql in asked
            if sql.startswith("SELECT")
            for step in database.rows(f"EXPLAIN QUERY PLAN {sql}")
        ]
        reads = [step for step in plans if step.startswith(("SCAN run", "SEARCH run"))]
        assert len(reads) >= 3, plans
        for step in reads:
            assert " INDEX " in step, (wanted, plans)


def test_the_last_good_run_of_each_schedule_is_never_deleted(database):
    put(database, "j1", end=10)
    put(database, "j2", end=20)
    put(database, "j3", outcome="failed", code=1, end=30)
    put(database, "j4", event="e2", outcome="failed", code=1, end=15)
    assert delete_old_runs(database, before=1000) == ["j1", "j3", "j4"]
    assert found(database) == ["j2"]
    assert delete_old_runs(database, before=1000) == []


def test_too_many_runs_of_one_schedule_leave_another_alone(database):
    put(database, "j00", event="e2", end=1)
    for n in range(1, 10):
        put(database, f"j{n:02d}", outcome="failed" if n > 2 else "succeeded", code=n > 2, end=n)
    assert delete_old_runs(database, before=0, keep=3) == ["j01", "j03", "j04", "j05", "j06"]
    assert found(database) == ["j09", "j08", "j07", "j02", "j00"]


def test_deleted_runs_wait_in_the_trash_for_their_folders(database):
    put(database, "j1", end=1, author="anna", owner="vera")
    put(database, "j2", end=2)
    delete_old_runs(database, before=1000)
    assert list_trash(database) == [("j1", "vera")]
    empty_trash(database, "j1")
    assert list_trash(database) == []


def test_ended_runs_of_somebody_who_left_lead_nobody_to_them(database):
    put(database, "j1", result={"chain_data": {"owner": "anna", "uid": 2001}})
    put(database, "j2", author="boris", owner="anna")
    put(database, "j3", author="boris")
    assert disown(database, "anna", "vixtract") == 2
    assert found(database, person="anna") == []
    assert found(database, person="boris") == ["j3", "j2"]
    rows, _ = run_history(database, Filter())
    assert {row["id"]: row["owner"] for row in rows} == {
        "j1": "vixtract", "j2": "vixtract", "j3": "boris",
    }  # fmt: skip
    assert rows[-1]["result"]["chain_data"] == {"owner": "vixtract", "uid": 2001}
    assert disown(database, "anna", "vixtract") == 0
    # Their folders were moved away: retention has nothing to delete there.
    delete_old_runs(database, before=1000.0, keep=0, limit=100)
    assert {owner for _, owner in list_trash(database)} <= {"boris"}
