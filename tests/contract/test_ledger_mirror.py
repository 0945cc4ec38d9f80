"""The copy of the ledger in a real PostgreSQL."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import psycopg
import pytest

from tests.waiting import wait_until
from vixtract.ledger import runs
from vixtract.ledger.database import Database
from vixtract.ledger.mirror import Mirror, run_values
from vixtract.ledger.slots import MISSED, SUCCEEDED, Settlement, settle_slots

pytest_plugins = ["tests.postgres"]

DUE = 1_790_000_100
JOB = {"title": "load sales", "plugin": "notebook", "category": "general", "params": {}}
CHAIN = {"owner": "anna", "notebook": "/home/anna/a.ipynb", "run_dir": "/runs/anna/j1", "uid": 2000}


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "ledger.sqlite3")
    database.execute("INSERT INTO event VALUES ('e1', 'load sales', 'anna', 1, '{}', 0, 0, 0)")
    yield database
    database.close()


def settle(database, due, job=JOB, run="j1"):
    """Settle two slots: the first is missed, the second queues a run."""

    def add_run(at):
        runs.add_run(database, runs.NewRun(run, "e1", "anna", "Scheduler", at, at + 0.5, job))
        return run, ""

    row = database.row("SELECT cursor FROM event")
    settlement = Settlement("e1", row["cursor"], due, due, [due - 300, due])
    settle_slots(database, settlement, add_run)


def read(conninfo, query):
    with psycopg.connect(conninfo) as connection:
        return connection.execute(query).fetchall()


def copied_slots(conninfo):
    return read(
        conninfo,
        "SELECT extract(epoch FROM due_at)::bigint, outcome, run FROM vixtract.slot ORDER BY due_at",
    )


def test_runs_and_slots_are_copied_and_follow_changes(database, postgres_database):
    mirror = Mirror(database, postgres_database)
    settle(database, DUE)
    assert mirror.copy() == 3
    assert copied_slots(postgres_database) == [(DUE - 300, MISSED, None), (DUE, None, "j1")]
    assert mirror.copy() == 0
    result = {"chain_data": CHAIN, "perf": {"load": 1.5}, "memo": "done"}
    runs.finish_run(database, "j1", runs.Outcome(SUCCEEDED, 0, "fine", DUE + 9, result))
    assert mirror.copy() == 2
    assert copied_slots(postgres_database)[1] == (DUE, SUCCEEDED, "j1")
    row = read(
        postgres_database,
        "SELECT state, outcome, code, owner, notebook, run_dir, event_title, attempts,"
        " extract(epoch FROM ended_at)::bigint, details->'perf'->>'load' FROM vixtract.run",
    )
    assert row == [
        (
            "done",
            SUCCEEDED,
            0,
            "anna",
            CHAIN["notebook"],
            CHAIN["run_dir"],
            "load sales",
            1,
            DUE + 9,
        )
        + ("1.5",)
    ]


def test_new_empty_database_gets_everything_again(database, postgres_database):
    mirror = Mirror(database, postgres_database)
    settle(database, DUE)
    mirror.copy()
    with psycopg.connect(postgres_database) as connection:
        connection.execute("DROP SCHEMA vixtract CASCADE")
    settle(database, DUE + 600, run="j2")
    mirror.copy()
    assert [slot[0] for slot in copied_slots(postgres_database)] == [
        DUE - 300,
        DUE,
        DUE + 300,
        DUE + 600,
    ]
    assert read(postgres_database, "SELECT id FROM vixtract.run ORDER BY id") == [("j1",), ("j2",)]


def test_two_thousand_rows_are_copied_in_batches(database, postgres_database):
    for index in range(0, 2000, 2):
        settle(database, DUE + index * 300, run=f"j{index:05d}")
    begun = time.perf_counter()
    assert Mirror(database, postgres_database).copy() == 3000
    assert time.perf_counter() - begun < 10
    assert read(postgres_database, "SELECT count(*) FROM vixtract.slot") == [(2000,)]


def test_texts_that_postgresql_cannot_hold_are_replaced(database, postgres_database):
    settle(database, DUE, job={**JOB, "title": "nul \0 title"})
    report = {"memo": "nul \0 and \\u0000 text", "chain_data": {"owner": "a\0b"}}
    runs.finish_run(database, "j1", runs.Outcome(SUCCEEDED, 0, "\0", DUE, report))
    Mirror(database, postgres_database).copy()
    ((title, owner, memo),) = read(
        postgres_database, "SELECT event_title, owner, details->>'memo' FROM vixtract.run"
    )
    assert (title, owner) == ("nul \ufffd title", "a\ufffdb")
    assert memo == "nul \ufffd and \\u0000 text"


def test_change_during_a_copy_is_copied_next_time(database, postgres_database, monkeypatch):
    settle(database, DUE)
    mirror = Mirror(database, postgres_database)
    original = run_values

    def finish_meanwhile(row):
        if row["state"] == "queued":
            runs.finish_run(database, "j1", runs.Outcome(SUCCEEDED, 0, "", DUE))
        return original(row)

    monkeypatch.setattr("vixtract.ledger.mirror.run_values", finish_meanwhile)
    mirror.copy()
    assert read(postgres_database, "SELECT state FROM vixtract.run") == [("done",)]


def test_loop_survives_an_outage(database, postgres, postgres_database, monkeypatch):
    monkeypatch.setattr("vixtract.ledger.mirror.PERIOD_S", 0.2)
    address = (
        f"postgresql://postgres:{postgres.password}@127.0.0.1:{postgres.port}/"
        + postgres_database.partition("dbname=")[2].split()[0]
    )
    mirror = Mirror(database, address)
    postgres.stop()
    try:
        settle(database, DUE)
        mirror.start()
        time.sleep(1)
        assert database.row("SELECT mirrored FROM run") == {"mirrored": 0}
    finally:
        postgres.start()
    wait_until(lambda: copied_slots(postgres_database)[1][0] == DUE, "the copy", interval_s=0.3)
    settle(database, DUE + 600, run="j2")
    mirror.stop()
    assert len(copied_slots(postgres_database)) == 4


def test_details_are_valid_json_whatever_the_plugin_reports(database):
    settle(database, DUE)
    row = database.row("SELECT * FROM run")
    outcome = runs.Outcome(SUCCEEDED, 0, "", DUE, {"chain_data": "no object", "perf": [1]})
    row["result"] = json.dumps(replace(outcome).result)
    assert json.loads(run_values(row)[-1]) == {"perf": [1], "memo": None}
