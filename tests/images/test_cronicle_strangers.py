"""What somebody without a session gets of Cronicle: its websocket, its configuration, its logs."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
import urllib.request
from collections.abc import Iterator

import pytest
import websocket

from tests.images.docker_cli import docker, unique_name
from tests.images.edge_box import IMAGE, EdgeBox, has_image
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not has_image(), reason=f"Cronicle's image is absent: {IMAGE}"),
]
LOGS = "/opt/cronicle/data/edge/logs"


@pytest.fixture(scope="module")
def box() -> Iterator[EdgeBox]:
    """A container that all tests share."""
    box = EdgeBox(unique_name("edge-strangers"))
    try:
        yield box.start()
    finally:
        box.delete()


class Page:
    """The websocket of Cronicle's page, as its script speaks (Socket.IO 4)."""

    def __init__(self, box: EdgeBox) -> None:
        address = f"ws://127.0.0.1:{box.port}/cronicle/socket.io/?EIO=4&transport=websocket"
        self._socket = websocket.create_connection(address, timeout=60)
        assert self._socket.recv().startswith("0")
        self._socket.send("40")
        assert self._socket.recv().startswith("40")

    def say(self, name: str, **values: object) -> None:
        """Send a message."""
        self._socket.send("42" + json.dumps([name, values]))

    def hear(self, seconds: float) -> list[str]:
        """Return the names and contents of what came within a time."""
        heard, limit = [], time.monotonic() + seconds
        while time.monotonic() < limit:
            self._socket.settimeout(max(0.1, limit - time.monotonic()))
            try:
                text = self._socket.recv()
            except websocket.WebSocketTimeoutException:
                break
            if text == "2":
                self._socket.send("3")
            elif text.startswith("42"):
                heard.append(text[2:])
        return heard

    def close(self) -> None:
        """End it."""
        self._socket.close()


@pytest.fixture
def page(box) -> Iterator[Page]:
    """A connection without a session."""
    page = Page(box)
    yield page
    page.close()


def read(box: EdgeBox, call: str) -> str:
    """Follow a link as a browser does."""
    address = f"http://127.0.0.1:{box.port}/cronicle/api/{call}"
    with urllib.request.urlopen(address, timeout=60) as answer:
        data = answer.read()
    # Logs are kept packed.
    return (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode()


def test_a_stranger_s_connection_hears_nothing_and_starts_nothing(box, page):
    job = box.client.run_event(box.make_event("#!/bin/bash\necho hidden words\nsleep 8\n"))
    wait_until(lambda: job in box.client.get_active_jobs(), "the job", interval_s=0.2)
    planted = "/opt/cronicle/data/edge/planted"
    page.say(
        "launch_job", id="j1", event="e1", plugin="shellplug", command=f"/usr/bin/touch {planted}",
        uid="cronicle", params={}, log_file="/opt/cronicle/data/edge/logs/jobs/j1.log",
    )  # fmt: skip
    for token in ("", "x", hashlib.md5(f"{job}undefined".encode()).hexdigest()):
        page.say("watch_job_log", id=job, token=token)
    page.say("abort_job", id=job, reason="by a stranger")
    page.say("shutdown_server")
    heard = page.hear(6)
    assert not [text for text in heard if "hidden words" in text or '"update"' in text], heard
    assert box.client.wait_for_job(job, 120)["code"] == 0
    assert box.execute("ls", planted, check=False) == "" and box.is_up()


def test_a_session_is_needed_to_hear_and_a_key_to_command(box, page):
    host, now = "vixtract_primary-cronicle-server", int(time.time())
    guesses = [hashlib.md5(f"{host}{now}{key}".encode()).hexdigest() for key in ("", "undefined")]
    for token in guesses:
        page.say("authenticate", manager_hostname=host, now=now, token=token)
    for token in ("", "x", "../users/admin", "*"):
        page.say("authenticate", token=token)
    heard = page.hear(4)
    assert sum("auth_failure" in text for text in heard) == 6, heard
    page.say("authenticate", token=box.log_in()["X-Session-ID"])
    box.client.run_event(box.make_event("#!/bin/bash\necho seen\n"))
    assert [text for text in page.hear(8) if text.startswith('["update"')]


def test_the_configuration_that_everybody_may_read_has_no_secret(box):
    text = read(box, "app/config?callback=app.receiveConfig")
    secrets = [
        box.execute("cat", f"/srv/secrets/{name}").strip()
        for name in ("api_key", "role_key", "cronicle_key", "cronicle_session", "cronicle_oauth")
    ]
    assert "privilege_list" in text
    assert not [secret for secret in secrets if secret in text] and "secret_key" not in text


def test_a_person_s_session_is_in_no_log(box):
    session = box.log_in()["X-Session-ID"]
    job = box.client.run_event(box.make_event("#!/bin/bash\necho hidden words\n"))
    box.client.wait_for_job(job, 120)
    # As the page's links have it.
    assert "hidden words" in read(box, f"app/get_job_log?id={job}&session_id={session}")
    header = {"X-Session-ID": session}
    event = {
        "title": "of the page",
        "plugin": "shellplug",
        "category": "general",
        "enabled": 1,
        "target": "allgrp",
    }
    params = {"script": "#!/bin/bash\n", "owner": "anna"}
    made = box.ask("app/create_event", {**event, "params": params, "timing": False}, header)[1]
    assert made["code"] == 0, made
    assert box.ask("app/delete_event", {"id": made["id"]}, header)[1]["code"] == 0
    assert box.ask("user/logout", {"session_id": session})[1]["code"] == 0
    ours = docker("logs", box.name)
    assert session not in ours.stdout + ours.stderr
    found = box.execute("grep", "-rl", session, LOGS, check=False)
    assert found == "", box.execute("grep", "-rh", session, LOGS, check=False)[:600]
