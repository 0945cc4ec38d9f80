"""The container's main process: first passwords, and keeping the Hub alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vixtract.containers import jupyter as entry
from vixtract.hub import passwords
from vixtract.hub.passwords import PasswordStore
from vixtract.settings import Settings

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty store with cheap hashing."""
    monkeypatch.setattr(passwords, "_LOG_N", 4)
    monkeypatch.setattr(passwords, "_P", 1)
    return PasswordStore(tmp_path / "hub.sqlite")


def settings(**values):
    return Settings.from_environment(values)


def test_first_boot_sets_the_administrators_password_and_a_second_try_leaves_it(store):
    entry.prepare_passwords(store, settings(HUB_ADMIN="chief"), is_first_boot=True)
    assert store.has_hash_of("chief", "vixtract")
    entry.prepare_passwords(
        store, settings(HUB_ADMIN="chief", HUB_ADMIN_PASSWORD="late"), is_first_boot=True
    )
    assert store.has_hash_of("chief", "vixtract")


def test_later_boots_touch_no_own_password_and_bring_nobody_back(store):
    own = settings(HUB_ADMIN_PASSWORD="from-the-file")
    entry.prepare_passwords(store, own, is_first_boot=False)
    assert not store.has_password("admin"), "a deleted administrator stays deleted"
    store.set_password("admin", "own-choice")
    entry.prepare_passwords(store, own, is_first_boot=False)
    assert store.has_hash_of("admin", "own-choice")


def test_documented_password_is_replaced_by_an_own_one(store):
    store.set_password("admin", "vixtract")
    entry.prepare_passwords(store, settings(), is_first_boot=False)
    assert store.has_hash_of("admin", "vixtract")
    entry.prepare_passwords(store, settings(HUB_ADMIN_PASSWORD="own-one-1"), is_first_boot=False)
    assert store.has_hash_of("admin", "own-one-1")


def keep(tmp_path, program):
    """Keep a program in the Hub's place, in a process of its own; people's processes are not touched."""
    script = f"""
import sys; sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path
from vixtract.containers import jupyter as entry
entry.STATE = Path({str(tmp_path)!r})
entry.HUB_STOP_S = 1
entry.forget_service_tokens = lambda database: print("tokens forgotten", file=sys.stderr)
entry.end_processes = lambda is_meant, timeout_s: print(
    "ended", is_meant(entry._portal_uid()), is_meant(2000), file=sys.stderr
)
sys.exit(entry.keep_hub({{}}, ("/bin/sh", "-c", {program!r})).run())
"""
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)


def wait_for_lines(path, count):
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if path.exists() and len(path.read_text().split()) >= count:
            return path.read_text().split()
        time.sleep(0.05)
    raise AssertionError(f"{path}: not {count} lines")


@pytest.mark.slow
def test_dead_hub_is_started_again_and_sigterm_ends_both(tmp_path):
    process = keep(tmp_path, "echo $$ >> pids; exec sleep 60")
    first = wait_for_lines(tmp_path / "pids", 1)[0]
    os.kill(int(first), signal.SIGKILL)
    second = wait_for_lines(tmp_path / "pids", 2)[1]
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "SIGKILL" in log
    # Before each start; after an end that nobody asked for; after the stop.
    steps = [line for line in log.splitlines() if line.startswith(("tokens", "ended"))]
    assert steps == ["tokens forgotten", "ended True False", "tokens forgotten", "ended False True"]
    assert not Path(f"/proc/{second}").exists()


@pytest.mark.slow
def test_hub_that_ignores_sigterm_is_killed_in_time(tmp_path):
    process = keep(tmp_path, "trap '' TERM; echo $$ >> pids; while :; do sleep 0.2; done")
    pid = wait_for_lines(tmp_path / "pids", 1)[0]
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert time.monotonic() - started < 5
    assert not Path(f"/proc/{pid}").exists()
