"""Requests and messages after which a stock Cronicle ends, and all running jobs with it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import websocket

from tests.images.docker_cli import unique_name
from tests.images.edge_box import IMAGE, EdgeBox, has_image
from tests.scheduler_client import JobClient
from tests.waiting import wait_until
from vixtract.cronicle_edge.gateway import PAGE_CALLS, USER_CALLS
from vixtract.scheduler.client import SchedulerError

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not has_image(), reason=f"Cronicle's image is absent: {IMAGE}"),
]
# Cronicle makes a text of it, and finds that its method is none.
BAD = {"toString": 1, "valueOf": 1}
MESSAGES = ("authenticate", "watch_job_log", "abort_job", "launch_job", "logout", "manager_ping")


@pytest.fixture(scope="module")
def box() -> Iterator[EdgeBox]:
    """A container that all tests share."""
    box = EdgeBox(unique_name("edge-survives"))
    try:
        yield box.start()
    finally:
        box.delete()


@pytest.fixture
def alive(box) -> Iterator[None]:
    """See that Cronicle is the same process after the test, and a job that ran meanwhile ends well."""
    before = box.engine_pid()
    job = box.client.run_event(box.make_event("#!/bin/bash\nsleep 5\n"))
    wait_until(lambda: job in box.client.get_active_jobs(), "the job", interval_s=0.2)
    yield
    assert box.client.wait_for_job(job, 120)["code"] == 0
    assert box.engine_pid() == before
    crashes = "/opt/cronicle/data/edge/logs/crash.log"
    assert box.execute("ls", crashes, check=False) == "", box.execute("cat", crashes)


def test_a_stranger_s_message_without_contents(box, alive):
    address = f"ws://127.0.0.1:{box.port}/cronicle/socket.io/?EIO=4&transport=websocket"
    contents = ("", ",null", ",1", ',"x"', ",[]", f",{json.dumps({'token': BAD, 'id': BAD})}")
    server = {"manager_hostname": BAD, "now": BAD, "token": BAD}
    for name in MESSAGES:
        socket = websocket.create_connection(address, timeout=60)
        assert socket.recv().startswith("0")
        socket.send("40")
        assert socket.recv().startswith("40")
        for content in (*contents, f",{json.dumps(server)}"):
            socket.send(f'42["{name}"{content}]')
        socket.send("2")
        socket.close()


def test_a_stranger_s_request_with_a_value_that_is_no_text(box, alive):
    for call in sorted(USER_CALLS):
        for name in ("username", "password", "session_id", "anything"):
            status, answer = box.ask(f"user/{call}", {"username": "admin", name: BAD})
            assert status == 400, (call, name, answer)
    for call in sorted(PAGE_CALLS):
        for name in ("id", "title", "offset", "session_id"):
            for headers in ({"X-Session-ID": "guessed"}, {}):
                box.ask(f"app/{call}", {"id": "x", "session_id": "guessed", name: BAD}, headers)


def test_parameters_and_calls_with_a_key(box, alive):
    key = "theAnalystsKeyOfTheTestsWithLetters1"
    privileges = dict.fromkeys(("create_events", "edit_events", "delete_events", "run_events"), 1)
    box.client.call(
        "create_api_key", {"title": "a", "key": key, "username": "anna", "privileges": privileges}
    )
    anna = JobClient(box.client.base_url, key)
    names = {"toString": 1, "limit": 5, "deep": {"__proto__": 2}}
    event = anna.create_event(
        {"title": "names", "plugin": "notebook", "timing": False,
         "params": {"owner": "anna", "notebook": "absent.ipynb", "parameters": names}}
    )  # fmt: skip
    anna.update_event(event, {"notes": "changed"})
    kept = anna.get_event(event)["params"]["parameters"]
    assert (json.loads(kept) if isinstance(kept, str) else kept) == names
    done = anna.wait_for_job(anna.run_event(event), 120)
    assert "absent.ipynb" in done["description"], done
    for values in ({"reset_cursor": BAD}, {"title": BAD}, {"timing": {"hours": [BAD]}}):
        with pytest.raises(SchedulerError):
            anna.update_event(event, {**values, "catch_up": 1})
    with pytest.raises(SchedulerError):
        anna.call("get_event_history", {"id": event, "offset": BAD})


def test_a_script_that_is_too_long_is_refused_at_once(box, alive):
    with pytest.raises(SchedulerError, match="Put it into a file"):
        box.make_event("#!/bin/bash\n" + "# x\n" * 50_000)
    log = box.run_script("#!/bin/bash\n" + "# x\n" * 32_000 + "echo at the end\n")[1]
    assert "at the end" in log
