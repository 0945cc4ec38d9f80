"""Claims of slots under Cronicle: once, by the event's own wall time, and never too many."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from vixtract.cronicle_edge import claims
from vixtract.ledger import slots
from vixtract.ledger.database import Database
from vixtract.processes.tree import is_ending
from vixtract.scheduler import settling, store
from vixtract.scheduler.events import Event

SOURCE = Path(__file__).parents[2] / "src"
BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY = Event(
    "night", "Nightly", "shellplug", timing={"hours": [2], "minutes": [30]},
    timezone="Europe/Berlin", username="anna", params={"script": "x"},
)  # fmt: skip


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "ledger.sqlite3")
    yield database
    database.close()


def job(number, due, event="night", **more):
    return {"id": f"j{number}", "event": event, "now": due, "params": {}, **more}


def from_reconciler(number, due, event="night", **more):
    return job(number, due, event, source="Manual (vixtract)", slot=due, **more)


def at(*when, fold=0):
    return int(datetime(*when, tzinfo=BERLIN, fold=fold).timestamp())


def test_a_slot_is_claimed_once(database):
    store.put_event(database, NIGHTLY, 0)
    due = at(2026, 5, 4, 2, 30)
    first = claims.begin(database, job(1, due), os.getpid())
    again = claims.begin(database, job(2, due), os.getpid())
    assert (first.refusal, first.due_at, first.event.username) == ("", due, "anna")
    assert "claimed by job j1" in again.refusal
    rows = database.rows("SELECT id, due_at, state FROM run")
    assert rows == [{"id": "j1", "due_at": due, "state": "running"}]


def test_a_slot_of_a_schedule_that_is_out_of_date_is_not_claimed(database):
    store.put_event(database, NIGHTLY, 0)
    store.set_engine(database, "embedded")
    due = at(2026, 5, 4, 2, 30)
    assert claims.begin(database, job(1, due), os.getpid()).refusal == claims.OUTDATED
    assert slots.get_slot(database, "night", due) is None
    store.set_engine(database, "cronicle")
    assert claims.begin(database, from_reconciler(2, due), os.getpid()).refusal == ""


def test_a_clock_time_that_happens_twice_runs_the_first_time(database):
    store.put_event(database, NIGHTLY, 0)
    first, second = at(2026, 10, 25, 2, 30), at(2026, 10, 25, 2, 30, fold=1)
    assert second - first == 3600
    assert claims.begin(database, job(1, first), os.getpid()).refusal == ""
    assert "Not due" in claims.begin(database, job(2, second), os.getpid()).refusal


def test_a_slot_at_a_wrong_hour_of_an_old_zone_table_is_refused(database):
    almaty = NIGHTLY.updated({"timezone": "Asia/Almaty"})
    store.put_event(database, almaty, 0)
    # +5 since March 2024; Cronicle's own table still has +6.
    right = int(datetime(2026, 5, 4, 2, 30, tzinfo=ZoneInfo("Asia/Almaty")).timestamp())
    assert "Not due" in claims.begin(database, job(1, right - 3600), os.getpid()).refusal
    assert claims.begin(database, job(2, right), os.getpid()).refusal == ""


def test_a_run_by_hand_takes_no_slot(database):
    store.put_event(database, NIGHTLY, 0)
    due = at(2026, 5, 4, 2, 30)
    taken = claims.begin(database, job(1, due, source="Manual (admin)"), os.getpid())
    assert (taken.refusal, taken.due_at) == ("", None)
    assert claims.begin(database, job(2, due), os.getpid()).refusal == ""


def test_a_slot_that_the_reconciler_opened_goes_to_the_job_that_it_started(database):
    store.put_event(database, NIGHTLY, 0)
    due = at(2026, 5, 4, 2, 30)
    assert slots.open_slot(database, "night", due, due)
    by_hand = claims.begin(database, job(0, due, source="Manual (admin)"), os.getpid())
    assert (by_hand.due_at, by_hand.refusal) == (None, "")
    taken = claims.begin(database, from_reconciler(1, due), os.getpid())
    assert (taken.due_at, taken.refusal) == (due, "")
    assert not slots.open_slot(database, "night", due, due)
    claims.finish(database, job(1, due), {"code": 0, "description": ""}, stopped=False)
    slots.miss_slot(database, "night", due, "late", due)
    assert database.rows("SELECT outcome, run FROM slot") == [{"outcome": "succeeded", "run": "j1"}]


@pytest.mark.parametrize("catch_up", [0, 1])
@pytest.mark.parametrize("first", ["cronicle", "reconciler"])
def test_of_two_jobs_that_were_started_for_a_slot_one_runs(database, catch_up, first):
    store.put_event(database, NIGHTLY.updated({"catch_up": catch_up}), 0)
    due = at(2026, 5, 4, 2, 30)
    assert slots.open_slot(database, "night", due, due)
    jobs = [job(1, due), from_reconciler(2, due), from_reconciler(3, due)]
    ordered = jobs if first == "cronicle" else jobs[::-1]
    decisions = [claims.begin(database, given, os.getpid()) for given in ordered]
    assert [bool(decision.refusal) for decision in decisions] == [False, True, True]
    assert decisions[1].refusal.startswith(f"This slot was claimed by job {ordered[0]['id']}")
    assert [row["id"] for row in database.rows("SELECT id FROM run")] == [ordered[0]["id"]]


def test_a_reconcilers_job_of_a_missed_slot_does_not_run(database):
    store.put_event(database, NIGHTLY, 0)
    due = at(2026, 5, 4, 2, 30)
    slots.miss_slot(database, "night", due, "late", due)
    late = claims.begin(database, from_reconciler(1, due), os.getpid())
    assert late.refusal == "Missed: late."


def test_a_slot_recorded_as_missed_that_cronicle_starts_after_all_has_one_outcome(database):
    store.put_event(database, NIGHTLY, 0)
    due = at(2026, 5, 4, 2, 30)
    slots.miss_slot(database, "night", due, "late", due)
    assert claims.begin(database, job(1, due), os.getpid()).refusal == ""
    claims.finish(database, job(1, due), {"code": 3, "description": "no"}, stopped=False)
    assert database.rows("SELECT outcome FROM slot") == [{"outcome": "failed"}]


def test_retries_belong_to_one_run_and_one_outcome(database):
    store.put_event(database, NIGHTLY, 0)
    due = at(2026, 5, 4, 2, 30)
    for left in (2, 1, 0):
        given = job(1, due, retries=left)
        assert claims.begin(database, given, os.getpid()).refusal == ""
        claims.finish(database, given, {"code": 1, "description": "no"}, stopped=False)
    assert "ended already" in claims.begin(database, job(1, due), os.getpid()).refusal
    (run,) = database.rows("SELECT attempt, outcome FROM run")
    assert run == {"attempt": 3, "outcome": "failed"}


@pytest.mark.parametrize(("code", "outcome"), [(0, "succeeded"), (255, "succeeded"), (1, "failed")])
def test_codes_become_outcomes(database, code, outcome):
    store.put_event(database, NIGHTLY, 0)
    claims.begin(database, job(1, 0, source="by hand"), os.getpid())
    claims.finish(database, job(1, 0), {"code": code, "description": ""}, stopped=False)
    assert database.rows("SELECT outcome FROM run") == [{"outcome": outcome}]


def test_a_crash_opens_a_catch_up_slot_again_but_not_for_ever(database):
    store.put_event(database, NIGHTLY.updated({"catch_up": 1}), 0)
    due = at(2026, 5, 4, 2, 30)
    slots.open_slot(database, "night", due, due)
    for number in range(settling.MAX_ATTEMPTS):
        given = from_reconciler(number, due)
        assert claims.begin(database, given, os.getpid()).due_at == due
        claims.cut_off(database, given["id"], crashed=True)
    (slot,) = database.rows("SELECT outcome, run FROM slot")
    assert slot["outcome"] == "failed" and slot["run"] == f"j{settling.MAX_ATTEMPTS - 1}"


def test_a_crash_ends_a_slot_without_catch_up(database):
    store.put_event(database, NIGHTLY, 0)
    claims.begin(database, job(1, at(2026, 5, 4, 2, 30)), os.getpid())
    claims.cut_off(database, "j1", crashed=True)
    assert database.rows("SELECT outcome FROM slot") == [{"outcome": "failed"}]


@pytest.mark.parametrize(("cap", "runs"), [("3", 3), ("1", 1), ("0", 1)])
def test_back_runs_after_a_jump_of_the_clock_are_capped(database, monkeypatch, cap, runs):
    monkeypatch.setenv("CATCH_UP_CAP", cap)
    minutely = Event("m", "Minutely", "shellplug", timing={}, catch_up=1, params={"script": "x"})
    store.put_event(database, minutely, 0)
    now = int(time.time()) // 60 * 60
    refused = [
        bool(claims.begin(database, job(back, now - 60 * back, event="m"), os.getpid()).refusal)
        for back in range(6)
    ]
    assert refused == [False] * runs + [True] * (6 - runs)
    missed = database.rows("SELECT count(*) AS n FROM slot WHERE outcome = 'missed'")
    assert missed == [{"n": 6 - runs}]


def test_an_event_that_nobody_knows_has_no_rights(database):
    taken = claims.begin(database, job(1, 0, event="stranger", source="by hand"), os.getpid())
    assert taken.event.username == "nobody"


def test_a_dead_process_is_told_from_one_that_lives():
    child = subprocess.Popen(["sleep", "60"])
    assert not is_ending(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_ending(child.pid)
    child.wait()
    assert is_ending(child.pid)


def test_a_slot_of_too_many_stays_missed(database):
    hourly = NIGHTLY.updated({"id": "hourly", "timing": {"minutes": [0]}, "catch_up": 1})
    store.put_event(database, hourly, 0)
    store.put_event(database, hourly.updated({"id": "plain", "title": "p", "catch_up": 0}), 0)
    due = int(time.time()) // 3600 * 3600
    for event in ("hourly", "plain"):
        slots.miss_slot(database, event, due, "the clock was set forward", due)
    late = claims.begin(database, job(1, due, "hourly"), os.getpid())
    assert late.refusal == "Missed: the clock was set forward." and late.due_at == due
    # Without catch-up it was recorded because Cronicle had not come to it yet.
    assert claims.begin(database, job(2, due, "plain"), os.getpid()).refusal == ""
    rows = database.rows("SELECT event, outcome, run FROM slot ORDER BY event")
    assert rows == [
        {"event": "hourly", "outcome": "missed", "run": None},
        {"event": "plain", "outcome": None, "run": "j2"},
    ]


@pytest.mark.parametrize(("reason", "outcome"), [("Manually aborted", "aborted"), ("", "failed")])
def test_a_run_by_hand_that_ended_before_it_began_is_recorded(database, reason, outcome):
    store.put_event(database, NIGHTLY, 0)
    ended = {"time_start": 5.0, "time_end": 6.0, "abort_reason": reason, "description": reason}
    claims.record_unstarted(database, job(1, 0, source="Manual (admin)", code=1, **ended))
    (run,) = database.rows("SELECT username, due_at, outcome, code, time_start, time_end FROM run")
    assert tuple(run.values()) == ("anna", None, outcome, 1, 5.0, 6.0)
    late = claims.begin(database, job(1, 0, source="Manual (admin)"), os.getpid())
    assert late.refusal == "This job has ended already."


def test_a_slots_job_that_ended_before_it_began_leaves_the_slot_to_the_reconciler(database):
    store.put_event(database, NIGHTLY, 0)
    claims.record_unstarted(database, job(1, 60, code=1))
    claims.record_unstarted(database, from_reconciler(2, 60, code=1))
    assert database.rows("SELECT id FROM run") == []


def test_a_job_s_process_imports_only_what_it_needs():
    # Cronicle starts one for each job: what is imported here is paid for a hundred times at once.
    heavy = ("ssl", "urllib.request", "http.client", "email", "asyncio", "sqlalchemy", "starlette")
    code = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); import vixtract.cronicle_edge.job;"
        f"print(*[name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done
