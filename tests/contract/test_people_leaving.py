"""People who leave, teams and readers, in a real PostgreSQL: who reads and writes what afterwards."""

from __future__ import annotations

import datetime

import psycopg
import pytest

from tests.contract.test_people_roles import (
    BI_PASSWORD,
    KEY,
    connect,
    connect_person,
    connect_superuser,
)
from vixtract.hub.provisioner import DatabaseServer
from vixtract.people import readers, retire, roles, sharing
from vixtract.people.names import InvalidNameError
from vixtract.people.roles import RoleError

pytest_plugins = ["tests.postgres"]

NOW = datetime.datetime(2026, 11, 22, 1, 2, 3, tzinfo=datetime.timezone.utc)
NASTY = ['a"b', "a'b", "a; DROP ROLE bi", "A", "", "a" * 64, "pg_read_all_data", "bi", "etl_users"]


@pytest.fixture(scope="module")
def server(postgres):
    """PostgreSQL with databases and groups made."""
    server = DatabaseServer(postgres.conninfo, BI_PASSWORD, KEY, "127.0.0.1", postgres.port)
    server.ensure_databases()
    return server


def ask_bi(server, query):
    with connect(server, "bi", server.bi_password) as connection:
        return connection.execute(query).fetchone()


def fill(server, name, table="kept"):
    server.ensure_role(name)
    with connect_person(server, name) as connection:
        connection.execute(f"CREATE TABLE {table} AS SELECT 7 AS n")


def make_team(server, name, *members, is_private=False):
    sharing.ensure_team_role(server.conninfo, name, is_private=is_private)
    for person in members:
        server.ensure_role(person)
        sharing.set_member(server.conninfo, name, person, is_member_wanted=True)


def add_reader(server, name, *schemas, sees_all=False):
    answer = readers.add_reader(server.conninfo, readers.Reader(name, schemas, sees_all))
    return answer["password"]


def test_archived_role_is_shut_out_and_bi_reads_on(server):
    fill(server, "una")
    with connect_person(server, "una") as open_session:
        archived = retire.archive_role(server.conninfo, "una", NOW)
        with pytest.raises(psycopg.OperationalError):
            open_session.execute("SELECT 1")
    assert archived == "removed:una:20261122010203"
    assert ask_bi(server, "SELECT n FROM una.kept") == (7,)
    with pytest.raises(psycopg.OperationalError):
        connect_person(server, "una")
    assert retire.archive_role(server.conninfo, "una", NOW) == "", "a second run finds nothing"


def test_namesake_gets_a_schema_of_their_own(server):
    fill(server, "vera")
    retire.archive_role(server.conninfo, "vera", NOW)
    roles.ensure_role(server.conninfo, "vera", key=KEY, generation=1)
    with pytest.raises(psycopg.OperationalError):
        connect_person(server, "vera")
    password = roles.role_password(KEY, "vera", 1)
    with connect(server, "vera", password) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 8 AS n")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT n FROM vera_until_20261122.kept")
    assert ask_bi(server, "SELECT n FROM vera.kept") == (8,)
    assert ask_bi(server, "SELECT n FROM vera_until_20261122.kept") == (7,)


def test_tables_are_handed_over_and_bi_reads_also_later_ones(server):
    fill(server, "willa")
    server.ensure_role("xenia")
    with connect_person(server, "willa") as connection:
        connection.execute("CREATE VIEW seen AS SELECT n FROM kept")
    assert retire.hand_over_role(server.conninfo, "willa", "xenia", NOW)
    with connect_person(server, "xenia") as connection:
        connection.execute("INSERT INTO willa.kept VALUES (9)")
        connection.execute("CREATE TABLE willa.later AS SELECT 1 AS n")
    assert ask_bi(server, "SELECT count(*) FROM willa.seen") == (2,)
    assert ask_bi(server, "SELECT n FROM willa.later") == (1,)
    with connect_superuser(server) as connection:
        query = "SELECT 1 FROM pg_roles WHERE rolname = 'willa'"
        assert connection.execute(query).fetchone() is None
    assert not retire.hand_over_role(server.conninfo, "willa", "xenia", NOW)


def test_handed_over_function_does_not_run_with_the_other_s_rights(server):
    fill(server, "yuri")
    fill(server, "zara", "secret")
    server.ensure_role("accomplice")
    with connect_person(server, "yuri") as connection:
        connection.execute(
            "CREATE FUNCTION steal() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS"
            " $$ BEGIN RETURN (SELECT count(*) FROM zara.secret); END $$"
        )
        connection.execute("GRANT USAGE ON SCHEMA yuri TO accomplice")
    retire.hand_over_role(server.conninfo, "yuri", "zara", NOW)
    denied = pytest.raises(psycopg.errors.InsufficientPrivilege)
    with connect_person(server, "accomplice") as connection, denied:
        connection.execute("SELECT yuri.steal()")


def test_nobody_else_s_role_is_touched(server):
    for name in ("postgres", "bi", "vixtract", "no.such.role"):
        assert not retire.lock_role(server.conninfo, name)
        assert not retire.archive_role(server.conninfo, name, NOW)
        assert not retire.hand_over_role(server.conninfo, name, "postgres", NOW)
    assert ask_bi(server, "SELECT 1") == (1,)


def test_members_own_each_other_s_tables_and_others_see_nothing(server):
    make_team(server, "crew", "ada", "ben")
    server.ensure_role("carl")
    with connect_person(server, "ada") as connection:
        connection.execute("CREATE TABLE crew.t (id serial, n int)")
        connection.execute("CREATE TABLE crew.copy AS SELECT 1 AS n")
        connection.execute("CREATE VIEW crew.v AS SELECT n FROM crew.copy")
        connection.execute("CREATE TEMP TABLE mine AS SELECT 1 AS n")
    with connect_person(server, "ben") as connection:
        connection.execute("INSERT INTO crew.t (n) VALUES (1)")
        connection.execute("ALTER TABLE crew.t ADD COLUMN more text")
        connection.execute("DROP VIEW crew.v")
        connection.execute("DROP TABLE crew.copy")
        connection.execute("CREATE TABLE own_one AS SELECT 1 AS n")
    with connect_person(server, "carl") as connection:
        for statement in ("SELECT * FROM crew.t", "CREATE TABLE crew.x (n int)", "SET ROLE crew"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    assert ask_bi(server, "SELECT n FROM crew.t") == (1,)
    with connect_superuser(server) as connection:
        query = "SELECT tableowner FROM pg_tables WHERE tablename = 'own_one'"
        assert connection.execute(query).fetchone() == ("ben",), "own schemas stay as they are"
    sharing.set_member(server.conninfo, "crew", "ben", is_member_wanted=False)
    denied = pytest.raises(psycopg.errors.InsufficientPrivilege)
    with connect_person(server, "ben") as connection, denied:
        connection.execute("SELECT * FROM crew.t")


def test_private_team_is_not_for_bi_and_a_database_is_for_members(server):
    make_team(server, "quiet", "dana", is_private=True)
    sharing.ensure_team_database(server.conninfo, "quiet", is_private=True)
    sharing.ensure_team_database(server.conninfo, "quiet", is_private=True)
    server.ensure_role("elsa")
    with connect_person(server, "dana") as connection:
        connection.execute("CREATE TABLE quiet.t AS SELECT 1 AS n")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask_bi(server, "SELECT n FROM quiet.t")
    with connect_person(server, "dana", "quiet") as connection:
        connection.execute("CREATE TABLE quiet.t AS SELECT 1 AS n")
    for name, password in (("elsa", roles.role_password(KEY, "elsa")), ("bi", server.bi_password)):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            connect(server, name, password, "quiet")


def test_chosen_schemas_alone_are_read_also_tables_made_later(server):
    for name in ("faye", "gina"):
        fill(server, name)
    make_team(server, "guild", "faye")
    password = add_reader(server, "tableau", "faye", "guild")
    with connect_person(server, "faye") as connection:
        connection.execute("CREATE TABLE later AS SELECT 2 AS n")
        connection.execute("CREATE TABLE guild.later AS SELECT 3 AS n")
    with connect(server, "tableau", password) as connection:
        for table, n in (("faye.kept", 7), ("faye.later", 2), ("guild.later", 3)):
            assert connection.execute(f"SELECT n FROM {table}").fetchone() == (n,)
        connection.execute("SET default_transaction_read_only = off")
        for statement in (
            "SELECT n FROM gina.kept",
            "INSERT INTO faye.kept VALUES (1)",
            "CREATE TABLE faye.mine (n int)",
            "CREATE TEMP TABLE mine (n int)",
            "CREATE SCHEMA mine",
            "SET temp_file_limit = '100GB'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    with connect(server, "tableau", password) as connection:
        found = connection.execute("SHOW statement_timeout").fetchone()
        assert found == ("5min",)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TEMP TABLE mine (n int)")


def test_reader_of_everything_sees_people_who_come_later(server):
    password = add_reader(server, "powerbi", sees_all=True)
    fill(server, "hugo")
    with connect(server, "powerbi", password) as connection:
        assert connection.execute("SELECT n FROM hugo.kept").fetchone() == (7,)
    rows = {row["name"]: row for row in readers.list_readers(server.conninfo)}
    assert rows["powerbi"]["all"] and rows["bi"]["all"]


def test_reader_s_new_password_ends_sessions_and_removal_leaves_nothing(server):
    fill(server, "iris")
    old = add_reader(server, "qlik", "iris")
    with connect(server, "qlik", old) as open_session:
        new = readers.reset_password(server.conninfo, "qlik")
        with pytest.raises(psycopg.OperationalError):
            open_session.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        connect(server, "qlik", old)
    connect(server, "qlik", new).close()
    # Named again: more schemas, the same password.
    fill(server, "jana")
    again = readers.add_reader(server.conninfo, readers.Reader("qlik", ("jana",)))
    assert "password" not in again
    assert [r["schemas"] for r in readers.list_readers(server.conninfo) if r["name"] == "qlik"] == [
        ["iris", "jana"]
    ]
    readers.remove_reader(server.conninfo, "qlik")
    with pytest.raises(psycopg.OperationalError):
        connect(server, "qlik", new)
    with pytest.raises(RoleError, match="no reader"):
        readers.remove_reader(server.conninfo, "qlik")


@pytest.mark.parametrize("name", NASTY)
def test_bad_names_of_readers_are_refused(server, name):
    with pytest.raises((InvalidNameError, RoleError)):
        add_reader(server, name, sees_all=True)


@pytest.mark.parametrize(
    "schema",
    ["", "nobody", "pg_catalog", "information_schema", "vixtract", 'x"; DROP SCHEMA x; --'],
)
def test_bad_schemas_are_refused(server, schema):
    with pytest.raises(RoleError):
        add_reader(server, "reader", schema)


def test_names_are_not_taken_from_people(server):
    server.ensure_role("karl")
    with pytest.raises(RoleError):
        add_reader(server, "karl", sees_all=True)
    with pytest.raises(RoleError):
        sharing.ensure_team_role(server.conninfo, "karl", is_private=False)


def test_log_has_no_password_of_a_reader(server, postgres):
    password = add_reader(server, "grafana", sees_all=True)
    assert password not in (postgres.directory / "log").read_text(errors="replace")
