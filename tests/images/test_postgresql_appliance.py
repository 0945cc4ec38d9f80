"""PostgreSQL's own image: what its entrypoint checks, writes and derives at each start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.images.docker_cli import (
    created_container,
    docker,
    exit_code,
    handed_on,
    logs,
    unique_name,
)
from tests.images.test_postgresql import HARDENED, answers_on_tcp, query, volume
from tests.own_images import own_image, postgres_base
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
IMAGE = own_image("postgresql")
DATA = "/var/lib/postgresql/data"


@contextmanager
def server(
    data: str, *options: str, image: str = IMAGE, words: Sequence[str] = ()
) -> Iterator[str]:
    """Start the image over a volume."""
    mounts = ("-v", f"{data}:{DATA}")
    settings = (*handed_on("postgresql"), "-e", "VIXTRACT_PROJECT=vixtract")
    with created_container(image, (*HARDENED, *settings, *mounts, *options), *words) as name:
        docker("start", name)
        yield name


def wait_up(container: str) -> None:
    """Wait until the server answers."""
    wait_until(lambda: answers_on_tcp(container), what="PostgreSQL answers on TCP")


@pytest.fixture(scope="module")
def data() -> Iterator[str]:
    """A volume on which one server has booted before."""
    with volume() as name:
        with server(name) as first:
            wait_up(first)
        yield name


def test_database_etl_and_the_settings_of_the_appliance(data: str) -> None:
    with server(data, "--memory=1g") as name:
        wait_up(name)
        assert query(name, "SELECT 1", database="etl") == "1"
        names = ("max_connections", "password_encryption", "data_checksums", "log_timezone")
        shown = [query(name, f"SHOW {setting}") for setting in names]
        assert shown == ["200", "scram-sha-256", "on", "UTC"]
        assert query(name, "SHOW auth_delay.milliseconds") == "500ms"


def test_memory_settings_follow_the_container_s_memory_at_each_start(data: str) -> None:
    for limit, shared, work in (("1g", "256MB", "4MB"), ("1536m", "384MB", "6MB")):
        with server(data, f"--memory={limit}") as name:
            wait_up(name)
            assert (query(name, "SHOW shared_buffers"), query(name, "SHOW work_mem")) == (
                shared,
                work,
            )


def test_what_the_operator_chose_stays(data: str) -> None:
    with server(data, "--memory=1g", words=("postgres", "-c", "shared_buffers=200MB")) as name:
        wait_up(name)
        assert query(name, "SHOW shared_buffers") == "200MB"
        query(name, "ALTER SYSTEM SET work_mem = '7MB'")
    with server(data, "--memory=1g") as name:
        wait_up(name)
        assert query(name, "SHOW work_mem") == "7MB"
        query(name, "ALTER SYSTEM RESET work_mem")


def test_a_time_zone_that_is_set_later_counts(data: str) -> None:
    for zone in ("UTC", "Europe/Moscow", "US/Pacific"):
        with server(data, "-e", f"TZ={zone}") as name:
            wait_up(name)
            assert query(name, "SHOW timezone") == zone


def test_a_time_zone_that_does_not_exist_is_refused(data: str) -> None:
    with server(data, "-e", "TZ=Europe/Moskva") as name:
        assert exit_code(name) == 3
        assert "TZ=Europe/Moskva is not the name of a time zone" in logs(name)


def test_refuses_the_documented_password_on_a_wide_address(data: str) -> None:
    with server(data, "-e", "VIXTRACT_BIND=0.0.0.0") as name:
        assert exit_code(name) == 3
        assert "./vixtract up --bind 0.0.0.0" in logs(name)


def test_refuses_data_of_another_version_and_leaves_them_alone() -> None:
    with volume() as name:
        script = f"cd {DATA}; mkdir base; echo 12 >PG_VERSION; echo x >base/1"
        look = ("run", "--rm", "--entrypoint", "bash", "-v", f"{name}:{DATA}", IMAGE, "-euc")
        docker(*look, script)
        with server(name) as container:
            assert exit_code(container) == 3
            assert "The data in the volume are of PostgreSQL 12" in logs(container)
        found = docker(
            *look, f"cd {DATA}; find . -type f | LC_ALL=C sort; cat PG_VERSION base/1"
        ).stdout
        assert found.split() == ["./PG_VERSION", "./base/1", "12", "x"]


def test_the_rules_are_written_anew_at_each_start(data: str) -> None:
    rules = (
        "SELECT type || ' ' || coalesce(address, '') FROM pg_hba_file_rules ORDER BY rule_number"
    )
    for project in ("etl1", "etl2"):
        with server(data, "-e", f"VIXTRACT_PROJECT={project}") as name:
            wait_up(name)
            found = query(name, rules).splitlines()
            assert found[0] == "local "
            assert found[-1] == f"hostssl {project}_nginx.{project}_default"
            # The Hub brings the certificate.
            problems = query(name, "SELECT DISTINCT error FROM pg_hba_file_rules WHERE error != ''")
            assert problems == "hostssl record cannot match because SSL is disabled"
            refused = docker(
                "exec", "-e", "PGPASSWORD=vixtract", name, "psql", "-h", "127.0.0.1", "-U", "postgres",
                check=False,
            )  # fmt: skip
            assert "pg_hba.conf rejects connection" in refused.stderr


def test_the_delivered_password_is_used_and_no_process_sees_it() -> None:
    secrets = unique_name("front-test-secrets")
    script = "mkdir /s/settings; echo Delivered_1 >/s/settings/POSTGRES_PASSWORD"
    try:
        docker("run", "--rm", "--entrypoint", "bash", "-v", f"{secrets}:/s", IMAGE, "-euc", script)
        options = ("-v", f"{secrets}:/srv/secrets:ro", "-e", "VIXTRACT_BIND=0.0.0.0")
        with volume() as name, server(name, *options, "-e", "POSTGRES_PASSWORD=") as container:
            wait_up(container)
            docker("restart", "--time", "30", container)
            wait_up(container)
            look = "tr '\\0' '\\n' </proc/1/environ; cat /proc/1/cmdline"
            assert (
                "Delivered_1"
                not in docker("exec", "-u", "postgres", container, "bash", "-c", look).stdout
            )
            stored = query(
                container, "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'"
            )
            assert stored.startswith("SCRAM-SHA-256$")
    finally:
        docker("volume", "rm", "--force", secrets, check=False)


def test_it_becomes_healthy_and_stops_at_once(data: str) -> None:
    with server(data) as name:
        form = "{{.State.Health.Status}}"
        wait_until(
            lambda: docker("inspect", "-f", form, name).stdout.strip() == "healthy", "health"
        )
        docker("stop", "--time", "30", name)
        assert docker("inspect", "-f", "{{.State.ExitCode}}", name).stdout.strip() == "0", logs(
            name
        )


def test_a_base_whose_data_folder_has_moved_keeps_data_in_the_volume() -> None:
    """The official images of PostgreSQL 18 and newer name a folder beside the volume."""
    moved, built = own_image("postgres-moved", "tests"), own_image("postgresql", "tests-moved")
    recipe = f"FROM {postgres_base()}\nENV PGDATA=/var/lib/postgresql/18/docker\n"
    docker("build", "-q", "-t", moved, "-", text=recipe)
    try:
        docker(
            "build", "-q", "-t", built, "--build-arg", f"POSTGRES_IMAGE={moved}",
            "-f", str(ROOT / "postgresql/Dockerfile"), str(ROOT),
            timeout_s=300,
        )  # fmt: skip
        with volume() as name, server(name, image=built) as container:
            wait_up(container)
            assert query(container, "SHOW data_directory") == DATA
    finally:
        docker("rmi", built, moved, check=False)


def test_a_base_that_cannot_work_is_named_at_the_build() -> None:
    old = own_image("postgres-old", "tests")
    docker("build", "-q", "-t", old, "-", text=f"FROM {postgres_base()}\nENV PG_MAJOR=15\n")
    try:
        done = docker(
            "build", "--build-arg", f"POSTGRES_IMAGE={old}",
            "-f", str(ROOT / "postgresql/Dockerfile"), str(ROOT),
            check=False, timeout_s=300,
        )  # fmt: skip
        assert done.returncode != 0
        assert "cannot be built on: it is not PostgreSQL 16 or newer" in done.stdout + done.stderr
    finally:
        docker("rmi", old, check=False)
