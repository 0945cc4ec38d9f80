"""A temporary PostgreSQL of the host's own package, for tests that need a real one but no container.

Use it with `pytest_plugins = ["tests.postgres"]` or from `tests/conftest.py`.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import free_port

SUPERUSER_PASSWORD = "superuser-of-the-tests"


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL on loopback.

    Args:
        port: TCP port.
        password: of the superuser `postgres`.
        directory: data directory.
        binaries: directory of the server's programs.
    """

    port: int
    password: str
    directory: Path
    binaries: Path

    @property
    def conninfo(self) -> str:
        """Connection text of the superuser to database postgres."""
        return (
            f"host=127.0.0.1 port={self.port} user=postgres password={self.password} "
            "dbname=postgres connect_timeout=60"
        )

    def start(self, options: str = "") -> None:
        """Start the server and wait until it answers.

        Args:
            options: of `postgres`, beside the file's.
        """
        log = str(self.directory / "log")
        self._control("start", "-w", "-t", "60", "-l", log, *(("-o", options) if options else ()))

    def stop(self) -> None:
        """Stop the server; connections are cut."""
        self._control("stop", "-w", "-t", "60", "-m", "fast")

    def _control(self, *arguments: str) -> None:
        run_as_postgres([self.binaries / "pg_ctl", "-D", self.directory, *arguments])


def find_binaries() -> Path | None:
    """Return the newest installed server's directory of programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def run_as_postgres(command: list[object]) -> None:
    """Run a server program; PostgreSQL refuses to run as root.

    Args:
        command: argument list, each turned into text.
    """
    options: dict[str, object] = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam(account_name())
        options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    result = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=90,
        cwd="/",
        **options,
    )
    assert result.returncode == 0, result.stderr


def account_name() -> str:
    """Return the account that the server runs under when the tests run as root."""
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


def make_cluster(directory: Path, binaries: Path) -> Cluster:
    """Make and start a cluster that takes passwords only, as the appliance's does.

    Args:
        directory: empty directory of the server's account.
        binaries: directory of the server's programs.
    """
    secret = directory / "password"
    secret.write_text(SUPERUSER_PASSWORD, encoding="ascii")
    data = directory / "data"
    if os.geteuid() == 0:
        for path in (directory, secret):
            shutil.chown(path, account_name())
    run_as_postgres(
        [
            *(binaries / "initdb", "-D", data, "-U", "postgres", "--no-sync"),
            *("--encoding", "UTF8", "--auth", "scram-sha-256", "--pwfile", secret),
        ]
    )
    port = free_port()
    with (data / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(
            f"port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
            "fsync = off\nmax_connections = 50\nlog_statement = all\n"
        )
    cluster = Cluster(port, SUPERUSER_PASSWORD, data, binaries)
    cluster.start()
    return cluster


@pytest.fixture(scope="module")
def postgres() -> Iterator[Cluster]:
    """A running cluster of this module's own: what another module made would be seen in this one."""
    binaries = find_binaries()
    if binaries is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs Debian's package postgresql")
        pytest.skip("PostgreSQL is not installed here: apt-get install postgresql")
    # Not pytest's tmp_path: its parents are closed to other accounts.
    directory = Path(tempfile.mkdtemp(prefix="vixtract-postgres-"))
    cluster = None
    try:
        cluster = make_cluster(directory, binaries)
        yield cluster
    finally:
        if cluster is not None:
            cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def postgres_database(postgres: Cluster) -> Iterator[str]:
    """Connection text of the superuser to an empty database of its own."""
    import psycopg

    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield postgres.conninfo.replace("dbname=postgres", f"dbname={name}")
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
