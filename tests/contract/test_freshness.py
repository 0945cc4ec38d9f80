"""`vixtract.freshness` and the catalog over a real PostgreSQL: who sees what, and who can lie."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.contract.test_people_roles import KEY, connect_person, connect_superuser
from tests.contract.test_people_roles import server as server  # noqa: PLC0414 - a fixture
from vixtract.ledger.database import Database
from vixtract.ledger.mirror import Mirror
from vixtract.ledger.runs import NewRun, Outcome, add_run, finish_run
from vixtract.loading import load
from vixtract.loading.errors import ExpectationError
from vixtract.people import roles
from vixtract.portal.catalog import Catalog
from vixtract.portal.config import PortalConfig
from vixtract.portal.errors import AwayError, NotFoundError
from vixtract.portal.identity import User
from vixtract.settings import list_defaults

pytest_plugins = ["tests.postgres"]
NOW = time.time()


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "ledger.sqlite3")
    yield database
    database.close()


@pytest.fixture
def people(server):
    for name in ("olga", "pavel"):
        server.ensure_role(name)
    with connect_superuser(server) as connection:
        connection.execute("DROP VIEW IF EXISTS vixtract.freshness")
        connection.execute("DROP TABLE IF EXISTS vixtract.loaded, vixtract.load")
    with connect_person(server, "olga") as connection:
        connection.execute("DROP TABLE IF EXISTS olga.sales CASCADE")
        connection.execute("CREATE TABLE olga.sales (city text NOT NULL, people int)")
        connection.execute("COMMENT ON COLUMN olga.sales.people IS 'Жители'")
        connection.execute("INSERT INTO olga.sales VALUES ('Rome', 2748109), ('Oslo', NULL)")
    return server


def finish(database, run, tables, owner="olga", end=NOW):
    job = {"title": "Sales", "plugin": "notebook", "params": {}}
    add_run(database, NewRun(run, "e1", owner, "Scheduler", int(end), end - 10, job, owner))
    loads = [{"table": table, "mode": "replace", "rows": 2} for table in tables]
    chain = {"owner": owner, "notebook": f"/home/{owner}/a.ipynb", "loads": loads}
    finish_run(database, run, Outcome("succeeded", 0, "", end, {"chain_data": chain}))


def copy(database, server, expect=lambda event, after: after + 3600):
    password = roles.role_password(KEY, "vixtract")
    url = f"postgresql://vixtract:{password}@{server.host}:{server.port}/vixtract"
    Mirror(database, url, expect).copy()


def read(connection):
    rows = connection.execute(
        "SELECT schema_name || '.' || table_name, run, is_late FROM vixtract.freshness"
    )
    return rows.fetchall()


def test_loads_of_runs_appear_and_the_newest_counts(people, database):
    finish(database, "j1", ["olga.sales", "sales", "olga.gone"], end=NOW - 100)
    copy(database, people)
    finish(database, "j2", ["olga.sales"])
    copy(database, people)
    with connect_person(people, "olga") as connection:
        assert read(connection) == [("olga.sales", "j2", False)]
    with connect_superuser(people, "etl") as connection:
        connection.execute("GRANT bi_readers TO bi")
        connection.execute("SET ROLE bi")
        assert read(connection) == [("olga.sales", "j2", False)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM vixtract.loaded")


def test_a_table_is_late_when_its_next_load_did_not_come(people, database):
    finish(database, "j1", ["olga.sales"], end=NOW - 9000)
    copy(database, people, lambda event, after: after + 3600)
    with connect_person(people, "olga") as connection:
        assert read(connection) == [("olga.sales", "j1", True)]
    # A schedule that was switched off expects nothing.
    copy(database, people, lambda event, after: None)
    with connect_person(people, "olga") as connection:
        assert read(connection) == [("olga.sales", "j1", False)]


def test_nobody_can_claim_anothers_table_or_learn_its_name(people, database):
    finish(database, "j1", ["olga.sales"], end=NOW - 50)
    finish(database, "j2", ["olga.sales", "olga.secret", "pg_catalog.pg_class"], owner="pavel")
    copy(database, people)
    with connect_person(people, "olga") as connection:
        assert read(connection) == [("olga.sales", "j1", False)]
    with connect_person(people, "pavel") as connection:
        assert read(connection) == []


def test_a_load_in_lab_is_the_newest_and_the_schedule_stays_named(people, database):
    finish(database, "j1", ["olga.sales"], end=NOW - 9000)
    copy(database, people, lambda event, after: after + 3600)
    with connect_person(people, "olga") as connection:
        assert read(connection) == [("olga.sales", "j1", True)]
        load([{"city": "Bern", "people": 1}], "olga.sales", mode="append", connection=connection)
        assert read(connection) == [("olga.sales", "j1", False)]
        found = connection.execute("SELECT rows, mode, event, age FROM vixtract.freshness")
        (*seen, age) = found.fetchone()
        assert (seen, age.total_seconds() < 600) == ([1, "append", "e1"], True)


def test_a_table_that_no_schedule_loads_is_known_too(people, database):
    copy(database, people)
    with connect_person(people, "olga") as connection:
        load([{"x": 1}], "olga.by_hand", connection=connection)
        assert ("olga.by_hand", "", False) in read(connection)
        connection.execute("DROP TABLE olga.by_hand")
        assert read(connection) == []


def test_rows_are_compared_with_the_last_load_in_every_mode(people, database):
    copy(database, people)
    rows = [{"city": f"c{number}", "people": number} for number in range(10)]
    expect = {"rows_change": (0.5, 2)}
    with connect_person(people, "olga") as connection:
        for some in (rows, rows[:6]):
            load(some, "olga.sales", mode="append", expect=expect, connection=connection)
        with pytest.raises(ExpectationError, match="2 rows after 6 in the last load"):
            load(rows[:2], "olga.sales", mode="append", expect=expect, connection=connection)


def test_nobody_can_record_a_load_of_anothers_table_or_as_another(people, database):
    copy(database, people)
    record = 'INSERT INTO vixtract.load (schema, "table", mode, rows, loaded_by, at) VALUES ({})'
    for values in (
        "'olga', 'sales', 'append', 1, 'pavel', now()",
        "'olga', 'sales', 'append', 1, 'olga', now()",
        "'olga', 'nothing', 'append', 1, 'pavel', now()",
        "'pavel', 'own', 'append', 1, 'pavel', now() + interval '1 year'",
    ):
        with connect_person(people, "pavel") as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS pavel.own (x int)")
            connection.commit()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(record.format(values))
    with connect_person(people, "olga") as connection:
        load([{"x": 1}], "olga.sales2", connection=connection)
        assert connection.execute("SELECT count(*) FROM vixtract.load").fetchone()[0] == 1
    with connect_person(people, "pavel") as connection:
        assert connection.execute("SELECT count(*) FROM vixtract.load").fetchone()[0] == 0
        for change in ("DELETE FROM vixtract.load", "UPDATE vixtract.load SET rows = 0"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(change)
        connection.execute("DROP TABLE pavel.own")
    with connect_person(people, "olga") as connection:
        connection.execute("DROP TABLE olga.sales2")


def test_old_loads_go_but_the_last_of_each_table_stays(people, database):
    copy(database, people)
    with connect_superuser(people, "etl") as connection:
        connection.execute(
            'INSERT INTO vixtract.load (schema, "table", mode, rows, at, loaded_by)'
            " SELECT 'olga', name, 'append', days, now() - make_interval(days => days), 'olga'"
            " FROM (VALUES ('sales', 90), ('sales', 60), ('other', 50), ('other', 1)) v(name, days)"
        )
    copy(database, people)
    with connect_superuser(people, "etl") as connection:
        found = connection.execute('SELECT "table", rows FROM vixtract.load ORDER BY 1').fetchall()
    assert found == [("other", 1), ("sales", 60)]


@contextmanager
def played_homes(path: Path):
    """Answer logins as the homes server does; that one is tested by itself."""
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen(8)

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    name = json.loads(connection.recv(4096))["person"]
                    password = roles.role_password(KEY, name)
                    connection.sendall(f'{{"password": "{password}"}}\n'.encode())

        threading.Thread(target=serve, daemon=True).start()
        yield


@pytest.fixture
def look(people, tmp_path):
    with played_homes(tmp_path / "s"):
        environment = dict.fromkeys(
            ("SCHEDULER_API_KEY", "JUPYTERHUB_API_TOKEN", "JUPYTERHUB_API_URL"), "x"
        )
        config = replace(
            PortalConfig.from_environment({**list_defaults("portal"), **environment}),
            homes=tmp_path / "s", postgresql=(people.host, people.port),
        )  # fmt: skip
        yield lambda name: Catalog(config, User(name, False, True, ""))


def test_the_catalog_shows_what_the_role_may_read(look, people, database):
    finish(database, "j1", ["olga.sales"])
    copy(database, people)
    (table,) = look("olga").list_tables()
    assert (table.schema, table.name, table.kind) == ("olga", "sales", "table")
    assert table.loaded["run"] == "j1"
    details = look("olga").find_table("olga", "sales")
    assert [(c["name"], c["type"], c["comment"]) for c in details.columns] == [
        ("city", "text", ""), ("people", "integer", "Жители"),
    ]  # fmt: skip
    assert details.rows == 2
    assert details.sample == [["Rome", "2748109"], ["Oslo", None]]
    assert look("pavel").list_tables() == []
    with pytest.raises(NotFoundError):
        look("pavel").find_table("olga", "sales")
    for word, count in (("SALES", 1), ("жители", 1), ("city", 1), ("%", 0), ("nothing", 0)):
        assert len(look("olga").list_tables(word)) == count, word


def test_names_are_never_sql(look, people):
    name = 'a"; DROP TABLE olga.sales; --'
    with connect_person(people, "olga") as connection:
        connection.execute(
            'CREATE TABLE IF NOT EXISTS olga."a""; DROP TABLE olga.sales; --" (x int)'
        )
    assert look("olga").find_table("olga", name).sample == []
    assert len(look("olga").list_tables()) == 2
    with connect_person(people, "olga") as connection:
        connection.execute('DROP TABLE olga."a""; DROP TABLE olga.sales; --"')


def test_code_of_others_does_not_run_with_the_readers_rights(look, people):
    with connect_person(people, "pavel") as connection:
        connection.execute("DROP TABLE IF EXISTS pavel.bait CASCADE")
        connection.execute("GRANT USAGE ON SCHEMA pavel TO etl_users")
        connection.execute(
            "CREATE OR REPLACE FUNCTION pavel.trap() RETURNS int LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'trapped %', current_user; END$$"
        )
        connection.execute("CREATE OR REPLACE VIEW pavel.lure AS SELECT pavel.trap() AS x")
        connection.execute("CREATE TABLE pavel.bait (x int)")
        connection.execute("INSERT INTO pavel.bait VALUES (1)")
        connection.execute("ALTER TABLE pavel.bait ENABLE ROW LEVEL SECURITY")
        connection.execute("CREATE POLICY p ON pavel.bait USING (pavel.trap() = 1)")
        connection.execute("GRANT SELECT ON pavel.lure, pavel.bait TO etl_users")
    assert look("olga").find_table("pavel", "lure").refusal == "view"
    refusal = look("olga").find_table("pavel", "bait").refusal
    assert "row-level security" in refusal
    assert "trapped" not in refusal
    assert "trapped pavel" in look("pavel").find_table("pavel", "lure").refusal
    with connect_person(people, "pavel") as connection:
        connection.execute("DROP VIEW pavel.lure; DROP TABLE pavel.bait")
        connection.execute("REVOKE USAGE ON SCHEMA pavel FROM etl_users")


def test_a_person_without_a_role_is_told_what_to_do(look):
    with pytest.raises(AwayError, match="no PostgreSQL account"):
        look("nobody-yet").list_tables()
