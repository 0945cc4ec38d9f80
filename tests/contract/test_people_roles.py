"""Databases and roles in a real PostgreSQL: what each login sees, and what a second run leaves alone."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.waiting import free_port, wait_until
from vixtract.credentials import is_scram_of, scram_verifier
from vixtract.hub.provisioner import DatabaseServer, Provisioner
from vixtract.people import retire, roles
from vixtract.people.database_tls import DatabaseTls
from vixtract.people.names import InvalidNameError

pytest_plugins = ["tests.postgres"]

KEY = "00" * 32
BI_PASSWORD = "bi-password-of-the-tests"
STORED = "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'"


@pytest.fixture(scope="module")
def server(postgres):
    """PostgreSQL with databases and groups made, twice: the second run must not mind the first."""
    server = DatabaseServer(
        conninfo=postgres.conninfo,
        bi_password=BI_PASSWORD,
        role_key=KEY,
        host="127.0.0.1",
        port=postgres.port,
    )
    server.ensure_databases()
    server.ensure_databases()
    return server


def connect(server, name, password, database="etl"):
    return psycopg.connect(
        host=server.host,
        port=server.port,
        user=name,
        password=password,
        dbname=database,
        connect_timeout=60,
        autocommit=True,
    )


def connect_person(server, name, database="etl"):
    return connect(server, name, roles.role_password(KEY, name), database)


def connect_superuser(server, database="etl"):
    return psycopg.connect(server.conninfo, dbname=database, autocommit=True)


@pytest.mark.parametrize("name", ["q", "a.b", "ivan.petrov", "user-1", "order", "x" * 32])
def test_person_works_in_own_schema_with_the_given_environment(server, name):
    server.ensure_role(name)
    password = roles.role_password(KEY, name)
    environment = roles.login_environment(name, password, host=server.host, port=server.port)
    url = environment["DATABASE_URL"].replace("postgresql+psycopg2", "postgresql")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE made (n int)")
        row = connection.execute("SELECT current_user, current_schema(), current_database()")
        assert row.fetchone() == (name, name, "etl")
    assert environment["PGUSER"] == name
    assert environment["PGPASSWORD"] == roles.role_password(KEY, name)


def test_bi_reads_tables_made_later_and_writes_nothing(server):
    server.ensure_role("anna")
    with connect_person(server, "anna") as connection:
        connection.execute("CREATE TABLE anna.later AS SELECT 42 AS n")
    with connect(server, "bi", BI_PASSWORD) as connection:
        assert connection.execute("SELECT n FROM anna.later").fetchone() == (42,)
        for statement in (
            "INSERT INTO anna.later VALUES (1)",
            "CREATE TABLE anna.mine (n int)",
            "CREATE TABLE public.mine (n int)",
            "CREATE SCHEMA mine",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_people_see_nothing_of_each_other(server):
    server.ensure_role("boris")
    server.ensure_role("clara")
    with connect_person(server, "boris") as connection:
        connection.execute("CREATE TABLE secret AS SELECT 1 AS n")
    with connect_person(server, "clara") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM boris.secret")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT rolpassword FROM pg_authid")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SET ROLE boris")


@pytest.mark.parametrize("database", ["vixtract", "postgres", "template1"])
def test_people_and_bi_connect_to_no_other_database(server, database):
    server.ensure_role("dora")
    for name, password in (("dora", roles.role_password(KEY, "dora")), ("bi", BI_PASSWORD)):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            connect(server, name, password, database)


def test_service_role_owns_its_database(server):
    with connect_person(server, "vixtract", "vixtract") as connection:
        connection.execute("CREATE SCHEMA own; CREATE TABLE own.t (n int); DROP SCHEMA own CASCADE")


def test_second_run_leaves_a_persons_own_grants_alone(server):
    server.ensure_role("eva")
    with connect_person(server, "eva") as connection:
        connection.execute("CREATE TABLE private (n int)")
        connection.execute("REVOKE SELECT ON private FROM bi_readers")
        connection.execute(
            "ALTER DEFAULT PRIVILEGES IN SCHEMA eva REVOKE SELECT ON TABLES FROM bi_readers"
        )
    server.ensure_role("eva")
    server.ensure_databases()
    with connect_person(server, "eva") as connection:
        connection.execute("CREATE TABLE private_too (n int)")
    with connect(server, "bi", BI_PASSWORD) as connection:
        for table in ("eva.private", "eva.private_too"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL(f"SELECT * FROM {table}"))


def test_second_run_writes_nothing(server):
    def stored():
        with connect_superuser(server) as connection:
            query = "SELECT rolname, rolpassword FROM pg_authid ORDER BY 1"
            return connection.execute(query).fetchall()

    server.ensure_role("fred")
    before = stored()
    server.ensure_role("fred")
    server.ensure_databases()
    assert stored() == before


def test_wrong_password_is_put_right(server):
    server.ensure_role("gina")
    with connect_superuser(server) as connection:
        connection.execute("ALTER ROLE gina PASSWORD 'other'")
    server.ensure_role("gina")
    connect_person(server, "gina").close()


def test_changed_bi_password_holds(server):
    roles.ensure_databases(server.conninfo, key=KEY, bi_password="another-password")
    with pytest.raises(psycopg.OperationalError):
        connect(server, "bi", BI_PASSWORD)
    connect(server, "bi", "another-password").close()
    server.ensure_databases()
    connect(server, "bi", BI_PASSWORD).close()


def test_foreign_role_is_not_taken_over(server):
    with connect_superuser(server) as connection:
        connection.execute("CREATE ROLE dba LOGIN SUPERUSER PASSWORD 'of-the-dba'")
    with pytest.raises(roles.RoleError, match="not made by ViXtract"):
        server.ensure_role("dba")
    connect(server, "dba", "of-the-dba").close()


def test_foreign_schema_is_not_taken_over(server):
    with connect_superuser(server) as connection:
        connection.execute("CREATE SCHEMA hanna")
    with pytest.raises(roles.RoleError, match="belongs to 'postgres'"):
        server.ensure_role("hanna")


@pytest.mark.parametrize("name", ["postgres", "bi", "etl_users", "pg_monitor", "vixtract", "Anna"])
def test_reserved_names_get_no_role(server, name):
    with pytest.raises(InvalidNameError):
        server.ensure_role(name)


def test_disabled_person_is_out_and_comes_back_with_all_tables(server):
    server.ensure_role("igor")
    with connect_person(server, "igor") as open_connection:
        open_connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        assert retire.lock_role(server.conninfo, "igor")
        with pytest.raises(psycopg.OperationalError):
            open_connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        connect_person(server, "igor")
    server.ensure_role("igor")
    with connect_person(server, "igor") as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_disabling_touches_no_role_that_is_not_a_persons(server):
    assert not retire.lock_role(server.conninfo, "postgres")
    assert not retire.lock_role(server.conninfo, "nobody.at.all")
    connect_superuser(server).close()


def test_no_password_reaches_the_servers_log(server, postgres):
    server.ensure_role("jana")
    log = (postgres.directory / "log").read_text(encoding="utf-8")
    assert 'CREATE ROLE "jana"' in log, (
        "statements are logged, so the rest of this test means something"
    )
    assert roles.role_password(KEY, "jana") not in log
    assert BI_PASSWORD not in log


def test_same_role_made_at_once_by_two_services(server):
    problems = []

    def make():
        try:
            server.ensure_role("kate")
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert problems == []


def test_absent_postgresql_is_a_quick_error_without_a_secret():
    conninfo = f"host=127.0.0.1 port={free_port()} user=postgres password=secret-1"
    server = DatabaseServer(conninfo, "secret-2", KEY)
    started = time.monotonic()
    with pytest.raises(roles.RoleError) as caught:
        server.ensure_role("anna")
    assert time.monotonic() - started < 5
    assert "secret" not in str(caught.value) + repr(server)


def test_documented_password_of_the_superuser_goes_when_others_can_come(server):
    own = server.conninfo
    with psycopg.connect(own, autocommit=True) as kept:
        verifier = kept.execute(STORED).fetchone()[0]
        kept.execute("ALTER ROLE postgres PASSWORD 'vixtract'")
        documented = dataclasses.replace(server, conninfo=make_conninfo(own, password="vixtract"))
        try:
            documented.ensure_databases()
            psycopg.connect(documented.conninfo).close()
            dataclasses.replace(documented, is_public=True).ensure_databases()
            assert kept.execute(STORED).fetchone() == (None,)
        finally:
            kept.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(verifier))
    dataclasses.replace(server, is_public=True).ensure_databases()
    psycopg.connect(own).close()


def test_server_of_a_first_boot_is_left_alone(postgres, tmp_path):
    """It listens on the socket alone; the image's entrypoint makes a database in it meanwhile."""
    sockets = Path(tempfile.mkdtemp(prefix="vixtract-socket-"))
    shutil.chown(sockets, postgres.directory.owner())
    sockets.chmod(0o711)
    query = "SELECT count(*) FROM pg_roles"
    with psycopg.connect(postgres.conninfo) as connection:
        before = connection.execute(query).fetchone()
    postgres.stop()
    options = f"-c listen_addresses= -c unix_socket_directories={sockets}"
    try:
        postgres.start(options)
        text = make_conninfo(
            roles.superuser_conninfo(sockets, port=postgres.port), password=postgres.password
        )
        with psycopg.connect(text) as connection:
            assert connection.execute(query).fetchone() == before, "it can be reached"
        for act in (
            DatabaseServer(text, BI_PASSWORD, KEY).ensure_databases,
            lambda: DatabaseServer(text, BI_PASSWORD, KEY).ensure_role("early.bird"),
            lambda: roles.ensure_database(text, "early", owner="postgres"),
            lambda: DatabaseTls(tmp_path, ["postgresql"]).ensure_served(text),
        ):
            with pytest.raises(roles.RoleError, match="first boot"):
                act()
    finally:
        postgres.stop()
        postgres.start()
        shutil.rmtree(sockets)
    with psycopg.connect(postgres.conninfo) as connection:
        assert connection.execute(query).fetchone() == before


def test_provisioner_waits_for_postgresql_then_makes_everybody(server, postgres):
    postgres.stop()
    provisioner = Provisioner(server, lambda: ["lena", "root", "m"])
    provisioner.start()
    try:
        time.sleep(1)
        postgres.start()
        wait_until(lambda: connect_person(server, "m"), "role of m").close()
        connect_person(server, "lena").close()
        provisioner.add("nina")
        wait_until(lambda: connect_person(server, "nina"), "role of nina").close()
    finally:
        provisioner.stop()


def test_verifier_belongs_to_its_password_alone():
    verifier = scram_verifier("right", salt=b"0123456789abcdef")
    assert is_scram_of(verifier, "right")
    assert not is_scram_of(verifier, "wrong")
    for broken in (None, "", "md5abc", "SCRAM-SHA-256$x:y$z", "SCRAM-SHA-256$4096:!$a:b"):
        assert not is_scram_of(broken, "right")
