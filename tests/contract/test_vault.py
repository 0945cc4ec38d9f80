"""The vault as a real process: who is answered, what is told, what lies on the disk."""

from __future__ import annotations

import threading

import pytest

from tests.contract.vault_stand import (
    ANNA,
    BOB,
    CAN_SERVE,
    CAROL,
    ENGINE,
    PORTAL,
    WHY_NOT,
    VaultStand,
)  # fmt: skip
from tests.scratch import open_folder
from vixtract.people.roles import role_password
from vixtract.vault import owners
from vixtract.vault.cipher import KEY_FILE
from vixtract.vault.records import Owner
from vixtract.vault.store import Store

pytestmark = pytest.mark.skipif(not CAN_SERVE, reason=WHY_NOT)
SECRET = "s3cret-that-stands-nowhere"
CRM = {"host": "crm.example.com", "database": "crm", "user": "etl", "password": SECRET}


@pytest.fixture
def stand():
    with open_folder() as folder:
        stand = VaultStand(folder)
        stand.set_team("sales", "anna", "carol")
        yield stand
        stand.stop()
        assert "Traceback" not in stand.log, stand.log
        assert SECRET not in stand.log


def test_the_owner_s_process_gets_the_values(stand):
    assert stand.save("anna", "crm", "postgresql", **CRM)["id"] == 1
    found = stand.ask(ANNA, do="get", name="CRM")["connection"]
    assert found["values"] == {**CRM, "port": "5432", "tls": "prefer"}
    assert [each["name"] for each in stand.ask(ANNA, do="list")["connections"]] == ["crm"]


@pytest.mark.parametrize("uid", [BOB, ENGINE, 33, 65534])
def test_no_other_account_gets_anything(stand, uid):
    stand.save("anna", "crm", "postgresql", **CRM)
    for question in (
        {"do": "get", "name": "crm"}, {"do": "get", "name": "anna/crm"},
        # Only root may say whom it asks for, and only the portal may use numbers.
        {"do": "get", "name": "crm", "person": "anna"}, {"do": "show", "id": 1, "person": "anna"},
        {"do": "test", "id": 1, "person": "anna"}, {"do": "delete", "id": 1, "person": "anna"},
        {"do": "list", "person": "anna"},
    ):  # fmt: skip
        answer = stand.ask(uid, **question)
        assert SECRET not in str(answer)
        assert answer.get("error") or answer == {"connections": []}, (question, answer)
    assert stand.ask(ANNA, do="get", name="crm")["connection"]["name"] == "crm"


def test_root_alone_is_told_what_a_run_needs(stand):
    stand.save("anna", "crm", "postgresql", **CRM)
    question = {"do": "run", "person": "anna"}
    assert stand.ask(0, **question)["password"] == "", "there is no key"
    (stand.secrets / "role_key").write_text("a-role-key\n")
    told = stand.ask(0, **question)
    assert SECRET in told["secrets"]
    assert told["password"] == role_password("a-role-key", "anna")
    for uid in (ANNA, BOB, PORTAL):
        assert "does not answer" in stand.ask(uid, **question)["error"]


def test_the_portal_never_gets_a_secret(stand):
    stand.save("anna", "crm", "postgresql", **CRM)
    for question in (
        {"do": "get", "name": "crm"}, {"do": "list"}, {"do": "show", "id": 1}, {"do": "owners"},
        {"do": "test", "id": 1}, {"do": "secrets"},
    ):  # fmt: skip
        answer = stand.ask(PORTAL, person="anna", **question)
        assert SECRET not in str(answer), question
    shown = stand.ask(PORTAL, person="anna", do="show", id=1)["connection"]
    assert shown["set"] == ["password"]
    assert shown["values"]["host"] == "crm.example.com"


def test_the_portal_acts_for_the_signed_in_person_alone(stand):
    stand.save("anna", "crm", "postgresql", **CRM)
    for question in ({"do": "show"}, {"do": "delete"}, {"do": "test"}):
        assert "no such connection" in stand.ask(PORTAL, person="bob", id=1, **question)["error"]
    assert "no such" in stand.save("bob", "mine", "postgresql", number=1, **CRM)["error"]
    answer = stand.save("bob", "planted", "postgresql", owner=["person", "anna"], **CRM)
    assert answer["problems"] == {"owner": "not_an_owner"}
    assert stand.save("bob", "x", "http", owner=["team", "sales"])["problems"]
    assert stand.ask(PORTAL, person="root", do="list")["error"]
    assert stand.ask(PORTAL, do="list")["error"]


def test_a_saved_secret_does_not_follow_a_changed_address(stand):
    stand.save("anna", "crm", "postgresql", **CRM)
    moved = {**CRM, "host": "thief.example.com", "password": ""}
    answer = stand.save("anna", "crm", "postgresql", number=1, kept=["password"], **moved)
    assert answer["problems"] == {"password": "retype"}
    question = {"do": "test", "id": 1, "kind": "postgresql", "name": "", "kept": ["password"]}
    answer = stand.ask(PORTAL, person="anna", values=moved, **question)
    assert answer["problems"] == {"password": "retype"}
    same = {**CRM, "user": "other", "password": ""}
    assert stand.save("anna", "crm2", "postgresql", number=1, kept=["password"], **same)["id"] == 1
    found = stand.ask(ANNA, do="get", name="crm2")["connection"]["values"]
    assert (found["user"], found["password"]) == ("other", SECRET)


def test_a_team_s_connection_is_for_its_members_until_they_leave(stand):
    stand.save("anna", "dwh", "postgresql", owner=["team", "sales"], **CRM)
    for uid in (ANNA, CAROL):
        assert stand.ask(uid, do="get", name="dwh")["connection"]["values"]["password"] == SECRET
    assert "belongs to another" in stand.ask(BOB, do="get", name="dwh")["error"]
    stand.set_team("sales", "anna")
    assert "belongs to another" in stand.ask(CAROL, do="get", name="dwh")["error"]
    # A person's own comes first; the team's has its whole name.
    stand.set_team("sales", "anna", "bob")
    stand.save("bob", "extra", "http", address="https://a.example.com", token="t")
    assert stand.save("bob", "DWH", "postgresql", **CRM)["problems"] == {"name": "taken"}
    assert stand.ask(BOB, do="get", name="sales/dwh")["connection"]["owner"] == ["team", "sales"]


def test_a_wrong_name_is_explained(stand):
    stand.save("anna", "crm", "postgresql", **CRM)
    answer = stand.ask(ANNA, do="get", name="cmr")
    assert answer["error"] == "There is no connection 'cmr'."
    assert "Did you mean 'crm'?" in answer["hint"]
    assert "There are: crm." in stand.ask(ANNA, do="get", name="quite-another")["hint"]
    assert "belongs to another" in stand.ask(BOB, do="get", name="crm")["error"]
    assert "share it with a team" in stand.ask(BOB, do="get", name="crm")["hint"]


def test_no_clear_value_lies_on_the_disk(stand):
    stand.save("anna", "crm", "postgresql", **CRM)
    stand.ask(PORTAL, person="anna", do="test", id=1)
    files = [path for path in stand.secrets.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {KEY_FILE, "connections.sqlite3"}
    for path in files:
        content = path.read_bytes()
        assert SECRET.encode() not in content
        assert b"crm.example.com" not in content
        assert path.stat().st_mode & 0o077 == 0


def test_keys_are_changed_under_load_and_nothing_is_lost(stand):
    for number in range(5):
        stand.save("anna", f"crm{number}", "postgresql", **CRM)
    before = (stand.secrets / KEY_FILE).read_text()
    failures: list[dict] = []

    def work():
        for number in range(6):
            stand.save("anna", f"more{number}", "postgresql", **CRM)
            answer = stand.ask(ANNA, do="get", name="crm3")
            if "connection" not in answer:
                failures.append(answer)

    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(4):
        owners.rotate(stand.secrets)
    worker.join(60)
    assert failures == []
    keys = (stand.secrets / KEY_FILE).read_text()
    assert len(keys.split()) == 1
    assert keys != before
    found = Store(stand.secrets).list_of([Owner("person", "anna")])
    assert len(found) == 11
    assert {saved.values["password"] for saved in found} == {SECRET}


def test_a_row_is_of_no_use_under_another_name(stand):
    """Who can write the file but has no key cannot give anna's values to bob."""
    import sqlite3

    stand.save("anna", "crm", "postgresql", **CRM)
    with sqlite3.connect(stand.secrets / "connections.sqlite3") as database:
        database.execute("UPDATE connection SET owner = 'bob'")
    database.close()
    answer = stand.ask(BOB, do="get", name="crm")
    assert "another name" in answer["error"]
    assert SECRET not in str(answer)


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"{", b"null", b'{"do": 7}', b"[" * 100_000, b"\xff\xfe", b'{"do":"get","name":[]}',
     b'{"do":"get","name":"' + b"x" * 300_000 + b'"}', b'{"do":"get","name":"a\\u0000b"}'],
)  # fmt: skip
def test_odd_questions_are_refused_and_the_vault_goes_on(stand, line):
    assert "connection" not in stand.ask_raw(ANNA, line)
    assert stand.ask(ANNA, do="list") == {"connections": []}


def test_what_is_removed_is_gone_and_what_is_handed_over_is_kept(stand):
    stand.save("anna", "crm", "postgresql", **CRM)
    stand.save("bob", "crm", "postgresql", **CRM)
    stand.save("bob", "shop", "http", address="https://shop.example.com", token="tok")
    moved = owners.hand_over("person", "bob", "person", "anna", who="t", directory=stand.secrets)
    assert moved == {"crm": "crm-bob", "shop": "shop"}
    names = [each["name"] for each in stand.ask(ANNA, do="list")["connections"]]
    assert names == ["crm", "crm-bob", "shop"]
    assert stand.ask(ANNA, do="get", name="crm-bob")["connection"]["values"]["password"] == SECRET
    gone = owners.forget_owner("person", "anna", who="t", directory=stand.secrets)
    assert gone == names
    assert stand.ask(ANNA, do="list") == {"connections": []}
    changes = [(who, what) for _, who, what, _ in Store(stand.secrets).changes(3)]
    assert changes == [("t", "deleted"), ("t", "handed over"), ("bob", "made")]


def test_values_for_masking_come_with_their_other_spellings(stand):
    stand.save("anna", "crm", "postgresql", **{**CRM, "password": "p@ss/word"})
    stand.save("bob", "crm", "postgresql", **CRM)
    found = Store(stand.secrets).secret_values([Owner("person", "anna")])
    assert found == ["p%40ss%2Fword", "p@ss/word"]


def test_a_vault_that_is_killed_leaves_everything_readable(stand):
    stand.save("anna", "crm", "postgresql", **CRM)
    stand.process.kill()
    stand.process.wait(10)
    stand.socket.unlink()
    stand.start()
    assert stand.ask(ANNA, do="get", name="crm")["connection"]["values"]["password"] == SECRET


def test_one_person_cannot_take_all_places(stand):
    import socket

    held = []
    for _ in range(20):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(stand.socket))
        held.append(connection)
    try:
        # Root's silent connections are as many as it may have; anna is still answered.
        assert stand.ask(ANNA, do="list") == {"connections": []}
    finally:
        for connection in held:
            connection.close()
