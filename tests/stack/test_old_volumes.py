"""An appliance of this checkout on the volumes of a released version: nothing is lost."""

from __future__ import annotations

import tarfile

import pytest

from tests.fixtures.pack_volumes import FOLDER, PASSWORDS, copy_volume
from tests.stack.appliance import Person
from tests.stack.conftest import new_appliance
from tests.waiting import wait_until

ARCHIVES = sorted(FOLDER.glob("volumes-*.tar.xz"))


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name)
def old(request, appliance, tmp_path_factory):
    """Bring an appliance up on packed volumes; `appliance` stands for images that are there."""
    image = appliance.docker("inspect", "--format", "{{.Image}}", f"{appliance.project}_jupyter")
    folder = tmp_path_factory.mktemp("volumes")
    instance = new_appliance("old")
    instance.operate("down", "--volumes", "--yes", check=False)
    try:
        with tarfile.open(request.param) as archives:
            for member in archives.getmembers():
                member_file = archives.extractfile(member)
                assert member_file is not None
                archive = folder / "volume.tar"
                archive.write_bytes(member_file.read())
                volume = f"{instance.project}_{member.name.removesuffix('.tar')}"
                copy_volume(volume, "unpack", image=image.strip(), archive=archive)
        instance.operate("up", "--yes", "--engine", "embedded", timeout_s=1800)
        yield instance
    finally:
        instance.close()
        instance.operate("down", "--volumes", "--yes", check=False)


def test_people_sign_in_and_find_their_files_rows_and_connection(old):
    for name, password in PASSWORDS.items():
        assert Person(old, name, password)
    assert old.execute("jupyter", "cat", "note with ünïcode.txt", user="anna") == "kept\n"
    assert old.query("SELECT city FROM anna.cities ORDER BY 1") == [("Oslo",), ("Rome",)]
    code = "import vixtract; print(vixtract.connections())"
    assert "crm" in old.execute("jupyter", "/usr/bin/python3", "-c", code, user="anna")


def test_the_schedule_its_history_and_a_new_run_are_there(old):
    (event,) = old.schedule("get_schedule")["rows"]
    assert event["timing"] == {"hours": [3], "minutes": [30]}
    assert (event["timezone"], event["params"]["owner"]) == ("Europe/Berlin", "anna")
    history = old.schedule("get_event_history", id=event["id"], offset=0, limit=5)["rows"]
    assert [row["code"] for row in history] == [0]
    count = "SELECT count(*) FROM vixtract.load"
    ((before,),) = old.query_inside(count)
    job = old.finish(old.start(event["id"]))
    assert job["code"] == 0, old.log(job["id"])
    wait_until(
        lambda: old.query_inside(count) == [(str(int(before) + 1),)],
        "the record of the load",
        interval_s=1,
    )
