"""Another Cronicle's export taken over by the command that the documentation names."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.images import edge_box
from tests.images.docker_cli import docker, unique_name
from tests.images.edge_box import EdgeBox
from tests.own_images import own_image
from tests.unit.test_cronicle_importing import EVENT, export
from tests.waiting import wait_until

pytestmark = pytest.mark.docker
EMBEDDED = own_image("cronicle")
COMMAND = ("/opt/vixtract/bin/python", "-I", "-m", "vixtract.cronicle_edge.importing")


@pytest.fixture(scope="module", params=["embedded", "cronicle"])
def box(request) -> Iterator[EdgeBox]:
    """A job container with each engine."""
    if request.param == "cronicle" and not edge_box.has_image():
        pytest.skip(f"Cronicle's image is absent: {edge_box.IMAGE}")
    box = EdgeBox(
        unique_name("import"), edge_box.IMAGE if request.param == "cronicle" else EMBEDDED
    )
    try:
        yield box.start("--env", f"VIXTRACT_ENGINE={request.param}")
    finally:
        box.delete()


def run(box: EdgeBox, text: str, *options: str):
    """Run the import; returns the finished process."""
    return docker("exec", "-i", box.name, *COMMAND, *options, text=text, check=False)


def test_events_come_along_once_and_run_as_their_owners(box):
    rooted = {**EVENT, "id": "ejx2", "title": "Of root", "username": "admin", "uid": "root",
              "params": {"script": "#!/bin/bash\nid -u\n"}, "timing": False, "catch_up": 1}  # fmt: skip
    text = export(EVENT, rooted, {**EVENT, "id": "ejx3", "title": "Odd", "plugin": "testplug"})
    tried = run(box, text, "--dry-run")
    assert "imported  Nightly: as anna" in tried.stdout and not box.client.get_schedule().rows
    done = run(box, text)
    assert done.returncode == 1 and "refused   Odd: the plugin 'testplug'" in done.stdout
    assert "imported  Of root: as admin; left out: cpu_limit, uid" in done.stdout
    again = run(box, text)
    assert "here      Nightly" in again.stdout and "2 here, 1 refused" in again.stdout
    events = {event["id"]: event for event in box.client.get_schedule().rows}
    assert set(events) == {"ejx1", "ejx2"}
    assert events["ejx1"]["timing"] == EVENT["timing"] and events["ejx1"]["username"] == "anna"
    assert "uid" not in json.dumps(events)
    job = box.client.run_event("ejx2")
    assert box.client.wait_for_job(job, 120)["code"] == 0
    wait_until(lambda: "\n2000\n" in box.client.get_job_log(job), "the log", interval_s=0.3)


def test_a_wrong_file_or_owner_changes_nothing(box):
    before = len(box.client.get_schedule().rows)
    assert run(box, "hello\n").returncode == 2
    wrong = run(box, export(EVENT), "--owner", "root")
    assert wrong.returncode == 2 and "there is no account" in wrong.stderr
    assert len(box.client.get_schedule().rows) == before
