"""What becomes of connections when their owner is removed, through the commands that remove."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vixtract.hub.lifecycle import Lifecycle
from vixtract.hub.state import Plan
from vixtract.hub.teamwork import Teamwork
from vixtract.people import teams
from vixtract.vault import owners
from vixtract.vault.records import Draft, Owner
from vixtract.vault.store import Store

ANNA, BOB, SALES = Owner("person", "anna"), Owner("person", "bob"), Owner("team", "sales")
VALUES = {"address": "https://api.example.com", "token": "s3cret-of-the-token"}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    for owner, name in ((ANNA, "crm"), (ANNA, "dwh"), (BOB, "crm"), (SALES, "api")):
        store.save(Draft(name, owner, "http", dict(VALUES), []), "t", 0, seen=[owner])
    return store


def names_of(store, owner):
    return [saved.name for saved in store.list_of([owner])]


def life_of(tmp_path):
    return Lifecycle(None, None, None, None, None, tmp_path, tmp_path, tmp_path)


def test_a_removed_person_s_are_deleted(store, tmp_path):
    said = life_of(tmp_path)._give_connections("anna", Plan())
    assert said == "2 deleted: crm, dwh"
    assert names_of(store, ANNA) == []
    assert names_of(store, BOB) == ["crm"]
    assert life_of(tmp_path)._give_connections("anna", Plan()) == "", "a second run finds nothing"


def test_a_removed_person_s_are_handed_over_with_their_values(store, tmp_path):
    said = life_of(tmp_path)._give_connections("anna", Plan(hand_over_to="bob"))
    assert said == "2 belong to bob"
    assert names_of(store, BOB) == ["crm", "crm-anna", "dwh"]
    assert store.find([BOB], "dwh").values["token"] == VALUES["token"]


def test_nobody_needs_to_have_a_connection(tmp_path):
    assert life_of(tmp_path)._give_connections("anna", Plan()) == ""
    assert life_of(tmp_path)._give_connections("anna", Plan(hand_over_to="bob")) == ""
    assert owners.rotate(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_removed_team_s_are_deleted(store, tmp_path, monkeypatch):
    team = SimpleNamespace(name="sales")
    monkeypatch.setattr(teams, "find_team", lambda name, home_root: team)
    monkeypatch.setattr(teams, "remove_team", lambda name, home_root: None)
    monkeypatch.setattr("vixtract.people.retire.archive_role", lambda *arguments: "")
    work = Teamwork(SimpleNamespace(conninfo=""), tmp_path, secrets=tmp_path)
    assert work.remove("sales").lines == ["connections: 1 deleted: api"]
    assert names_of(store, SALES) == []
    assert names_of(store, ANNA) == ["crm", "dwh"]
