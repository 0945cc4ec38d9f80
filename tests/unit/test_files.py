"""Secrets that several containers share: one value for all, whoever comes first."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from vixtract.errors import PreconditionError
from vixtract.files import ensure_secret, write_durably


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("role_key", r"[0-9a-f]{64}"),
        ("api_key", r"[A-Za-z][A-Za-z0-9]{39}"),
        ("hub_token", r"[A-Za-z][A-Za-z0-9]{39}"),
    ],
)
def test_secret_is_made_once_and_for_root_alone(tmp_path, name, pattern):
    directory = tmp_path / "secrets"
    value = ensure_secret(directory, name)
    assert re.fullmatch(pattern, value)
    assert ensure_secret(directory, name) == value
    assert (directory / name).stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in directory.iterdir()] == [name]


def test_all_who_come_at_once_get_the_same_secret(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        values = set(pool.map(lambda _: ensure_secret(tmp_path, "role_key"), range(64)))
    assert len(values) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["role_key"]


def test_own_secret_of_the_operator_is_left_alone(tmp_path):
    (tmp_path / "api_key").write_text("K" * 40 + "\n")
    (tmp_path / "api_key").chmod(0o600)
    assert ensure_secret(tmp_path, "api_key") == "K" * 40


@pytest.mark.parametrize("content", ["", "short", "\n"])
def test_cut_secret_is_an_error_with_a_cure(tmp_path, content):
    (tmp_path / "role_key").write_text(content)
    (tmp_path / "role_key").chmod(0o600)
    with pytest.raises(PreconditionError, match="empty or cut short") as caught:
        ensure_secret(tmp_path, "role_key")
    assert "backup" in caught.value.hint


def test_secret_that_others_may_read_is_refused(tmp_path):
    (tmp_path / "role_key").write_text("0" * 64)
    (tmp_path / "role_key").chmod(0o644)
    with pytest.raises(PreconditionError, match="open to others"):
        ensure_secret(tmp_path, "role_key")


def test_secret_that_is_a_link_is_refused(tmp_path):
    target = tmp_path / "elsewhere"
    target.write_text("0" * 64)
    target.chmod(0o600)
    (tmp_path / "role_key").symlink_to(target)
    with pytest.raises(PreconditionError):
        ensure_secret(tmp_path, "role_key")


def test_durable_write_keeps_the_old_text_when_it_is_cut(tmp_path, monkeypatch):
    path = tmp_path / "people.json"
    write_durably(path, "old")

    def cut(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(OSError, match="no space"):
        write_durably(path, "new")
    assert path.read_text() == "old"
    monkeypatch.undo()
    write_durably(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
