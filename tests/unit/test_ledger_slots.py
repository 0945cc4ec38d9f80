"""Every due slot once, with one outcome, whatever the clock, the cursor and restarts do."""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from itertools import takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vixtract.ledger import runs
from vixtract.ledger.database import Database, LedgerError
from vixtract.ledger.history import Filter, run_history
from vixtract.ledger.slots import (
    FAILED,
    GRACE_S,
    MISSED,
    MISSED_ROWS,
    SUCCEEDED,
    Settlement,
    open_slot,
    plan_slots,
    settle_slots,
    slot_history,
)
from vixtract.scheduler import store
from vixtract.scheduler.config import EngineConfig
from vixtract.scheduler.embedded.engine import EmbeddedEngine
from vixtract.scheduler.events import Event
from vixtract.scheduler.timing import build_timing, iterate_due

START = 1_790_000_100  # a multiple of five minutes
EVERY_5 = {"minutes": list(range(0, 60, 5))}


def make_engine(directory: Path, clock: list[float], **config: int) -> EmbeddedEngine:
    """Return an engine that is not started and runs nothing, on a clock that the test sets."""
    settings = EngineConfig("k" * 20, directory, **{"max_jobs": 0, **config})
    return EmbeddedEngine(settings, Database(directory / "ledger.sqlite3"), lambda: clock[0])


def put(engine: EmbeddedEngine, **fields: object) -> str:
    event = Event("e1", "event", "notebook", timing=EVERY_5, **fields)
    store.put_event(engine.database, event, START)
    return event.id


def outcomes(engine: EmbeddedEngine) -> Counter:
    """Count slots by outcome; an open slot counts as queued."""
    rows, _ = slot_history(engine.database, "e1", offset=0, limit=10**6)
    return Counter(row["outcome"] or "queued" for row in rows for _ in range(row["slots"]))


@pytest.fixture
def clock():
    return [float(START)]


@pytest.fixture
def engine(tmp_path, clock):
    engine = make_engine(tmp_path, clock)
    yield engine
    engine.database.close()


def test_late_slots_without_catch_up_are_missed():
    due = [1000, 1000 + GRACE_S, 1060 + GRACE_S]
    plan = plan_slots(Settlement("e", 0, 1061 + GRACE_S, 1061 + GRACE_S, due))
    assert (list(plan.run), [slot for slot, _ in plan.missed]) == (due[1:], [1000])


def test_a_slot_left_open_is_run_with_catch_up_and_missed_without_it():
    left = {"left_open": [1000], "cap": 2}
    kept = plan_slots(Settlement("e", 0, 10**6, 10**6, [2000, 3000, 4000], **left, catch_up=True))
    assert (list(kept.run), [at for at, _ in kept.missed]) == ([1000, 3000, 4000], [2000])
    late = plan_slots(Settlement("e", 0, 10**6, 10**6, [10**6 - 60], **left))
    assert (list(late.run), [at for at, _ in late.missed]) == ([10**6 - 60], [1000])


def test_newest_slots_are_made_up_for():
    plan = plan_slots(Settlement("e", 0, 10**6, 10**6, range(100), catch_up=True, cap=24))
    assert list(plan.run) == list(range(76, 100)) and len(plan.missed) == 76
    assert "newest 24" in plan.missed[0][1]


def test_one_run_stands_for_all_slots_that_a_jump_skipped():
    plan = plan_slots(Settlement("e", 0, 10**6, 10**6, range(100), catch_up=True, jumped=True))
    assert list(plan.run) == [99] and "clock was set forward" in plan.missed[0][1]


def test_downtime_leaves_a_row_for_every_slot(engine, clock):
    put(engine, catch_up=1)
    engine._watch.rebase()
    clock[0] += 86400
    engine._watch.rebase()  # a downtime: the process that comes back knows no other clock
    engine.settle("e1")
    assert outcomes(engine) == {"queued": 24, MISSED: 288 - 24}


def test_clock_set_forward_while_running_gives_one_run(engine, clock):
    put(engine, catch_up=1)
    clock[0] += 90 * 86400
    engine.settle("e1")
    assert outcomes(engine) == {"queued": 1, MISSED: 90 * 288 - 1}
    rows, length = slot_history(engine.database, "e1", offset=length_of_rows(engine) - 1, limit=9)
    # The oldest share a row, so that a clock set years ahead does not fill the disk.
    assert length == MISSED_ROWS + 2 and rows[0]["slots"] == 90 * 288 - 1 - MISSED_ROWS


def length_of_rows(engine):
    return slot_history(engine.database, "e1", offset=0, limit=1)[1]


def test_clock_set_back_runs_nothing_twice_and_blocks_nothing(engine, clock):
    put(engine)
    clock[0] += 300
    engine.settle("e1")
    assert outcomes(engine) == {"queued": 1}
    clock[0] += 30 * 86400  # wrong for a while
    engine.settle("e1")
    clock[0] -= 30 * 86400
    engine.settle("e1")  # notices, and takes back what was recorded for the future
    for _ in range(24):
        clock[0] += 300
        engine.settle("e1")
    rows, length = slot_history(engine.database, "e1", offset=0, limit=100)
    # 25 slots have passed; the last one of the wrong time was really started.
    passed = [row for row in rows if row["due_at"] <= clock[0]]
    assert len(passed) == 25 and all(row["outcome"] is None for row in passed)
    assert length - len(passed) <= 1


def test_refused_transaction_leaves_nothing(engine, clock):
    put(engine, catch_up=1)
    due = [START + 300, START + 600]
    settlement = Settlement("e1", START, START + 900, START + 900, due, catch_up=True)
    calls = []

    def die_at_second(due):
        calls.append(due)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return engine._add_run(store.get_event(engine.database, id="e1").event, "x", due), ""

    with pytest.raises(KeyboardInterrupt):
        settle_slots(engine.database, settlement, die_at_second)
    assert outcomes(engine) == {} and runs.open_runs(engine.database) == []
    assert store.get_event(engine.database, id="e1").cursor == START


def test_slots_that_the_other_engine_left_open_are_settled(engine, clock):
    put(engine, catch_up=1)
    assert open_slot(engine.database, "e1", START - 600, START)
    engine.settle("e1")
    assert outcomes(engine) == {"queued": 1}
    (run,) = runs.open_runs(engine.database)
    assert run["due_at"] == START - 600
    engine.settle("e1")
    assert len(runs.open_runs(engine.database)) == 1


def test_slot_and_run_end_together_and_once(engine, clock):
    put(engine)
    clock[0] += 300
    engine.settle("e1")
    (run,) = runs.open_runs(engine.database)
    assert runs.finish_run(engine.database, run["id"], runs.Outcome(SUCCEEDED, 0, "fine", clock[0]))
    again = runs.finish_run(engine.database, run["id"], runs.Outcome(FAILED, 1, "no", clock[0]))
    assert not again and outcomes(engine) == {SUCCEEDED: 1}
    assert runs.get_run(engine.database, run["id"])["description"] == "fine"


def test_event_that_may_not_queue_misses_a_slot_with_the_reason(engine, clock):
    put(engine, max_children=1)
    for _ in range(2):
        clock[0] += 300
        engine.settle("e1")
    rows, _ = slot_history(engine.database, "e1", offset=0, limit=10)
    assert [row["outcome"] for row in rows] == [MISSED, None]
    assert "Maximum of 1 job already running" in rows[0]["note"]


def test_slow_catch_up_event_keeps_the_newest(tmp_path, clock):
    engine = make_engine(tmp_path, clock, catch_up_cap=3)
    put(engine, catch_up=1, max_children=1)
    for _ in range(5):
        clock[0] += 300
        engine.settle("e1")
    rows, _ = slot_history(engine.database, "e1", offset=0, limit=10)
    assert [row["outcome"] for row in rows] == [None, None, None, MISSED, MISSED]
    engine.database.close()


@pytest.mark.slow
def test_history_pages_through_100000_rows(engine):
    with engine.database.transaction() as connection:
        connection.executemany(
            "INSERT INTO run (id, event, username, source, state, queued_at, time_start, time_end,"
            " code, outcome, job, done_seq) VALUES (?, ?, 'anna', 'x', 'done', 0, 0, 1, 0,"
            " 'succeeded', '{}', ?)",
            [(f"j{n:08d}", f"e{n % 50}", n) for n in range(100_000)],
        )
    rows, length = run_history(engine.database, Filter(), offset=99_900, limit=50)
    first, of_event = run_history(engine.database, Filter(event="e7"), offset=0, limit=50)
    assert (length, rows[0]["id"], of_event, first[0]["id"]) == (
        100_000,
        "j00000099",
        2000,
        "j00099957",
    )


def test_damaged_ledger_is_named(tmp_path):
    (tmp_path / "ledger.sqlite3").write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerError, match="cannot be opened") as caught:
        Database(tmp_path / "ledger.sqlite3")
    assert "backup" in caught.value.hint


def test_ledger_of_a_newer_version_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match="newer"):
        Database(tmp_path / "ledger.sqlite3")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.integers(0, 7200)),
        st.tuples(st.just("downtime"), st.integers(0, 3 * 86400)),
        st.tuples(st.just("back"), st.integers(0, 6 * 3600)),
        st.tuples(st.just("reset"), st.integers(0, 86400)),
        st.tuples(st.just("finish"), st.integers(0, 5)),
    ),
    max_size=14,
)


def apply(engine: EmbeddedEngine, clock: list[float], step: str, amount: int) -> EmbeddedEngine:
    """Do one thing that happens to a scheduler; return the engine, a new one after a restart."""
    if step in ("advance", "downtime"):
        clock[0] += amount
    elif step == "back":
        clock[0] -= amount
    elif step == "reset":
        stored = store.get_event(engine.database, id="e1")
        store.put_event(engine.database, stored.event, int(clock[0]) - amount)
    elif step == "finish":
        for run in runs.open_runs(engine.database)[:amount]:
            runs.finish_run(engine.database, run["id"], runs.Outcome(SUCCEEDED, 0, "", clock[0]))
    if step == "downtime":
        engine.database.close()
        return make_engine(engine.config.data_dir, clock)
    return engine


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(STEPS, st.booleans())
def test_no_slot_is_lost_or_doubled(steps, catch_up):
    with tempfile.TemporaryDirectory() as directory:
        clock = [float(START)]
        engine = make_engine(Path(directory), clock)
        put(engine, catch_up=int(catch_up))
        settled = START
        for step, amount in steps:
            engine = apply(engine, clock, step, amount)
            engine.settle("e1")
            engine.settle("e1")
            settled = clock[0]
        rows, _ = slot_history(engine.database, "e1", offset=0, limit=10**6)
        started = [
            row["due_at"]
            for row in engine.database.rows("SELECT due_at FROM run WHERE due_at IS NOT NULL")
        ]
        recorded = {row["due_at"] for row in rows}
        due = takewhile(
            lambda t: t <= settled, iterate_due(build_timing(EVERY_5), ZoneInfo("UTC"), START)
        )
        assert set(due) <= recorded, "a slot was lost"
        assert len(started) == len(set(started)), "a slot was run twice"
        assert all((row["run"] is None) == (row["outcome"] == MISSED) or row["run"] for row in rows)
        engine.database.close()
