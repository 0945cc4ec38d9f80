"""What Cronicle's start does when a secret has changed since the last one."""

from __future__ import annotations

import json

import pytest

from vixtract.cronicle import places, start
from vixtract.cronicle.config import build_user, is_password


@pytest.fixture
def storage(tmp_path, monkeypatch):
    """Cronicle's storage as a dictionary, and its directory."""
    monkeypatch.setattr(places, "APPLIED", tmp_path / "applied-password")
    monkeypatch.setattr(places, "SESSION", tmp_path / "applied-session")
    records = {f"users/{places.ADMIN_USER}": build_user(places.ADMIN_USER, "admin")}

    def run(environment, command, key, text=""):
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
    return is_password(storage[f"users/{places.ADMIN_USER}"], password)


def test_a_changed_setting_changes_the_password_and_one_of_the_page_stays(storage):
    start.apply_password({}, "own-one-1")
    assert has(storage, "own-one-1"), "the documented one is replaced"
    storage[f"users/{places.ADMIN_USER}"] = build_user(places.ADMIN_USER, "of-the-page")
    start.apply_password({}, "own-one-1")
    assert has(storage, "of-the-page")
    start.apply_password({}, "own-one-2")
    assert has(storage, "own-one-2"), "the operator has another one now"
    assert "own-one" not in places.APPLIED.read_text()


def test_an_exchanged_session_ends_the_old_one(storage):
    storage["sessions/old"] = {}
    start.end_old_session({}, "old")
    assert "sessions/old" in storage
    start.end_old_session({}, "new")
    assert "sessions/old" not in storage
