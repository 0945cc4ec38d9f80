"""The container's main process: first passwords, the Hub's environment, and keeping the Hub alive."""

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


def test_hub_gets_no_path_of_the_admins_and_no_password_that_it_has_no_use_for():
    environment = entry.build_hub_environment(
        {
            "PATH": "/usr/local/bin:/usr/bin",
            "HUB_ADMIN_PASSWORD": "a",
            "POSTGRES_PASSWORD": "b",
            "PYTHONPATH": "/usr/local/evil",
            "LD_PRELOAD": "/usr/local/evil.so",
            "TZ": "",
            "LANG": "C.UTF-8",
        }
    )
    assert environment == {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
    }


def test_exit_codes_are_put_into_words():
    assert entry.describe_exit(1) == "code 1"
    assert entry.describe_exit(-9) == "SIGKILL"


def supervise(tmp_path, program):
    """Run the supervisor over a program, as a process of its own; people's processes are not touched."""
    script = f"""
import sys; sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path
from vixtract.containers import jupyter as entry
entry.STATE = Path({str(tmp_path)!r})
entry.HUB_STOP_S = 1
entry.end_processes = lambda is_meant, timeout_s: None
sys.exit(entry.Supervisor({{}}, ("/bin/sh", "-c", {program!r})).run())
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
    process = supervise(tmp_path, "echo $$ >> pids; exec sleep 60")
    first = wait_for_lines(tmp_path / "pids", 1)[0]
    os.kill(int(first), signal.SIGKILL)
    second = wait_for_lines(tmp_path / "pids", 2)[1]
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "SIGKILL" in log
    assert not Path(f"/proc/{second}").exists()


@pytest.mark.slow
def test_hub_that_ignores_sigterm_is_killed_in_time(tmp_path):
    process = supervise(tmp_path, "trap '' TERM; echo $$ >> pids; while :; do sleep 0.2; done")
    pid = wait_for_lines(tmp_path / "pids", 1)[0]
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert time.monotonic() - started < 5
    assert not Path(f"/proc/{pid}").exists()
