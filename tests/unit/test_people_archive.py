"""What people leave behind: moved, packed or given away, and uids that nobody gets again."""

from __future__ import annotations

import os
import tarfile

import pytest

from tests.waiting import wait_until
from vixtract.people import accounts, archive
from vixtract.people.archive import ArchiveError
from vixtract.runner.accounts import move_runs

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def homes(tmp_path):
    root = tmp_path / "home"
    root.mkdir()
    for name, uid in (("anna", 2001), ("bob", 2002)):
        (root / name).mkdir(mode=0o700)
        (root / name / "file.txt").write_text(f"of {name}")
        (root / name / "runs").symlink_to(f"/runs/{name}")
        for path in (root / name, *(root / name).rglob("*")):
            os.lchown(path, uid, uid)
    return root


def test_home_is_packed_where_root_alone_reads(homes):
    assert archive.take_home("anna", homes, "archive") == homes / ".vixtract/archive/anna.2001"
    [made] = archive.pack(homes)
    assert made == homes / ".vixtract/archive/anna.2001.tar.gz"
    assert made.stat().st_mode & 0o777 == 0o600
    assert (homes / ".vixtract").stat().st_mode & 0o777 == 0o700
    with tarfile.open(made) as tar:
        member = tar.getmember("anna.2001/file.txt")
        assert member.uid == 2001
    assert not (homes / ".vixtract/archive/anna.2001").exists()
    assert archive.pack(homes) == [], "a second run finds nothing"
    assert archive.take_home("anna", homes, "archive") is None


def test_a_home_that_takes_too_long_to_pack_is_packed_at_the_next_try(homes, monkeypatch, caplog):
    monkeypatch.setattr(archive, "PACK_S", 0)
    moved = archive.take_home("anna", homes, "archive")
    packer = archive.Packer(homes)
    packer.start()
    wait_until(lambda: "stay unpacked" in caplog.text, "the message", interval_s=0.02)
    assert moved.is_dir()
    monkeypatch.setattr(archive, "PACK_S", 60)
    packer.wake()
    wait_until(lambda: not moved.exists(), "the packing", interval_s=0.02)
    assert moved.with_name(f"{moved.name}.tar.gz").is_file()


def test_uid_of_somebody_who_left_is_not_given_out_again(homes):
    archive.take_home("bob", homes, "kept")
    assert archive.list_left(homes) == [("bob", 2002)]
    assert accounts.next_uid(homes) == 2003
    assert archive.generation("bob", homes) == 1
    assert archive.generation("anna", homes) == 0


def test_home_is_given_away_without_what_is_not_the_person_s(homes):
    # A hard link to a file of somebody else's must not become the receiver's.
    foreign = homes / "foreign"
    foreign.write_text("of root")
    os.link(foreign, homes / "anna/stolen")
    folder = archive.choose_folder("anna", "bob", homes)
    target = archive.hand_over_home("anna", "bob", folder, homes)
    assert target == homes / "bob/from-anna"
    assert {p.name: p.lstat().st_uid for p in target.iterdir()} == {"file.txt": 2002, "stolen": 0}
    assert archive.hand_over_home("anna", "bob", folder, homes) is None


def test_cut_hand_over_goes_on(homes):
    archive.take_home("anna", homes, "moving")
    target = archive.hand_over_home("anna", "bob", "from-anna", homes)
    assert (target / "file.txt").read_text() == "of anna"


def test_link_in_the_way_is_not_followed(homes, tmp_path):
    (homes / "bob/from-anna").symlink_to(tmp_path / "elsewhere")
    assert archive.choose_folder("anna", "bob", homes) == "from-anna-2"
    with pytest.raises(ArchiveError, match="exists already"):
        archive.hand_over_home("anna", "bob", "from-anna", homes)
    assert not (tmp_path / "elsewhere").exists()
    assert archive.find_moved("anna", homes), "out of reach, and found by the next try"


def test_root_s_directory_is_no_home(homes):
    (homes / "data").mkdir()
    with pytest.raises(ArchiveError, match="not a person's home"):
        archive.take_home("data", homes, "archive")


def test_runs_move_by_uid_alone(tmp_path):
    (tmp_path / "anna").mkdir()
    os.chown(tmp_path / "anna", 2009, 2009)
    assert move_runs("anna", 2001, tmp_path) is None, "these are a namesake's"
    assert move_runs("anna", 2009, tmp_path) == tmp_path / ".removed/anna.2009"
    assert move_runs("anna", 2009, tmp_path) is None
