"""Whose process listens on a port of this container."""

from __future__ import annotations

from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS = "0A"


def find_listeners(port: int, tables: tuple[Path, ...] = _TABLES) -> set[int]:
    """Return the uids of the accounts that listen on a TCP port.

    Args:
        port: its number.
        tables: the system's lists of sockets.
    Source: https://www.kernel.org/doc/Documentation/networking/proc_net_tcp.txt
    """
    found = set()
    for table in tables:
        if not table.is_file():
            continue
        for line in table.read_text("ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(int(fields[7]))
    return found
