"""The embedded engine killed, stopped, restarted and lied to about the time."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.contract.embedded import FAKETIME
from tests.waiting import wait_until

needs_faketime = pytest.mark.skipif(
    FAKETIME is None and os.environ.get("CI") != "true",
    reason="libfaketime is not installed here: apt-get install faketime",
)
CRASHED = "Aborted Job: Server shut down unexpectedly."


class Wrist:
    """The clock that an engine is shown: the real one and a shift.

    Args:
        engine: whose clock it is.
    """

    def __init__(self, engine):
        self.engine = engine
        self.shift = 0.0
        self.set(0.0)

    def set(self, shift: float) -> None:
        self.shift = shift
        self.engine.shift_clock(shift)

    def now(self) -> float:
        return time.time() + self.shift

    def approach_minute(self, seconds: float, minutes: int = 1) -> int:
        """Go forward to this many seconds before a later full minute; return that minute."""
        minute = int(self.now() // 60 + minutes) * 60
        if minute - seconds < self.now():
            minute += 60
        self.set(self.shift + minute - seconds - self.now())
        return minute


@pytest.fixture
def wrist(engine):
    return Wrist(engine)


def marks(path: Path) -> list[tuple[int, int]]:
    """Return (due time, attempt) of every start that a plugin marked."""
    if not path.exists():
        return []
    return [
        (int(due), int(attempt))
        for _, due, attempt in map(str.split, path.read_text().splitlines())
    ]


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@needs_faketime
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_kill_at_the_due_minute_loses_and_doubles_nothing(engine, wrist, tmp_path, kills):
    # One run in the dark proves little, one seed can be repeated.
    chance = random.Random(20261121)
    policies = {"plain": {}, "catching": {"catch_up": 1}, "slow": {"catch_up": 1}}
    wrist.approach_minute(50)
    engine.start()
    created = int(wrist.now() // 60) * 60
    events = {
        name: engine.create(
            name,
            [["mark", str(tmp_path / name)], ["sleep", 1.0 if name == "slow" else 0]],
            timing={},
            **policy,
        )
        for name, policy in policies.items()
    }
    for _ in range(kills):
        minute = wrist.approach_minute(1.2)
        # The engine's heartbeat settles on the minute; around it is where a kill can hurt.
        time.sleep(max(0.0, minute - wrist.now() + chance.uniform(-0.2, 1.2)))
        engine.kill()
        engine.start()
    last = int(wrist.now() // 60) * 60

    def all_have_an_outcome():
        rows = {name: engine.slots(event) for name, event in events.items()}
        done = all(row["outcome"] for found in rows.values() for row in found)
        return rows if done and all(r and r[0]["due_at"] >= last for r in rows.values()) else None

    rows = wait_until(all_have_an_outcome, "an outcome for every slot")
    for name, found in rows.items():
        assert [r["due_at"] for r in found] == list(range(found[0]["due_at"], created, -60)), name
        assert set(Counter(due for due, _ in marks(tmp_path / name)).values()) <= {1, 2, 3}, name
    assert {r["outcome"] for r in rows["catching"] + rows["slow"]} == {"succeeded"}
    assert max(Counter(due for due, _ in marks(tmp_path / "plain")).values()) == 1


@needs_faketime
def test_scheduled_job_is_told_its_due_time(engine, wrist, tmp_path):
    engine.start()
    event = engine.create("on time", [["mark", str(tmp_path / "m")]], timing={})
    minute = wrist.approach_minute(2)
    wait_until(lambda: (minute, 1) in marks(tmp_path / "m"), "the run", interval_s=0.1)
    wait_until(lambda: engine.slots(event)[0]["outcome"] == "succeeded", "the slot", interval_s=0.1)
    assert engine.slots(event)[0]["due_at"] == minute
    row = engine.client.get_event_history(event).rows[0]
    assert row["now"] == minute and minute <= row["time_start"] < minute + 5


@needs_faketime
def test_clock_set_forward_gives_one_run_and_says_so(engine, wrist, tmp_path):
    wrist.approach_minute(40)
    engine.start()
    event = engine.create("jump", [["mark", str(tmp_path / "m")]], timing={}, catch_up=1)
    wrist.set(wrist.shift + 5 * 3600)
    rows = wait_until(lambda: (r := engine.slots(event)) and r[0]["outcome"] and r, "slots")
    assert Counter(row["outcome"] for row in rows) == {"succeeded": 1, "missed": len(rows) - 1}
    assert 299 <= len(rows) <= 301 and len(marks(tmp_path / "m")) == 1
    assert "the clock was set forward" in rows[-1]["note"]
    wait_until(lambda: "the clock was set by +18000 s" in engine.log, "a line in the log")


@needs_faketime
def test_clock_set_back_runs_no_slot_again_and_goes_on(engine, wrist, tmp_path):
    engine.start()
    event = engine.create("back", [["mark", str(tmp_path / "m")]], timing={})
    first = wrist.approach_minute(1.5)
    wait_until(lambda: (first, 1) in marks(tmp_path / "m"), "first run", interval_s=0.1)
    # Half an hour back; then, once that was noticed, on to a full minute again.
    wrist.set(wrist.shift - 1800)
    wait_until(lambda: "the clock was set back" in engine.log, "the notice", interval_s=0.1)
    second = wrist.approach_minute(1.5)
    wait_until(
        lambda: (second, 1) in marks(tmp_path / "m"), "run by the corrected clock", interval_s=0.1
    )
    due = [due for due, _ in marks(tmp_path / "m")]
    assert len(set(due)) == len(due) and second < first
    assert {row["outcome"] for row in engine.slots(event)} <= {"succeeded", None}


@needs_faketime
def test_downtime_is_made_up_for_up_to_the_cap(engine, wrist, tmp_path):
    wrist.approach_minute(50)
    engine.settings["CATCH_UP_CAP"] = "5"
    engine.start()
    caught = engine.create("caught", [["mark", str(tmp_path / "caught")]], timing={}, catch_up=1)
    plain = engine.create("plain", [["mark", str(tmp_path / "plain")]], timing={})
    engine.stop()
    wrist.approach_minute(45, minutes=180)
    engine.start()
    done = wait_until(lambda: engine.client.get_event_history(caught).length == 5, "5 runs")
    assert done
    rows = engine.slots(caught)
    assert Counter(r["outcome"] for r in rows) == {"succeeded": 5, "missed": len(rows) - 5}
    assert {r["outcome"] for r in rows[:5]} == {"succeeded"} and len(rows) >= 179
    rows = engine.slots(plain)
    # The newest may be young enough to run still.
    assert len(rows) >= 179 and {r["outcome"] for r in rows[2:]} == {"missed"}
    assert "not running" in rows[-1]["note"]


def test_kill_during_a_run_by_hand_is_a_failure_and_ends_the_plugin(engine):
    engine.start()
    event = engine.create("by hand", [["say", {"memo": "working"}], ["sleep", 300]])
    job = engine.client.run_event(event)
    status = wait_until(
        lambda: (s := engine.client.get_job_status(job))["memo"] == "working" and s, "the run"
    )
    engine.kill()
    assert is_alive(status["pid"])
    engine.start()
    done = engine.client.get_job_status(job)
    assert (done["complete"], done["code"], done["description"]) == (1, 1, CRASHED)
    assert done["outcome"] == "failed" and not is_alive(status["pid"])


@needs_faketime
def test_slot_of_a_catch_up_event_is_tried_three_times_at_most(engine, wrist, tmp_path):
    engine.start()
    steps = [["mark", str(tmp_path / "m")], ["sleep", 300]]
    event = engine.create("fragile", steps, timing={}, catch_up=1, max_children=1)
    wrist.approach_minute(1.5)
    for attempt in (1, 2, 3):
        wait_until(
            lambda n=attempt: len(marks(tmp_path / "m")) >= n, f"attempt {attempt}", interval_s=0.05
        )
        engine.kill()
        engine.start()
    first = marks(tmp_path / "m")[0][0]
    rows = {row["due_at"]: row for row in engine.slots(event)}
    assert (rows[first]["outcome"], rows[first]["note"]) == ("failed", CRASHED)
    assert [(due, n) for due, n in marks(tmp_path / "m") if due == first] == [
        (first, 1),
        (first, 2),
        (first, 3),
    ]
    log = engine.client.get_job_log(rows[first]["run"])
    assert "# Attempt 2" in log and "# Attempt 3" in log


@needs_faketime
def test_graceful_stop_runs_catch_up_slots_again_and_aborts_others(engine, wrist, tmp_path):
    wrist.approach_minute(40)
    engine.start()
    steps = [["mark", str(tmp_path / "m")], ["sleep", 4]]
    caught = engine.create("caught", steps, timing={}, catch_up=1)
    plain = engine.create("plain", steps, timing={})
    wrist.approach_minute(1.5)
    wait_until(lambda: len(marks(tmp_path / "m")) == 2, "both runs", interval_s=0.1)
    begun = time.monotonic()
    assert engine.stop() == 0
    assert time.monotonic() - begun < 10
    engine.start()
    wait_until(lambda: engine.slots(caught)[-1]["outcome"], "the slot's outcome")
    assert engine.slots(caught)[-1]["outcome"] == "succeeded"
    row = engine.slots(plain)[-1]
    assert row["outcome"] == "aborted" and "shutting down" in row["note"]
    assert engine.client.get_event_history(plain).rows[-1]["code"] == 130
    due = Counter(due for due, _ in marks(tmp_path / "m"))
    assert due[row["due_at"]] == 3


def test_queued_runs_and_waiting_retries_survive_a_kill(engine, tmp_path):
    engine.settings["MAX_JOBS"] = "1"
    engine.start()
    busy = engine.create("busy", [["sleep", 300]])
    retry = engine.create(
        "retry", [["mark", str(tmp_path / "r")], ["leave", 1]], retries=1, retry_delay=3
    )
    failing = engine.client.run_event(retry)
    wait_until(
        lambda: engine.client.get_job_status(failing)["state"] == "waiting", "wait", interval_s=0.1
    )
    engine.client.run_event(busy)
    queued = engine.client.run_event(engine.create("queued", [["say", {"complete": 1}]]))
    assert engine.client.get_job_status(queued)["state"] == "queued"
    engine.kill()
    engine.start()
    assert engine.client.wait_for_job(queued, 120)["outcome"] == "succeeded"
    assert engine.client.wait_for_job(failing, 120)["outcome"] == "failed"
    assert [attempt for _, attempt in marks(tmp_path / "r")] == [1, 2]


def test_alarms_outlive_a_restart_and_need_no_file_of_their_own(engine, tmp_path):
    engine.start()
    event = engine.create("kept", [["mark", str(tmp_path / "m")]], timing={})
    engine.kill()
    engine.start()
    wait_until((tmp_path / "m").exists, "the next minute's run", timeout_s=90)
    (due, _), *_ = marks(tmp_path / "m")
    assert due % 60 == 0 and time.time() - due < 60
    assert engine.slots(event)[-1]["due_at"] == due
    assert {path.name for path in (tmp_path / "data").glob("*.sqlite3")} == {"ledger.sqlite3"}


def test_wrong_settings_end_the_engine_with_two_lines(engine):
    engine.settings["SCHEDULER_API_KEY"] = "short"
    with pytest.raises(AssertionError, match="ended with 3"):
        engine.start()
    assert "SCHEDULER_API_KEY is missing" in engine.log and "Traceback" not in engine.log
