"""Limits of a person's server, and the watch that stops who takes more than their share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.waiting import wait_until
from vixtract.processes import labs, usage
from vixtract.processes.labs import LabBounds, LabWatch
from vixtract.processes.person import Person
from vixtract.processes.usage import (
    DISK_FULL,
    TOO_MANY_PROCESSES,
    DiskFloor,
    Overuse,
    Process,
    WriteMeter,
    read_processes,
)

PROBE = """
import os, resource
from vixtract.processes.limits import Limits, apply
apply(Limits(memory_mb=100, processes=50))
print(resource.getrlimit(resource.RLIMIT_NPROC)[0], os.getpriority(os.PRIO_PROCESS, 0))
try:
    bytes(2 << 30)
except MemoryError:
    print("MemoryError")
"""
WRITER = """
import os, sys, time
with open(sys.argv[1], "wb") as file:
    while True:
        file.write(os.urandom(1 << 20)); file.flush(); time.sleep(0.02)
"""


@pytest.fixture
def me(tmp_path):
    return Person("me", os.getuid(), tmp_path)


@pytest.fixture
def children():
    """Start processes that end with the test."""
    started = []

    def start(*arguments):
        started.append(subprocess.Popen([sys.executable, *arguments]))
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_server_hands_on_limits_under_which_a_hog_gets_a_memory_error():
    environment = {**os.environ, "PYTHONPATH": "src"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert first.split()[0] == "50" and int(first.split()[1]) >= 5
    assert last == "MemoryError"


def test_a_process_is_read_with_its_threads_and_children():
    own = {process.pid: process for process in read_processes()}[os.getpid()]
    assert own.uid == os.getuid() and own.parent == os.getppid()
    assert own.threads >= 1 and own.resident > 1 << 20
    assert own.session == os.getsid(0)


@pytest.mark.slow
def test_who_writes_below_the_floor_is_found_and_who_does_not_is_left_alone(tmp_path, me, children):
    writer, sleeper = children("-c", WRITER, str(tmp_path / "big")), children("-c", "input()")
    meter = WriteMeter()
    found = wait_until(lambda: meter.measure([writer, sleeper], me), "bytes written")
    assert set(found) == {writer}
    low, high = DiskFloor(1 << 39, (tmp_path,)), DiskFloor(1, (tmp_path,))
    overuse = Overuse(me, 0, low)
    assert wait_until(lambda: overuse.check([writer]), "the floor") == DISK_FULL
    assert "DISK_FLOOR_MB" in overuse.describe(DISK_FULL)
    assert Overuse(me, 0, low).check([sleeper]) == ""
    allowed = Overuse(me, 0, high)
    for _ in range(3):
        assert allowed.check([writer]) == ""
        time.sleep(0.2)


@pytest.mark.slow
def test_a_run_at_its_limit_of_processes_is_stopped_after_a_while(me, children):
    pids = [children("-c", "import time; time.sleep(60)") for _ in range(5)]
    overuse = Overuse(me, 5, DiskFloor())
    assert overuse.check(pids) == "", "a moment at the limit is no fork bomb"
    assert wait_until(lambda: overuse.check(pids), "a bomb") == TOO_MANY_PROCESSES
    assert Overuse(me, 50, DiskFloor()).check(pids) == ""


def process(pid, parent, threads=1, session=0):
    return Process(pid, parent, session or pid, 2000, threads, 0, 0.0, pid)


def test_the_server_is_told_from_what_it_started():
    own = [process(10, 7), process(11, 10), process(12, 11), process(13, 1)]
    assert [labs.is_server(one, own) for one in own] == [True, False, False, False]


def test_the_most_crowded_session_is_chosen_with_its_orphans():
    server = process(10, 7, threads=90)
    quiet, bomb = process(11, 10, threads=5), process(12, 10)
    orphans = [process(50 + number, 1, session=12) for number in range(30)]
    found = labs.most_crowded([server, quiet, bomb, *orphans])
    assert {one.pid for one in found} == {12, *range(50, 80)}
    assert labs.most_crowded([server]) == [server]


@pytest.mark.slow
def test_a_hog_is_stopped_with_a_notice_that_names_its_kernel(tmp_path, me, children, monkeypatch):
    kernel = "01234567-89ab-cdef-0123-456789abcdef"
    hog = children(
        "-c", "import time; x = bytearray(300 << 20); time.sleep(60)", f"kernel-{kernel}.json"
    )
    small = children("-c", "import time; time.sleep(60)")
    # Only these two: the account that runs the tests has other processes.
    everything = usage.read_processes
    monkeypatch.setattr(
        labs, "read_processes",
        lambda: [one for one in everything() if one.pid in (hog, small)],
    )  # fmt: skip
    monkeypatch.setattr(labs, "is_server", lambda one, own: False)
    folder = tmp_path / "me"
    folder.mkdir()
    watch = LabWatch(LabBounds(200, 0, DiskFloor(), tmp_path))

    def stopped():
        watch.check([me])
        return (folder / "notices").is_file()

    wait_until(stopped, "the end of the hog", 30)
    notice = json.loads((folder / "notices").read_text())
    assert notice["kernels"] == [kernel]
    assert "over your limit of 200 MB" in notice["text"]
    wait_until(lambda: not is_alive(hog), "the hog's end", 10)
    assert is_alive(small)


def is_alive(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_notice_never_follows_a_link_of_the_persons(tmp_path, me):
    (tmp_path / "notices").symlink_to(tmp_path / "victim")
    labs.write_notice(tmp_path, me, [], "text")
    assert not (tmp_path / "victim").exists()


def test_who_takes_most_of_the_processors_for_long_steps_back(me, children, monkeypatch):
    greedy, server = children("-c", "input()"), 1
    spent = [0.0]

    def everything():
        spent[0] += 1000.0
        return [Process(greedy, server, greedy, me.uid, 1, 0, spent[0], 1)]

    monkeypatch.setattr(labs, "read_processes", everything)
    monkeypatch.setattr(labs, "is_server", lambda one, own: False)
    watch = LabWatch(LabBounds(0, 0, DiskFloor()))
    for _ in range(3):
        watch.check([me])
    assert os.getpriority(os.PRIO_PROCESS, greedy) < 15, "a moment is allowed to everybody"
    monkeypatch.setattr(labs, "GREEDY_S", 0.0)
    watch.check([me])
    assert os.getpriority(os.PRIO_PROCESS, greedy) == 15
