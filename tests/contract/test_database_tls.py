"""PostgreSQL is given its certificate by SQL alone: on, renewed, and left in peace."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from cryptography import x509

from tests.waiting import wait_until
from vixtract.certificates.pair import CertificateError
from vixtract.people import database_tls
from vixtract.people.database_tls import AUTHORITY, SERVED, SERVER, DatabaseTls
from vixtract.people.roles import ensure_reader_limits

if TYPE_CHECKING:
    from tests.postgres import Cluster


pytest_plugins = ["tests.postgres"]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory) -> Path:
    """A secrets volume."""
    return tmp_path_factory.mktemp("secrets")


def connect(postgres: Cluster, secrets: Path, host: str = "127.0.0.1") -> psycopg.Connection:
    """Connect and check the server in full."""
    authority = secrets / "downloaded.crt"
    authority.write_bytes(DatabaseTls(secrets, ["localhost"]).ensure_authority().chain)
    more = f"host={host} hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={authority}"
    return psycopg.connect(postgres.conninfo.replace("host=127.0.0.1", more))


def test_certificate_is_handed_over_and_verified_in_full(postgres, secrets):
    tls = DatabaseTls(secrets, ["db.example.org", "127.0.0.1"])
    tls.ensure_served(postgres.conninfo)
    served = postgres.directory / SERVED
    assert served.stat().st_mode & 0o777 == 0o600
    for host in ("127.0.0.1", "db.example.org"):
        with wait_until(lambda h=host: connect(postgres, secrets, h), "TLS") as connection:
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert connection.execute(query).fetchone() == (True,)
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        connect(postgres, secrets, "evil.example.org")
    # Again: nothing is written where nothing has to be.
    before = served.stat()
    tls.ensure_served(postgres.conninfo)
    assert served.stat().st_mtime_ns == before.st_mtime_ns
    assert b"PRIVATE" not in (postgres.directory / "log").read_bytes()


def test_new_names_mean_a_new_certificate_of_the_same_authority(postgres, secrets):
    before = (secrets / AUTHORITY).read_bytes()
    DatabaseTls(secrets, ["new.example.org", "127.0.0.1"]).ensure_served(postgres.conninfo)
    wait_until(lambda: connect(postgres, secrets, "new.example.org"), "the new name").close()
    assert (secrets / AUTHORITY).read_bytes() == before
    assert (secrets / SERVER).stat().st_mode & 0o777 == 0o600


def test_certificate_is_renewed_before_its_end(secrets, monkeypatch):
    tls = DatabaseTls(secrets, ["new.example.org", "127.0.0.1"])
    first = tls.ensure_server_certificate()
    assert tls.ensure_server_certificate().digest == first.digest
    later = first.not_after - datetime.timedelta(days=database_tls.RENEW_DAYS - 1)
    monkeypatch.setattr(database_tls, "_now", lambda: later)
    renewed = tls.ensure_server_certificate()
    assert renewed.digest != first.digest and renewed.not_after > first.not_after
    leaf, authority = x509.load_pem_x509_certificates(renewed.chain)
    leaf.verify_directly_issued_by(authority)


def test_file_that_was_tampered_with_is_put_right(postgres, secrets):
    served = postgres.directory / SERVED
    served.write_bytes(b"cut off")
    DatabaseTls(secrets, ["new.example.org", "127.0.0.1"]).ensure_served(postgres.conninfo)
    assert served.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    postgres.stop()
    postgres.start()
    wait_until(lambda: connect(postgres, secrets), "TLS after a restart").close()


def test_spoilt_authority_is_never_replaced(tmp_path):
    (tmp_path / AUTHORITY).write_bytes(b"cut off")
    with pytest.raises(CertificateError, match="cannot be used") as caught:
        DatabaseTls(tmp_path, ["localhost"]).ensure_server_certificate()
    assert "backup" in caught.value.hint
    assert (tmp_path / AUTHORITY).read_bytes() == b"cut off"


def test_reader_is_limited_once(postgres):
    def limits(connection: psycopg.Connection) -> tuple:
        query = "SELECT rolconnlimit, rolconfig IS NULL FROM pg_roles WHERE rolname = 'reader'"
        return connection.execute(query).fetchone()

    with psycopg.connect(postgres.conninfo) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        ensure_reader_limits(connection, "reader")
        assert limits(connection) == (40, False)
        connection.execute("ALTER ROLE reader CONNECTION LIMIT -1")
        ensure_reader_limits(connection, "reader")
        assert limits(connection) == (-1, False)
        ensure_reader_limits(connection, "nobody_of_that_name")
