"""One name, one source: who may take a name from outside, and who may not."""

from __future__ import annotations

import sqlite3

import pytest

from vixtract.hub import passwords
from vixtract.hub.passwords import PasswordStore
from vixtract.hub.sources import LDAP, LOCAL, OIDC, SourceStore, TakenError


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "hub.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE users (name TEXT)")
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def homes(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def hashing_is_cheap(monkeypatch):
    """What a hash costs is tried by test_hub_passwords.py."""
    monkeypatch.setattr(passwords, "_LOG_N", 4)
    monkeypatch.setattr(passwords, "_P", 1)


@pytest.fixture
def store(database, homes):
    PasswordStore(database)
    return SourceStore(database, homes, clock=lambda: 1000.0)


def add_hub_user(database, name):
    connection = sqlite3.connect(database)
    connection.execute("INSERT INTO users VALUES (?)", (name,))
    connection.commit()
    connection.close()


def test_free_name_belongs_to_the_first_account_that_signs_in(store):
    assert store.find("anna") == ""
    store.claim("anna", LDAP, "uuid-1")
    store.claim("anna", LDAP, "uuid-1")
    assert store.find("anna") == LDAP
    with pytest.raises(TakenError, match="another account of LDAP"):
        store.claim("anna", LDAP, "uuid-2")
    with pytest.raises(TakenError, match="signs in with LDAP"):
        store.claim("anna", OIDC, "uuid-1")


def test_anything_that_is_here_makes_a_name_local(store, database, homes):
    add_hub_user(database, "in.hub")
    PasswordStore(database).set_password("with.password", "some-password")
    (homes / "with.home").mkdir()
    (homes / "with.link").symlink_to("/nonexistent")
    for name in ("in.hub", "with.password", "with.home", "with.link"):
        assert store.find(name) == LOCAL
        with pytest.raises(TakenError, match="a local password"):
            store.claim(name, LDAP, "uuid")


def test_person_from_outside_stays_theirs_when_user_and_home_are_here(store, database, homes):
    store.claim("anna", OIDC, "issuer|1")
    add_hub_user(database, "anna")
    (homes / "anna").mkdir()
    store.claim("anna", OIDC, "issuer|1")
    assert store.find("anna") == OIDC


def test_deleted_name_stays_reserved_until_an_administrator_adds_it_again(store):
    store.claim("anna", LDAP, "uuid-1")
    store.note_added("anna")
    assert store.find("anna") == LDAP, "the first sign-in adds the Hub user"
    store.note_deleted("anna")
    with pytest.raises(TakenError):
        store.claim("anna", OIDC, "x")
    store.claim("anna", LDAP, "uuid-1")
    store.note_added("anna")
    assert store.find("anna") == LDAP, "the same account came back"
    store.note_deleted("anna")
    store.note_added("anna")
    assert store.find("anna") == ""


def test_account_without_a_lasting_identifier_keeps_the_one_known(store):
    store.claim("anna", LDAP, "uuid-1")
    store.claim("anna", LDAP, "")
    with pytest.raises(TakenError):
        store.claim("anna", LDAP, "uuid-2")


def test_administrator_assigns_a_source(store, database):
    passwords = PasswordStore(database)
    passwords.set_password("anna", "some-password")
    store.assign("anna", LDAP)
    assert not passwords.has_password("anna")
    store.claim("anna", LDAP, "uuid-9")
    store.assign("anna", LOCAL)
    assert [origin.name for origin in store.origins()] == []


def test_sign_in_opens_what_was_ended(store):
    store.claim("anna", OIDC, "x")
    store.mark_ended("anna")
    assert [o.is_ended for o in store.origins()] == [True]
    store.claim("anna", OIDC, "x")
    assert [(o.is_ended, o.signed_in_at) for o in store.origins()] == [(False, 1000.0)]
