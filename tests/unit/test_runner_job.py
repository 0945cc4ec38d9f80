"""From the scheduler's job to the runner's request, and what the runner refuses of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vixtract.errors import RequestError
from vixtract.people.roles import login_environment
from vixtract.processes.questions import encode
from vixtract.runner.config import RunnerConfig
from vixtract.runner.environment import received_database
from vixtract.runner.job import build_request, script_owners
from vixtract.runner.protocol import RunRequest, parse_request

LITERAL = (
    "papermill --cwd ./jupyter-home/admin/ ./jupyter-home/admin/freshdesk.ipynb"
    " ./jupyter-home/admin/freshdesk-output.ipynb"
)


def job(params, author="anna"):
    return {"id": "j1", "event": "e1", "event_title": "T", "params": params, "username": author,
            "timeout": 60, "now": 1700000000}  # fmt: skip


@pytest.mark.parametrize(
    ("params", "author", "owner", "notebook"),
    [
        ({"notebook": "etl/load.ipynb"}, "anna", "anna", "etl/load.ipynb"),
        ({"notebook": "etl/load.ipynb", "owner": "bob"}, "anna", "bob", "etl/load.ipynb"),
        ({"notebook": "/home/bob/load.ipynb"}, "vixtract", "bob", "load.ipynb"),
        ({"notebook": "./jupyter-home/bob/load.ipynb"}, "anna", "bob", "load.ipynb"),
        ({"notebook": "~bob/a b.ipynb"}, "anna", "bob", "a b.ipynb"),
        ({"notebook": "/etc/passwd"}, "anna", "anna", "/etc/passwd"),
    ],
)
def test_owner_of_a_notebook_is_named_or_read_from_its_path(params, author, owner, notebook):
    request = build_request("notebook", job(params, author))
    assert (request["owner"], request["notebook"]) == (owner, notebook)
    assert request["author"] == author
    assert request["facts"] == {"event": "e1", "event_title": "T", "due": 1700000000}


@pytest.mark.parametrize(
    ("script", "owners"),
    [
        (LITERAL, {"admin"}),
        ("cd /tmp\n/usr/bin/papermill /home/a.b/x.ipynb out.ipynb", {"a.b"}),
        ("papermill ~anna/x.ipynb - | cat", {"anna"}),
        ("papermill \\\n  /home/anna/x.ipynb \\\n  /home/anna/y.ipynb", {"anna"}),
        ("papermill /home/anna/x.ipynb o\npapermill ~bob/y.ipynb o", {"anna", "bob"}),
        ("cat /home/bob/x.ipynb", set()),
        ("# papermill /home/bob/x.ipynb o", set()),
        ("papermill x.ipynb /var/home/bob/o.ipynb", set()),
        ("echo papermill", set()),
    ],
)
def test_script_owners_are_read_from_papermill_s_paths(script, owners):
    assert script_owners(script) == owners


def test_script_runs_as_the_notebook_s_owner_else_as_its_author():
    assert build_request("shell", job({"script": LITERAL}))["owner"] == "admin"
    assert build_request("shell", job({"script": "date"}))["owner"] == "anna"
    assert build_request("shell", job({"script": "date", "owner": "bob"}))["owner"] == "bob"


@pytest.mark.parametrize(
    ("kind", "params", "author", "words"),
    [
        ("shell", {"script": "date"}, "vixtract", "whose account"),
        ("notebook", {"notebook": "x.ipynb"}, "vixtract", "whose account"),
        ("notebook", {"notebook": "/home/bob/x.ipynb", "owner": "anna"}, "anna", "bob's home"),
        ("shell", {"script": LITERAL, "owner": "bob"}, "vixtract", "owner is bob"),
        ("shell", {"script": LITERAL + "\npapermill ~bob/x o"}, "vixtract", "an event for each"),
        ("notebook", {"notebook": "x", "parameters": "{"}, "anna", "not JSON"),
        ("notebook", {"notebook": "x", "parameters": "[1]"}, "anna", "JSON object"),
        ("notebook", {"notebook": "x", "parameters": {"a b": 1}}, "anna", "'a b'"),
        ("notebook", {"notebook": "x", "memory_mb": "much"}, "anna", "memory_mb"),
        ("notebook", {"notebook": "x", "memory_mb": -1}, "anna", "memory_mb"),
        ("notebook", [1], "anna", "params"),
    ],
)
def test_unclear_events_are_refused(kind, params, author, words):
    with pytest.raises(RequestError) as error:
        build_request(kind, job(params, author))
    assert words in error.value.message + error.value.hint


def test_request_survives_the_way_to_the_runner():
    request = build_request("notebook", job({"notebook": "x.ipynb", "parameters": '{"a": [1]}'}))
    assert parse_request(encode(request)) == RunRequest(
        kind="notebook", job="j1", owner="anna", author="anna", notebook="x.ipynb",
        parameters={"a": [1]}, timeout_s=60,
        facts={"event": "e1", "event_title": "T", "due": 1700000000},
    )  # fmt: skip


GOOD = {"kind": "notebook", "job": "j1", "owner": "anna", "author": "anna", "notebook": "x.ipynb"}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "root"}, {"kind": None}, {"job": "../x"}, {"job": ""}, {"job": "a/b"}, {"job": "."},
        {"owner": "../anna"}, {"owner": "a..b"}, {"owner": "Anna"}, {"owner": ""}, {"owner": 2001},
        {"author": "x" * 33}, {"notebook": ""}, {"notebook": "a\0b"}, {"notebook": "\ud800"},
        {"notebook": "x" * 5000}, {"memory_mb": -1}, {"memory_mb": 1.5}, {"memory_mb": True},
        {"memory_mb": 10**12}, {"timeout_s": "60"}, {"parameters": []}, {"kind": "shell"},
    ],
)  # fmt: skip
def test_malformed_requests_are_refused(change):
    parse_request(json.dumps(GOOD).encode())
    with pytest.raises(RequestError):
        parse_request(json.dumps({**GOOD, **change}).encode())


@given(st.binary(max_size=200))
def test_no_bytes_upset_the_parser(data):
    try:
        parse_request(data)
    except RequestError as error:
        assert error.message


def test_deep_nesting_is_a_refusal():
    with pytest.raises(RequestError):
        parse_request(b"[" * 100_000)


@pytest.mark.parametrize(
    ("host", "place"), [("10.0.0.7", "10.0.0.7:5433"), ("fd00::7", "[fd00::7]:5433")]
)
def test_a_worker_reaches_postgresql_by_its_own_address(host, place):
    given = login_environment("anna", "secret", host="postgresql", port=5432)
    found = received_database(given, RunnerConfig(postgresql=(host, 5433)))
    assert (found["PGHOST"], found["PGPORT"], found["PGUSER"]) == (host, "5433", "anna")
    assert found["DATABASE_URL"] == f"postgresql+psycopg2://anna:secret@{place}/etl"
    assert received_database({}, RunnerConfig()) == {}
