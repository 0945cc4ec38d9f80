"""PostgreSQL from outside: TLS of its own, who is let in, and renewal while it runs."""

from __future__ import annotations

import hashlib
import socket
import ssl
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.waiting import wait_until

BI = {"user": "bi", "password": "vixtract", "dbname": "etl"}
SERVED = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture(scope="module")
def authority(appliance, tmp_path_factory) -> Path:
    """What a person downloads from the home page."""
    page = httpx.get(f"{appliance.url}/")
    assert 'href="/ca.crt"' in page.text
    answer = httpx.get(f"{appliance.url}/ca.crt")
    assert answer.status_code == 200 and b"PRIVATE" not in answer.content
    assert 'filename="vixtract-ca.crt"' in answer.headers["content-disposition"]
    path = tmp_path_factory.mktemp("authority") / "vixtract-ca.crt"
    path.write_bytes(answer.content)
    return path


def connect(appliance, **options: object) -> psycopg.Connection:
    """Connect through the published port as a BI tool does."""
    values = {**BI, "host": "127.0.0.1", "port": appliance.postgres_port, "connect_timeout": 10}
    return psycopg.connect(**{**values, **options})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "postgresql"])
def test_names_are_verified_in_full(appliance, authority, host):
    more = {"host": host, "hostaddr": "127.0.0.1", "sslrootcert": str(authority)}
    with connect(appliance, sslmode="verify-full", **more) as connection:
        assert connection.execute(SERVED).fetchone() == (True, "TLSv1.3")


def test_wrong_name_and_wrong_authority_are_refused(appliance, authority):
    more = {"host": "evil.example.org", "hostaddr": "127.0.0.1"}
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        connect(appliance, sslmode="verify-full", sslrootcert=str(authority), **more)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        connect(appliance, sslmode="verify-full", sslrootcert=ssl.get_default_verify_paths().cafile)


def test_nobody_in_the_middle(appliance):
    with connect(appliance, sslmode="require", channel_binding="require") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("bi",)


def test_plain_text_is_refused(appliance):
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        connect(appliance, sslmode="disable")


@pytest.mark.parametrize("sslmode", ["require", "disable"])
@pytest.mark.parametrize("user", ["postgres", "vixtract"])
def test_superuser_and_service_logins_stay_inside(appliance, user, sslmode):
    with pytest.raises(psycopg.OperationalError, match=r"rejects connection|no pg_hba.conf entry"):
        connect(appliance, user=user, dbname="postgres", sslmode=sslmode)


def test_logins_outside_the_groups_stay_out(appliance):
    def run(statement: str) -> None:
        psql = ("psql", "-XqU", "postgres", "-v", "ON_ERROR_STOP=1", "-c", statement)
        appliance.execute("postgresql", *psql)

    run("CREATE ROLE stray LOGIN PASSWORD 'stray'")
    try:
        with pytest.raises(psycopg.OperationalError, match=r"no pg_hba.conf entry"):
            connect(appliance, user="stray", password="stray", sslmode="require")
        run("GRANT bi_readers TO stray")
        with connect(appliance, user="stray", password="stray", sslmode="require") as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        run("DROP ROLE stray")


def test_readers_have_limits(appliance):
    with connect(appliance) as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("15min",)
        query = "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user"
        assert connection.execute(query).fetchone() == (40,)


def test_peoples_connections_inside_are_encrypted(anna):
    code = f"""
import psycopg
with psycopg.connect() as connection:
    print(connection.execute({SERVED!r}).fetchone())
"""
    assert "(True, 'TLSv1.3')" in anna.run_cell(code)


def test_no_key_is_open_to_others(appliance):
    script = "stat -c '%a %U' /var/lib/postgresql/data/vixtract-tls.pem"
    assert appliance.execute("postgresql", "bash", "-c", script).strip() == "600 postgres"
    script = "stat -c '%a %U' /srv/secrets/postgresql-*.pem"
    found = appliance.execute("jupyter", "bash", "-c", script).splitlines()
    assert found == ["600 root", "600 root"]


def served_by(appliance) -> bytes:
    """Return the number of the certificate that PostgreSQL serves now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = ("127.0.0.1", appliance.postgres_port)
    with socket.create_connection(address, timeout=60) as plain:
        plain.sendall(bytes.fromhex("0000000804d2162f"))
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain) as secure:
            return hashlib.sha256(secure.getpeercert(binary_form=True) or b"").digest()


RENEW = """
from pathlib import Path
from vixtract.people.database_tls import DatabaseTls
from vixtract.people.roles import superuser_conninfo
from vixtract.people import database_tls
database_tls.RENEW_DAYS = 1000.0  # whatever there is, is due
names = ["postgresql", "localhost", "127.0.0.1"]
DatabaseTls(Path("/srv/secrets"), names).ensure_served(superuser_conninfo())
"""


def test_renewal_needs_no_restart_and_cuts_no_session(appliance, authority):
    before = served_by(appliance)
    verify = {"sslmode": "verify-full", "sslrootcert": str(authority), "host": "localhost"}
    with connect(appliance, hostaddr="127.0.0.1", **verify) as kept:
        pid = kept.execute("SELECT pg_backend_pid()").fetchone()
        appliance.execute("jupyter", "/opt/jupyterhub/bin/python", "-I", "-c", RENEW)
        wait_until(lambda: served_by(appliance) != before, "the new certificate")
        with connect(appliance, hostaddr="127.0.0.1", **verify) as fresh:
            assert fresh.execute(SERVED).fetchone() == (True, "TLSv1.3")
        assert kept.execute("SELECT pg_backend_pid()").fetchone() == pid


def test_rules_of_the_image_are_not_in_force(appliance):
    query = (
        "SELECT count(*) FROM pg_hba_file_rules WHERE address = 'all' AND auth_method <> 'reject'"
    )
    psql = ("psql", "-XAtU", "postgres", "-c")
    assert appliance.execute("postgresql", *psql, query).strip() == "0"
    script = "grep -c '^host all all all' /var/lib/postgresql/data/pg_hba.conf"
    # They stand in the volume all the same, as in every volume of an earlier version.
    assert appliance.execute("postgresql", "bash", "-c", script).strip() == "1"
