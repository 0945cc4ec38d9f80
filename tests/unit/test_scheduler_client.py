"""The client's errors, against real sockets; its calls are tried by the contract tests."""

from __future__ import annotations

import pickle
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.scheduler_client import JobClient
from tests.waiting import free_port
from vixtract.scheduler.client import SchedulerError

KEY = "aKeyThatMustNotBeShownAnywhere"


@pytest.fixture
def serve():
    """Start a server that answers every call with the same bytes; yield its starter."""
    servers = []

    def start(body: bytes, status: int = 200):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return JobClient(f"http://127.0.0.1:{server.server_port}/cronicle", KEY, 2)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_refusal_carries_cronicles_code(serve):
    client = serve(b'{"code":"event","description":"Failed to locate event: x"}')
    with pytest.raises(SchedulerError) as caught:
        client.get_event("x")
    assert (caught.value.code, caught.value.message) == ("event", "Failed to locate event: x")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.code, again.message) == (caught.value.code, caught.value.message)


def test_silent_scheduler_is_named_without_the_key(monkeypatch):
    # A proxy in the environment must not get the key either.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    client = JobClient(f"http://127.0.0.1:{free_port()}", KEY, 2)
    with pytest.raises(SchedulerError, match="does not answer") as caught:
        client.get_schedule()
    assert caught.value.code == "unreachable" and caught.value.hint
    assert KEY not in str(caught.value) + repr(client)


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b""])
def test_answer_that_is_no_object_is_an_error(serve, body):
    with pytest.raises(SchedulerError, match="no JSON"):
        serve(body).call("ping")


def test_http_error_tells_its_status(serve):
    with pytest.raises(SchedulerError) as caught:
        serve(b"Bad Gateway", 502).call("ping")
    assert (caught.value.code, caught.value.message) == ("502", "Bad Gateway")


@pytest.mark.slow
def test_waiting_for_a_job_has_an_end_and_says_what_was_seen(serve):
    client = serve(b'{"code":0,"job":{"id":"j1","state":"running","memo":"cell 3 of 6"}}')
    with pytest.raises(SchedulerError, match="cell 3 of 6") as caught:
        client.wait_for_job("j1", 0.1)
    assert caught.value.code == "timeout"


def test_answer_without_a_code_is_accepted_as_cronicle_sends_it(serve):
    console = serve(b'{"data":"hello","next":5,"fileSize":5}').get_live_console("j1")
    assert (console.data, console.next, console.complete) == ("hello", 5, False)
