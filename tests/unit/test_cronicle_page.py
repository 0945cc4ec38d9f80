"""What passes between Cronicle's page, its plugin's lines, its configuration and the appliance."""

from __future__ import annotations

import json

import bcrypt
import pytest
from starlette.exceptions import HTTPException

from vixtract.cronicle_edge import config, gateway
from vixtract.cronicle_edge.checks import check_names, find_method, tell_params
from vixtract.cronicle_edge.forwarding import PageRequest, rewrite_headers
from vixtract.cronicle_edge.people import is_plain
from vixtract.cronicle_edge.plugins import escape_line, read_text
from vixtract.cronicle_edge.shapes import clean_event, read_event, tell
from vixtract.ledger.database import Database
from vixtract.scheduler import store
from vixtract.scheduler.api import ApiError

EVENT = {
    "id": "e1",
    "title": "One",
    "plugin": "shellplug",
    "params": {"script": "x", "owner": "anna"},
}


@pytest.mark.slow
def test_password_hashes_have_the_prefix_that_cronicle_survives():
    user = config.build_user("admin", "a long password " * 10)
    assert user["password"].startswith("$2a$")
    content = ("a long password " * 10 + user["salt"]).encode()[:72]
    assert bcrypt.checkpw(content, user["password"].encode())
    assert config.is_password(user, "a long password " * 10)
    assert not config.is_password(user, "another") and not config.is_password({}, "x")


def test_the_first_boot_makes_nothing_that_runs_as_root():
    steps = config.build_setup("secret")["storage"]
    plugins = [
        value for word, key, value in steps if key == "global/plugins" and word == "listPush"
    ]
    assert {plugin["id"]: plugin["uid"] for plugin in plugins} == {
        "notebook": "cronicle",
        "shellplug": "cronicle",
    }
    assert not [step for step in steps if step[0] == "listPush" and step[1] == "global/conf_keys"]


def test_configuration_keeps_everything_below_the_closed_directory():
    made = config.build_config("k" * 40, "s" * 40)
    for name in ("log_dir", "queue_dir", "pid_file"):
        assert made[name].startswith("/opt/cronicle/data/edge/")
    assert made["job_memory_max"] == 0 and made["base_path"] == "/cronicle"
    assert not any(made["User"]["default_privileges"].values())
    assert made["WebServer"]["http_response_headers"] == {}


@pytest.mark.parametrize("call", ["create_event", "update_event", "run_event"])
def test_a_page_cannot_send_what_chooses_the_process(call):
    evil = {"uid": "root", "debug_sudo": 1, "env": {}, "cwd": "/", "command": "x", "log_file": "/x"}
    kept = gateway.clean_change(call, {**EVENT, **evil, "created": 1})
    assert not set(evil) & set(kept) and "created" not in kept


def test_a_page_cannot_name_another_plugin_or_parameter():
    with pytest.raises(ApiError):
        gateway.clean_change("create_event", {**EVENT, "plugin": "urlplug"})
    kept = gateway.clean_change(
        "update_event", {**EVENT, "params": {"LD_PRELOAD": "x", "script": "a"}}
    )
    assert kept["params"] == {"script": "a"}


def test_a_run_from_the_page_keeps_nothing_but_its_parameters():
    kept = gateway.clean_change("run_event", {**EVENT, "now": 1, "plugin": "notebook", "args": "x"})
    assert set(kept) <= {"id", "title", "params"}


def test_texts_on_cronicles_page_are_escaped():
    line = {
        "complete": 1, "code": 1, "description": "<img src=x>", "html": "<b>", "update_event": {},
        "table": {"title": "<i>", "rows": [["a", "<svg>"]]}, "chain": "e2",
    }  # fmt: skip
    safe = escape_line(line, "j1")
    assert safe["description"] == "\u2039img src=x\u203a"
    assert safe["table"]["rows"][0] == ["a", "&lt;svg&gt;"] and safe["table"]["title"] == "Run"
    assert not {"html", "update_event", "chain"} & set(safe)


def test_people_read_texts_as_they_were_on_either_side():
    shown = escape_line({"description": "KeyError: 'a' < \"b\" & c", "memo": "it's on"}, "j1")
    # Cronicle escapes these itself in some places: entities would be seen.
    assert not set('<>"') & set(shown["description"]) and "&" not in shown["memo"]
    assert read_text(shown["description"]) == "KeyError: 'a' < \"b\" & c"


def test_a_title_s_quotes_are_no_markup_to_cronicle_and_come_back():
    told = tell({**EVENT, "title": 'Load "a" onfocus=x'})
    assert '"' not in told["title"]
    event = read_event(told)
    assert event is not None and event.title == 'Load "a" onfocus=x'
    kept = gateway.clean_change("update_event", {"id": "e1", "title": 'a"b'})
    assert '"' not in kept["title"]


@pytest.mark.parametrize(
    "field", ["interval", "ticks", "chain", "web_hook", "notify_fail", "detached", "memory_limit"]
)
def test_what_is_typed_and_means_nothing_here_is_said(field):
    with pytest.raises(ApiError, match=f"{field} cannot be set on this page"):
        gateway.clean_change("update_event", {**EVENT, field: "1"})
    assert gateway.clean_change("update_event", {**EVENT, field: 0})


def test_names_that_end_cronicle_are_found_anywhere():
    assert find_method({"a": [{"b": {"toString": 1}}]}) == "toString"
    assert not find_method({"a": ["toString", {"b": "valueOf"}], "to_string": 1})
    params = {"notebook": "a.ipynb", "parameters": {"toString": 1, "limit": 5}}
    told = tell_params(params)
    assert not find_method(told) and json.loads(told["parameters"]) == params["parameters"]
    assert tell_params({"parameters": {"limit": 5}})["parameters"] == {"limit": 5}


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", b'{"username": {"toString": 1}}'),
        ("", b'{"a": [{"\\u0074oString": 1}]}'),
        ("__proto__=x", b""),
        ("", b"[1]"),
        ("", b"username=admin"),
    ],
)
def test_a_request_that_would_end_cronicle_is_refused(query, body):
    with pytest.raises(HTTPException):
        PageRequest("POST", "/cronicle/api/user/login", query, {}, body).settle()


def test_cronicle_reads_what_was_read_here():
    request = PageRequest(
        "POST", "/x", "id=1&id=2", {"content-type": "text/plain"}, b'{"a":1,"a":2}'
    )
    assert request.settle() == {"id": "2", "a": 2}
    assert (request.query, request.body) == ("id=2", b'{"a": 2}')
    assert request.headers["content-type"] == "application/json"
    link = PageRequest("GET", "/x", "id=1", {"content-type": "text/plain"}, b"{")
    assert link.settle() == {"id": "1"} and not link.body and not link.headers


def test_a_script_that_fits_no_environment_is_refused():
    check_names("shellplug", {"script": "x" * 131_000})
    with pytest.raises(ApiError, match="Put it into a file"):
        check_names("shellplug", {"script": "\u00e9" * 66_000})


@pytest.mark.parametrize("name", ["ad.min", "a-b", "Admin", "vixtract", "", "имя", "a" * 33])
def test_names_that_cronicle_would_change_get_no_account(name):
    assert not is_plain(name)


def test_plain_names_get_an_account():
    assert is_plain("anna") and is_plain("anna_2")


def test_records_of_other_plugins_are_no_events(tmp_path):
    assert read_event({"id": "x", "title": "X", "plugin": "workflow"}) is None
    event = read_event({**EVENT, "timeout": "60", "username": "anna", "algo": "random"})
    assert event is not None and (event.timeout, event.username) == (60, "anna")
    database = Database(tmp_path / "ledger.sqlite3")
    store.put_event(database, event.updated({"web_hook": "https://x.test/"}), 0)
    shown = clean_event(database, {**event.to_dict(), "api_key": "k", "secret": "s"})
    assert "api_key" not in shown and shown["web_hook"] == "https://x.test/"
    database.close()


def test_foreign_credentials_are_not_passed_on():
    headers = {"x-wf-signature": "s", "x-hub-signature": "s", "x-api-key": "k", "x-session-id": "i"}
    request = PageRequest("POST", "/cronicle/api/app/ping", "", headers, b"{}")
    assert request.outgoing_headers() == {"host": "cronicle", "x-session-id": "i"}


@pytest.mark.parametrize("is_https", [True, False])
def test_the_session_s_cookie_is_secure_where_it_can_be(is_https):
    sent = [(b"Set-Cookie", b"session_id=1; Path=/; Secure=True; HttpOnly")]
    cookie = dict(rewrite_headers(sent, is_https=is_https))[b"set-cookie"].decode()
    words = [word.strip() for word in cookie.split(";")]
    assert ("Secure" in words) == is_https and "HttpOnly" in words and "Secure=True" not in words


def test_logins_from_one_address_are_counted():
    throttle = gateway.Throttle(burst=3, rate=0.0)
    assert [throttle.admits("a") for _ in range(4)] == [True, True, True, False]
    assert throttle.admits("b")
