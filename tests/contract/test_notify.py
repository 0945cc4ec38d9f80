"""Messages about runs: a real mail server and a real web server get what the engine sends."""

from __future__ import annotations

import email
import json
import socket
import threading
from email import policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from tests.contract.embedded import EmbeddedEngine
from tests.waiting import free_port, wait_until
from vixtract import addresses
from vixtract.scheduler import notify
from vixtract.scheduler.client import SchedulerError
from vixtract.scheduler.notify import NotifyError

# The mail server warns that it takes a login without TLS, which is what this tier wants.
pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:aiosmtpd")
FAIL = ["say", {"complete": 1, "code": 1, "description": "ValueError: no such city",
                "chain_data": {"error": {"cell": 3, "name": "ValueError", "message": "no such city"}}}]  # fmt: skip
OK = ["say", {"complete": 1, "code": 0}]


def own_address() -> str:
    """Return an address of this machine that is not loopback, which web hooks may not reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


class Inbox:
    """Keeps what a mail server was given."""

    def __init__(self) -> None:
        self.mails: list = []
        self.to: list = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(email.message_from_bytes(envelope.content, policy=policy.default))
        self.to.append(envelope.rcpt_tos)
        return "250 taken"


class Hook:
    """A web server that answers with the given statuses, then with 200."""

    def __init__(self, host: str) -> None:
        self.statuses: list[int] = []
        self.got: list = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append((self.path, self.headers["Host"], json.loads(body)))
                self.send_response(hook.statuses.pop(0) if hook.statuses else 200)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer((host, 0), Handler)
        self.url = f"http://{host}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def inbox():
    inbox = Inbox()
    inbox.port = free_port()
    controller = Controller(
        inbox, hostname="127.0.0.1", port=inbox.port, auth_require_tls=False, auth_required=True,
        authenticator=lambda *args: AuthResult(success=args[-1].password == b"pw"), ident="test",
    )  # fmt: skip
    controller.start()
    yield inbox
    controller.stop()


@pytest.fixture
def hook():
    hook = Hook(own_address())
    yield hook
    hook.close()


@pytest.fixture
def engine(tmp_path, inbox):
    engine = EmbeddedEngine(
        tmp_path, SMTP_HOST="127.0.0.1", SMTP_PORT=str(inbox.port), SMTP_USER="etl",
        SMTP_PASSWORD="pw", SMTP_FROM="etl@example.com", PUBLIC_URL="https://etl.example.com/",
    ).start()  # fmt: skip
    yield engine
    engine.stop()


def make(engine, title, *steps, **fields):
    return engine.client.create_event({
        "title": title, "plugin": "notebook",
        "params": {"notebook": "a.ipynb", "parameters": {"steps": list(steps)}}, **fields,
    })  # fmt: skip


def test_a_failure_is_mailed_with_the_failing_cell_and_a_link(engine, inbox):
    event = make(engine, "Load cities", FAIL, notify_fail="anna@example.com, bob@example.com",
                 notify_success="nobody@example.com")  # fmt: skip
    job = engine.run(event)
    wait_until(lambda: inbox.mails, "a mail", interval_s=0.1)
    mail = inbox.mails[0]
    assert mail["Subject"] == "Failed: Load cities"
    assert mail["From"] == "etl@example.com"
    assert inbox.to == [["anna@example.com", "bob@example.com"]]
    text = mail.get_content()
    assert "Cell 3: ValueError: no such city" in text
    assert f"https://etl.example.com/portal/runs/{job['id']}" in text


def test_a_success_is_mailed_to_whom_it_is_to_be(engine, inbox):
    engine.run(
        make(engine, "Fine", OK, notify_success="anna@example.com", notify_fail="bob@example.com")
    )
    engine.run(make(engine, "Silent", OK, notify_fail="bob@example.com"))
    wait_until(lambda: inbox.mails, "a mail", interval_s=0.1)
    assert [mail["Subject"] for mail in inbox.mails] == ["Succeeded: Fine"]


def test_a_web_hook_gets_the_run_as_json(engine, hook):
    job = engine.run(make(engine, "Load", FAIL, web_hook=f"{hook.url}/path?key=1"))
    wait_until(lambda: hook.got, "a call", interval_s=0.1)
    path, host, body = hook.got[0]
    assert (path, host) == ("/path?key=1", hook.url.removeprefix("http://"))
    assert (body["id"], body["code"], body["event_title"]) == (job["id"], 1, "Load")
    assert body["error"] == {"cell": 3, "name": "ValueError", "message": "no such city"}
    assert "Load failed: ValueError: no such city" in body["text"]


def test_a_web_hook_for_failures_hears_nothing_of_successes(engine, hook):
    engine.run(make(engine, "Fine", OK, web_hook=hook.url, web_hook_error=1))
    engine.run(make(engine, "Wrong", FAIL, web_hook=hook.url, web_hook_error=1))
    wait_until(lambda: hook.got, "a call", interval_s=0.1)
    assert [body["event_title"] for _, _, body in hook.got] == ["Wrong"]


def test_a_refused_message_is_tried_again_and_sent_once(engine, hook):
    hook.statuses = [503]
    engine.run(make(engine, "Fine", OK, web_hook=hook.url))
    wait_until(lambda: len(hook.got) == 2, "the second try", interval_s=0.1)
    engine.run(make(engine, "Other", OK, web_hook=hook.url))
    wait_until(lambda: len(hook.got) > 2, "another call", interval_s=0.1)
    assert [body["event_title"] for _, _, body in hook.got] == ["Fine", "Fine", "Other"]
    assert "HTTP 503" in engine.log


def test_what_was_not_sent_is_sent_after_a_crash(engine, hook):
    hook.statuses = [500]
    engine.run(make(engine, "Fine", OK, web_hook=hook.url))
    wait_until(lambda: hook.got, "the first try", interval_s=0.05)
    wait_until(lambda: "again in" in engine.log, "its delay", interval_s=0.05)
    engine.kill()
    engine.start()
    wait_until(lambda: len(hook.got) == 2, "the second try", interval_s=0.1)


def test_an_abort_by_hand_sends_no_mail(engine, inbox):
    event = make(engine, "Long", ["sleep", 60], notify_fail="anna@example.com")
    job = engine.client.run_event(event)
    wait_until(
        lambda: engine.client.get_job_status(job)["state"] == "running", "start", interval_s=0.1
    )
    engine.client.abort_job(job)
    engine.client.wait_for_job(job, 120)
    engine.run(make(engine, "Wrong", FAIL, notify_fail="anna@example.com"))
    wait_until(lambda: inbox.mails, "a mail", interval_s=0.1)
    assert [mail["Subject"] for mail in inbox.mails] == ["Failed: Wrong"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("notify_fail", "anna"), ("notify_fail", "a@b\nBcc: c@d"), ("notify_success", "a@b <x>"),
        ("notify_fail", 1), ("web_hook", "ftp://host/"), ("web_hook", "host"), ("web_hook", "http://"),
        ("web_hook", "http://a b/"), ("web_hook", "http://h:99999/"), ("web_hook_error", 2),
    ],
)  # fmt: skip
def test_a_wrong_target_is_refused_at_once(engine, field, value):
    with pytest.raises(SchedulerError):
        make(engine, "Wrong", OK, **{field: value})


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost:3012/", "http://[::1]/", "http://169.254.169.254/latest",
        "http://0.0.0.0/", "http://[::ffff:127.0.0.1]/", "http://[fe80::1]/", "http://2130706433/",
        "http://224.0.0.1/", "http://0x7f.1/", "http://100.100.100.200/", "http://[fd00:ec2::254]/",
        "http://[64:ff9b::7f00:1]/", "http://240.0.0.1/",
    ],
)  # fmt: skip
def test_a_web_hook_reaches_neither_this_machine_nor_a_metadata_service(url):
    with pytest.raises(NotifyError, match=r"may not reach|cannot be found"):
        notify.call_web_hook(url, {})


@pytest.mark.parametrize("service", [*addresses.SERVICES, addresses.OWN_DATABASE])
def test_a_web_hook_reaches_no_service_of_the_appliance(monkeypatch, service):
    host = own_address()
    real = addresses.resolve
    monkeypatch.setattr(
        addresses, "resolve", lambda name, port: [host] if name == service else real(name, port)
    )
    with pytest.raises(NotifyError, match="may not reach"):
        notify.call_web_hook(f"http://{host}:9/", {})


def test_a_server_that_drips_is_cut_off(monkeypatch):
    monkeypatch.setattr(notify, "TIMEOUT_S", 1.0)
    host = own_address()
    with socket.create_server((host, 0)) as server:
        done = threading.Event()

        def drip():
            connection, _ = server.accept()
            with connection:
                while not done.wait(0.2):
                    try:
                        connection.send(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(NotifyError):
            notify.call_web_hook(f"http://{host}:{server.getsockname()[1]}/", {})
        done.set()
        thread.join(5)
