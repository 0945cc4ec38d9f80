"""PostgreSQL's entrypoint, function by function, and the rules that it writes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENTRYPOINT = ROOT / "postgresql/vixtract-postgresql"
RULES = ROOT / "postgresql/pg_hba.conf"


def call(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script that knows the entrypoint's functions."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PG_MAJOR": "17", **variables}
    return subprocess.run(
        ["bash", "-c", f'source "$1"; {script}', "test", str(ENTRYPOINT)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("missing", ["TZ", "VIXTRACT_BIND", "VIXTRACT_PROJECT"])
def test_it_does_not_start_without_a_setting(missing):
    settings = {"TZ": "UTC", "VIXTRACT_BIND": "127.0.0.1", "VIXTRACT_PROJECT": "vixtract"}
    assert call("require_settings", **settings).returncode == 0
    for change in ({}, {missing: ""}):
        rest = {name: value for name, value in settings.items() if name != missing}
        done = call("require_settings", **rest, **change)
        assert done.returncode == 3
        assert f"without {missing}." in done.stderr and "docker-compose.yml" in done.stderr


def settings_for(memory: int, *arguments: str, data: Path = Path("/nowhere")) -> dict[str, str]:
    """Return the settings that the entrypoint derives from an amount of memory in MB."""
    words = " ".join(f"'{word}'" for word in arguments)
    script = f'settings=(); add_memory_settings {memory} {words}; printf "%s\\n" "${{settings[@]}}"'
    done = call(script, PGDATA=str(data))
    assert done.returncode == 0, done.stderr
    return dict(line.split("=") for line in done.stdout.split())


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.8.0.1", "localhost", "::1", "[::1]"])
def test_the_documented_password_is_for_loopback(bind):
    done = call("refuse_documented_password", VIXTRACT_BIND=bind, POSTGRES_PASSWORD="vixtract")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_the_documented_password_is_refused_on_a_wider_address(bind, tmp_path):
    done = call("refuse_documented_password", VIXTRACT_BIND=bind, POSTGRES_PASSWORD="vixtract")
    assert done.returncode == 3
    assert f"./vixtract up --bind {bind}" in done.stderr
    file = tmp_path / "password"
    file.write_text("vixtract\n")
    by_file = {"VIXTRACT_BIND": bind, "POSTGRES_PASSWORD_FILE": str(file)}
    assert call("refuse_documented_password", **by_file).returncode == 3
    file.write_text("Correct-Horse_7\n")
    assert call("refuse_documented_password", **by_file).returncode == 0


def test_the_password_is_the_set_the_delivered_or_the_documented_one(tmp_path):
    show = 'choose_password; echo "${POSTGRES_PASSWORD:-}|${POSTGRES_PASSWORD_FILE:-}"'
    secret = tmp_path / "secret"
    script = f"secret={secret}; {show}"
    assert call(script, POSTGRES_PASSWORD="own").stdout == "own|\n"
    assert call(script, POSTGRES_PASSWORD_FILE="/own").stdout == "|/own\n"
    assert call(script, POSTGRES_PASSWORD="").stdout == "vixtract|\n"
    secret.write_text("delivered")
    assert call(script, POSTGRES_PASSWORD="").stdout == f"|{secret}\n"


def test_data_of_another_version_are_refused(tmp_path):
    assert call("refuse_other_version", PGDATA=str(tmp_path)).returncode == 0
    (tmp_path / "PG_VERSION").write_text("17\n")
    assert call("refuse_other_version", PGDATA=str(tmp_path)).returncode == 0
    done = call("refuse_other_version", PGDATA=str(tmp_path), PG_MAJOR="18")
    assert done.returncode == 3
    assert "PostgreSQL 17; this image is PostgreSQL 18" in done.stderr


@pytest.mark.parametrize(
    ("zone", "code"), [("UTC", 0), ("Europe/Moskva", 3), ("../../etc/passwd", 3), ("Europe", 3)]
)
def test_a_zone_is_one_that_exists(zone, code):
    done = call("refuse_unknown_zone", TZ=zone)
    assert done.returncode == code, done.stderr
    assert ("Europe/Moscow" in done.stderr) is bool(code)


@pytest.mark.parametrize(
    ("memory", "shared", "work"), [(256, "128MB", "4MB"), (4096, "1024MB", "16MB"), (65536, "16384MB", "256MB")]
)  # fmt: skip
def test_memory_settings_follow_the_memory(memory, shared, work):
    found = settings_for(memory)
    assert (found["shared_buffers"], found["work_mem"]) == (shared, work)
    assert sorted(found) == [
        "effective_cache_size", "maintenance_work_mem", "shared_buffers", "work_mem",
    ]  # fmt: skip
    assert 64 <= int(found["maintenance_work_mem"].removesuffix("MB")) <= 1024


def test_memory_settings_that_the_operator_chose_stay(tmp_path):
    assert "work_mem" not in settings_for(4096, "-c", "work_mem=1GB")
    assert "work_mem" not in settings_for(4096, "--work_mem=1GB")
    assert "work_mem" in settings_for(4096, "-c", "maintenance_work_mem=1GB")
    # What initdb writes by itself does not count as chosen.
    conf = tmp_path / "postgresql.conf"
    conf.write_text("shared_buffers = 128MB\t\t\t# min 128kB\n#work_mem = 4MB\t\t# min 64kB\n")
    assert len(settings_for(4096, data=tmp_path)) == 4
    conf.write_text("shared_buffers = 512MB\n  work_mem = 8MB\n")
    assert not {"shared_buffers", "work_mem"} & set(settings_for(4096, data=tmp_path))
    (tmp_path / "postgresql.auto.conf").write_text("effective_cache_size = '1GB'\n")
    assert "effective_cache_size" not in settings_for(4096, data=tmp_path)


@pytest.mark.parametrize(
    ("file", "limit", "memory"),
    [
        ("memory.max", "2147483648", 2048),
        ("memory.max", "max", 4000),
        ("memory/memory.limit_in_bytes", "1073741824", 1024),
        ("memory/memory.limit_in_bytes", "9223372036854771712", 4000),
        ("memory.max", "8000000000", 4000),
        ("", "", 4000),
    ],
)
def test_memory_is_the_container_s_limit_or_half_the_machine_s(tmp_path, file, limit, memory):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:        8192000 kB\nMemFree: 1 kB\n")
    if file:
        path = tmp_path / "sys/fs/cgroup" / file
        path.parent.mkdir(parents=True)
        path.write_text(limit + "\n")
    assert call(f"memory_mb {tmp_path}").stdout == f"{memory}\n"


def test_the_rules_get_the_project_s_name_and_the_data_s_place(tmp_path):
    script = f"rules={ROOT}/postgresql; configuration={tmp_path}/made; write_rules"
    done = call(script, VIXTRACT_PROJECT="etl2", PGDATA="/var/lib/postgresql/data")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "made/pg_hba.conf").read_text()
    assert "@" not in text
    assert "etl2_jupyter.etl2_default" in text and "etl2_nginx.etl2_default" in text
    assert re.search(
        r"^include_if_exists +/var/lib/postgresql/data/pg_hba\.site\.conf$", text, re.M
    )


def test_the_superuser_is_rejected_before_any_other_line_for_the_network():
    lines = RULES.read_text(encoding="utf-8").splitlines()
    rules = [line.split() for line in lines if line and not line.startswith("#")]
    assert [rule[:3] for rule in rules if rule[0] == "local"] == [["local", "all", "postgres"]]
    network = [rule for rule in rules if rule[0] != "local"]
    assert network[0] == ["host", "all", "postgres", "all", "reject"]
    # From outside over TLS alone, and no line for everybody.
    assert [rule[0] for rule in network if "nginx" in " ".join(rule)] == ["hostssl"]
    assert not [rule for rule in network if rule[3:4] == ["all"] and rule[-1] != "reject"]
