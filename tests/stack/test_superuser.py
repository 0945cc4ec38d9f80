"""PostgreSQL's superuser: refused on every network, though its password is right; root's alone by socket."""

from __future__ import annotations

import psycopg
import pytest

from tests.stack.test_faults import kill_main_process, wait_healthy
from tests.waiting import wait_until
from vixtract.credentials import is_scram_of

PASSWORD = "vixtract"
PYTHON = {"jupyter": "/opt/jupyterhub/bin/python", "cronicle": "/opt/vixtract/bin/python"}
DOORS = """
import sys, psycopg
for sslmode in ("require", "disable"):
    for more in ({"dbname": "postgres"}, {"dbname": "etl"}, {"replication": "true"}):
        try:
            psycopg.connect(
                host=sys.argv[1], user="postgres", password=sys.argv[2], sslmode=sslmode,
                connect_timeout=60, **more,
            )
            print("IN", sslmode, more)
        except psycopg.OperationalError as error:
            print("refused" if "pg_hba.conf" in str(error) else error)
"""
SOCKET = """
import psycopg
for user in ("postgres", "bi", "vixtract", "anna"):
    try:
        psycopg.connect(host="/srv/postgresql/socket", user=user, dbname="etl", connect_timeout=60)
        print("IN as", user)
    except psycopg.OperationalError as error:
        print("closed" if "Permission denied" in str(error) else error)
"""


@pytest.fixture(scope="module", autouse=True)
def _password_is_right(appliance):
    """Without this, a refusal would prove nothing."""
    query = "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'"
    assert is_scram_of(appliance.query_inside(query)[0][0], PASSWORD)


@pytest.mark.parametrize("service", sorted(PYTHON))
def test_no_service_gets_in_as_the_superuser_over_the_network(appliance, service):
    command = (PYTHON[service], "-I", "-c", DOORS, "postgresql", PASSWORD)
    assert appliance.execute(service, *command).split("\n") == ["refused"] * 6 + [""]


@pytest.mark.parametrize("sslmode", ["require", "disable"])
def test_nobody_outside_gets_in_as_the_superuser(appliance, sslmode):
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects connection"):
        psycopg.connect(
            host="127.0.0.1", port=appliance.postgres_port, user="postgres", password=PASSWORD,
            dbname="etl", sslmode=sslmode, connect_timeout=60,
        )  # fmt: skip


@pytest.mark.parametrize("address", ["127.0.0.1", "$(hostname -i | cut -d' ' -f1)"])
def test_not_even_its_own_container_gets_in_over_the_network(appliance, address):
    script = f'psql -XAtU postgres -h "{address}" -d etl -c "SELECT 1"'
    command = ("env", f"PGPASSWORD={PASSWORD}", "bash", "-c", script)
    said = appliance.execute("postgresql", *command, check=False)
    assert "pg_hba.conf rejects connection" in said, said


def test_an_analyst_s_notebook_does_not_reach_the_socket(anna):
    assert anna.run_cell(SOCKET).split("\n") == ["closed"] * 4 + [""]


def test_no_account_but_root_reaches_the_socket(appliance, anna):
    # The number is what PostgreSQL goes by, and its own belongs to another program in that container.
    own = appliance.execute("postgresql", "id", "-u", "postgres").strip()
    accounts = [own, "portal", "proxy", "nobody", "anna"]
    for account in accounts:
        command = ("docker", "exec", "-u", account, appliance.container("jupyter"))
        said = appliance.docker(*command[1:], PYTHON["jupyter"], "-I", "-c", SOCKET)
        assert said.split("\n") == ["closed"] * 4 + [""], account


def test_the_socket_is_for_the_superuser_alone_and_asks_who_is_there(appliance):
    said = appliance.execute("jupyter", PYTHON["jupyter"], "-I", "-c", SOCKET)
    assert said.startswith("IN as postgres\n") and said.count("no pg_hba.conf entry") == 3, said
    psql = ("psql", "-XAtU", "postgres", "-h", "/var/run/postgresql", "-d", "etl", "-c", "SELECT 1")
    container = appliance.container("postgresql")
    for account, answer in (("root", "1"), ("postgres", "1")):
        assert appliance.docker("exec", "-u", account, container, *psql).strip() == answer
    with pytest.raises(AssertionError, match="Peer authentication failed"):
        appliance.docker("exec", "-u", "2001", container, *psql)


def has_role(appliance, name: str) -> bool:
    """Say whether the Hub has made a person's role."""
    query = f"SELECT 1 FROM pg_roles WHERE rolname = '{name}'"
    return bool(appliance.query_inside(query))


def test_the_hub_makes_roles_after_postgresql_was_killed_and_after_it_was_made_anew(appliance):
    query = "{{.Id}} {{.State.StartedAt}}"
    hub = appliance.docker("inspect", "-f", query, appliance.container("jupyter"))
    kill_main_process(appliance, "postgresql")
    wait_healthy(appliance)
    appliance.add_person("after.kill")
    wait_until(lambda: has_role(appliance, "after.kill"), "a role after the kill")
    appliance.docker("rm", "-f", appliance.container("postgresql"))
    appliance.operate("up", "--yes", timeout_s=300)
    wait_healthy(appliance)
    appliance.add_person("after.new")
    wait_until(lambda: has_role(appliance, "after.new"), "a role in the new container")
    assert appliance.docker("inspect", "-f", query, appliance.container("jupyter")) == hub
