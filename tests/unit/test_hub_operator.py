"""The operator's commands against a small Hub of the test's own."""

from __future__ import annotations

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from tests.waiting import free_port
from vixtract.hub import client as hub_client
from vixtract.hub import operator

TOKEN = "t" * 40


class FakeHub(BaseHTTPRequestHandler):
    """Answers as the Hub does, for the calls that are used here; remembers what it was sent."""

    users: ClassVar[dict[str, dict]] = {}
    passwords: ClassVar[dict[str, str]] = {}
    calls: ClassVar[list[tuple[str, dict]]] = []
    problems: ClassVar[list[str]] = []

    def reply(self, status, body=None):
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self):
        assert self.headers["Authorization"] == f"token {TOKEN}"
        offset = int(self.path.partition("offset=")[2].partition("&")[0])
        self.reply(200, list(self.users.values())[offset : offset + 100])

    def do_POST(self):
        body = self.body()
        if self.path.endswith("/people/list"):
            more = {"state": "active", "password": "set", "teams": []}
            self.reply(200, {"people": [{**user, **more} for user in self.users.values()]})
        elif "/vixtract/people/" in self.path:
            self.calls.append((self.path.rpartition("/")[2], body))
            self.reply(200, {"lines": ["PostgreSQL: done"], "problems": list(self.problems)})
        elif self.path.endswith("/password"):
            self.passwords[self.path.split("/")[-2]] = body["password"]
            self.reply(204)
        elif body["usernames"] == ["root"]:
            self.reply(400, {"status": 400, "message": "'root' is a reserved name."})
        else:
            for name in body["usernames"]:
                self.users[name] = {"name": name, "admin": body["admin"], "last_activity": None}
            self.reply(201, [])

    def do_PATCH(self):
        self.users[self.path.split("/")[-1]]["admin"] = self.body()["admin"]
        self.reply(200, {})

    def log_message(self, *arguments):
        """Keep quiet."""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A running fake Hub; call_hub is pointed at it."""
    FakeHub.users, FakeHub.passwords, FakeHub.calls, FakeHub.problems = {}, {}, [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    point_at(monkeypatch, token, server.server_port)
    # A proxy for the outside must not be asked for the Hub.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    yield FakeHub
    server.shutdown()
    server.server_close()
    thread.join(5)


def point_at(monkeypatch, token, port):
    monkeypatch.setattr(hub_client, "TOKEN_FILE", token)
    monkeypatch.setitem(
        hub_client.call_hub.__kwdefaults__, "base_url", f"http://127.0.0.1:{port}/jupyter/hub"
    )


def test_person_is_added_with_a_password_from_input(hub, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("pass word \n"))
    assert operator.main(["user", "add", "Anna", "--admin", "--password-stdin"]) == 0
    assert hub.users == {"anna": {"name": "anna", "admin": True, "last_activity": None}}
    assert hub.passwords == {"anna": "pass word "}
    assert "pass word" not in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["--generate"]])
def test_generated_password_is_shown_once_and_works(hub, capsys, more):
    assert operator.main(["user", "add", "anna", *more]) == 0
    assert f"Password: {hub.passwords['anna']}" in capsys.readouterr().out
    assert len(hub.passwords["anna"]) == 24
    assert hub.calls == [("provision", {"name": "anna"})]


def test_what_is_not_done_is_told_and_ends_with_an_error(hub, capsys):
    hub.problems = ["PostgreSQL: it is away"]
    FakeHub.problems = hub.problems
    assert operator.main(["user", "add", "anna"]) == 1
    told = capsys.readouterr()
    assert f"Password: {hub.passwords['anna']}" in told.out
    assert "NOT DONE: PostgreSQL: it is away" in told.err and "goes on from there" in told.err


def test_person_who_is_there_keeps_the_password_unless_one_is_given(hub, capsys):
    operator.main(["user", "add", "anna", "--generate"])
    before = hub.passwords["anna"]
    assert operator.main(["user", "add", "anna", "--admin"]) == 0
    assert hub.users["anna"]["admin"] is True
    assert hub.passwords["anna"] == before
    assert operator.main(["user", "add", "anna", "--generate"]) == 0
    assert hub.passwords["anna"] != before
    assert hub.users["anna"]["admin"] is True, "no flag takes no right away"


def test_refusal_is_said_in_the_hubs_words(hub, capsys):
    assert operator.main(["user", "add", "root"]) == 1
    assert "reserved name" in capsys.readouterr().err


def test_a_new_password_ends_what_the_old_one_opened(hub, capsys, monkeypatch):
    assert operator.main(["user", "passwd", "anna"]) == 0
    made = hub.passwords["anna"]
    assert len(made) == 24 and f"Password: {made}" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("chosen-word\n"))
    assert operator.main(["user", "passwd", "anna", "--password-stdin"]) == 0
    assert hub.passwords["anna"] == "chosen-word"
    assert "chosen-word" not in capsys.readouterr().out
    assert hub.calls == [("end", {"name": "anna"})] * 2


def test_list_shows_everybody_under_a_head(hub, capsys):
    hub.users = {
        f"u{n:03}": {"name": f"u{n:03}", "admin": False, "last_activity": None} for n in range(250)
    }
    FakeHub.users = hub.users
    assert operator.main(["user", "list", "--json"]) == 0
    assert [user["name"] for user in json.loads(capsys.readouterr().out)] == sorted(hub.users)
    assert operator.main(["user", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 252


def test_absent_hub_and_absent_token_are_named(tmp_path, monkeypatch, capsys):
    token = tmp_path / "token"
    point_at(monkeypatch, token, free_port())
    assert operator.main(["user", "list"]) == 3
    assert "token" in capsys.readouterr().err
    token.write_text(TOKEN)
    assert operator.main(["user", "list"]) == 3
    assert "does not answer" in capsys.readouterr().err
