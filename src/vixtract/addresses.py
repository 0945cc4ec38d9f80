"""The guard against inner addresses, for requests that the appliance sends on a person's behalf.

Tests of connections and web hooks go to no address of this machine, of a link, of a cloud's
metadata service, or of the appliance's own services: what a page says must not depend on what
answers there. A company's own network is allowed. Notebooks are their author's own programs, and
nothing here holds for them.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Sequence
from contextlib import suppress

# The appliance's services on the compose network, without its database.
SERVICES = ("jupyter", "cronicle", "nginx", "vixtract_primary-cronicle-server")
OWN_DATABASE = "postgresql"
# Metadata of clouds that is not link-local.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192"))
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, a name or an address, each once.

    Raises:
        OSError: the name has no address.
        UnicodeError: the name cannot be one of a host.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def own_addresses(names: Sequence[str] = SERVICES) -> frozenset[str]:
    """Return the addresses of the appliance's own services, as far as they are up."""
    found: set[str] = set()
    for name in names:
        with suppress(OSError):
            found.update(resolve(name, 0))
    return frozenset(found)


def is_address(text: str) -> bool:
    """Tell whether a host is written as an address, not as a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_refused(address: str, own: Collection[str] = ()) -> bool:
    """Tell whether no request may go to an address.

    Args:
        address: IPv4 or IPv6, also one inside the other; anything else is refused.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_refused(str(inner), own)
    return (
        str(found) in own
        or found in _METADATA
        or found.is_loopback
        or found.is_link_local
        or found.is_unspecified
        or found.is_multicast
        or found.is_reserved
    )
