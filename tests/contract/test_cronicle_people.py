"""Who gets an account in Cronicle: a Hub that answers, and Cronicle's account calls, both real HTTP."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vixtract.cronicle_edge.people import HubUserError, People
from vixtract.cronicle_edge.sessions import find_sessions

TOKENS = {
    "adminsToken": {"kind": "user", "name": "admin", "admin": True},
    "annasToken": {"kind": "user", "name": "anna", "admin": False},
    "dottedToken": {"kind": "user", "name": "ad.min", "admin": True},
    "serviceToken": {"kind": "service", "name": "admin"},
    "reservedToken": {"kind": "user", "name": "vixtract", "admin": True},
}


class Hub(BaseHTTPRequestHandler):
    """Answers /user as JupyterHub does."""

    def do_GET(self):
        found = TOKENS.get(self.headers.get("Authorization", "").partition(" ")[2])
        self.send_response(200 if found and self.path == "/user" else 403)
        self.end_headers()
        self.wfile.write(json.dumps(found or {"status": 403}).encode())

    def log_message(self, *_):
        pass


class Accounts:
    """Cronicle's account calls over a dictionary."""

    def __init__(self):
        self.users = {"admin": {"username": "admin", "full_name": "Administrator", "active": 1}}

    def call(self, name, params):
        if name == "user/admin_get_users":
            return {"rows": [dict(user) for user in self.users.values()]}
        if name == "user/admin_create":
            self.users[params["username"]] = dict(params)
        elif name == "user/admin_update":
            self.users[params["username"]].update(params)
        return {}


@pytest.fixture
def people(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    admins = tmp_path / "people.json"
    admins.write_text(json.dumps({"admins": ["admin", "olga", "ad.min", "vixtract"]}))
    people = People(Accounts(), admins, f"http://127.0.0.1:{server.server_port}", tmp_path)
    yield people
    server.shutdown()
    server.server_close()


def test_an_administrator_is_admitted(people):
    assert people.admit("Bearer adminsToken") == "admin"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer annasToken", "Bearer dottedToken", "Bearer serviceToken", "Bearer reservedToken",
        "Bearer unknownToken", "", "Basic adminsToken", "Bearer x\r\nEvil: 1",
    ],
)  # fmt: skip
def test_nobody_else_is_admitted(people, header):
    with pytest.raises(HubUserError):
        people.admit(header)


def test_accounts_come_and_go_with_the_flag(people):
    people.sync()
    users = people._upstream.users
    assert users["olga"]["active"] == 1 and users["olga"]["privileges"] == {"admin": 1}
    assert set(users) == {"admin", "olga"}
    people._admins.write_text(json.dumps({"admins": ["admin"]}))
    people.sync()
    assert users["olga"]["active"] == 0 and users["admin"]["active"] == 1
    people._admins.write_text(json.dumps({"admins": ["olga"]}))
    people.sync()
    # The account that the password of the settings belongs to is not the Hub's to take away.
    assert users["olga"]["active"] == 1 and users["admin"]["active"] == 1


def test_a_list_that_is_not_there_yet_admits_nobody(people):
    people._admins.unlink()
    with pytest.raises(HubUserError):
        people.admit("Bearer adminsToken")


def test_logins_end_with_the_hubs(people, monkeypatch):
    ended = []
    monkeypatch.setattr(
        "vixtract.cronicle_edge.sessions.end_sessions",
        lambda up, name, storage: ended.append(name) or 1,
    )
    cuts = []
    people.on_end = lambda: cuts.append(1)

    def look(stamps, admins=("admin", "olga")):
        people._admins.write_text(json.dumps({"admins": list(admins), "stamps": stamps}))
        ended.clear()
        people.sync()
        return list(ended)

    assert look({"admin": "a", "olga": "b"}) == [], "first seen"
    assert look({"admin": "a", "olga": "b"}) == []
    assert look({"admin": "a2", "olga": "b"}) == ["admin"], "a new password"
    assert set(look({"admin": "a2"}, ["admin"])) == {"olga"}, "no administrator any more"
    assert look({"olga": "b"}, ["olga"]) == ["admin"], "also of the account that stays"
    assert look({"admin": "a2", "olga": "b"}) == []
    assert len(cuts) >= 3
    people._admins.write_text(json.dumps({"admins": ["admin", "olga"]}))
    ended.clear()
    people.sync()
    assert ended == [], "the Hub of an older version writes none"


def test_sessions_are_found_by_their_person(tmp_path):
    place = tmp_path / "sessions" / "ab" / "cd"
    place.mkdir(parents=True)
    for name, session in (
        ("1", {"id": "s1", "username": "olga"}),
        ("2", {"id": "s2", "username": "admin"}),
        ("3", []),
    ):
        (place / f"{name}.json").write_text(json.dumps(session))
    (place / "4.json").write_text("cut o")
    assert find_sessions("olga", tmp_path) == ["s1"]
    assert find_sessions("olga", tmp_path / "absent") == []
