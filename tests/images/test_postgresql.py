"""The contract of the base of PostgreSQL's image: the stand-in, or the image in POSTGRES_IMAGE."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.images.docker_cli import (
    created_container,
    docker,
    exit_code,
    logs,
    put_file,
    unique_name,
)
from tests.own_images import postgres_base
from tests.waiting import wait_until

IMAGE = postgres_base()
PASSWORD = "Correct-Horse_7"
# No --init: as root without CAP_KILL it cannot hand the stop signal to uid 999, gives up, and takes
# the server down with it. PostgreSQL is a proper first process.
HARDENED = (
    "--security-opt=no-new-privileges:true",
    "--cap-drop=ALL",
    *(f"--cap-add={name}" for name in ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")),
)
own_image = pytest.mark.skipif(
    "postgres-offline" not in IMAGE, reason="the public image does not promise this"
)


@contextmanager
def volume() -> Iterator[str]:
    """A named volume for /var/lib/postgresql/data."""
    name = unique_name("front-test-pg")
    docker("volume", "create", name)
    try:
        yield name
    finally:
        docker("volume", "rm", "--force", name, check=False)


@contextmanager
def server(
    data: str,
    *words: str,
    options: tuple[str, ...] = (),
    scripts: dict[str, bytes] | None = None,
    password: str = PASSWORD,
) -> Iterator[str]:
    """Start the image over a volume; ``scripts`` are name -> content in the init directory."""
    settings = ("-e", f"POSTGRES_PASSWORD={password}") if password else ()
    mounts = ("-v", f"{data}:/var/lib/postgresql/data")
    with created_container(IMAGE, (*HARDENED, *settings, *mounts, *options), *words) as name:
        for file, content in (scripts or {}).items():
            put_file(name, "/docker-entrypoint-initdb.d", file, content)
        docker("start", name)
        yield name


def answers_on_tcp(container: str) -> bool:
    """True once the server that listens on TCP answers."""
    done = docker("exec", container, "pg_isready", "-h", "127.0.0.1", check=False)
    assert done.returncode == 0, (done.stdout + logs(container))[-600:]
    return True


def query(container: str, sql: str, *, database: str = "postgres") -> str:
    """Return the rows of a query, run by the superuser over the socket."""
    command = (
        "psql",
        "-X",
        "-At",
        "-v",
        "ON_ERROR_STOP=1",
        "-U",
        "postgres",
        "-d",
        database,
        "-c",
        sql,
    )
    return docker("exec", "-u", "postgres", container, *command).stdout.strip()


def in_volume(data: str, script: str) -> str:
    """Run a shell script as root over the volume, without the image's entrypoint."""
    mount = f"{data}:/var/lib/postgresql/data"
    words = ("run", "--rm", "--entrypoint", "bash", "-v", mount, "-w", "/var/lib/postgresql/data")
    return docker(*words, IMAGE, "-euc", script).stdout.strip()


SCRIPTS = {
    "10-table.sql": b"CREATE TABLE step (number int); INSERT INTO step VALUES (1);",
    "20-more.sql.gz": gzip.compress(b"INSERT INTO step VALUES (2);"),
    "30-shell.sh": b'#!/bin/bash\nset -e\npsql -U "$POSTGRES_USER" -d "$POSTGRES_DB" '
    b"-c 'INSERT INTO step VALUES (3)'\n"
    b'echo "search_path = \'public\' # set in $PGDATA" >>"$PGDATA/postgresql.conf"\n',
}


@pytest.fixture(scope="module")
def running() -> Iterator[str]:
    """One server, booted with everything the contract knows."""
    words = ("postgres", "-c", "max_connections=57")
    options = (
        "-e",
        "POSTGRES_DB=etl",
        "-e",
        "POSTGRES_INITDB_ARGS=--data-checksums --auth-host='scram-sha-256'",
    )
    with volume() as data, server(data, *words, options=options, scripts=SCRIPTS) as name:
        wait_until(lambda: answers_on_tcp(name), what="PostgreSQL answers on TCP")
        yield name


def test_init_scripts_of_each_kind_ran_once_and_in_order(running: str) -> None:
    assert (
        query(
            running, "SELECT string_agg(number::text, ',' ORDER BY ctid) FROM step", database="etl"
        )
        == "1,2,3"
    )


def test_arguments_reach_the_server(running: str) -> None:
    assert query(running, "SHOW max_connections") == "57"
    assert query(running, "SHOW data_checksums") == "on"


def test_encoding_and_addresses(running: str) -> None:
    assert query(running, "SHOW server_encoding") == "UTF8"
    assert query(running, "SHOW listen_addresses") == "*"


def test_locale_is_the_official_image_s_and_its_version_is_recorded(running: str) -> None:
    sql = "SELECT datcollate || ' ' || datctype FROM pg_database WHERE datname = 'etl'"
    assert query(running, sql) == "en_US.utf8 en_US.utf8"
    # PostgreSQL compares it at each connection and warns where a new base sorts differently.
    recorded = query(running, "SELECT datcollversion FROM pg_database WHERE datname = 'etl'")
    actual = (
        "SELECT pg_database_collation_actual_version(oid) FROM pg_database WHERE datname = 'etl'"
    )
    assert recorded and recorded == query(running, actual)


def test_other_hosts_need_a_scram_password(running: str) -> None:
    sql = "SELECT auth_method FROM pg_hba_file_rules WHERE database = '{all}' AND address = 'all'"
    assert query(running, sql) == "scram-sha-256"
    assert (
        query(
            running, "SELECT substr(rolpassword, 1, 13) FROM pg_authid WHERE rolname = 'postgres'"
        )
        == "SCRAM-SHA-256"
    )


@pytest.mark.parametrize(("password", "answer"), [(PASSWORD, 0), ("wrong", 2)])
def test_password_is_checked_over_the_network(running: str, password: str, answer: int) -> None:
    address = docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", running).stdout.strip()
    words = ("run", "--rm", "--entrypoint", "psql", "-e", f"PGPASSWORD={password}", IMAGE)
    done = docker(
        *words, "-h", address, "-U", "postgres", "-d", "etl", "-Atc", "SELECT 1", check=False
    )
    assert done.returncode == answer, done.stderr


def test_server_runs_as_postgres_and_cannot_see_the_password(running: str) -> None:
    script = "pid=$(head -1 /var/lib/postgresql/data/postmaster.pid); stat -c %u /proc/$pid; tr '\\0' '\\n' </proc/$pid/environ"
    seen = docker("exec", "-u", "postgres", running, "bash", "-c", script).stdout.splitlines()
    assert seen[0] == "999"
    if "postgres-offline" in IMAGE:
        assert not [line for line in seen if PASSWORD in line]


@own_image
def test_settings_name_the_final_directory(running: str) -> None:
    text = docker(
        "exec", running, "grep", "set in", "/var/lib/postgresql/data/postgresql.conf"
    ).stdout
    assert text.strip().endswith("# set in /var/lib/postgresql/data")
    assert (
        docker("exec", running, "ls", "-A", "/var/lib/postgresql/data").stdout.count(".first-boot")
        == 0
    )


def test_data_survive_a_new_container_and_scripts_do_not_run_again() -> None:
    with volume() as data:
        with server(data, scripts=SCRIPTS) as name:
            wait_until(lambda: answers_on_tcp(name), what="first boot")
            started = time.monotonic()
            docker("stop", "--time", "30", name)
            assert time.monotonic() - started < 15, "SIGINT ends the server at once"
            assert docker("inspect", "-f", "{{.State.ExitCode}}", name).stdout.strip() == "0", logs(
                name
            )
        with server(data, scripts=SCRIPTS, password="") as name:
            wait_until(lambda: answers_on_tcp(name), what="second boot")
            assert query(name, "SELECT count(*) FROM step") == "3"


def test_password_from_a_file() -> None:
    with (
        volume() as data,
        server(
            data,
            options=("-e", "POSTGRES_PASSWORD_FILE=/docker-entrypoint-initdb.d/secret"),
            scripts={"secret": b"from-a-file\n"},
            password="",
        ) as name,
    ):
        wait_until(lambda: answers_on_tcp(name), what="first boot")
        words = ("exec", "-e", "PGPASSWORD=from-a-file", name, "bash", "-c")
        assert (
            docker(*words, 'psql -U postgres -h "$(hostname -i)" -Atc "SELECT 1"').stdout.strip()
            == "1"
        )


def test_refuses_to_start_without_a_password() -> None:
    with volume() as data, server(data, password="") as name:
        assert exit_code(name) == 1
        assert "superuser password is not specified" in logs(name)
        assert in_volume(data, "ls -A") == ""


def test_refuses_a_password_given_twice() -> None:
    with (
        volume() as data,
        server(data, options=("-e", "POSTGRES_PASSWORD_FILE=/etc/hostname")) as name,
    ):
        assert exit_code(name) != 0
        assert "POSTGRES_PASSWORD_FILE" in logs(name)


@own_image
def test_refuses_a_directory_that_is_not_empty_and_leaves_it_alone() -> None:
    with volume() as data:
        in_volume(data, "echo precious >report.csv")
        with server(data) as name:
            assert exit_code(name) == 3
            assert "report.csv" in logs(name)
        assert in_volume(data, "ls -A; cat report.csv") == "report.csv\nprecious"


# Moments of the first boot: a line of the log after which the container is killed.
MOMENTS = (
    "creating subdirectories",
    "performing post-bootstrap",
    "syncing data to disk",
    "server started",
    "running /docker-entrypoint-initdb.d/30-shell.sh",
    "running /docker-entrypoint-initdb.d/40-slow.sh",
    "server stopped",
)


@own_image
@pytest.mark.parametrize("moment", MOMENTS)
def test_first_boot_killed_and_started_again(moment: str) -> None:
    scripts = SCRIPTS | {"40-slow.sh": b"#!/bin/bash\nsleep 1\n"}
    with volume() as data, server(data, options=("-e", "POSTGRES_DB=etl"), scripts=scripts) as name:
        wait_until(lambda: moment in logs(name), what=moment, interval_s=0.05)
        docker("kill", "--signal=KILL", name, check=False)
        docker("start", name)
        wait_until(lambda: answers_on_tcp(name), what="the second first boot")
        assert (
            query(name, "SELECT count(*) || ',' || max(number) FROM step", database="etl") == "3,3"
        )
        assert query(name, "SHOW data_directory") == "/var/lib/postgresql/data"


@own_image
def test_first_boot_cut_off_between_two_moves_is_started_again() -> None:
    with volume() as data, server(data, scripts=SCRIPTS) as name:
        wait_until(lambda: answers_on_tcp(name), what="first boot")
        docker("stop", name)
        in_volume(data, "mkdir .first-boot; mv PG_VERSION pg_wal .first-boot/")
        docker("start", name)
        wait_until(lambda: answers_on_tcp(name), what="the second first boot")
        assert query(name, "SELECT count(*) FROM step") == "3"
        assert "cut off" in logs(name)


@own_image
def test_first_boot_cut_off_after_the_last_move_is_complete() -> None:
    with volume() as data, server(data) as name:
        wait_until(lambda: answers_on_tcp(name), what="first boot")
        query(name, "CREATE TABLE precious (x int)")
        docker("stop", name)
        in_volume(data, "mkdir .first-boot")
        docker("start", name)
        wait_until(lambda: answers_on_tcp(name), what="start")
        assert query(name, "SELECT count(*) FROM precious") == "0"


@own_image
def test_failing_init_script_ends_the_boot_and_the_next_start_begins_again() -> None:
    scripts = {"10-fails.sql": b"CREATE TABLE step (x int); SELECT no_such_function();"}
    with volume() as data, server(data, scripts=scripts) as name:
        assert exit_code(name) != 0
        assert "no_such_function" in logs(name)
        put_file(name, "/docker-entrypoint-initdb.d", "10-fails.sql", b"CREATE TABLE step (x int);")
        docker("start", name)
        wait_until(lambda: answers_on_tcp(name), what="first boot")
        assert query(name, "SELECT count(*) FROM step") == "0"
