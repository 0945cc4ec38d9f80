"""Change all secrets of an appliance without losing servers, data or jobs.

Any step may be cut off; the same command then finishes the rest. A value that comes from a file or
a variable outside of this folder is left alone and reported.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vixtract.credentials import generate_password
from vixtract.errors import PreconditionError, UsageError, VixtractError
from vixtract.ops.console import Session
from vixtract.ops.containers import list_containers, wait_healthy
from vixtract.ops.deliver import deliver_secrets
from vixtract.ops.instance import Instance
from vixtract.ops.scheduler import connect_scheduler
from vixtract.ops.up import ensure_postgres_password, require_running
from vixtract.secret_settings import SECRET_NAMES

#: Secrets that the appliance itself owns. The password of a Hub administrator belongs to that
#: person, those of SMTP and the like to other machines.
ROTATED = ("POSTGRES_PASSWORD", "BI_PASSWORD", "CRONICLE_ADMIN_PASSWORD")
ROTATION = ("/opt/jupyterhub/bin/python", "-I", "-m", "vixtract.hub.rotation")
STOP_S = 60.0
ROTATE_S = 300.0
#: Seconds of a minute in which a short restart of the scheduler misses no due time.
EARLIEST_S, LATEST_S = 3, 30


class RotationError(VixtractError):
    """Some secrets were not changed; the message says which step failed."""


@dataclass(frozen=True)
class Rotated:
    """What was changed.

    Args:
        passwords: new values of settings, shown once.
        kept: settings that are set outside of this folder and were left alone.
        keys: names of the keys in the secrets volume that changed.
        people: number of people whose database password changed.
        servers: people whose running server still has the old password.
    """

    instance: Instance
    passwords: Mapping[str, str] = field(repr=False)
    kept: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    people: int = 0
    servers: tuple[str, ...] = ()


def choose_passwords(
    instance: Instance,
    environment: Mapping[str, str],
    generate: Callable[[], str] = generate_password,
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return new passwords, and the settings left alone because they are set elsewhere."""
    kept = tuple(
        name
        for name in ROTATED
        if environment.get(name)
        or environment.get(f"{name}_FILE")
        or instance.stored.get(f"{name}_FILE")
    )
    return {name: generate() for name in ROTATED if name not in kept}, kept


def run_rotation(session: Session, instance: Instance, wait_s: float) -> Rotated:
    """Change all secrets of the appliance, which is up.

    Args:
        wait_s: seconds that running jobs get to end.
    Raises:
        PreconditionError: it is not up, or jobs run on; nothing was changed.
        RotationError: a later step failed; the same command continues from there.
    """
    host = session.host
    require_running(session)
    found = list_containers(host, instance.project)
    if not {"postgresql", "jupyter", "cronicle"} <= set(found):
        raise PreconditionError("The appliance is not up.", "Run: ./vixtract up")
    if found["cronicle"].is_up:
        wait_for_jobs(session, instance, wait_s)
    before = {service: container.restarts for service, container in found.items()}
    passwords, kept = choose_passwords(instance, host.environment)
    instance = instance.changed(passwords)
    instance.keep()
    _run(session, ["docker", "stop", instance.container("cronicle")], STOP_S)
    deliver_secrets(session, instance)
    ensure_postgres_password(session, instance)
    command = ["docker", "exec", instance.container("jupyter"), *ROTATION]
    done = json.loads(_run(session, command, ROTATE_S))
    _run(session, ["docker", "start", instance.container("cronicle")], STOP_S)
    wait_healthy(session, instance.project, before=before)
    return Rotated(
        instance, passwords, kept, tuple(done["keys"]), done["people"], tuple(done["servers"])
    )


def wait_for_jobs(
    session: Session,
    instance: Instance,
    wait_s: float,
    wall: Callable[[], float] = time.time,
) -> None:
    """Wait for a moment without jobs in which none is due.

    Raises:
        PreconditionError: jobs still run after `wait_s` seconds.
    """
    host = session.host
    end = host.clock() + wait_s
    while True:
        running = count_jobs(session, instance)
        if not running and EARLIEST_S <= wall() % 60 <= LATEST_S:
            return
        # The right part of a minute comes within a minute, so only jobs can end the wait.
        if running and host.clock() > end:
            raise PreconditionError(
                f"{running} jobs still run after {wait_s:.0f} s; nothing was changed.",
                "Wait for them or stop them, or give more time with --wait SECONDS.",
            )
        session.console.detail(f"waiting for {running} jobs" if running else "waiting")
        host.sleep(1)


def count_jobs(session: Session, instance: Instance) -> int:
    """Return the number of running jobs."""
    try:
        return len(connect_scheduler(session.host, instance).get_active_jobs())
    except VixtractError:
        return 0  # it still has the old key: a rotation was cut off


def _run(session: Session, command: list[str], timeout_s: float) -> str:
    return session.host.run(command, timeout_s=timeout_s).require(
        RotationError,
        "The secrets are changed in part",
        "Run: ./vixtract secrets rotate. It goes on, and nothing is lost.",
    )


def check_shown(name: str) -> str:
    """Return the name of a secret setting as typed.

    Raises:
        UsageError: no secret setting has this name.
    """
    if name not in SECRET_NAMES:
        raise UsageError(
            f"{name or 'Nothing'} is no secret setting.", f"Give one of: {', '.join(SECRET_NAMES)}."
        )
    return name


def render_rotated(rotated: Rotated) -> list[str]:
    """Return what the operator is told, new passwords included."""
    accounts = {"BI_PASSWORD": "PostgreSQL, reading (bi)"}
    if rotated.instance.settings["VIXTRACT_ENGINE"] == "cronicle":
        accounts["CRONICLE_ADMIN_PASSWORD"] = "Cronicle (admin)"  # noqa: S105 - a label
    lines = [
        f"Changed: {len(rotated.passwords)} passwords, {len(rotated.keys)} keys, the database "
        f"passwords of {rotated.people} people, and the Hub's cookies.",
        *(
            f"{label}: {rotated.passwords[name]}"
            for name, label in accounts.items()
            if name in rotated.passwords
        ),
        "Shown this once; ./vixtract secrets show BI_PASSWORD tells it again.",
        "Now: give the new password of bi to BI tools. Everybody signs in again.",
    ]
    if rotated.servers:
        lines.append(
            "Kernels that run keep their open connections; before they open new ones, restart them "
            f"(Kernel, Restart). People with a server: {', '.join(rotated.servers)}"
        )
    if rotated.kept:
        lines.append(f"Not changed, as they come from elsewhere: {', '.join(rotated.kept)}")
    lines.append(
        "Not changed, as they are people's own: passwords of the Hub, tokens of its Token page."
    )
    return lines
