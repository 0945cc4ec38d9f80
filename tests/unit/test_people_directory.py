"""What the Hub's database says of people, and the list of administrators for other services."""

from __future__ import annotations

import sqlite3

import pytest

from vixtract.people.directory import (
    HubUser,
    clear_spawner_state,
    publish_admins,
    read_admins,
    read_people,
    read_stamps,
)


@pytest.fixture
def database(tmp_path):
    """Tables as the Hub makes them, as far as they are read here."""
    path = tmp_path / "jupyterhub.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, admin BOOLEAN,"
            " cookie_id TEXT DEFAULT 'c');"
            "CREATE TABLE spawners (id INTEGER PRIMARY KEY, state TEXT);"
            "INSERT INTO users (name, admin) VALUES ('zoe', 0), ('admin', 1), ('q', NULL);"
            """INSERT INTO spawners (state) VALUES ('{"pid": 17}'), ('{}'), (NULL);"""
        )
    connection.close()
    return path


def test_people_are_read_in_order(database):
    assert read_people(database) == [
        HubUser("admin", True),
        HubUser("q", False),
        HubUser("zoe", False),
    ]


def test_nobody_is_in_a_database_that_is_not_there_yet(tmp_path):
    assert read_people(tmp_path / "missing") == []
    (tmp_path / "empty").touch()
    assert read_people(tmp_path / "empty") == []
    assert clear_spawner_state(tmp_path / "missing") == 0
    assert clear_spawner_state(tmp_path / "empty") == 0
    assert not (tmp_path / "missing").exists()


def test_remembered_processes_are_forgotten_once(database):
    assert clear_spawner_state(database) == 1
    assert clear_spawner_state(database) == 0
    connection = sqlite3.connect(database)
    states = connection.execute("SELECT state FROM spawners ORDER BY id").fetchall()
    connection.close()
    assert states == [("{}",), ("{}",), (None,)]


def test_admins_are_written_when_they_change(tmp_path):
    assert read_admins(tmp_path) == frozenset()
    assert publish_admins(tmp_path, ["zoe", "admin"]) is True
    assert (tmp_path / "people.json").read_text() == '{"admins": ["admin", "zoe"]}\n'
    assert publish_admins(tmp_path, {"admin", "zoe"}) is False
    assert read_admins(tmp_path) == {"admin", "zoe"}
    assert publish_admins(tmp_path, []) is True
    assert read_admins(tmp_path) == frozenset()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"admins": 5}', "null", "{}"])
def test_broken_list_makes_nobody_an_admin(tmp_path, text):
    (tmp_path / "people.json").write_text(text)
    assert read_admins(tmp_path) == frozenset()


def test_a_stamp_changes_with_the_logins_and_shows_nothing_of_them(database, tmp_path):
    before = read_stamps(database)
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("UPDATE users SET cookie_id = 'another' WHERE name = 'admin'")
    connection.close()
    after = read_stamps(database)
    assert before["zoe"] == after["zoe"] and before["admin"] != after["admin"]
    assert publish_admins(tmp_path, ["admin"], (), after)
    text = (tmp_path / "people.json").read_text()
    assert after["admin"] in text and after["zoe"] not in text and "another" not in text
    assert read_admins(tmp_path) == {"admin"}
    assert read_stamps(tmp_path / "absent") == {}
