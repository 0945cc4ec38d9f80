"""What Cronicle's start does when a secret has changed since the last one."""

from __future__ import annotations

import json

import pytest

from vixtract.cronicle_edge import paths, start
from vixtract.cronicle_edge.config import build_user, is_password
from vixtract.ledger.database import Database
from vixtract.scheduler import store
from vixtract.scheduler.events import Event


@pytest.fixture
def storage(tmp_path, monkeypatch):
    """Cronicle's storage as a dictionary, and its directory."""
    monkeypatch.setattr(paths, "APPLIED", tmp_path / "applied-password")
    monkeypatch.setattr(paths, "SESSION", tmp_path / "applied-session")
    records = {f"users/{paths.ADMIN_USER}": build_user(paths.ADMIN_USER, "admin")}

    def run(environment, command, key, text=""):
        if command == "get" and key not in records:
            raise start.StorageError(f"Failed to fetch key: {key}: File not found")
        if command == "get":
            return json.dumps(records[key])
        if command == "put":
            records[key] = json.loads(text)
        else:
            records.pop(key)
        return ""

    monkeypatch.setattr(start, "run_storage", run)
    return records


def has(storage, password):
    return is_password(storage[f"users/{paths.ADMIN_USER}"], password)


@pytest.mark.slow
def test_a_changed_setting_changes_the_password_and_one_of_the_page_stays(storage):
    start.apply_password({}, "own-one-1")
    assert has(storage, "own-one-1"), "the documented one is replaced"
    storage[f"users/{paths.ADMIN_USER}"] = build_user(paths.ADMIN_USER, "of-the-page")
    start.apply_password({}, "own-one-1")
    assert has(storage, "of-the-page")
    start.apply_password({}, "own-one-2")
    assert has(storage, "own-one-2"), "the operator has another one now"
    assert "own-one" not in paths.APPLIED.read_text()


def test_an_exchanged_session_ends_the_old_one(storage):
    storage["sessions/old"] = {}
    start.end_old_session({}, "old")
    assert "sessions/old" in storage
    start.end_old_session({}, "new")
    assert "sessions/old" not in storage


def test_what_is_made_up_for_is_limited_to_the_cap(storage, tmp_path):
    now = 1_800_000_000
    ledger = Database(tmp_path / "ledger.sqlite3")
    for name, catch_up in (("each", 1), ("plain", 0), ("behind", 1)):
        event = Event(
            name, name, "shellplug", timing={"minutes": [0]} if name == "behind" else {},
            timezone="UTC", catch_up=catch_up,
        )  # fmt: skip
        store.put_event(ledger, event, 0)
    ledger.close()
    cursors = {"each": now - 7 * 86400, "plain": now - 7 * 86400, "behind": now - 7200, "gone": 5}
    storage["global/state"] = {"cursors": dict(cursors), "enabled": 1}
    start.limit_catch_up({"CATCH_UP_CAP": "3"}, tmp_path / "ledger.sqlite3", now)
    state = storage["global/state"]
    # Due are now, and the two minutes before it.
    assert state["cursors"] == {**cursors, "each": now - 180} and state["enabled"] == 1
    start.limit_catch_up({}, tmp_path / "absent.sqlite3", now)


@pytest.fixture
def ledger(tmp_path):
    database = Database(tmp_path / "ledger.sqlite3")
    yield database
    database.close()


MINUTELY = Event("each", "each", "shellplug", timing={}, timezone="UTC", catch_up=1)


def cursors_after_start(storage, ledger, now, cap=24):
    start.limit_catch_up({"CATCH_UP_CAP": str(cap)}, ledger.path, now)
    return storage["global/state"]["cursors"]


def test_a_catch_up_event_without_a_cursor_gets_that_of_the_ledger(storage, ledger):
    now = 1_800_000_030
    store.put_event(ledger, MINUTELY, now - 300)
    storage["global/state"] = {"cursors": {"other": 5}, "enabled": False}
    assert cursors_after_start(storage, ledger, now) == {"other": 5, "each": now - 330}
    assert storage["global/state"]["enabled"] is False


def test_without_a_cap_the_newest_slot_is_made_up_for(storage, ledger):
    now = 1_800_000_030
    store.put_event(ledger, MINUTELY, now - 3600)
    storage["global/state"] = {"cursors": {}}
    assert cursors_after_start(storage, ledger, now, cap=0) == {"each": now - 90}


def test_cronicle_that_was_killed_in_its_first_minute_gets_a_state(storage, ledger):
    now = 1_800_000_030
    store.put_event(ledger, MINUTELY, now - 30)
    assert cursors_after_start(storage, ledger, now) == {"each": now - 30}
    assert storage["global/state"]["enabled"] is True


def test_a_cursor_behind_the_ledgers_is_moved_up_and_one_in_the_future_back(storage, ledger):
    now = 1_800_000_000
    store.put_event(ledger, MINUTELY, now - 120)
    # Its timing was changed less than a minute before a power cut: it was hourly until then.
    storage["global/state"] = {"cursors": {"each": now - 1200}, "enabled": True}
    assert cursors_after_start(storage, ledger, now) == {"each": now - 120}
    storage["global/state"] = {"cursors": {"each": now + 86400}, "enabled": True}
    assert cursors_after_start(storage, ledger, now) == {"each": now}
