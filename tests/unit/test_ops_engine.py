"""The container engine: judged, installed, started, also after an unclean death."""

from __future__ import annotations

import json

import pytest

from tests.unit.ops_fakes import FAILED, OK, FakeHost, make_session
from vixtract.errors import PreconditionError
from vixtract.ops.compose import (
    Compose,
    build_compose,
    build_down,
    build_logs,
    build_up,
    check_pair,
    ensure_compose,
    find_compose,
)
from vixtract.ops.engine import (
    ContainerEngine,
    build_engine_packages,
    ensure_engine,
    install_packages,
    parse_version,
    read_available,
    read_engine,
)
from vixtract.ops.host import Completed
from vixtract.ops.instance import load_instance
from vixtract.ops.stale import find_process, find_stale_files, remove_stale_files


def versions(server="20.10.24+dfsg1", api="1.41", oldest="1.12"):
    body = {"Server": {"Version": server, "ApiVersion": api, "MinAPIVersion": oldest}}
    return Completed(0, json.dumps({"Client": {"Version": "28.2.2"}, **body}) + "\n")


AWAY = Completed(
    1, '{"Client":{"Version":"28"},"Server":null}\n', "Cannot connect to the Docker daemon at …"
)
NO_CLIENT = Completed(127, "", "docker: program not found")
POLICY = """docker.io:
  Installed: (none)
  Candidate: 20.10
  Version table:
     20.10 500
docker-cli:
  Installed: (none)
  Candidate: (none)
iptables:
  Candidate: 1.8
ca-certificates:
  Candidate: 2023
docker-compose:
  Candidate: 1.29.2-3
"""


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("20.10.24+dfsg1", (20, 10, 24)), ("v2.26.1-4", (2, 26, 1)), ("1.41", (1, 41)), ("dev", ())],
)
def test_versions_are_read(text, numbers):
    assert parse_version(text) == numbers


@pytest.mark.parametrize(
    ("answer", "has_daemon", "remote", "state"),
    [
        (versions(), True, False, "running"),
        (AWAY, True, False, "stopped"),
        (AWAY, False, False, "missing"),
        (NO_CLIENT, True, False, "missing"),
        (AWAY, False, True, "remote"),
        (Completed(1, "", "permission denied while trying to connect"), True, False, "forbidden"),
        (Completed(124, "", "docker did not answer within 20 s"), True, False, "stopped"),
    ],
)
def test_the_state_of_the_engine(answer, has_daemon, remote, state):
    assert read_engine(answer, has_daemon=has_daemon, remote=remote).state == state


def test_packages_of_each_distribution():
    common = {"docker.io", "iptables", "ca-certificates", "docker-compose"}
    assert build_engine_packages(common) == [
        "docker.io", "iptables", "ca-certificates", "docker-compose",
    ]  # fmt: skip
    assert build_engine_packages(common | {"docker-cli"})[1] == "docker-cli"
    ubuntu = build_engine_packages(common | {"docker-compose-v2"})
    assert ubuntu[-1] == "docker-compose-v2" and "docker-compose" not in ubuntu
    assert "docker-cli" not in read_available(POLICY)
    assert "docker-compose" in read_available(POLICY)


def bare_machine(tmp_path, after):
    """A machine with apt and without an engine; ``after`` are the answers once installed."""
    host = FakeHost(tmp_path, programs=["apt-get", "apt-cache", "sudo"])

    def install(arguments):
        host.programs |= {"dockerd", "docker-compose"}
        host.answers[r"^docker version"] = after
        return OK

    host.answers = {
        r"^docker version": NO_CLIENT,
        r"^docker compose": NO_CLIENT,
        r"apt-get .*update": OK,
        r"apt-cache policy": Completed(0, POLICY),
        r"apt-get .*install": install,
        r"systemctl start docker": OK,
        r"^mount -t cgroup2": OK,
    }
    return host


def test_a_bare_machine_gets_an_engine(tmp_path):
    host = bare_machine(tmp_path, [AWAY, AWAY, versions()])
    session = make_session(host, yes=True)
    assert ensure_engine(session).version == "20.10.24+dfsg1"
    (install,) = host.called("install")
    assert install.endswith(
        "docker.io iptables ca-certificates docker-compose"
    ) and install.startswith("env DEBIAN_FRONTEND=noninteractive apt-get")
    assert host.spawned == [["/usr/bin/dockerd"]], "without systemd it is started by hand"
    assert host.called("mount -t cgroup2"), "and without an init system nobody mounts the cgroups"


def test_systemd_starts_the_engine_where_it_runs(tmp_path):
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    host = bare_machine(tmp_path, [AWAY, versions()])
    ensure_engine(make_session(host, yes=True))
    assert host.called("systemctl start docker") and not host.spawned


def test_nothing_is_installed_without_consent(tmp_path):
    host = bare_machine(tmp_path, versions())
    with pytest.raises(PreconditionError) as caught:
        ensure_engine(make_session(host))
    assert caught.value.exit_code == 3
    assert "docker.io" in caught.value.message and "--yes" in caught.value.hint
    assert not host.called("install")


def test_an_engine_of_someone_else_is_not_touched(tmp_path):
    denied = Completed(1, "", "permission denied while trying to connect to the Docker daemon")
    host = FakeHost(tmp_path, {"docker version": denied}, programs=["dockerd"])
    with pytest.raises(PreconditionError, match="may not be used") as caught:
        ensure_engine(make_session(host, yes=True))
    assert "docker group" in caught.value.hint or "usermod" in caught.value.hint
    remote = FakeHost(tmp_path, {"docker version": AWAY}, environment={"DOCKER_HOST": "tcp://h:1"})
    with pytest.raises(PreconditionError, match="does not run"):
        ensure_engine(make_session(remote, yes=True))
    assert remote.calls == ["docker version --format {{json .}}"]


def test_a_daemon_that_ends_at_once_is_reported_with_its_last_words(tmp_path):
    (tmp_path / "var/log").mkdir(parents=True)
    (tmp_path / "var/log/dockerd.log").write_text("info\nfailed to start: no iptables\n\n")
    host = FakeHost(tmp_path, {"docker version": AWAY, "mount": OK}, programs=["dockerd"])
    host.exit_code = 1
    with pytest.raises(PreconditionError, match="ended with code 1: failed to start: no iptables"):
        ensure_engine(make_session(host, yes=True))


def test_waiting_for_the_daemon_has_a_deadline(tmp_path):
    host = FakeHost(tmp_path, {"docker version": AWAY, "mount": OK}, programs=["dockerd"])
    with pytest.raises(PreconditionError, match="does not answer"):
        ensure_engine(make_session(host, yes=True))
    assert 90 <= host.now < 100


def process(root, number, name, state="S"):
    folder = root / "proc" / str(number)
    folder.mkdir(parents=True)
    (folder / "stat").write_text(f"{number} ({name}) {state} 1 1")


def leftovers(root, daemon="77", containerd="78"):
    """Lay out what a killed dockerd leaves in /run."""
    run = root / "var/run"
    task = run / "docker/containerd/daemon/io.containerd.runtime.v2.task/moby/c1"
    runc = run / "docker/runtime-runc/moby/c1"
    for folder in (task, runc):
        folder.mkdir(parents=True)
        (folder / "state.json").write_text("{}")
    (run / "docker.pid").write_text(daemon)
    (run / "docker/containerd/containerd.pid").write_text(containerd)
    (run / "docker/containerd/containerd.sock").write_text("")
    return run


def test_leftovers_of_a_dead_daemon_go(tmp_path):
    run = leftovers(tmp_path)
    # Number 77 belongs to somebody else now, 78 to nobody: dockerd would refuse to start.
    process(tmp_path, 77, "nginx: (worker)")
    stale = find_stale_files(tmp_path)
    assert {p.relative_to(run).as_posix() for p in stale} == {
        "docker.pid",
        "docker/containerd/containerd.pid",
        "docker/containerd/containerd.sock",
        "docker/containerd/daemon/io.containerd.runtime.v2.task/moby/c1",
        "docker/runtime-runc/moby/c1",
    }
    assert remove_stale_files(stale) == 5
    assert find_stale_files(tmp_path) == []


def test_nothing_goes_while_a_daemon_lives(tmp_path):
    leftovers(tmp_path)
    process(tmp_path, 77, "dockerd")
    assert find_process(tmp_path, "dockerd") == 77
    assert find_stale_files(tmp_path) == []


def test_a_zombie_is_dead(tmp_path):
    leftovers(tmp_path)
    process(tmp_path, 77, "dockerd", "Z")
    assert any(path.name == "docker.pid" for path in find_stale_files(tmp_path))


def test_state_of_containers_that_still_run_stays(tmp_path):
    run = leftovers(tmp_path)
    process(tmp_path, 78, "containerd")
    process(tmp_path, 90, "containerd-shim")
    assert find_stale_files(tmp_path) == [run / "docker.pid"]


def test_state_with_a_mounted_file_system_stays(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("../run")
    leftovers(tmp_path)
    (tmp_path / "proc").mkdir()
    task = "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/c1"
    (tmp_path / "proc/mounts").write_text(f"proc /proc proc rw\noverlay {task}/rootfs overlay rw\n")
    names = [path.as_posix() for path in find_stale_files(tmp_path)]
    assert not any(name.endswith(task) for name in names)
    assert any(name.endswith("runtime-runc/moby/c1") for name in names)


def test_a_start_clears_leftovers_first(tmp_path):
    run = leftovers(tmp_path)
    (tmp_path / "proc").mkdir()
    host = FakeHost(
        tmp_path, {"docker version": [AWAY, versions()], "mount": OK}, programs=["dockerd"]
    )
    session = make_session(host, yes=True)
    ensure_engine(session)
    assert not (run / "docker.pid").exists()
    assert "removed 5 leftovers" in " ".join(session.console.details)


def test_packages_are_installed_where_the_package_lists_are_empty_or_old(tmp_path):
    answers = {"update": OK, "install": [Completed(100, "E: Unable to locate package slapd"), OK]}
    host = FakeHost(tmp_path, answers, programs=["apt-get"])
    install_packages(make_session(host, yes=True), ["slapd"], "the contract tests")
    assert [line.split()[-1] for line in host.calls] == ["slapd", "update", "slapd"]
    host.answers["install"] = FAILED
    with pytest.raises(PreconditionError, match="could not install slapd"):
        install_packages(make_session(host, yes=True), ["slapd"], "the contract tests")


def test_compose_of_both_generations_is_found(tmp_path):
    plugin = FakeHost(tmp_path, {"docker compose": Completed(0, "2.26.1\n")})
    assert find_compose(plugin) == Compose(("docker", "compose"), "2.26.1")
    old = FakeHost(tmp_path, {"docker compose": FAILED, "docker-compose": Completed(0, "1.29.2\n")})
    found = find_compose(old)
    assert found == Compose(("docker-compose",), "1.29.2") and found.generation == 1
    assert find_compose(FakeHost(tmp_path, {"docker": FAILED})) is None


OLD = Compose(("docker-compose",), "1.29.2")
NEW_ENGINE = ContainerEngine("running", "29.0.1", (1, 52), (1, 44))


def test_an_old_compose_does_not_fit_a_new_engine():
    assert "1.44" in check_pair(OLD, NEW_ENGINE)
    assert check_pair(OLD, ContainerEngine("running", "20.10", (1, 41), (1, 12))) == ""
    assert check_pair(Compose(("docker", "compose"), "2.30.0"), NEW_ENGINE) == ""


def test_a_pair_that_does_not_fit_ends_with_the_cure(tmp_path):
    answers = {
        "docker compose": FAILED,
        "docker-compose version": Completed(0, "1.29.2\n"),
        "apt-get .*update": OK,
        "apt-cache": Completed(0, "docker-compose:\n  Candidate: 1.29\n"),
    }
    host = FakeHost(tmp_path, answers, programs=["apt-get", "apt-cache"])
    with pytest.raises(PreconditionError) as caught:
        ensure_compose(make_session(host, yes=True), NEW_ENGINE)
    assert "do not fit" in caught.value.message and "Compose v2" in caught.value.hint


def test_missing_compose_is_installed(tmp_path):
    answers = {
        "docker compose": [FAILED, Completed(0, "2.30.3")],
        "docker-compose version": FAILED,
        "apt-get .*update": OK,
        "apt-cache": Completed(0, "docker-compose-v2:\n  Candidate: 2.30\n"),
        "install": OK,
    }
    host = FakeHost(tmp_path, answers, programs=["apt-get", "apt-cache"])
    assert ensure_compose(make_session(host, yes=True), NEW_ENGINE).version == "2.30.3"
    assert host.called("install")[0].endswith(" docker-compose-v2")


def test_compose_commands(tmp_path):
    instance = load_instance(tmp_path, {"project": "p1"}, {})
    instance.keep()
    assert build_compose(OLD, instance, build_up()) == [
        "docker-compose", "--project-name", "p1", "--project-directory", str(tmp_path),
        "--env-file", str(tmp_path / ".vixtract/p1.env"),
        "--file", str(tmp_path / "docker-compose.yml"),
        "up", "--detach", "--no-build", "--remove-orphans",
    ]  # fmt: skip
    default = load_instance(tmp_path, {}, {})
    assert "--env-file" not in build_compose(OLD, default, [])
    assert build_down(volumes=False) == ["down", "--remove-orphans"]
    assert build_down(volumes=True)[-1] == "--volumes"
    assert build_logs(["nginx"], follow=True, tail="5") == [
        "logs", "--tail", "5", "--follow", "nginx",
    ]  # fmt: skip
