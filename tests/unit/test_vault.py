"""Kinds of connections, where tests may go, and what errors come to; nothing is connected to."""

from __future__ import annotations

import ast
import inspect
import io
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vixtract import addresses
from vixtract.language import Language
from vixtract.portal.connections import describe_test, explain_problems
from vixtract.vault import probe
from vixtract.vault.errors import ConnectionFormError
from vixtract.vault.fields import PROBLEMS, check_connection_name
from vixtract.vault.kind import check_values
from vixtract.vault.kinds.sftp import HostKeyError
from vixtract.vault.notebooks import make
from vixtract.vault.probe_results import RESULTS, ProbeResult
from vixtract.vault.registry import KINDS

GOOD = {
    "postgresql": {"host": "db.example.com", "database": "crm", "user": "etl", "password": " p "},
    "mysql": {"host": "db", "user": "etl"},
    "mssql": {"host": "192.168.1.5", "user": "sa", "port": "14330"},
    "http": {"address": "https://api.example.com/v1", "token": "t"},
    "s3": {"access_key": "a", "secret_key": "s", "address": "http://minio:9000"},
    "sftp": {"host": "fd00::5", "user": "etl", "password": "x", "host_key": "SHA256:" + "a" * 43},
}
SAMPLES = {"text": "x", "host": "db", "url": "https://a.example.com", "port": "1"}
ENGLISH = Language("en")


def good_values(name: str) -> dict[str, str]:
    """Return values that a kind takes: of this table, or made by the rules of its fields."""
    made = {field.name: SAMPLES[field.rule] for field in KINDS[name].fields if field.required}
    return GOOD.get(name, made)


@pytest.mark.parametrize("kind", KINDS)
def test_good_values_are_completed_and_make_an_object_that_hides_secrets(kind):
    values = check_values(KINDS[kind], good_values(kind))
    assert set(values) == {field.name for field in KINDS[kind].fields}
    ready = make(kind, {**values, **dict.fromkeys(KINDS[kind].secrets, "hush-hush")}, name="crm")
    assert "hush" not in repr(ready)
    assert ready.kind == kind


@pytest.mark.parametrize(
    ("kind", "change", "problems"),
    [
        ("postgresql", {"host": ""}, {"host": "missing"}),
        ("postgresql", {"host": "a b"}, {"host": "not_a_host"}),
        ("postgresql", {"host": "/var/run"}, {"host": "not_a_host"}),
        ("postgresql", {"host": "h,other"}, {"host": "not_a_host"}),
        ("postgresql", {"port": "70000"}, {"port": "not_a_port"}),
        ("postgresql", {"port": "x", "user": ""}, {"port": "not_a_port", "user": "missing"}),
        ("postgresql", {"tls": "maybe"}, {"tls": "not_a_choice"}),
        ("postgresql", {"password": "a\nb"}, {"password": "control"}),
        ("postgresql", {"password": "x" * 501}, {"password": "too_long"}),
        ("http", {"address": "ftp://x"}, {"address": "not_a_url"}),
        ("http", {"address": "https://u:p@x"}, {"address": "not_a_url"}),
        ("http", {"address": "https://x:99999"}, {"address": "not_a_url"}),
        ("http", {"token": ""}, {"token": "missing"}),
        ("http", {"header": "A: b"}, {"header": "not_a_header"}),
        ("http", {"auth": "basic"}, {"user": "missing"}),
        ("s3", {"secret_key": ""}, {"secret_key": "missing"}),
        ("sftp", {"password": ""}, {"password": "missing"}),
        ("sftp", {"host_key": "aa:bb"}, {"host_key": "not_a_fingerprint"}),
        ("sftp", {"private_key": "no key"}, {"private_key": "not_a_key"}),
    ],
)
def test_wrong_values_are_named(kind, change, problems):
    with pytest.raises(ConnectionFormError) as caught:
        check_values(KINDS[kind], {**GOOD[kind], **change})
    assert caught.value.problems == problems
    assert pickle.loads(pickle.dumps(caught.value)).problems == problems


@pytest.mark.parametrize(
    ("name", "word"),
    [("crm", ""), ("Crm-2.x_y", ""), ("", "missing"), ("a/b", "not_a_name"), ("x" * 65, "not_a_name"),
     ("-x", "not_a_name"), ("ключ", "not_a_name"), ("a\n", "not_a_name")],
)  # fmt: skip
def test_names(name, word):
    assert check_connection_name(name) == ({"name": word} if word else {})


@pytest.mark.slow
@settings(deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.dictionaries(st.text(max_size=12), st.text()), st.text())
def test_any_text_is_kept_or_refused_by_field(kind, values, extra):
    given_values = {**dict.fromkeys((f.name for f in KINDS[kind].fields), extra), **values}
    try:
        check_values(KINDS[kind], given_values)
    except ConnectionFormError as error:
        assert set(error.problems.values()) <= set(PROBLEMS)


# The first example imports the library.
@settings(deadline=None)
@given(st.text(min_size=1, max_size=60))
def test_any_password_survives_the_address(password):
    import sqlalchemy

    values = check_values(KINDS["postgresql"], {**GOOD["postgresql"], "password": ""})
    try:
        password.encode()
    except UnicodeEncodeError:
        return
    url = sqlalchemy.make_url(make("postgresql", {**values, "password": password}).url)
    assert (url.password, url.host, url.database) == (password, "db.example.com", "crm")


def codes_of(kind) -> set[str]:
    """Return the codes that a kind's module names: of drivers' errors, and those it raises."""
    module = ast.parse(inspect.getsource(inspect.getmodule(type(kind))))
    raised = {
        call.args[0].value
        for call in ast.walk(module)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "ProbeResult"
        if isinstance(call.args[0], ast.Constant)
    }
    return raised | set(kind.meanings.values())


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_kind_has_a_sentence_for_every_code(kind):
    assert codes_of(kind) <= set(RESULTS) | set(kind.results)
    assert not set(kind.results) & set(RESULTS)
    for code, text in {**RESULTS, **kind.results}.items():
        assert describe_test(ENGLISH, {"code": code})["text"] == text
    for field in kind.fields:
        assert field.label
        assert (field.rule == "choice") == bool(field.choices)
        assert not field.default or not field.check(field.default)


def test_an_unknown_code_shows_what_the_server_said():
    result = describe_test(ENGLISH, {"ok": False, "code": "other", "detail": "E 17"})
    assert result == {"ok": False, "text": RESULTS["failed"], "detail": "E 17"}


def test_every_problem_has_a_sentence():
    texts = explain_problems(ENGLISH, {code: code for code in PROBLEMS})
    assert [code for code, text in texts.items() if text == code] == []


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"http"}))
def test_a_kind_is_named_in_its_own_module_alone(name):
    source = Path(probe.__file__).parents[1]
    files = [*(source / "vault").rglob("*.py"), source / "portal" / "connections.py"]
    named = [path for path in files if f'"{name}"' in path.read_text(encoding="utf-8")]
    assert [path.parent.name for path in named] == ["kinds"]


def test_notebooks_import_no_driver_for_a_connection():
    code = (
        "import sys; import vixtract.vault.notebooks;"
        "print(*{'psycopg', 'pymysql', 'pymssql', 'requests', 'pyarrow', 'paramiko', 'ssl',"
        " 'sqlalchemy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        env={"PYTHONPATH": str(Path(probe.__file__).parents[2])},
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1%eth0",
     "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::",
     "fd00:ec2::254", "100.100.100.200", "224.0.0.1", "240.0.0.1", "172.18.0.3", "::ffff:172.18.0.3", "", "x"],
)  # fmt: skip
def test_tests_do_not_go_inside(address):
    assert addresses.is_refused(address, {"172.18.0.3"})


@pytest.mark.parametrize("address", ["8.8.8.8", "10.0.0.5", "192.168.1.5", "172.18.0.9", "fd00::5"])
def test_tests_go_to_the_company_s_servers(address):
    assert not addresses.is_refused(address, {"172.18.0.3"})


def test_the_appliance_s_database_is_tested_with_a_person_s_login_alone(monkeypatch):
    monkeypatch.setattr(addresses, "resolve", lambda host, port: ["172.18.0.4"])
    monkeypatch.setattr(
        addresses, "own_addresses",
        lambda names=addresses.SERVICES: frozenset(
            {"172.18.0.4"} if addresses.OWN_DATABASE in names else ()
        ),
    )  # fmt: skip
    monkeypatch.setattr(probe, "guard_sockets", lambda is_refused: None)
    monkeypatch.setattr(probe.socket, "create_connection", lambda *_: io.BytesIO())
    values = {"host": "postgresql", "port": "5432"}
    for kind, user in (("postgresql", "postgres"), ("postgresql", "vixtract"), ("mysql", "anna")):
        with pytest.raises(ProbeResult) as found:
            probe.reach(KINDS[kind], {**values, "user": user}, ())
        assert found.value.code == "refused"
    probe.reach(KINDS["postgresql"], {**values, "user": "anna"}, ())


def test_what_a_driver_says_is_shown_without_the_secret():
    found = probe.clean(ProbeResult("failed", "login anna:hunter22@db failed"), ["hunter22"])
    assert found.detail == "login anna:•••@db failed"


def test_a_host_key_s_error_says_which_key_it_is():
    assert "not known yet: it is SHA256:x" in str(HostKeyError("SHA256:x", ""))
    error = pickle.loads(pickle.dumps(HostKeyError("SHA256:x", "SHA256:y")))
    assert "SHA256:x, not SHA256:y" in str(error)
