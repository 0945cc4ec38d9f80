"""The state of the appliance's containers, and waiting until they are healthy."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vixtract.errors import VixtractError
from vixtract.ops.compose import PROJECT_LABEL, SERVICE_LABEL
from vixtract.ops.console import Session
from vixtract.ops.host import Host
from vixtract.ops.instance import SERVICES

HEALTHY_S = 300.0
#: A container that restarted so often will not recover by itself.
RESTARTS = 2
UNHEALTHY_S = 60.0
REFUSED = 3


class UnhealthyError(VixtractError):
    """A service did not come up."""


@dataclass(frozen=True)
class Container:
    """One service's container.

    Args:
        state: created, running, restarting, exited, paused or dead.
        health: healthy, starting, unhealthy, or empty where the image has no check.
        started: when it started, UTC.
        restarts: how often the engine restarted it.
        ports: published ports as `address:port->port`.
        last_check: what the last health check printed.
    """

    service: str
    name: str
    state: str
    health: str
    image: str
    started: datetime.datetime
    restarts: int = 0
    exit_code: int = 0
    ports: tuple[str, ...] = ()
    last_check: str = ""

    @property
    def is_up(self) -> bool:
        """Whether it runs and its health check, if there is one, passes."""
        return self.state == "running" and self.health in ("healthy", "")

    @property
    def condition(self) -> str:
        """State and health in one word or two."""
        return f"{self.state} ({self.health})" if self.health and not self.is_up else self.state


def parse_container(entry: Mapping[str, Any]) -> Container:
    """Read one entry of `docker inspect`."""
    state = entry["State"]
    health = state.get("Health") or {}
    checks = health.get("Log") or []
    published = (entry.get("NetworkSettings") or {}).get("Ports") or {}
    ports = [
        f"{binding['HostIp']}:{binding['HostPort']}->{inner.split('/')[0]}"
        for inner, bindings in sorted(published.items())
        for binding in bindings or []
    ]
    # Nanoseconds are more than Python reads: seconds are enough.
    started = datetime.datetime.strptime(state["StartedAt"][:19], "%Y-%m-%dT%H:%M:%S")
    return Container(
        service=(entry["Config"].get("Labels") or {}).get(SERVICE_LABEL, ""),
        name=entry["Name"].lstrip("/"),
        state=state["Status"],
        health=health.get("Status", "").replace("none", ""),
        image=entry["Config"]["Image"],
        started=started.replace(tzinfo=datetime.timezone.utc),
        restarts=entry.get("RestartCount", 0),
        exit_code=state.get("ExitCode", 0),
        ports=tuple(ports),
        last_check=(checks[-1].get("Output") or "").strip() if checks else "",
    )


def list_containers(host: Host, project: str) -> dict[str, Container]:
    """Return the project's containers by service, stopped ones included."""
    label = f"label={PROJECT_LABEL}={project}"
    command = ["docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", label]
    numbers = host.run(command, timeout_s=30).stdout.split()
    if not numbers:
        return {}
    answer = host.run(["docker", "inspect", *numbers], timeout_s=30)
    # A container that vanished since the first call makes the exit code 1; the others are listed.
    entries = json.loads(answer.stdout or "[]")
    found = [parse_container(entry) for entry in entries]
    return {c.service: c for c in found if c.service}


def last_log(host: Host, container: str, lines: int = 10) -> list[str]:
    """Return the last log lines of a container."""
    answer = host.run(["docker", "logs", "--tail", str(lines), container], timeout_s=30)
    return [line for line in (answer.stdout + answer.stderr).splitlines() if line.strip()]


def judge(found: Mapping[str, Container], before: Mapping[str, int]) -> tuple[list[str], str]:
    """Return the services still to wait for, and one that will not recover by itself.

    Args:
        before: restarts of each service when the wait began.
    Returns: each service to wait for as `service (state)`; the failed service, or an empty text.
    """
    awaited = []
    for service in SERVICES:
        container = found.get(service)
        if container is None:
            awaited.append(f"{service} (absent)")
            continue
        if container.is_up:
            continue
        awaited.append(f"{service} ({container.health or container.state})")
        again = container.restarts - before.get(service, 0)
        ended = container.state in ("exited", "dead", "restarting")
        refused = ended and container.exit_code == REFUSED
        if refused or container.state in ("exited", "dead") or again >= RESTARTS:
            return awaited, service
    return awaited, ""


def wait_healthy(
    session: Session,
    project: str,
    *,
    before: Mapping[str, int],
    timeout_s: float = HEALTHY_S,
    services: Sequence[str] = SERVICES,
) -> dict[str, Container]:
    """Wait until services are up, and return the containers.

    Args:
        before: restarts of each service before the start.
    Raises:
        UnhealthyError: a service ended, keeps restarting or is not up in time; its last log lines
            were shown.
    """
    host, console = session.host, session.console
    end = host.clock() + timeout_s
    sick_since: dict[str, float] = {}
    while True:
        found = list_containers(host, project)
        awaited, failed = judge(found, before)
        awaited = [text for text in awaited if text.split()[0] in services]
        if not awaited:
            return found
        console.detail("waiting for " + ", ".join(awaited))
        for service, container in found.items():
            if container.health != "unhealthy":
                sick_since.pop(service, None)
            elif host.clock() - sick_since.setdefault(service, host.clock()) > UNHEALTHY_S:
                failed = failed or service
        if failed or host.clock() > end:
            why = "did not come up" if failed else f"is not up after {timeout_s:.0f} s"
            raise _unhealthy(session, found, failed or awaited[0].split()[0], why)
        host.sleep(1)


def _unhealthy(
    session: Session, found: Mapping[str, Container], service: str, why: str
) -> UnhealthyError:
    container = found.get(service)
    state = container.condition if container else "absent"
    lines = last_log(session.host, container.name) if container else []
    if container and container.last_check:
        lines.append(f"health check: {container.last_check}")
    for line in lines:
        session.console.say(f"  {service}: {line}")
    return UnhealthyError(
        f"{service} {why}; it is {state}.",
        f"Look at: ./vixtract logs {service}   and: ./vixtract doctor",
    )
