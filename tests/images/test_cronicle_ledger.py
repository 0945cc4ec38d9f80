"""Cronicle and the ledger: every due slot ends in exactly one outcome, whatever is killed or moved."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from tests.images.docker_cli import unique_name
from tests.images.edge_box import IMAGE, EdgeBox, has_image
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not has_image(), reason=f"Cronicle's image is absent: {IMAGE}"),
]
QUICK = "#!/bin/bash\necho ran\n"
# Stops the first process that Cronicle starts for a job and that is not yet known, before it can
# have claimed its slot, as a busy machine does; prints its process id.
STOP_WRAPPER = """
import os, signal, sys, time
end, wanted = time.monotonic() + 55, b"vixtract.cronicle_edge" + b".job"
while time.monotonic() < end:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                line = file.read()
        except OSError:
            continue
        if wanted in line and line.startswith(b"/opt/vixtract/bin/python") and pid not in sys.argv:
            os.kill(int(pid), signal.SIGSTOP)
            print(pid)
            sys.exit(0)
    time.sleep(0.002)
sys.exit("no job was started")
"""


@pytest.fixture
def box() -> Iterator[EdgeBox]:
    """A container of the test's own."""
    box = EdgeBox(unique_name("edge-ledger"))
    try:
        yield box.start()
    finally:
        box.delete()


def wait_for_second(second: float) -> None:
    """Wait until the clock shows a second of the minute."""
    time.sleep((second - time.time()) % 60)


def outcomes(box: EdgeBox, event: str, first: int, last: int) -> dict[int, list]:
    """Return outcome and run of every slot between two times."""
    rows = box.query(
        f"SELECT due_at, outcome, run, note FROM slot WHERE event = '{event}'"
        f" AND due_at BETWEEN {first} AND {last}"
    )
    return {due: rest for due, *rest in rows}


# Each takes a minute.
@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.long)])
def test_slots_survive_kills_at_their_minute(box, kills):
    make = {"timing": {}, "max_children": 0}
    wait_for_second(50)
    first = int(time.time() // 60 + 1) * 60
    caught_up = box.make_event(QUICK, catch_up=1, **make)
    plain = box.make_event(QUICK, **make)
    for _ in range(kills):
        wait_for_second(random.uniform(-0.8, 1.5))
        box.kill_engine()
        # Else one that came before the minute would be followed by the next one after it.
        wait_for_second(8)
        wait_until(box.is_up, "the engine's return")
    wait_for_second(58)
    last = int(time.time() // 60) * 60
    due = set(range(first, last + 1, 60))
    assert len(due) >= kills

    def settled(event):
        found = outcomes(box, event, first, last)
        return set(found) == due and all(row[0] for row in found.values()) and found

    for event in (caught_up, plain):
        found = wait_until(lambda event=event: settled(event), "every slot's outcome", 150, 3)
        runs = box.query(
            f"SELECT due_at, count(*) FROM run WHERE event = '{event}' AND outcome = 'succeeded'"
            f" AND due_at BETWEEN {first} AND {last} GROUP BY due_at"
        )
        assert all(count == 1 for _, count in runs), runs
        succeeded = {at for at, row in found.items() if row[0] == "succeeded"}
        assert succeeded == {at for at, _ in runs}, (found, runs)
        if event == caught_up:
            assert succeeded == due, found


def test_jobs_cut_off_by_a_kill_are_recorded_and_caught_up(box):
    script = "#!/bin/bash\nsleep 12\n"
    wait_for_second(52)
    at = int(time.time() // 60 + 1) * 60
    timing = {"minutes": [at // 60 % 60], "hours": [at // 3600 % 24]}
    caught_up = box.make_event(script, timing=timing, catch_up=1)
    plain = box.make_event(script, timing=timing)
    by_hand = box.make_event(script)
    count = "SELECT count(*) FROM run WHERE state = 'running'"
    wait_until(lambda: box.query(count) == [[2]], "both slots' runs", interval_s=0.5)
    job = box.client.run_event(by_hand)
    wait_until(lambda: box.query(count) == [[3]], "the run by hand", interval_s=0.3)
    box.kill_engine()

    def ended():
        rows = [outcomes(box, event, at, at).get(at) for event in (caught_up, plain)]
        return all(row and row[0] for row in rows) and rows

    rows = wait_until(ended, "both outcomes", interval_s=2)
    assert [row[0] for row in rows] == ["succeeded", "failed"], rows
    assert box.query(f"SELECT outcome, state FROM run WHERE id = '{job}'") == [["failed", "done"]]
    left = box.execute("ps", "-eo", "args=")
    assert "sleep 12" not in left


@pytest.mark.parametrize("count", [12, pytest.param(100, marks=pytest.mark.long)])
def test_many_jobs_due_at_once_all_run_a_few_at_a_time(box, count):
    # The first minute that begins after all of them are made.
    at = int((time.time() + 20 + count) // 60 + 1) * 60
    timing = {"minutes": [at // 60 % 60], "hours": [at // 3600 % 24]}
    events = [box.make_event(QUICK, timing=timing) for _ in range(count)]
    assert len(set(events)) == count and time.time() < at
    most = 0

    def done():
        nonlocal most
        listing = box.execute("ps", "-eo", "uid=,args=").splitlines()
        most = max(most, sum(line.split()[0] == "2001" and "bash" in line for line in listing))
        rows = box.query(f"SELECT outcome, count(*) FROM slot WHERE due_at = {at} GROUP BY outcome")
        return rows == [["succeeded", count]]

    wait_until(done, "every outcome", 300, 1)
    assert most <= 8, "MAX_JOBS are 4, each a shell and at most one child"
    assert box.query("SELECT count(*), count(DISTINCT event) FROM run") == [[count, count]]


def test_a_second_boot_and_another_name_change_nothing(box):
    wait_for_second(5)
    event = box.make_event(QUICK, timing={"hours": [3], "minutes": [15]}, timezone="Asia/Almaty")
    job = box.client.run_event(event)
    box.client.wait_for_job(job, 120)
    before = box.client.get_event(event)
    session = box.log_in()
    password = {"username": "admin", "password": "admin"}
    for options in ((), ("--hostname", "another-name")):
        box.remove()
        box.start(*options)
        assert box.client.get_event(event) == before
        assert box.ask("app/get_schedule", {}, session)[1]["code"] == 0
        assert box.ask("user/login", password)[1]["code"] == 0
        again = wait_until(lambda: box.client.run_event(event), "a run", interval_s=1)
        assert box.client.wait_for_job(again, 120)["code"] == 0
    box.remove()
    box.start("--env", "CRONICLE_ADMIN_PASSWORD=anotherPassword")
    assert box.ask("user/login", password)[1]["code"] != 0
    box.log_in("admin", "anotherPassword")


def test_schedules_go_from_one_engine_to_the_other_and_back(box):
    event = box.make_event(QUICK, timing={"hours": [3]}, username="anna", timezone="Europe/Berlin")
    gone = box.make_event(QUICK)
    fields = ("title", "timing", "timezone", "username", "params", "enabled")
    before = box.client.get_event(event)
    box.remove()
    box.start("--env", "VIXTRACT_ENGINE=embedded")
    assert box.ask("app/status")[1]["engine"] == "embedded"
    there = box.client.get_event(event)
    assert {name: there[name] for name in fields} == {name: before[name] for name in fields}
    box.client.delete_event(gone)
    box.client.update_event(event, {"notes": "changed there"})
    box.remove()
    box.start()
    assert box.ask("app/status")[1]["engine"] == "cronicle"
    wait_until(lambda: len(box.client.get_schedule().rows) == 1, "the schedule", interval_s=1)
    back = box.client.get_event(event)
    assert back["notes"] == "changed there" and back["username"] == "anna"
    done = box.client.wait_for_job(box.client.run_event(event), 120)
    assert done["code"] == 0


def test_a_run_that_waits_when_its_engine_ends_gets_an_outcome(box):
    """For another attempt in Cronicle, which forgets it; for a place in the embedded engine."""

    def state(job):
        return box.query(f"SELECT state, outcome FROM run WHERE id = '{job}'")

    event = box.make_event("#!/bin/bash\nexit 1\n", retries=1, retry_delay=3600)
    job = box.client.run_event(event)
    wait_until(lambda: state(job) == [["waiting", None]], "the first attempt's end")
    # Long enough to be looked for twice while Cronicle still has it.
    time.sleep(35)
    assert state(job) == [["waiting", None]]
    box.kill_engine()
    wait_until(lambda: state(job) == [["done", "failed"]], "its outcome", interval_s=2)
    box.remove()
    box.start("--env", "VIXTRACT_ENGINE=embedded", "--env", "MAX_JOBS=1")
    box.client.run_event(box.make_event("#!/bin/bash\nsleep 300\n"))
    queued = box.client.run_event(box.make_event(QUICK))
    wait_until(lambda: state(queued) == [["queued", None]], "its place in the queue")
    box.remove()
    box.start()
    wait_until(lambda: state(queued)[0][0] == "done", "its outcome", interval_s=2)
    assert state(queued) == [["done", "failed"]]


def stop_wrapper(box: EdgeBox, *known: str) -> str:
    """Stop the next job's process as soon as there is one; return its process id."""
    return box.execute("/opt/vixtract/bin/python", "-I", "-c", STOP_WRAPPER, *known).strip()


@pytest.mark.parametrize("most", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_slot_whose_job_is_slow_to_start_runs_once(box, most):
    wait_for_second(40)
    at = int(time.time() // 60 + 1) * 60
    timing = {"minutes": [at // 60 % 60], "hours": [at // 3600 % 24]}
    event = box.make_event(QUICK, timing=timing, max_children=most)
    stopped = [stop_wrapper(box)]
    assert 0 <= time.time() - at < 20, "Cronicle started the slot's job"
    if most == 0:
        # The reconciler takes the slot for lost and starts it, as slowly.
        stopped.append(stop_wrapper(box, *stopped))
        assert box.query("SELECT count(*) FROM run") == [[0]]
    else:
        # Cronicle itself refuses a second job beside the first.
        wait_until(lambda: at in outcomes(box, event, at, at), "the reconciler's look", 60)
    for pid in stopped:
        box.execute("kill", "-CONT", pid)
        time.sleep(8)
    wait_until(lambda: not box.client.get_active_jobs(), "the jobs' ends", 60)
    # The reconciler has looked twice more.
    time.sleep(35)
    assert not box.client.get_active_jobs()
    assert box.query("SELECT due_at, outcome FROM run") == [[at, "succeeded"]]
    assert [row[0] for row in outcomes(box, event, at, at).values()] == ["succeeded"]
    rows = box.client.get_event_history(event).rows
    assert [(row["due_at"], row["code"]) for row in rows] == [(at, 0)]


def test_a_catch_up_event_made_just_before_a_kill_is_started_in_time(box):
    wait_for_second(5)
    event = box.make_event(QUICK, timing={}, catch_up=1)
    killed = box.engine_pid()
    box.kill_engine()
    # Cronicle keeps the cursor of a new event in memory until the next minute.
    wait_until(lambda: box.engine_pid() != killed and box.is_up(), "the engine's return")
    sql = (
        "SELECT source, min(queued_at - due_at), max(queued_at - due_at), count(*) FROM run"
        f" WHERE event = '{event}' AND due_at > {int(time.time()) // 60 * 60} GROUP BY source"
    )
    rows = wait_until(lambda: (found := box.query(sql)) and found[0][3] >= 2 and found, "runs", 200)
    (source, soonest, latest, _), *others = rows
    assert source == "Scheduler" and not others, rows
    assert soonest >= 0 and latest < 20, rows
