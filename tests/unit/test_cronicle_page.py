"""What passes between Cronicle's page, its plugin's lines, its configuration and the appliance."""

from __future__ import annotations

import bcrypt
import pytest

from vixtract.cronicle import config, gateway
from vixtract.cronicle.http import Request
from vixtract.cronicle.people import is_plain
from vixtract.cronicle.plugins import escape_line
from vixtract.cronicle.shapes import clean_event, read_event
from vixtract.ledger.database import Database
from vixtract.scheduler import store
from vixtract.scheduler.calls import ApiError

EVENT = {
    "id": "e1",
    "title": "One",
    "plugin": "shellplug",
    "params": {"script": "x", "owner": "anna"},
}


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
    assert safe["description"] == "&lt;img src=x&gt;"
    assert safe["table"]["rows"][0] == ["a", "&lt;svg&gt;"] and safe["table"]["title"] == "Run"
    assert not {"html", "update_event", "chain"} & set(safe)


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
    text = Request("POST", "/cronicle/api/app/ping", "", headers, b"{}").encode().decode().lower()
    assert "signature" not in text and "x-api-key" not in text and "x-session-id: i" in text


def test_logins_from_one_address_are_counted():
    throttle = gateway.Throttle(burst=3, rate=0.0)
    assert [throttle.admits("a") for _ in range(4)] == [True, True, True, False]
    assert throttle.admits("b")
