"""Deleting the folders of old runs, and reading what a run says it loaded."""

from __future__ import annotations

import json
import os

import pytest

from tests.scratch import open_folder
from vixtract.errors import RequestError
from vixtract.processes.person import Person
from vixtract.runner.removal import remove_records
from vixtract.runner.workspace import MAX_LOADS, Workspace, read_loads

UID = 2345 if os.getuid() == 0 else os.getuid()


@pytest.fixture
def runs():
    # Root takes the owner's rights, who must reach the folder.
    with open_folder() as folder:
        (folder / "runs" / "anna").mkdir(parents=True)
        (folder / "runs").chmod(0o755)
        yield folder / "runs"


def own(path):
    for entry in (path, *path.rglob("*")):
        os.chown(entry, UID, UID, follow_symlinks=False)


def test_a_job_and_its_retries_go_and_nothing_else(runs):
    for name in ("j1", "j1-2", "j10", "j1-x", "j1-100"):
        (runs / "anna" / name / "deep").mkdir(parents=True)
        (runs / "anna" / name / "deep" / "file").write_text("x")
    own(runs / "anna")
    assert remove_records(runs, "anna", "j1") == 2
    assert sorted(entry.name for entry in (runs / "anna").iterdir()) == ["j1-100", "j1-x", "j10"]
    assert remove_records(runs, "anna", "j1") == 0
    assert remove_records(runs, "nobody", "j1") == 0


def test_links_out_of_the_folder_lead_nowhere(runs, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    record = runs / "anna" / "j1"
    record.mkdir()
    (record / "link").symlink_to(outside)
    (runs / "anna" / "j1-2").symlink_to(outside)
    own(outside)
    own(runs / "anna")
    assert remove_records(runs, "anna", "j1") == 2
    assert (outside / "kept").exists()
    assert list((runs / "anna").iterdir()) == []


def test_read_only_folders_of_the_owner_go_too(runs):
    locked = runs / "anna" / "j1" / "locked"
    locked.mkdir(parents=True)
    (locked / "file").write_text("x")
    own(runs / "anna")
    locked.chmod(0o500)
    locked.parent.chmod(0o500)
    assert remove_records(runs, "anna", "j1") == 1
    assert not (runs / "anna" / "j1").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root could delete another account's files")
def test_a_folder_that_is_no_persons_stays(runs):
    (runs / "anna" / "j1").mkdir()
    with pytest.raises(RequestError, match="no person's directory"):
        remove_records(runs, "anna", "j1")
    assert (runs / "anna" / "j1").exists()


def loads(folder):
    directory = os.open(folder, os.O_RDONLY)
    try:
        return read_loads(Workspace(Person("anna", UID, folder), folder, directory, folder))
    finally:
        os.close(directory)


def test_loads_are_read_as_claims(tmp_path):
    good = {"table": "anna.sales", "mode": "replace", "rows": 3, "bytes": 120, "seconds": 0.5}
    lines = [
        json.dumps({**good, "run": "j1", "secret": "x"}), "no json", "[]", '{"table": 5}',
        json.dumps({"table": "anna.bad\nline", "rows": 1}),
        json.dumps({"table": "anna.more", "mode": "drop", "rows": -1, "bytes": True}),
        json.dumps({"schema": "anna", "table": "cities", "mode": "incremental", "rows": 5}),
        json.dumps({"schema": 5, "table": "cities"}), '{"schema": "anna", "table": ""}',
        "[" * 100_000,
    ]  # fmt: skip
    (tmp_path / "loads.jsonl").write_text("\n".join(lines))
    assert loads(tmp_path) == [
        good,
        {"table": "anna.more"},
        {"table": "anna.cities", "mode": "incremental", "rows": 5},
    ]


def test_loads_are_limited_and_never_a_link_or_a_pipe(tmp_path):
    assert loads(tmp_path) == []
    path = tmp_path / "loads.jsonl"
    path.write_text("".join(f'{{"table": "a.t{n}"}}\n' for n in range(1000)))
    assert [load["table"] for load in loads(tmp_path)][-1] == "a.t999"
    assert len(loads(tmp_path)) == MAX_LOADS
    path.rename(tmp_path / "other")
    path.symlink_to(tmp_path / "other")
    assert loads(tmp_path) == []
    path.unlink()
    os.mkfifo(path)
    assert loads(tmp_path) == []
