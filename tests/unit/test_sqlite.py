"""The one way to open a SQLite file."""

from __future__ import annotations

import sqlite3

import pytest

from vixtract.sqlite import connect_sqlite, has_table, open_sqlite


def test_a_block_is_kept_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a b#?.sqlite"
    with open_sqlite(path) as database:
        database.execute("CREATE TABLE word (text TEXT)")
    with open_sqlite(path) as database:
        database.execute("INSERT INTO word VALUES ('kept')")
    with pytest.raises(KeyError), open_sqlite(path) as database:
        database.execute("INSERT INTO word VALUES ('lost')")
        raise KeyError
    with open_sqlite(path, read_only=True) as database:
        assert database.execute("SELECT text FROM word").fetchall() == [("kept",)]
        assert has_table(database, "word") and not has_table(database, "Word'")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            database.execute("DELETE FROM word")
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.execute("SELECT 1")


def test_reading_makes_no_file(tmp_path):
    with pytest.raises(sqlite3.OperationalError), open_sqlite(tmp_path / "absent", read_only=True):
        raise AssertionError("it was opened")
    assert not (tmp_path / "absent").exists()


def test_pragmas_hold_and_what_is_no_database_is_an_error(tmp_path):
    with open_sqlite(tmp_path / "new", pragmas=("synchronous = FULL",)) as database:
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    (tmp_path / "text").write_text("no database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        connect_sqlite(tmp_path / "text", pragmas=("journal_mode = WAL",))
