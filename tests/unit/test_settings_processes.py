"""Who reads which setting, and how settings reach processes: from the table alone."""

from __future__ import annotations

import pytest

from vixtract.errors import SettingsError
from vixtract.runner.config import load_config
from vixtract.settings import (
    HANDED_ON,
    Settings,
    build_environment,
    build_people_environment,
    list_defaults,
    list_read,
)
from vixtract.settings_table import SETTINGS
from vixtract.values import CHECKS


def test_every_row_has_a_check_and_readers_that_exist():
    processes = {*HANDED_ON, "compose", "build", "ops"}
    for row in SETTINGS:
        assert row.kind in CHECKS or (row.kind == "choice" and row.choices), row.name
        assert row.readers and row.readers <= processes, row.name
    started = {name for names in HANDED_ON.values() for name in names}
    assert started <= set(HANDED_ON)


def test_a_process_that_lacks_a_setting_stops_with_its_name():
    given = list_defaults("appliance-runner")
    assert Settings.for_process("appliance-runner", given).integer("JOB_PROCESSES") == 1024
    rest = {k: v for k, v in given.items() if k not in ("DISK_FLOOR_MB", "WORKERS")}
    # An empty value is one only where the default is empty.
    for more, missing in (
        ({}, {"DISK_FLOOR_MB", "WORKERS"}),
        ({"DISK_FLOOR_MB": "", "WORKERS": ""}, {"DISK_FLOOR_MB"}),
    ):
        with pytest.raises(SettingsError) as caught:
            Settings.for_process("appliance-runner", {**rest, **more})
        named = {name for name in given if name in caught.value.message}
        assert named == missing
        assert "docker-compose.yml of this version" in caught.value.hint
        assert caught.value.exit_code == 3


def test_a_process_reads_no_setting_that_the_table_does_not_give_it():
    settings = Settings.for_process("labs", list_defaults("labs"))
    with pytest.raises(KeyError):
        settings["TZ"]


def test_processes_check_values_too():
    with pytest.raises(SettingsError, match="Europe/Moscow"):
        Settings.for_process("portal", {**list_defaults("portal"), "TZ": "Europe/Moskva"})


def test_a_process_is_handed_what_it_reads_and_hands_on_and_nothing_else():
    everything = {row.name: f"value of {row.name}" for row in SETTINGS}
    everything |= {
        "PATH": "/usr/local/bin",
        "LD_PRELOAD": "x",
        "SSL_CERT_FILE": "/ca",
        "LANG": "ru",
    }
    engine = build_environment("engine", everything, HOME="/opt/cronicle")
    assert set(engine) == {"PATH", "LANG", "HOME", "SSL_CERT_FILE", *list_read("engine")}
    assert engine["HOME"] == "/opt/cronicle" and engine["LANG"] == "C.UTF-8"
    assert engine["PATH"] == "/usr/sbin:/usr/bin:/sbin:/bin"
    runner = build_environment("appliance-runner", everything)
    assert {"JOB_PROCESSES", "DISK_FLOOR_MB", "PIP_INDEX_URL", "TZ"} <= set(runner)
    assert not {name for name in runner if "PASSWORD" in name}


def test_the_hub_gets_no_password_that_it_has_no_use_for():
    unread = {"HUB_ADMIN_PASSWORD", "CRONICLE_ADMIN_PASSWORD", "POSTGRES_PASSWORD", "SMTP_PASSWORD"}
    assert unread.isdisjoint(list_read("hub"))
    assert {"HUB_ADMIN_PASSWORD", "BI_PASSWORD"} <= set(list_read("jupyter"))


def test_a_file_of_a_secret_is_handed_on_where_there_is_no_value():
    given = {
        "BI_PASSWORD": "",
        "BI_PASSWORD_FILE": "/run/bi",
        "HUB_ADMIN_PASSWORD_FILE": "/run/hub",
    }
    assert build_environment("hub", given)["BI_PASSWORD_FILE"] == "/run/bi"
    assert "HUB_ADMIN_PASSWORD_FILE" not in build_environment("hub", given)
    both = {**given, "BI_PASSWORD": "read-already"}
    assert "BI_PASSWORD_FILE" not in build_environment("hub", both)


def test_a_worker_reads_all_that_the_runner_of_an_appliance_reads():
    assert set(list_read("runner")) <= set(list_read("worker"))
    assert {"JOB_PROCESSES", "DISK_FLOOR_MB", "POSTGRES_HOST"} <= set(list_read("worker"))
    assert "WORKERS" not in list_read("worker"), "a worker sends no run on"


@pytest.mark.parametrize("container", ["cronicle", "worker"])
def test_limits_reach_the_runner_of_the_appliance_and_of_a_worker(container):
    given = {
        **list_defaults(container),
        "JOB_PROCESSES": "77",
        "DISK_FLOOR_MB": "5",
        "WORKERS": "w1",
    }
    given |= {"POSTGRES_HOST": "etl.example.com", "POSTGRES_PORT": "15432"}
    process, more = ("worker-runner", {"RUNNER_IS_WORKER": "1"})
    if container == "cronicle":
        process, more = ("appliance-runner", {})
    config = load_config(build_environment(process, given, **more))
    assert (config.processes, config.disk_floor_mb) == (77, 5)
    assert config.is_worker is (container == "worker")
    expected = (("w1", 3013),) if container == "cronicle" else ()
    assert config.workers == expected
    address = ("postgresql", 5432) if container == "cronicle" else ("etl.example.com", 15432)
    assert config.postgresql == address


@pytest.mark.parametrize("process", ["lab", "job"])
def test_peoples_processes_get_proxies_as_every_program_reads_them(process):
    given = {**list_defaults(process), "HTTPS_PROXY": "http://proxy:3128", "SSL_CERT_FILE": "/ca"}
    found = build_people_environment(process, given)
    assert found["https_proxy"] == found["HTTPS_PROXY"] == "http://proxy:3128"
    assert "postgresql" in found["no_proxy"].split(",") and found["no_proxy"] == found["NO_PROXY"]
    assert found["SSL_CERT_FILE"] == "/ca" and "" not in found.values()
    plain = build_people_environment(process, list_defaults(process))
    assert not {name for name in plain if "proxy" in name.lower()} and plain["TZ"] == "UTC"
