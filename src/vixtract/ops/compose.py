"""Compose in both generations: found, checked against the engine, and its commands.

Only subcommands and options that 1.29 and v2 share are used. Containers are found by their labels,
because the generations name them differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vixtract.errors import PreconditionError
from vixtract.ops.console import Session
from vixtract.ops.engine import (
    ContainerEngine,
    build_compose_packages,
    install_packages,
    list_available,
    parse_version,
)
from vixtract.ops.host import Completed, Host
from vixtract.ops.instance import Instance

FILE = "docker-compose.yml"
#: Added if CRONICLE_PORT is set: a compose file cannot leave a port out by itself.
PORT_FILE = "docker-compose.cronicle-port.yml"
#: The one API version that docker-compose 1.29.2 speaks (docker-py 5.0.3).
COMPOSE_1_API = (1, 41)
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"


@dataclass(frozen=True)
class Compose:
    """An installed compose."""

    command: tuple[str, ...]
    version: str

    @property
    def generation(self) -> int:
        """1 for docker-compose 1.29, 2 for everything newer."""
        return 1 if parse_version(self.version)[:1] == (1,) else 2


def find_compose(host: Host) -> Compose | None:
    """Return the installed compose, the plugin if there are both, or None."""
    for command in (("docker", "compose"), ("docker-compose",)):
        answer = host.run([*command, "version", "--short"], timeout_s=20)
        version = answer.stdout.strip()
        if answer.ok and parse_version(version):
            return Compose(command, version.lstrip("v"))
    return None


def check_pair(compose: Compose, engine: ContainerEngine) -> str:
    """Return why a compose does not suit an engine, or an empty string."""
    if compose.generation == 1 and engine.oldest_api > COMPOSE_1_API:
        oldest = ".".join(map(str, engine.oldest_api))
        return (
            f"docker-compose {compose.version} speaks API 1.41, but engine {engine.version} "
            f"accepts only {oldest} and newer"
        )
    return ""


def ensure_compose(session: Session, engine: ContainerEngine) -> Compose:
    """Return a compose that suits the engine; install one if there is none.

    Raises:
        PreconditionError: there is none and none can be installed.
    """
    found = find_compose(session.host)
    problem = check_pair(found, engine) if found else "compose is not installed"
    if problem:
        names = ["docker-compose-v2", "docker-compose-plugin", "docker-compose"]
        packages = build_compose_packages(list_available(session, names))
        if found and packages == ["docker-compose"] and found.command == ("docker-compose",):
            packages = []
        if packages:
            install_packages(session, packages, "compose")
            found = find_compose(session.host)
            problem = check_pair(found, engine) if found else "compose was not found"
    if problem or not found:
        raise PreconditionError(
            f"Compose and the container engine do not fit: {problem}.",
            "Install Compose v2 (package docker-compose-v2 or docker-compose-plugin).",
        )
    return found


def build_compose(compose: Compose, instance: Instance, arguments: Sequence[str]) -> list[str]:
    """Return a compose command for one appliance."""
    command = [*compose.command, "--project-name", instance.project]
    command += ["--project-directory", str(instance.root)]
    if instance.env_path.is_file():
        command += ["--env-file", str(instance.env_path)]
    files = [FILE, *([PORT_FILE] if instance.settings["CRONICLE_PORT"] else [])]
    command += [word for name in files for word in ("--file", str(instance.root / name))]
    return [*command, *arguments]


def run_compose(
    session: Session,
    compose: Compose,
    instance: Instance,
    arguments: Sequence[str],
    timeout_s: float,
) -> Completed:
    """Run compose; its output shows as progress, and stays with --debug."""
    return session.host.stream(
        build_compose(compose, instance, arguments),
        timeout_s=timeout_s,
        on_line=session.console.say if session.debug else session.console.detail,
        environment=instance.variables(),
    )


def build_up() -> list[str]:
    """Return the arguments that start all services."""
    return ["up", "--detach", "--no-build", "--remove-orphans"]


def build_down(*, volumes: bool) -> list[str]:
    """Return the arguments that remove containers and network, and all data with `volumes`."""
    options = ["--volumes"] if volumes else []
    return ["down", "--remove-orphans", *options]


def build_logs(
    services: Sequence[str], *, follow: bool, tail: str, colour: bool = True
) -> list[str]:
    """Return the arguments that show logs.

    Args:
        services: names; all services if empty.
        tail: number of lines per service, or `all`.
        colour: whether to keep colours; 1.29 writes them into files too.
    """
    options = [*(["--follow"] if follow else []), *([] if colour else ["--no-color"])]
    return ["logs", "--tail", tail, *options, *services]
