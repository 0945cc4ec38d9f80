"""One notebook in Lab against everybody: memory, processes, disk; the others keep working."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.stack.appliance import Person
from tests.waiting import wait_until

MEMORY_HOG = """
import time
kept = []
while True:
    kept.append(b"x" * (32 << 20))
    time.sleep(0.02)
"""
FORK_BOMB = """
import subprocess, time
subprocess.Popen(["bash", "-c", "bomb() { bomb | bomb & }; bomb"], stderr=subprocess.DEVNULL)
time.sleep(90)
"""
DISK_FILLER = """
import os, time
print("begins", flush=True)
with open(os.path.expanduser("~/filler"), "wb") as file:
    for _ in range(4000):
        file.write(os.urandom(1 << 20)); file.flush(); time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def bob(appliance, passwords) -> Person:
    """Somebody else, with a running server."""
    person = Person(appliance, "bob", passwords["bob"])
    person.start_server()
    return person


@contextmanager
def others_work(appliance, other: Person) -> Iterator[list[str]]:
    """Somebody else works and the front door answers, all the while."""
    problems: list[str] = []
    done = threading.Event()
    rounds = [0]

    def work() -> None:
        while not done.is_set():
            try:
                answer = httpx.get(f"{appliance.url}/healthz", timeout=60)
                if answer.json()["services"]["jupyter"] != "up":
                    problems.append(answer.text)
                if "42" not in other.run_cell("print(6 * 7)", 90):
                    problems.append("no answer of the other's kernel")
                rounds[0] += 1
            except Exception as error:  # whatever it is, the test tells it
                problems.append(repr(error))
            done.wait(1)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield problems
        wait_until(lambda: rounds[0] > 0 or problems, "one round of the other's work")
    finally:
        done.set()
        thread.join(120)
    assert problems == []


def processes_of(appliance, name: str) -> int:
    """Count somebody's processes in the Hub's container."""
    listing = appliance.execute("jupyter", "ps", "-eo", "user:32", timeout_s=60)
    return sum(line.strip() == name for line in listing.splitlines())


def test_a_memory_hog_is_stopped_and_told_why(appliance, anna, bob):
    with others_work(appliance, bob):
        output = anna.run_cell(MEMORY_HOG, 120, until="over your limit")
    assert "SERVER_MEMORY_MB" in output, output
    assert "42" in anna.run_cell("print(6 * 7)"), "the hog's own server goes on"


def test_a_fork_bomb_is_ended_with_its_kernel_and_told_why(appliance, anna, bob):
    with others_work(appliance, bob):
        output = anna.run_cell(FORK_BOMB, 120, until="your limit")
    assert "SERVER_PROCESSES" in output, output
    wait_until(lambda: processes_of(appliance, "anna") < 60, "the end of the bomb", 60)
    assert "42" in anna.run_cell("print(6 * 7)"), "the server outlives the kernel"


def test_a_disk_filler_is_stopped_at_the_floor(appliance, anna, bob):
    free = int(appliance.execute("jupyter", "df", "--output=avail", "-m", "/home").split()[-1])
    # The same watch with a floor that is broken as soon as anybody writes.
    watch = subprocess.Popen(
        ["docker", "exec", "-e", f"DISK_FLOOR_MB={min(free * 2, 999999999)}",
         "-e", "SERVER_MEMORY_MB=0", "-e", "SERVER_PROCESSES=0", appliance.container("jupyter"),
         "/opt/jupyterhub/bin/python", "-I", "-m", "vixtract.processes.labs"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with others_work(appliance, bob):
            output = anna.run_cell(DISK_FILLER, 120, until="DISK_FLOOR_MB")
    finally:
        appliance.execute("jupyter", "pkill", "-f", "vixtract.processes.labs", check=False)
        watch.kill()
        watch.wait()
    assert "begins" in output and "DISK_FLOOR_MB" in output, output
    size = int(appliance.execute("jupyter", "stat", "-c", "%s", "/home/anna/filler"))
    assert size < 2000 << 20
    appliance.execute("jupyter", "rm", "/home/anna/filler")


# Looks from Lab for everything of others; prints only what it found.
SPY = r"""
import os, glob
me, found = os.getuid(), []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if os.stat(f"/proc/{pid}").st_uid == me:
            continue
        for item in ("environ", "mem", "maps", "fd", "io", "cwd"):
            path = f"/proc/{pid}/{item}"
            try:
                if item in ("fd",) and os.listdir(path) or item == "cwd" and os.readlink(path):
                    found.append(path)
                elif item not in ("fd", "cwd") and open(path, "rb").read(64):
                    found.append(path)
            except OSError:
                pass
        arguments = open(f"/proc/{pid}/cmdline").read()
        found += [f"argument of {pid}" for word in ("password", "token=", "secret") if word in arguments.lower()]
    except OSError:
        pass
for place in ("/tmp", "/var/tmp", "/dev/shm", "/srv/secrets", "/srv/jupyterhub", "/runs/bob", "/home/bob", "/run/vixtract/bob"):
    try:
        os.listdir(place)
        found.append(place)
    except OSError:
        pass
print("FOUND", found)
print("TMPDIR", os.environ["TMPDIR"], oct(os.stat(os.environ["TMPDIR"]).st_mode & 0o777))
print("OWN", open(__import__("tempfile").mkstemp(dir="/tmp")[1], "w").write("x"))
"""


def test_a_spy_in_lab_finds_nothing_of_others(appliance, anna, bob):
    bob.run_cell("import tempfile; open('/tmp/of-bob', 'w').write('private')")
    output = anna.run_cell(SPY)
    assert "FOUND []" in output, output
    assert "TMPDIR /run/vixtract/anna/tmp 0o700" in output or "0o755" in output, output
    assert "OWN 1" in output, "a program that insists on /tmp still works"
