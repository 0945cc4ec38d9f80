"""What a setting's text may be: checks by kind, on the standard library alone."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

MIB = 1024 * 1024

WORKER_PORT = 3013
_WORKER = r"([A-Za-z0-9][A-Za-z0-9.-]{0,252})(?::(\d{1,5}))?"
_HOST = "[a-z0-9][a-z0-9.-]*"
_IMAGE = "[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_PATTERNS: Mapping[str, tuple[str, str]] = {
    "zone": (
        "[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*",
        "is not the name of a time zone such as Europe/Moscow",
    ),
    # It begins with a registry: without one an image would be somebody's on the public registry.
    "image_prefix": (
        rf"(?:localhost|{_HOST}\.{_HOST}|{_HOST}:\d{{1,5}})(?:/{_IMAGE})*",
        "does not begin with a registry, such as registry.example.com/etl or localhost/vixtract",
    ),
    "image_name": (_IMAGE, "is not a name without IMAGE_PREFIX and tag, such as cronicle-edge"),
    "workers": (f"(?:{_WORKER}(?:,{_WORKER})*)?", "is no list such as worker1,worker2:3013"),
}


def is_loopback(address: str) -> bool:
    """Say whether an address can be reached from this machine alone.

    Args:
        address: IP address or `localhost`; any other name counts as reachable from outside.
    """
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def split_list(value: str) -> list[str]:
    """Return the parts of a setting of kind names or networks, in small letters."""
    return [part.strip().lower() for part in value.split(",") if part.strip()]


def is_address(name: str) -> bool:
    """Say whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def _check_list(kind: str, value: str) -> str:
    """Check a list of names or networks; return what is wrong, or an empty text."""
    for part in split_list(value):
        if kind == "names":
            host = re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", part) and len(part) < 254
            # 10.0.0.256 would pass as a name.
            if not is_address(part) and (not host or re.fullmatch(r"[0-9.]+", part)):
                return f"names {part!r}, which is no host name and no address"
        if kind == "networks":
            try:
                ipaddress.ip_network(part)
            except ValueError:
                return f"names {part!r}, which is no network such as 192.168.0.0/16"
    return ""


def check_kind(kind: str, choices: tuple[str, ...], value: str) -> str:
    """Check one value against its kind.

    Args:
        kind: as in `vixtract.settings.Setting`.
        choices: allowed values of kind choice.
        value: text as given in the environment.
    Returns: what is wrong in a few words, or an empty text.
    """
    is_number = re.fullmatch(r"\d{1,9}", value) is not None
    if kind in ("names", "networks"):
        return _check_list(kind, value)
    wrong = {
        "integer": (not is_number, "is not a whole number of 0 or more"),
        "port": (
            not is_number or not 0 < int(value) < 65536,
            "is not a port between 1 and 65535",
        ),
        "choice": (value not in choices, "is none of " + ", ".join(c for c in choices if c)),
        "address": (not is_address(value.strip("[]")), "is not an IP address"),
    }
    pattern, problem = _PATTERNS.get(kind, ("(?s:.*)", ""))
    is_wrong, problem = wrong.get(kind, (not re.fullmatch(pattern, value), problem))
    return problem if is_wrong else ""


def read_workers(value: str) -> tuple[tuple[str, int], ...]:
    """Read the setting WORKERS.

    Args:
        value: checked.
    Returns: host and port of each.
    """
    found = (re.fullmatch(_WORKER, part) for part in value.split(",") if part)
    return tuple((match[1], int(match[2] or WORKER_PORT)) for match in found if match)
