"""Secrets that several containers share: one value for all, whoever comes first."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vixtract.errors import PreconditionError
from vixtract.files import ensure_secret, publish_file, sync_directory, write_whole


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


def test_names_reach_the_disk_with_their_directory(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda number: synced.append(str(Path(f"/proc/self/fd/{number}").readlink()))
    )
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "made").write_text("by another program")
    calls = {
        "written": lambda: write_whole(folder / "new", "text"),
        "published": lambda: publish_file(folder / "made", folder / "final"),
        "secret": lambda: ensure_secret(folder, "api_key"),
        "renamed": lambda: sync_directory(folder),
    }
    for name, call in calls.items():
        synced.clear()
        call()
        assert synced[-1] == str(folder), name
        assert str(tmp_path) not in synced, name


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
    write_whole(path, "old")

    def cut(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    monkeypatch.undo()
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["people.json"], "no temporary file"


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_is_replaced_whole_with_the_mode_that_is_asked_for(tmp_path, sync):
    path = tmp_path / ("я" * 127)
    write_whole(path, b"\x00first", mode=0o400, sync=sync)
    write_whole(path, "second \u044f", mode=0o640, sync=sync)
    assert path.read_text(encoding="utf-8") == "second \u044f"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_written_below_an_open_directory_wherever_that_is_now(tmp_path):
    (tmp_path / "old").mkdir()
    folder = os.open(tmp_path / "old", os.O_RDONLY | os.O_DIRECTORY)
    (tmp_path / "old").rename(tmp_path / "new")
    try:
        write_whole(Path("record.json"), "{}", folder=folder)
        os.fsync(folder)
    finally:
        os.close(folder)
    assert (tmp_path / "new" / "record.json").read_text() == "{}"


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "link").symlink_to(target)
    write_whole(tmp_path / "link", "new")
    assert target.read_text() == "mine"
    assert not (tmp_path / "link").is_symlink() and (tmp_path / "link").read_text() == "new"


def test_a_directory_in_the_place_of_a_file_is_an_error_that_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "taken", "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_a_file_can_be_given_to_its_owner_before_it_has_its_name(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: given.append((uid, gid)))
    write_whole(tmp_path / "theirs", "x", owner=(2001, 2002))
    assert given == [(2001, 2002)]


def test_what_another_program_wrote_takes_its_name_in_one_step(tmp_path):
    (tmp_path / ".partial").write_text("packed")
    publish_file(tmp_path / ".partial", tmp_path / "home.tar.gz")
    assert [entry.name for entry in tmp_path.iterdir()] == ["home.tar.gz"]
    assert (tmp_path / "home.tar.gz").read_text() == "packed"
