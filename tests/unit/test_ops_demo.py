"""The demo against a scheduler that speaks the REST contract, and what it prints."""

from __future__ import annotations

import datetime
import gzip
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.certificates import make_authority, write_pair
from tests.unit.ops_fakes import FakeHost, make_session
from vixtract.ops.demo import (
    EVENT,
    DemoError,
    DemoResult,
    build_event,
    build_query,
    ensure_person,
    is_up,
    next_minute,
    query_tables,
    render_result,
    run_demo,
    show_console,
)
from vixtract.ops.host import Completed
from vixtract.ops.instance import load_instance
from vixtract.ops.rotate import count_jobs
from vixtract.scheduler.client import LogPage, SchedulerClient, SchedulerError

UTC = datetime.timezone.utc
NOW = datetime.datetime(2026, 1, 31, 23, 59, 30, tzinfo=UTC)
KEY = "k" * 40
FACTS = {"owner": "demo", "uid": 2001, "output": "/runs/demo/j1/flights-output.ipynb"}
REPORT = {
    "read_only": True,
    "tables": [
        {"name": "flights", "comment": "All", "rows": 336776, "head": ["year"], "first": [[2013]]},
        {
            "name": "flights_by_month",
            "comment": "By month",
            "rows": 2,
            "head": ["month", "delay"],
            "first": [[1, 10.04], [2, 11.2]],
        },
    ],
}


class FakeScheduler(BaseHTTPRequestHandler):
    """Answers like the scheduler: the event becomes a job, which ends at the third look."""

    def do_GET(self):
        """Answer the call that has its parameters in the address: the log."""
        address = urlsplit(self.path)
        self.give(address.path, dict(parse_qsl(address.query)))

    def do_POST(self):
        self.give(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def give(self, path, body):
        state = self.server.state
        call = path.removeprefix("/cronicle/api/app/")
        state["calls"].append((call, body, self.headers["X-API-Key"]))
        answer = self.answer(state, call, body)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200)
        if call == "get_job_log":
            content = gzip.compress(content)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def answer(self, state, call, body):
        if self.headers["X-API-Key"] != KEY:
            return {"code": "session", "description": "no such key"}
        if call in ("create_event", "update_event"):
            if (call == "create_event") == (body["id"] in state["events"]):
                return {"code": "event", "description": "exists or does not"}
            state["events"].setdefault(body["id"], {}).update(body)
            return {"code": 0, "id": body["id"]}
        if call == "get_job_status":
            return {"code": 0, "job": self.job(state)}
        active = {"id": "j1", "event": EVENT, "time_start": state["starts"]}
        old = {"id": "j0", "event": EVENT, "time_start": 5}
        fixed = {
            "get_schedule": {"code": 0, "rows": list(state["events"].values())},
            "get_active_jobs": {"code": 0, "jobs": {"j1": active} if state["starts"] else {}},
            "get_event_history": {"code": 0, "rows": [old]},
            "get_live_console": {
                "code": 0, "data": "" if body.get("offset") else "reading\n", "next": 8,
            },
            "get_job_log": b"first\nlast words\n",
        }  # fmt: skip
        return fixed.get(call, {"code": "api", "description": f"no call {call}"})

    def job(self, state):
        state["looks"] += 1
        progress = {"id": "j1", "progress": 0.5, "memo": f"cell {state['looks']} of 2"}
        if state["looks"] < 3:
            return progress
        return {**progress, "complete": 1, "elapsed": 12.3, "chain_data": FACTS, **state["result"]}

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def scheduler():
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeScheduler)
    due = next_minute(NOW).timestamp()
    server.state = {
        "calls": [], "events": {}, "starts": due, "looks": 0, "result": {"code": 0},
    }  # fmt: skip
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(timeout=120)


def appliance(tmp_path, scheduler, people='[{"name": "admin"}]'):
    """Return a session and an instance whose containers answer."""
    answers = {
        "list --json": Completed(0, people),
        "user add demo": Completed(0, "Added demo.\nPassword: Pass1\n"),
        "--user demo": Completed(0, ""),
        "cat /srv/secrets/api_key": Completed(0, KEY + "\n"),
        "docker run": Completed(0, json.dumps(REPORT)),
    }
    port = str(scheduler.server_address[1])
    instance = load_instance(tmp_path, {"http_port": port}, {"BI_PASSWORD": "bisecret"})
    return make_session(FakeHost(tmp_path, answers)), instance


def test_a_rotation_counts_jobs_behind_a_certificate_of_our_own(tmp_path, scheduler):
    write_pair(tmp_path, "127.0.0.1", make_authority("own"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    scheduler.socket = context.wrap_socket(scheduler.socket, server_side=True)
    answers = {
        "cat /srv/secrets/api_key": [Completed(0, KEY + "\n"), Completed(0, "older\n")],
        "tls/current/chain.pem": Completed(0, (tmp_path / "server.pem").read_text()),
    }
    options = {"https": "self-signed", "https_port": str(scheduler.server_address[1])}
    instance = load_instance(tmp_path, options, {})
    session = make_session(FakeHost(tmp_path, answers))
    assert count_jobs(session, instance) == 1
    assert count_jobs(session, instance) == 0, "a rotation was cut off: the key is the old one"


def test_the_demo_runs_to_its_end(tmp_path, scheduler):
    session, instance = appliance(tmp_path, scheduler)
    result = run_demo(session, instance, NOW)
    assert result.job["chain_data"] == FACTS
    assert result.log == "first\nlast words\n"
    event = scheduler.state["events"][EVENT]
    assert event["enabled"] == 0, "its minute is over"
    assert event["timing"] == {
        "years": [2026], "months": [2], "days": [1], "hours": [0], "minutes": [0],
    }  # fmt: skip
    text = session.console.text
    assert "Added person demo, password Pass1 (shown this once)" in text
    assert "cell 1 of 2" in text and "| reading" in text
    assert text.count("| reading") == 1, "the live log goes on where it was"
    everything = "\n".join([*session.host.calls, text])
    assert KEY not in everything and "bisecret" not in everything
    assert {key for _, _, key in scheduler.state["calls"]} == {KEY}


def test_the_demo_is_repeatable(tmp_path, scheduler):
    session, instance = appliance(tmp_path, scheduler, people='[{"name": "demo"}]')
    scheduler.state["events"][EVENT] = {"id": EVENT, "enabled": 0}
    run_demo(session, instance, NOW)
    assert not session.host.called("user add")
    calls = [call for call, _, _ in scheduler.state["calls"]]
    assert "create_event" not in calls and calls.count("update_event") == 2


def test_a_failed_run_shows_the_end_of_its_log_and_switches_the_event_off(tmp_path, scheduler):
    session, instance = appliance(tmp_path, scheduler)
    scheduler.state["result"] = {"code": 1, "description": "cell 3: KeyError"}
    with pytest.raises(DemoError, match="cell 3: KeyError") as caught:
        run_demo(session, instance, NOW)
    assert "flights-output.ipynb" in caught.value.hint
    assert "  last words" in session.console.lines
    assert scheduler.state["events"][EVENT]["enabled"] == 0


def test_a_run_that_never_starts_has_a_deadline(tmp_path, scheduler):
    session, instance = appliance(tmp_path, scheduler)
    scheduler.state["starts"] = 0
    with pytest.raises(DemoError, match="did not start the run within 150 s"):
        run_demo(session, instance, NOW)
    assert scheduler.state["events"][EVENT]["enabled"] == 0


def test_a_refused_call_carries_the_schedulers_words(scheduler):
    base = f"http://127.0.0.1:{scheduler.server_address[1]}"
    with pytest.raises(SchedulerError, match="no such key"):
        SchedulerClient(f"{base}/cronicle", "wrong").call("ping")
    with pytest.raises(SchedulerError, match="does not answer"):
        SchedulerClient("http://127.0.0.1:1/cronicle", KEY).call("ping")


def test_a_person_that_cannot_be_added_is_an_error(tmp_path):
    answers = {"list --json": Completed(0, "[]"), "user add": Completed(3, "", "The Hub is away.")}
    session = make_session(FakeHost(tmp_path, answers))
    with pytest.raises(DemoError, match=r"Could not add demo: The Hub is away\."):
        ensure_person(session, load_instance(tmp_path, {}, {}))


@pytest.mark.parametrize(
    ("now", "due"),
    [
        (NOW, datetime.datetime(2026, 2, 1, 0, 0, tzinfo=UTC)),
        (NOW.replace(second=58), datetime.datetime(2026, 2, 1, 0, 1, tzinfo=UTC)),
        (NOW.replace(second=0), datetime.datetime(2026, 2, 1, 0, 0, tzinfo=UTC)),
    ],
)
def test_the_next_minute_leaves_time_to_be_scheduled(now, due):
    assert next_minute(now) == due


def test_the_event_is_the_persons_own():
    event = build_event(next_minute(NOW))
    assert (event["username"], event["params"]["owner"]) == ("demo", "demo")
    assert "api_key" not in json.dumps(event)


def test_tables_are_read_as_bi_without_a_password_in_the_command(tmp_path):
    host = FakeHost(tmp_path, {"docker run": Completed(0, json.dumps(REPORT))})
    instance = load_instance(tmp_path, {"bind": "0.0.0.0"}, {"BI_PASSWORD": "bisecret"})
    assert query_tables(make_session(host), instance) == REPORT
    assert host.given[0]["environment"]["PGPASSWORD"] == "bisecret"
    assert host.given[0]["environment"]["PGHOST"] == "127.0.0.1"
    assert "bisecret" not in " ".join(build_query(instance))
    empty = FakeHost(tmp_path, {"docker run": Completed(0, '{"tables": []}')})
    with pytest.raises(DemoError, match="no tables"):
        query_tables(make_session(empty), instance)


def test_the_result_tells_who_what_and_where():
    job = {"id": "j1", "elapsed": 12.34, "chain_data": FACTS}
    text = "\n".join(render_result(DemoResult(job, REPORT["tables"], True)))
    assert "demo (uid 2001) in 12.3 s: job j1" in text
    assert "/runs/demo/j1/flights-output.ipynb" in text
    assert "demo.flights           336776" in text
    assert "demo.flights_by_month: By month" in text and "11.2" in text
    assert "may not change anything" in text
    assert "may not change" not in "\n".join(render_result(DemoResult(job, [], False)))


def test_a_running_appliance_is_recognised(tmp_path):
    host = FakeHost(tmp_path, {"docker ps": Completed(0, "")})
    assert not is_up(make_session(host), load_instance(tmp_path, {}, {}))


class Page:
    """A scheduler whose live log is a text."""

    def __init__(self, text):
        self.text = text.encode()

    def get_live_console(self, job, offset):
        return LogPage(self.text[offset:].decode(), len(self.text), complete=False)


def test_a_half_written_line_is_shown_when_it_is_whole(tmp_path):
    session = make_session(FakeHost(tmp_path))
    offset = show_console(session, Page("один\nдва и"), "j1", 0)
    offset = show_console(session, Page("один\nдва и три\n"), "j1", offset)
    assert session.console.lines == ["  | один", "  | два и три"]
    assert show_console(session, Page("один\nдва и три\n"), "j1", offset) == offset
