"""Find problems of the machine and the appliance, each with its cure; change nothing."""

from __future__ import annotations

import dataclasses
import datetime
import os
import shutil
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from vixtract.ops.certificates import Certificate, load_certificate
from vixtract.ops.compose import check_pair, find_compose
from vixtract.ops.console import Session
from vixtract.ops.containers import Container, last_log, list_containers
from vixtract.ops.engine import ContainerEngine, engine_error, look_at_engine
from vixtract.ops.host import Host
from vixtract.ops.instance import SERVICES, Instance
from vixtract.ops.net import Answer, ask_registry
from vixtract.ops.ports import find_taken
from vixtract.values import is_loopback

DISK_BYTES = 10 * 10**9
MEMORY_KB = 3_700_000  # a machine of 4 GiB, less what the kernel keeps
CPUS = 2
CLOCK_S = 120.0
#: When this version was written: a clock that shows an earlier time is wrong.
WRITTEN = datetime.datetime(2025, 1, 1, tzinfo=datetime.timezone.utc).timestamp()


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Args:
        level: ok, note (nothing to do), warning or serious.
        cure: what to do, or an empty text.
    """

    check: str
    level: str
    text: str
    cure: str = ""


def run_doctor(
    session: Session, instance: Instance, ask: Callable[[], Answer] = ask_registry
) -> list[Finding]:
    """Run all checks; return findings in the order in which to cure them."""
    host = session.host
    engine = look_at_engine(host)
    answer = ask()
    findings = [check_engine(engine), check_compose(host, engine)]
    findings += [check_disk(host), check_memory(host), check_cpus()]
    findings += [check_clock(answer, time.time(), instance.root), check_registry(answer)]
    findings += [check_settings(instance)]
    findings += [check_proxy(instance, answer), check_passwords(instance)]
    running = engine.state == "running"
    found = list_containers(host, instance.project) if running else {}
    findings += check_ports(instance, host, found)
    findings += check_containers(host, found)
    if "jupyter" in found and found["jupyter"].state == "running":
        findings.append(check_volumes(host, instance))
    up = {service for service, container in found.items() if container.is_up}
    if "nginx" in up:
        findings.append(check_certificate(instance, load_certificate(host, instance)))
    if "postgresql" in up:
        findings.append(check_database_tls(host, instance))
    return findings


def is_serious(findings: list[Finding]) -> bool:
    """Say whether the appliance cannot work as it is."""
    return any(finding.level == "serious" for finding in findings)


def as_json(findings: list[Finding]) -> list[dict[str, str]]:
    """Return findings as `doctor --json` prints them."""
    return [dataclasses.asdict(finding) for finding in findings]


def check_engine(engine: ContainerEngine) -> Finding:
    """Judge the container engine."""
    if engine.state == "running":
        return Finding("engine", "ok", f"container engine {engine.version} runs")
    error = engine_error(engine)
    return Finding("engine", "serious", f"{error.message} {engine.message}".strip(), error.hint)


def check_compose(host: Host, engine: ContainerEngine) -> Finding:
    """Judge compose and whether it fits the engine."""
    compose = find_compose(host)
    if compose is None:
        cure = "Run `./vixtract up --yes`, or install docker-compose-v2 or docker-compose."
        return Finding("compose", "serious", "compose is not installed", cure)
    problem = check_pair(compose, engine)
    if problem:
        cure = "Install Compose v2 (package docker-compose-v2 or docker-compose-plugin)."
        return Finding("compose", "serious", problem, cure)
    return Finding("compose", "ok", f"compose {compose.version}")


def check_settings(instance: Instance) -> Finding:
    """Judge the names in the file of settings; wrong values have stopped the command already."""
    if instance.warnings:
        cure = (
            "Correct the names, or remove the lines: docs/reference/settings.md has all settings."
        )
        return Finding("settings", "warning", "; ".join(instance.warnings), cure)
    return Finding("settings", "ok", "every name in the file of settings is known")


def check_disk(host: Host) -> Finding:
    """Judge the space where images and volumes lie."""
    asked = host.run(["docker", "info", "--format", "{{.DockerRootDir}}"], timeout_s=20)
    folder = Path(asked.stdout.strip() or "/var/lib/docker") if asked.ok else Path("/var/lib")
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.0f} GB free in {folder}"
    if free < DISK_BYTES:
        return Finding("disk", "serious", text, "Make room: 10 GB are needed. docker image prune")
    return Finding("disk", "ok", text)


def check_memory(host: Host) -> Finding:
    """Judge the memory of the machine."""
    fields = (host.root / "proc/meminfo").read_text("ascii").split("MemTotal:")[1].split()
    total = int(fields[0])
    text = f"{total / 1024**2:.1f} GiB of memory"
    if total < MEMORY_KB:
        cure = "4 GB are needed; until then lower MAX_JOBS and JOB_MEMORY_MB."
        return Finding("memory", "warning", text, cure)
    return Finding("memory", "ok", text)


def check_cpus() -> Finding:
    """Judge the number of processors that this process may use."""
    count = len(os.sched_getaffinity(0))
    if count < CPUS:
        return Finding("cpu", "warning", f"{count} processor", "Set MAX_JOBS=1, or give it 2.")
    return Finding("cpu", "ok", f"{count} processors")


def check_clock(answer: Answer, now: float, root: Path) -> Finding:
    """Judge the clock: schedules and logins depend on it.

    Args:
        now: this machine's time, seconds since 1970.
        root: repository, whose files cannot be from the future.
    """
    cure = "Set it: timedatectl set-ntp true, or install chrony."
    newest = max((path.stat().st_mtime for path in root.glob("*") if path.is_file()), default=0.0)
    if now < WRITTEN or now < newest - 86400:
        shown = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
        return Finding("clock", "serious", f"the clock shows {shown:%Y-%m-%d}, too early", cure)
    if not answer.date:
        return Finding("clock", "note", "not compared with another: no registry answers")
    try:
        apart = abs(parsedate_to_datetime(answer.date).timestamp() - now)
    except (TypeError, ValueError):
        return Finding("clock", "note", "not compared with another: the registry sent no time")
    if apart > CLOCK_S:
        return Finding("clock", "serious", f"the clock is {apart:.0f} s off", cure)
    return Finding("clock", "ok", f"the clock is {apart:.0f} s off")


def check_registry(answer: Answer) -> Finding:
    """Judge whether images can be pulled."""
    if answer.status:
        return Finding("registry", "ok", "the public registry answers")
    text = f"the public registry does not answer ({answer.problem}): images are built here"
    return Finding("registry", "note", text, "Nothing, or set HTTP_PROXY and HTTPS_PROXY.")


def check_proxy(instance: Instance, answer: Answer) -> Finding:
    """Judge proxies and whether TLS is opened on the way."""
    named = [n for n in ("HTTP_PROXY", "HTTPS_PROXY") if instance.settings[n]]
    through = f"{' and '.join(named)} set" if named else "no proxy set"
    if answer.untrusted:
        return Finding(
            "proxy",
            "serious",
            f"{through}; TLS is opened by someone whom this machine does not trust",
            "Add the proxy's certificate: copy it to /usr/local/share/ca-certificates/NAME.crt and "
            "run update-ca-certificates; builds take it along.",
        )
    bundle = ssl.get_default_verify_paths().cafile or "the system's authorities"
    return Finding("proxy", "ok", f"{through}; certificates are checked against {bundle}")


def check_passwords(instance: Instance) -> Finding:
    """Judge the passwords against the address."""
    bind = instance.settings["VIXTRACT_BIND"]
    weak = instance.settings.default_passwords()
    if not weak:
        return Finding("passwords", "ok", "no documented default is in force")
    if is_loopback(bind):
        return Finding("passwords", "ok", f"documented defaults, reachable on {bind} alone")
    return Finding(
        "passwords",
        "serious",
        f"the ports are published on {bind} with the default of {', '.join(weak)}",
        f"Run `./vixtract up --bind {bind}`, which generates passwords.",
    )


def check_ports(instance: Instance, host: Host, found: Mapping[str, Container]) -> list[Finding]:
    """Check that no other program listens on the ports of the appliance."""
    findings = []
    for name, text in find_taken(instance, host, found).items():
        option = f"--{name.lower().replace('_', '-')}"
        cure = f"Stop it, or choose another: ./vixtract up {option} NUMBER"
        findings.append(Finding("ports", "serious", text, cure))
    return findings or [Finding("ports", "ok", "the ports are free or the appliance's own")]


def check_containers(host: Host, found: Mapping[str, Container]) -> list[Finding]:
    """Judge each container."""
    if not found:
        return [Finding("services", "note", "the appliance is not started", "./vixtract up")]
    findings = []
    for service in SERVICES:
        container = found.get(service)
        if container is None:
            findings.append(Finding(service, "serious", "no container", "./vixtract up"))
        elif not container.is_up:
            lines = last_log(host, container.name, 1)
            why = container.last_check if container.health == "unhealthy" else ""
            said = why or (lines[-1] if lines else "no log")
            text = f"{container.condition}: {' '.join(said.split())[-300:]}"
            # A health check that has not failed yet only needs time.
            level = "warning" if container.health == "starting" else "serious"
            findings.append(Finding(service, level, text, f"./vixtract logs {service}"))
        else:
            findings.append(Finding(service, "ok", container.condition))
    return findings


#: Folders of the jupyter container and their owners: root, or the person of that name.
OWNERS = """
stat -c '%u %n' /srv/secrets /srv/jupyterhub /usr/local /home
stat -c '%u %n' /home/*/ 2>/dev/null || true
"""


def check_volumes(host: Host, instance: Instance) -> Finding:
    """Judge the owners of the volumes' folders, which the running jupyter container sees."""
    command = ["docker", "exec", instance.container("jupyter"), "/bin/sh", "-c", OWNERS]
    answer = host.run(command, timeout_s=30)
    if not answer.ok:
        return Finding("volumes", "warning", f"owners could not be read: {answer.last_line}")
    wrong = []
    for line in answer.stdout.splitlines():
        owner, _, name = line.partition(" ")
        is_home = name.startswith("/home/")
        if (is_home and int(owner) < 2000) or (not is_home and owner != "0"):
            wrong.append(f"{name.rstrip('/')} belongs to uid {owner}")
    if wrong:
        cure = f"Give them back: docker exec {instance.container('jupyter')} chown …"
        cure += " (root for folders of the appliance, uid 2000 or more for homes)"
        return Finding("volumes", "serious", "; ".join(wrong), cure)
    return Finding("volumes", "ok", "the volumes belong to whom they should")


def check_certificate(instance: Instance, found: Certificate | None) -> Finding:
    """Check the certificate of the web pages; the front door runs."""
    mode = instance.settings.https_mode
    if mode == "off":
        return Finding("https", "ok", "HTTPS is off, as set")
    if found is None:
        cure = "./vixtract up, and if that does not help ./vixtract logs nginx"
        return Finding("https", "serious", f"HTTPS={mode}, but nothing is served", cure)
    now = datetime.datetime.now(datetime.timezone.utc)
    text = f"{found.source}, {found.days_left(now)} days left"
    if found.problem:
        level = "serious" if found.days_left(now) < 0 else "warning"
        return Finding("https", level, f"{text}: {found.problem}", found.cure)
    return Finding("https", "ok", text)


def check_database_tls(host: Host, instance: Instance) -> Finding:
    """Check that PostgreSQL, which runs, has its certificate: BI tools need it to connect."""
    container = instance.container("postgresql")
    command = ["docker", "exec", "--user", "postgres", container, "psql", "-XAtc", "SHOW ssl"]
    answer = host.run(command, timeout_s=30)
    if answer.ok and answer.stdout.strip() == "on":
        return Finding("database", "ok", "PostgreSQL speaks TLS")
    cure = "The Hub hands its certificate over: ./vixtract logs jupyter"
    return Finding(
        "database", "serious", "PostgreSQL has no certificate: BI tools do not get in", cure
    )
