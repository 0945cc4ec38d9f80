"""`vixtract.freshness` and the catalog over a real PostgreSQL: who sees what, and who can lie."""

from __future__ import annotations

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
from vixtract.people import roles
from vixtract.portal.catalog import Catalog
from vixtract.portal.config import PortalConfig
from vixtract.portal.errors import AwayError, NotFoundError
from vixtract.portal.identity import Person

pytest_plugins = ["tests.postgres"]
NOW = time.time()


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "ledger.sqlite3")
    yield database
    database.close()


@pytest.fixture
def people(server):
    for name in ("anna", "boris"):
        server.ensure_role(name)
    with connect_superuser(server) as connection:
        connection.execute("DROP VIEW IF EXISTS vixtract.freshness")
        connection.execute("DROP TABLE IF EXISTS vixtract.loaded")
    with connect_person(server, "anna") as connection:
        connection.execute("DROP TABLE IF EXISTS anna.sales CASCADE")
        connection.execute("CREATE TABLE anna.sales (city text NOT NULL, people int)")
        connection.execute("COMMENT ON COLUMN anna.sales.people IS 'Жители'")
        connection.execute("INSERT INTO anna.sales VALUES ('Rome', 2748109), ('Oslo', NULL)")
    return server


def finish(database, run, tables, owner="anna", end=NOW):
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
    finish(database, "j1", ["anna.sales", "sales", "anna.gone"], end=NOW - 100)
    copy(database, people)
    finish(database, "j2", ["anna.sales"])
    copy(database, people)
    with connect_person(people, "anna") as connection:
        assert read(connection) == [("anna.sales", "j2", False)]
    with connect_superuser(people, "etl") as connection:
        connection.execute("GRANT bi_readers TO bi")
        connection.execute("SET ROLE bi")
        assert read(connection) == [("anna.sales", "j2", False)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM vixtract.loaded")


def test_a_table_is_late_when_its_next_load_did_not_come(people, database):
    finish(database, "j1", ["anna.sales"], end=NOW - 9000)
    copy(database, people, lambda event, after: after + 3600)
    with connect_person(people, "anna") as connection:
        assert read(connection) == [("anna.sales", "j1", True)]
    # A schedule that was switched off expects nothing.
    copy(database, people, lambda event, after: None)
    with connect_person(people, "anna") as connection:
        assert read(connection) == [("anna.sales", "j1", False)]


def test_nobody_can_claim_anothers_table_or_learn_its_name(people, database):
    finish(database, "j1", ["anna.sales"], end=NOW - 50)
    finish(database, "j2", ["anna.sales", "anna.secret", "pg_catalog.pg_class"], owner="boris")
    copy(database, people)
    with connect_person(people, "anna") as connection:
        assert read(connection) == [("anna.sales", "j1", False)]
    with connect_person(people, "boris") as connection:
        assert read(connection) == []


@contextmanager
def played_shelf(path: Path):
    """Answer logins as the shelf does; that one is tested by itself."""
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
                    name = connection.recv(4096).decode().split('"person": "')[1].split('"')[0]
                    password = roles.role_password(KEY, name)
                    connection.sendall(f'{{"password": "{password}"}}\n'.encode())

        threading.Thread(target=serve, daemon=True).start()
        yield


@pytest.fixture
def look(people, tmp_path):
    with played_shelf(tmp_path / "s"):
        environment = dict.fromkeys(
            ("SCHEDULER_API_KEY", "JUPYTERHUB_API_TOKEN", "JUPYTERHUB_API_URL"), "x"
        )
        config = replace(
            PortalConfig.from_environment(environment),
            shelf=tmp_path / "s", postgresql=(people.host, people.port),
        )  # fmt: skip
        yield lambda name: Catalog(config, Person(name, False, True, ""))


def test_the_catalog_shows_what_the_role_may_read(look, people, database):
    finish(database, "j1", ["anna.sales"])
    copy(database, people)
    (table,) = look("anna").list_tables()
    assert (table.schema, table.name, table.kind) == ("anna", "sales", "table")
    assert table.loaded["run"] == "j1"
    details = look("anna").find_table("anna", "sales")
    assert [(c["name"], c["type"], c["comment"]) for c in details.columns] == [
        ("city", "text", ""), ("people", "integer", "Жители"),
    ]  # fmt: skip
    assert details.rows == 2
    assert details.sample == [["Rome", "2748109"], ["Oslo", None]]
    assert look("boris").list_tables() == []
    with pytest.raises(NotFoundError):
        look("boris").find_table("anna", "sales")
    for word, count in (("SALES", 1), ("жители", 1), ("city", 1), ("%", 0), ("nothing", 0)):
        assert len(look("anna").list_tables(word)) == count, word


def test_names_are_never_sql(look, people):
    name = 'a"; DROP TABLE anna.sales; --'
    with connect_person(people, "anna") as connection:
        connection.execute(
            'CREATE TABLE IF NOT EXISTS anna."a""; DROP TABLE anna.sales; --" (x int)'
        )
    assert look("anna").find_table("anna", name).sample == []
    assert len(look("anna").list_tables()) == 2
    with connect_person(people, "anna") as connection:
        connection.execute('DROP TABLE anna."a""; DROP TABLE anna.sales; --"')


def test_code_of_others_does_not_run_with_the_readers_rights(look, people):
    with connect_person(people, "boris") as connection:
        connection.execute("DROP TABLE IF EXISTS boris.bait CASCADE")
        connection.execute("GRANT USAGE ON SCHEMA boris TO etl_users")
        connection.execute(
            "CREATE OR REPLACE FUNCTION boris.trap() RETURNS int LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'trapped %', current_user; END$$"
        )
        connection.execute("CREATE OR REPLACE VIEW boris.lure AS SELECT boris.trap() AS x")
        connection.execute("CREATE TABLE boris.bait (x int)")
        connection.execute("INSERT INTO boris.bait VALUES (1)")
        connection.execute("ALTER TABLE boris.bait ENABLE ROW LEVEL SECURITY")
        connection.execute("CREATE POLICY p ON boris.bait USING (boris.trap() = 1)")
        connection.execute("GRANT SELECT ON boris.lure, boris.bait TO etl_users")
    assert look("anna").find_table("boris", "lure").refusal == "view"
    refusal = look("anna").find_table("boris", "bait").refusal
    assert "row-level security" in refusal
    assert "trapped" not in refusal
    assert "trapped boris" in look("boris").find_table("boris", "lure").refusal
    with connect_person(people, "boris") as connection:
        connection.execute("DROP VIEW boris.lure; DROP TABLE boris.bait")
        connection.execute("REVOKE USAGE ON SCHEMA boris FROM etl_users")


def test_a_person_without_a_role_is_told_what_to_do(look):
    with pytest.raises(AwayError, match="no PostgreSQL account"):
        look("nobody-yet").list_tables()
