"""Which TCP ports of this machine are in use, and by which program."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vixtract.ops.containers import Container
from vixtract.ops.host import Host
from vixtract.ops.instance import Instance

#: Settings that are ports, and what each is for.
PUBLISHED = {"HTTP_PORT": "web pages", "HTTPS_PORT": "HTTPS", "POSTGRES_PORT": "PostgreSQL"}


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket on a numeric address; the owner's descriptors show its inode."""

    address: str
    port: int
    inode: str


def parse_listeners(table: str) -> list[Listener]:
    """Read `/proc/net/tcp` or `/proc/net/tcp6`, whose addresses are in the machine's byte order."""
    listeners = []
    for line in table.splitlines()[1:]:
        parts = line.split()
        if len(parts) < 10 or parts[3] != "0A":
            continue  # not listening
        text, _, port = parts[1].partition(":")
        words = [text[i : i + 8] for i in range(0, len(text), 8)]
        packed = b"".join(struct.pack("=I", int(word, 16)) for word in words)
        family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
        listeners.append(Listener(socket.inet_ntop(family, packed), int(port, 16), parts[9]))
    return listeners


def load_listeners(root: Path) -> list[Listener]:
    """Return all listening TCP sockets of this machine."""
    found = []
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            found += parse_listeners((root / "proc/net" / name).read_text("ascii"))
    return found


def find_listener(listeners: list[Listener], address: str, port: int) -> Listener | None:
    """Return the socket that keeps a port from being published on a numeric address."""
    everywhere = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    bare = address.strip("[]")
    for listener in listeners:
        # Sockets of both families show IPv4 addresses as ::ffff:127.0.0.1.
        mapped = "." in listener.address
        at = listener.address.rsplit(":", 1)[-1] if mapped else listener.address
        if listener.port == port and (at == bare or at in everywhere or bare in everywhere):
            return listener
    return None


def find_owner(root: Path, inode: str) -> str:
    """Return `name (pid N)` of the process that holds a socket, empty if that cannot be seen."""
    for descriptor in _descriptors(root):
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()) == f"socket:[{inode}]":
                process = descriptor.parents[1]
                name = (process / "comm").read_text("utf-8", "replace").strip()
                return f"{name} (pid {process.name})"
    return ""


def _descriptors(root: Path) -> Iterator[Path]:
    for process in (root / "proc").glob("[0-9]*"):
        # Other people's descriptors are closed to anyone but root.
        with contextlib.suppress(OSError):
            yield from list((process / "fd").iterdir())


def find_taken(
    instance: Instance, host: Host, containers: Mapping[str, Container]
) -> dict[str, str]:
    """Return the ports of the appliance that another program listens on.

    What the appliance's own containers publish is no obstacle: compose frees it first.

    Returns: setting to a sentence that names the port and, where it can be seen, the owner.
    """
    nginx = containers.get("nginx")
    own = {text.split("->")[0] for text in nginx.ports} if nginx else set()
    taken = {}
    everyone = load_listeners(host.root)
    listeners = [item for item in everyone if f"{item.address}:{item.port}" not in own]
    for name in PUBLISHED:
        port = instance.settings.integer(name)
        found = find_listener(listeners, instance.settings["VIXTRACT_BIND"], port)
        if found:
            owner = find_owner(host.root, found.inode)
            if owner.startswith("docker-proxy"):
                # The engine listens for its containers: the container's name says more.
                command = ["docker", "ps", "--filter", f"publish={port}"]
                command += ["--format", "container {{.Names}}"]
                owner = host.run(command, timeout_s=20).stdout.strip() or owner
            taken[name] = f"port {port} is taken" + (f" by {owner}" if owner else "")
    return taken
