"""Every finding of the doctor, each with its cure."""

from __future__ import annotations

import datetime
import os
from email.utils import format_datetime

import pytest

from tests.unit.ops_fakes import FAILED, FakeHost, make_session
from tests.unit.test_ops_engine import AWAY, NO_CLIENT, versions
from tests.unit.test_ops_up import TCP, containers, entry
from vixtract.ops import doctor
from vixtract.ops.doctor import (
    Finding,
    as_json,
    check_clock,
    check_compose,
    check_containers,
    check_disk,
    check_engine,
    check_memory,
    check_passwords,
    check_ports,
    check_proxy,
    check_registry,
    check_volumes,
    is_serious,
    run_doctor,
)
from vixtract.ops.engine import ContainerEngine
from vixtract.ops.host import Completed
from vixtract.ops.instance import load_instance
from vixtract.ops.net import Answer, ask_registry

SILENT = Answer(problem="no such host")
NOW = datetime.datetime(2026, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize("state", ["missing", "stopped", "forbidden", "remote"])
def test_every_state_of_the_engine_has_a_cure(state):
    finding = check_engine(ContainerEngine(state, message="because"))
    assert finding.level == "serious" and finding.cure and "because" in finding.text


def test_generations_that_do_not_fit_are_found(tmp_path):
    old = {"docker compose": FAILED, "docker-compose": Completed(0, "1.29.2\n")}
    new = ContainerEngine("running", "29.0.0", (1, 52), (1, 44))
    finding = check_compose(FakeHost(tmp_path, old), new)
    assert finding.level == "serious" and "Compose v2" in finding.cure
    assert check_compose(FakeHost(tmp_path, old), ContainerEngine("running", "20.10")).level == "ok"
    assert check_compose(FakeHost(tmp_path, {"docker": FAILED}), new).level == "serious"


def test_a_full_disk_is_found(tmp_path, monkeypatch):
    host = FakeHost(tmp_path, {"docker info": Completed(0, f"{tmp_path}/not/yet\n")})
    for free, level in ((11 * 10**9, "ok"), (9 * 10**9, "serious")):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder, usage=usage: usage)
        assert check_disk(host).level == level


@pytest.mark.parametrize(("total", "level"), [(3_000_000, "warning"), (4_000_000, "ok")])
def test_little_memory_is_found(tmp_path, total, level):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal:  {total} kB\nMemFree: 1 kB\n")
    assert check_memory(FakeHost(tmp_path)).level == level


@pytest.mark.parametrize(
    ("apart", "level"), [(0, "ok"), (100, "ok"), (200, "serious"), (-7200, "serious")]
)
def test_the_clock_is_compared_with_the_registrys(tmp_path, apart, level):
    answer = Answer(401, format_datetime(NOW, usegmt=True))
    assert check_clock(answer, NOW.timestamp() + apart, tmp_path).level == level


def test_a_clock_in_the_past_is_found_without_a_registry(tmp_path):
    assert check_clock(SILENT, NOW.timestamp(), tmp_path).level == "note"
    assert check_clock(SILENT, 86400.0, tmp_path).level == "serious"
    file = tmp_path / "file"
    file.write_text("")
    os.utime(file, (NOW.timestamp(), NOW.timestamp()))
    assert check_clock(SILENT, NOW.timestamp() - 3 * 86400, tmp_path).level == "serious"
    assert check_clock(Answer(200, "nonsense"), NOW.timestamp(), tmp_path).level == "note"


def test_a_silent_registry_is_a_note_and_a_foreign_certificate_serious(tmp_path):
    instance = load_instance(tmp_path, {}, {"HTTPS_PROXY": "http://me:secret@proxy:1"})
    assert check_registry(SILENT).level == "note"
    assert check_registry(Answer(401)).level == "ok"
    finding = check_proxy(instance, Answer(problem="x", untrusted=True))
    assert finding.level == "serious" and "update-ca-certificates" in finding.cure
    assert "HTTPS_PROXY set" in finding.text and "secret" not in finding.text
    assert check_proxy(instance, Answer(401)).level == "ok"


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY"])
def test_asking_an_unreachable_registry_is_an_answer(monkeypatch, name):
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    answer = ask_registry()
    assert answer.status == 0 and answer.problem and not answer.untrusted


def test_documented_passwords_are_serious_only_where_others_reach_them(tmp_path):
    assert check_passwords(load_instance(tmp_path, {}, {})).level == "ok"
    wide = load_instance(tmp_path, {"bind": "0.0.0.0"}, {"BI_PASSWORD": "own"})
    finding = check_passwords(wide)
    assert finding.level == "serious" and "BI_PASSWORD" not in finding.text
    assert "--bind 0.0.0.0" in finding.cure


def test_taken_ports_are_named(tmp_path):
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/tcp").write_text(TCP)
    instance = load_instance(tmp_path, {"http_port": "8080"}, {})
    (finding,) = check_ports(instance, FakeHost(tmp_path), {})
    assert finding.level == "serious" and "--http-port" in finding.cure
    ports = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}
    own = containers(entry("nginx", ports=ports))
    assert check_ports(instance, FakeHost(tmp_path), own)[0].level == "ok"


def test_each_sick_container_tells_its_last_words(tmp_path):
    host = FakeHost(tmp_path, {"docker logs": Completed(0, "a\nFATAL: no space\n")})
    found = containers(
        entry("postgresql"),
        entry("jupyter", health="unhealthy", check="connection\nrefused"),
        entry("cronicle", "exited", ""),
    )
    levels = {f.check: (f.level, f.text) for f in check_containers(host, found)}
    assert levels["postgresql"] == ("ok", "running")
    assert levels["jupyter"] == ("serious", "running (unhealthy): connection refused")
    assert levels["cronicle"] == ("serious", "exited: FATAL: no space")
    assert levels["nginx"] == ("serious", "no container")
    assert check_containers(host, {})[0].level == "note"


def test_wrong_owners_of_volumes_are_found(tmp_path):
    instance = load_instance(tmp_path, {}, {})
    listing = "0 /srv/secrets\n0 /srv/jupyterhub\n0 /usr/local\n0 /home\n2000 /home/anna/\n"
    good = FakeHost(tmp_path, {"docker exec": Completed(0, listing)})
    assert check_volumes(good, instance).level == "ok"
    wrong = listing.replace("0 /srv/secrets", "1000 /srv/secrets").replace("2000", "33")
    finding = check_volumes(FakeHost(tmp_path, {"docker exec": Completed(0, wrong)}), instance)
    assert finding.level == "serious" and finding.cure
    assert finding.text == "/srv/secrets belongs to uid 1000; /home/anna belongs to uid 33"
    assert check_volumes(FakeHost(tmp_path, {"docker exec": FAILED}), instance).level == "warning"


@pytest.mark.parametrize(
    ("answer", "serious"), [(NO_CLIENT, True), (AWAY, True), (versions(), False)]
)
def test_the_whole_examination(tmp_path, answer, serious):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8000000 kB\n")
    answers = {
        "docker version": answer,
        "docker compose": Completed(0, "2.30.0"),
        "docker info": FAILED,
        "docker ps": Completed(0, ""),
    }
    session = make_session(FakeHost(tmp_path, answers))
    findings = run_doctor(session, load_instance(tmp_path, {}, {}), lambda: SILENT)
    assert is_serious(findings) == serious
    assert len({f.check for f in findings}) >= 10
    assert all(f.cure for f in findings if f.level in ("warning", "serious"))
    assert as_json([Finding("a", "ok", "b")]) == [
        {"check": "a", "level": "ok", "text": "b", "cure": ""}
    ]


@pytest.mark.parametrize("state", ["running", "exited"])
def test_the_certificates_of_what_runs_are_examined(tmp_path, monkeypatch, state):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8000000 kB\n")
    answers = {
        "docker version": versions(),
        "docker compose": Completed(0, "2.30.0"),
        "SHOW ssl": Completed(0, "off\n"),
        "docker": FAILED,
    }
    found = containers(entry("nginx", state), entry("postgresql", state))
    monkeypatch.setattr(doctor, "list_containers", lambda host, project: found)
    instance = load_instance(tmp_path, {"https": "self-signed"}, {})
    session = make_session(FakeHost(tmp_path, answers))
    findings = run_doctor(session, instance, lambda: SILENT)
    levels = {f.check: f.level for f in findings if f.check in ("https", "database")}
    serious = {"https": "serious", "database": "serious"}
    assert levels == (serious if state == "running" else {})
