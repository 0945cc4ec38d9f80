"""The state of the appliance: a row for each service, addresses, engine."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from vixtract.ops.certificates import Certificate, as_json
from vixtract.ops.containers import Container
from vixtract.ops.instance import SERVICES, Instance
from vixtract.text_tables import format_span, render_table


def build_status(
    instance: Instance,
    found: Mapping[str, Container],
    now: datetime.datetime,
    certificate: Certificate | None = None,
) -> dict[str, Any]:
    """Describe the appliance as `status --json` prints it.

    Returns: project, engine, state (up, partly, down), addresses, certificate, services.
    """
    services = []
    for service in SERVICES:
        container = found.get(service) or Container(service, "", "absent", "", "", now)
        uptime = (now - container.started).total_seconds() if container.state == "running" else 0
        services.append(
            {
                "service": service,
                "container": instance.container(service),
                "state": container.state,
                "health": container.health,
                "image": container.image,
                "ports": list(container.ports),
                "restarts": container.restarts,
                "uptime_s": max(0, int(uptime)),
            }
        )
    up = [service for service in SERVICES if service in found and found[service].is_up]
    state = "up" if len(up) == len(SERVICES) else "partly" if found else "down"
    return {
        "project": instance.project,
        "version": instance.version,
        "engine": instance.settings["VIXTRACT_ENGINE"],
        "state": state,
        "addresses": build_addresses(instance),
        "certificate": as_json(certificate, now),
        "services": services,
    }


def build_addresses(instance: Instance) -> dict[str, str]:
    """Return the appliance's addresses, seen from this machine."""
    base = instance.base_url
    port = instance.settings["POSTGRES_PORT"]
    return {
        "home": f"{base}/",
        "jupyter": f"{base}/jupyter",
        "scheduler": f"{base}/cronicle/",
        "portal": f"{base}/portal/",
        "postgresql": f"postgresql://bi@{instance.local_address}:{port}/etl?sslmode=require",
    }


def render_status(status: Mapping[str, Any]) -> list[str]:
    """Return the lines that `status` prints."""
    rows = []
    for entry in status["services"]:
        uptime = format_span(entry["uptime_s"]) if entry["uptime_s"] else ""
        cells = [entry[key] for key in ("service", "state", "health")]
        rows.append([*cells, uptime, entry["image"], shorten_ports(entry["ports"])])
    lines = [f"ViXtract {status['version']} (project {status['project']}): {status['state']}", ""]
    lines += render_table(("service", "state", "health", "uptime", "image", "ports"), rows)
    if status["state"] != "down":
        lines += ["", *render_addresses(status["addresses"])]
    return [*lines, f"scheduler engine: {status['engine']}"]


def shorten_ports(ports: Sequence[str]) -> str:
    """Return ports published as `address:port->port` with each address named once."""
    by_address: dict[str, list[str]] = {}
    for text in ports:
        address, _, port = text.split("->")[0].rpartition(":")
        by_address.setdefault(address, []).append(port)
    return " ".join(f"{address}:{','.join(found)}" for address, found in by_address.items())


def render_addresses(addresses: Mapping[str, str]) -> list[str]:
    """Return one line per address."""
    return [f"{name + ':':12} {address}" for name, address in addresses.items()]


def build_accounts(instance: Instance, generated: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return the accounts that `up` prints: where, name, password.

    A password that a person set is never shown. Who owns PostgreSQL needs a command.

    Args:
        generated: passwords made in this start.
    """

    def shown(name: str) -> str:
        if name in generated:
            return generated[name]
        if name in instance.settings.default_passwords(name):
            return instance.settings[name]
        return f"(as set: {name})"

    owner = instance.container("postgresql")
    cronicle = [("Cronicle", "admin", shown("CRONICLE_ADMIN_PASSWORD"))]
    return [
        ("JupyterHub", instance.settings["HUB_ADMIN"], shown("HUB_ADMIN_PASSWORD")),
        *(cronicle if instance.settings["VIXTRACT_ENGINE"] == "cronicle" else []),
        ("PostgreSQL, reading", "bi", shown("BI_PASSWORD")),
        # Its password opens no service.
        ("PostgreSQL, owner", "postgres", f"docker exec -it {owner} psql -U postgres"),
    ]
