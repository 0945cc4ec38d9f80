"""What the connection objects of all kinds have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

# The certificate authorities that the image trusts, the operator's own among them.
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
CONNECT_S = 10.0


class Connection:
    """A connection to another system, as a notebook gets it.

    Args:
        values: one text for each field of its kind; each is an attribute too.
    """

    kind: ClassVar[str] = ""

    def __init__(self, name: str, owner: str, values: Mapping[str, str]) -> None:
        self.name = name
        self.owner = owner
        self._values = dict(values)

    def __getattr__(self, name: str) -> str:
        """Return a value by its field's name."""
        values = self.__dict__.get("_values", {})
        if name in values:
            return str(values[name])
        raise AttributeError(
            f"A connection of kind {self.kind} has no {name!r}; it has {', '.join(sorted(values))}."
        )

    def __dir__(self) -> list[str]:
        """List the values too, for completion in a notebook."""
        return [*super().__dir__(), *self._values]

    def __repr__(self) -> str:
        """Describe the connection without its secrets."""
        where = self._values.get("host") or self._values.get("address") or ""
        return f"<{self.kind} connection {self.name!r} of {self.owner}: {where}>"

    @property
    def port_number(self) -> int:
        """The port as a number."""
        return int(self._values["port"])
