"""What the text of a setting may be: one check for each kind, on the standard library alone."""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

MIB = 1024 * 1024

WORKER_PORT = 3013
_WORKER = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]{0,252})(?::(\d{1,5}))?")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
#: What both generations of compose take, without a blank.
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)([bkmgt]?)b?", re.IGNORECASE)
_SMALLEST_SIZE = 6 * MIB
_PROXY_SCHEMES = ("http", "https", "socks4", "socks5", "socks5h")
_BYPASSED = re.compile(r"\*|[A-Za-z0-9_.*:/\[\]-]+")
_MAIL = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")
_MAIL_WITH_NAME = re.compile(r"[^<>@\r\n]*<([^<>]+)>")
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_REGISTRY = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?"
_REPOSITORY = rf"(?:{_REGISTRY}/)?{_PATH_PART}(?:/{_PATH_PART})*"
_HOST = "[a-z0-9][a-z0-9.-]*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_PERSON = re.compile(r"[a-z_][a-z0-9_-]*(\.[a-z0-9_-]+)*")


def is_loopback(address: str) -> bool:
    """Return whether an address can be reached from this machine alone; of names, `localhost`."""
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
    """Return whether a name is an IP address, without the name of a network interface."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return "%" not in name


def find_similar(name: str, known: Collection[str]) -> str:
    """Return the known name that a person probably meant, or an empty text.

    `Moscow` may be meant for `Europe/Moscow`.
    """
    typed = name.lower()
    edits = [(count_edits(typed, entry.lower()), entry) for entry in known]
    if "/" not in typed:
        edits += [(count_edits(typed, entry.lower().rpartition("/")[2]), entry) for entry in known]
    distance, best = min(edits, default=(0, ""))
    return best if distance * 3 <= len(typed) else ""


def count_edits(one: str, other: str) -> int:
    """Return how many single edits lead from one text to the other.

    An edit inserts, removes or replaces a character, or exchanges two neighbours.
    """
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, left in enumerate(one, 1):
        line = [row]
        for column, right in enumerate(other, 1):
            best = min(last[column] + 1, line[column - 1] + 1, last[column - 1] + (left != right))
            swapped = row > 1 and column > 1 and left == other[column - 2]
            if swapped and right == one[row - 2]:
                best = min(best, before[column - 2] + 1)
            line.append(best)
        before, last = last, line
    return last[-1]


def _is_number(value: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", value) is not None


def _is_size(value: str) -> bool:
    found = _SIZE.fullmatch(value)
    if not found:
        return False
    size = float(found[1]) * (1 << 10 * "bkmgt".index(found[2].lower() or "b"))
    # 0 is no limit; the container engine refuses less than 6 MB.
    return size == 0 or size >= _SMALLEST_SIZE


def _is_url(value: str, schemes: Collection[str] = ("http", "https")) -> bool:
    try:
        parts = urlsplit(value)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    has_odd_letter = re.search(r"[\s\"<>\\]", value) is not None
    return has_host and parts.scheme in schemes and not has_odd_letter


def _is_proxy(value: str) -> bool:
    return _is_url(value if "://" in value else f"http://{value}", _PROXY_SCHEMES)


def _is_mail_address(value: str) -> bool:
    found = _MAIL_WITH_NAME.fullmatch(value)
    return _MAIL.fullmatch(found[1] if found else value) is not None


def _is_workers(value: str) -> bool:
    found = [_WORKER.fullmatch(part) for part in value.split(",")]
    return all(match and 0 < int(match[2] or WORKER_PORT) < 65536 for match in found)


def _check_zone(value: str) -> str:
    is_name = _ZONE.fullmatch(value)
    if is_name:
        with suppress(OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
            zoneinfo.ZoneInfo(value)
            return ""
    known = zoneinfo.available_timezones()
    if is_name and not known:
        # No database of time zones on this machine: the containers have one, and check again.
        return ""
    meant = find_similar(value, known)
    asked = f"; did you mean {meant}?" if meant else " such as Europe/Moscow"
    return f"is not the name of a time zone{asked}"


def _check_names(value: str) -> str:
    for part in split_list(value):
        is_name = _HOST_NAME.fullmatch(part) and len(part) < 254
        # 10.0.0.256 would pass as a name.
        if not is_address(part) and (not is_name or re.fullmatch(r"[0-9.]+", part)):
            return f"names {part!r}, which is neither a host name nor an address"
    return ""


def _check_networks(value: str) -> str:
    for part in split_list(value):
        problem = f"names {part!r}, which is not a network such as 192.168.0.0/16"
        try:
            ipaddress.ip_network(part)
        except ValueError:
            return problem
        # Behind it stands the name of a network interface, which may be any text.
        if "%" in part:
            return problem
    return ""


def _require(is_right: Callable[[str], object], problem: str) -> Callable[[str], str]:
    return lambda value: "" if is_right(value) else problem


#: Kind to the function that returns the problem with a value, or an empty text.
CHECKS: Mapping[str, Callable[[str], str]] = {
    "text": _require(lambda value: value.isprintable(), "has a control character in it"),
    "password": _require(lambda value: "\n" not in value, "is not one line"),
    "integer": _require(_is_number, "is not a whole number of 0 or more"),
    "port": _require(
        lambda value: _is_number(value) and 0 < int(value) < 65536,
        "is not a port between 1 and 65535",
    ),
    "size": _require(_is_size, "is not a size such as 512m or 8g (6m at least, 0 for no limit)"),
    "address": _require(lambda value: is_address(value.strip("[]")), "is not an IP address"),
    "host": _require(
        lambda value: is_address(value) or re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", value),
        "is neither a host name nor an address",
    ),
    "names": _check_names,
    "networks": _check_networks,
    "workers": _require(_is_workers, "is not a list such as worker1,worker2:3013"),
    "zone": _check_zone,
    "url": _require(_is_url, "is not an http:// or https:// address such as https://example.com"),
    "proxy": _require(_is_proxy, "is not the address of a proxy such as http://proxy:3128"),
    "bypass": _require(
        lambda value: all(_BYPASSED.fullmatch(part.strip()) for part in value.split(",") if part),
        "is not a list such as localhost,.example.com,10.0.0.0/8",
    ),
    "mail": _require(_is_mail_address, "is not a mail address such as etl@example.com"),
    "path": _require(
        lambda value: value.startswith("/") and value.isprintable(),
        "is not a full path in the container",
    ),
    "person": _require(
        lambda value: len(value) <= 32 and _PERSON.fullmatch(value),
        "is not a name of 1 to 32 of a-z, 0-9, dot, dash and underscore",
    ),
    "image": _require(
        re.compile(rf"{_REPOSITORY}(?::{_TAG})?(?:@sha256:[0-9a-f]{{64}})?").fullmatch,
        "is not the name of an image such as postgres:17",
    ),
    # It begins with a registry: without one an image would belong to a stranger on the public one.
    "image_prefix": _require(
        re.compile(
            rf"(?:localhost|{_HOST}\.{_HOST}|{_HOST}:\d{{1,5}})(?:/{_PATH_PART})*"
        ).fullmatch,
        "does not begin with a registry, such as registry.example.com/etl or localhost/vixtract",
    ),
    "image_name": _require(
        re.compile(_PATH_PART).fullmatch,
        "is not a name without IMAGE_PREFIX and tag, such as cronicle-edge",
    ),
    "tag": _require(re.compile(_TAG).fullmatch, "is not the tag of an image"),
}


def read_workers(value: str) -> tuple[tuple[str, int], ...]:
    """Return host and port of each worker in a checked setting WORKERS."""
    found = (_WORKER.fullmatch(part) for part in value.split(",") if part)
    return tuple((match[1], int(match[2] or WORKER_PORT)) for match in found if match)
