"""Give secret settings to the containers in a volume, so that `docker inspect` shows none."""

from __future__ import annotations

import json

from vixtract.errors import VixtractError
from vixtract.ops.compose import PROJECT_LABEL
from vixtract.ops.console import Session
from vixtract.ops.instance import Instance
from vixtract.secret_settings import SECRET_NAMES
from vixtract.settings_table import BY_NAME

VOLUME = "secrets"
DELIVER_S = 60.0
#: Services that read secret settings when they start. PostgreSQL's volume keeps its own.
READERS = ("jupyter", "cronicle")


class DeliveryError(VixtractError):
    """The secrets did not reach the volume."""


def build_volume(instance: Instance) -> list[str]:
    """Build the command that makes the volume as compose would; harmless where it exists."""
    labels = {PROJECT_LABEL: instance.project, "com.docker.compose.volume": VOLUME}
    words = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
    return ["docker", "volume", "create", *words, f"{instance.project}_{VOLUME}"]


def build_delivery(instance: Instance) -> list[str]:
    """Build the command of a one-off container that reads the values from standard input."""
    command = ["docker", "run", "--rm", "--interactive", "--network", "none"]
    command += ["--volume", f"{instance.project}_{VOLUME}:/srv/secrets"]
    command += ["--entrypoint", "/opt/jupyterhub/bin/python", instance.image("jupyter")]
    return [*command, "-I", "-m", "vixtract.hub.rotation", "deliver"]


def deliver_secrets(session: Session, instance: Instance) -> list[str]:
    """Write those secrets that differ from the documented defaults into the volume.

    Returns: names of the values that changed there.
    Raises:
        DeliveryError: the volume could not be made or written.
    """
    settings = instance.settings
    values = {n: settings[n] for n in SECRET_NAMES if settings[n] not in ("", BY_NAME[n].default)}
    steps = ((build_volume(instance), ""), (build_delivery(instance), json.dumps(values)))
    for command, text in steps:
        done = session.host.run(command, timeout_s=DELIVER_S, input_text=text)
        problem = f"The secrets did not reach the volume {instance.project}_{VOLUME}"
        said = done.require(DeliveryError, problem, "Run: ./vixtract doctor")
    return said.split()
