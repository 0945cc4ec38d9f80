"""What a start does, step by step; a second one finds everything done and takes seconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vixtract.credentials import generate_password, is_scram_of, scram_verifier
from vixtract.errors import PreconditionError, SettingsError, VixtractError
from vixtract.ops.compose import (
    PROJECT_LABEL,
    Compose,
    build_up,
    ensure_compose,
    find_compose,
    run_compose,
)
from vixtract.ops.console import Session
from vixtract.ops.containers import list_containers, wait_healthy
from vixtract.ops.deliver import READERS, deliver_secrets
from vixtract.ops.engine import ContainerEngine, engine_error, ensure_engine, look_at_engine
from vixtract.ops.host import Host
from vixtract.ops.instance import Instance
from vixtract.ops.ports import PUBLISHED, find_taken
from vixtract.ops.provision import Supply, ensure_images
from vixtract.settings_table import BY_NAME
from vixtract.values import is_loopback

COMPOSE_S = 600.0
RESTART_S = 120.0
OPERATOR = ("/opt/jupyterhub/bin/python", "-I", "-m", "vixtract.hub.operator")


class StartError(VixtractError):
    """Compose could not start the services."""


@dataclass(frozen=True)
class Started:
    """The result of a start: the appliance with its final settings, and generated passwords."""

    instance: Instance
    passwords: Mapping[str, str] = field(repr=False)
    engine: str
    reason: str
    seconds: float


def choose_engine(
    requested: str, cronicle_image: str, *, has: Callable[[str], bool], pull: Callable[[str], bool]
) -> tuple[str, str]:
    """Choose the scheduler's engine.

    Args:
        cronicle_image: image that Cronicle is taken from.
        has: returns whether this machine has an image.
        pull: tries to pull an image and returns whether it is here now.
    Returns: the engine, and the reason in a few words.
    Raises:
        PreconditionError: Cronicle was requested, and its image is absent and cannot be pulled.
    """
    if requested == "embedded":
        return "embedded", "as set"
    if has(cronicle_image):
        return "cronicle", f"{cronicle_image} is here"
    if pull(cronicle_image):
        return "cronicle", f"{cronicle_image} was pulled"
    if requested == "cronicle":
        raise PreconditionError(
            f"Cronicle's image {cronicle_image} is not here and cannot be pulled.",
            "Load it (docker load), set CRONICLE_IMAGE, or use --engine embedded: same REST calls.",
        )
    return "embedded", f"{cronicle_image} is not here and cannot be pulled"


def find_present_engine(host: Host, instance: Instance) -> str:
    """Return the engine of an existing appliance, or an empty string if there is none yet.

    The container of the scheduler names it. If the container is gone and the schedules are still
    there, it is the default engine: had it been the other, the settings would name it.
    """
    form = "{{range .Config.Env}}{{println .}}{{end}}"
    command = ["docker", "inspect", "--format", form, instance.container("cronicle")]
    found = re.search(r"^VIXTRACT_ENGINE=(\w+)$", host.run(command, timeout_s=30).stdout, re.M)
    if found:
        return found.group(1)
    volume = f"{instance.project}_cronicle-data"
    kept = host.run(["docker", "volume", "inspect", volume], timeout_s=30).ok
    return BY_NAME["VIXTRACT_ENGINE"].default if kept else ""


def settle_engine(
    session: Session, instance: Instance, supply: Supply, asked: str
) -> tuple[str, str]:
    """Choose the engine, and ask before schedules move from one engine to the other.

    Args:
        asked: auto, cronicle or embedded; empty for the engine of the settings.
    Returns: the engine, and the reason in a few words.
    """
    if not asked:
        is_set = instance.is_set("VIXTRACT_ENGINE", session.host.environment)
        asked = instance.settings["VIXTRACT_ENGINE"] if is_set else "auto"
    present = find_present_engine(session.host, instance)
    if asked == "auto" and present:
        return present, "as before; --engine switches"
    image = instance.settings["CRONICLE_IMAGE"]
    chosen, reason = choose_engine(asked, image, has=supply.has, pull=supply.pull)
    if present and chosen != present:
        session.agree(
            f"Switch the scheduler's engine from {present} to {chosen}: schedules and history are "
            "taken over, and running jobs end",
            f"Run it with --engine {present} to stay, or add --yes.",
        )
    return chosen, reason


def require_running(session: Session) -> tuple[ContainerEngine, Compose]:
    """Return engine and compose if they run already; this changes nothing.

    Raises:
        PreconditionError: the engine does not run, or compose is missing.
    """
    engine = look_at_engine(session.host)
    if engine.state != "running":
        raise engine_error(engine)
    compose = find_compose(session.host)
    if compose is None:
        raise PreconditionError("Compose is not installed.", "Run: ./vixtract up --yes")
    return engine, compose


def run_up(session: Session, instance: Instance, requested_engine: str = "") -> Started:
    """Bring the appliance up.

    Args:
        requested_engine: auto, cronicle or embedded; empty for the engine of the settings.
    Raises:
        VixtractError: the start failed; message and hint say why and what to do.
    """
    host = session.host
    start = host.clock()
    check_ports_differ(instance)
    engine = ensure_engine(session)
    compose = ensure_compose(session, engine)
    supply = Supply(session, instance)
    chosen, reason = settle_engine(session, instance, supply, requested_engine)
    volumes = list_volumes(session, instance)
    check_ports_free(session, instance)
    passwords = build_passwords(instance)
    instance = instance.changed({**passwords, **engine_settings(instance, chosen)})
    ensure_images(session, instance, supply)
    # Stored before a service starts with them: a lost password would lock everybody out.
    instance.keep()
    # Again: during minutes of building another program may have taken a port.
    check_ports_free(session, instance)
    running = [name for name in list_containers(host, instance.project) if name in READERS]
    changed = deliver_secrets(session, instance)
    compose_up(session, compose, instance)
    if changed and running:
        # They read their secrets when they start.
        restart = ["docker", "restart", *map(instance.container, running)]
        host.run(restart, timeout_s=RESTART_S)
    found = list_containers(host, instance.project)
    before = {service: container.restarts for service, container in found.items()}
    wait_healthy(session, instance.project, before=before, services=("postgresql",))
    ensure_postgres_password(session, instance)
    wait_healthy(session, instance.project, before=before)
    if "HUB_ADMIN_PASSWORD" in passwords and f"{instance.project}_jupyter-data" in volumes:
        set_hub_password(session, instance)
    return Started(instance, passwords, chosen, reason, host.clock() - start)


def engine_settings(instance: Instance, engine: str) -> dict[str, str]:
    """Return the settings that an engine needs; an image that the operator made stays."""
    own = {"embedded": "cronicle", "cronicle": "cronicle-edge"}
    image = instance.settings["SCHEDULER_IMAGE"]
    return {
        "VIXTRACT_ENGINE": engine,
        "SCHEDULER_IMAGE": own[engine] if image in own.values() else image,
    }


def check_ports_differ(instance: Instance) -> None:
    """Refuse settings that use one port twice."""
    numbers = [instance.settings[name] for name in PUBLISHED]
    if len(set(numbers)) < len(numbers):
        raise SettingsError(
            f"{', '.join(PUBLISHED)} are {', '.join(numbers)}: each needs its own port.",
            "Give different ones with --http-port, --https-port and --postgres-port.",
        )


def check_ports_free(session: Session, instance: Instance) -> None:
    """Refuse to start on ports that another program listens on; its own are no obstacle."""
    taken = find_taken(instance, session.host, list_containers(session.host, instance.project))
    bind = instance.settings["VIXTRACT_BIND"]
    if taken:
        options = " ".join(f"--{name.lower().replace('_', '-')} NUMBER" for name in taken)
        raise PreconditionError(
            f"Cannot publish on {bind}: {'; '.join(taken.values())}.",
            f"Stop what uses it, or choose another: ./vixtract up {options}",
        )


def list_volumes(session: Session, instance: Instance) -> list[str]:
    """Return the names of the appliance's volumes, sorted."""
    label = f"label={PROJECT_LABEL}={instance.project}"
    command = ["docker", "volume", "ls", "--quiet", "--filter", label]
    return sorted(session.host.run(command, timeout_s=30).stdout.split())


def compose_up(session: Session, compose: Compose, instance: Instance) -> None:
    """Start all services."""
    done = run_compose(session, compose, instance, build_up(), COMPOSE_S)
    if not done.ok:
        for line in done.stdout.splitlines()[-10:]:
            session.console.say(f"  {line}")
        # The last line says only that there were errors.
        said = [line for line in done.stdout.splitlines() if re.search(r"error\W.*\w", line, re.I)]
        why = " ".join((said[-1] if said else done.last_line).split())
        raise StartError(f"Compose failed: {why[:300]}", "Run: ./vixtract doctor")


def ensure_postgres_password(session: Session, instance: Instance) -> None:
    """Give the account postgres the password of the settings if the volume has another.

    PostgreSQL, which is up, reads POSTGRES_PASSWORD itself only when it fills an empty volume.
    """
    container = instance.container("postgresql")
    password = instance.settings["POSTGRES_PASSWORD"]
    psql = ["docker", "exec", "--interactive", "--user", "postgres", container, "psql"]
    psql += ["--no-psqlrc", "--quiet", "-At", "-v", "ON_ERROR_STOP=1", "-d", "postgres"]
    query = "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres';"
    done = session.host.run(psql, timeout_s=30, input_text=query)
    if done.ok and is_scram_of(done.stdout.strip(), password):
        return
    statement = f"ALTER USER postgres PASSWORD '{scram_verifier(password)}';"
    done = session.host.run(psql, timeout_s=30, input_text=statement) if done.ok else done
    done.require(
        StartError,
        "PostgreSQL's account postgres could not be given POSTGRES_PASSWORD",
        f"Run: docker exec -it -u postgres {container} psql -c '\\password postgres'",
    )
    session.console.say(
        "POSTGRES_PASSWORD differed from the password in PostgreSQL's volume: changed there "
        "(ALTER USER postgres)."
    )


def build_passwords(
    instance: Instance, generate: Callable[[], str] = generate_password
) -> dict[str, str]:
    """Return new passwords by setting for all documented defaults in force; none on loopback."""
    if is_loopback(instance.settings["VIXTRACT_BIND"]):
        return {}
    return {name: generate() for name in instance.settings.default_passwords()}


def set_hub_password(session: Session, instance: Instance) -> None:
    """Give the first Hub administrator, whose account exists already, the generated password."""
    name = instance.settings["HUB_ADMIN"]
    command = ["docker", "exec", "--interactive", instance.container("jupyter"), *OPERATOR]
    command += ["user", "add", "--admin", "--password-stdin", "--", name]
    password = instance.settings["HUB_ADMIN_PASSWORD"] + "\n"
    session.host.run(command, timeout_s=60, input_text=password).require(
        StartError,
        f"The Hub's account {name} keeps its old password",
        "Change it on the Hub's page before others can reach this machine.",
    )
