"""Connections as they are stored, and as a person wants them stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Owner(NamedTuple):
    """The owner of a connection: `person` or `team`, and the name."""

    kind: str
    name: str


@dataclass(frozen=True)
class Saved:
    """A connection as it is stored.

    Args:
        values: of all fields, the secret ones too.
        changed_at: Unix seconds.
    """

    id: int
    name: str
    owner: Owner
    kind: str
    values: Mapping[str, str] = field(repr=False)
    changed_at: float
    changed_by: str


@dataclass(frozen=True)
class Draft:
    """A connection as a person typed it, with the secret fields whose stored value is kept."""

    name: str
    owner: Owner
    kind: str
    values: Mapping[str, str] = field(repr=False)
    kept: Collection[str] = ()


@dataclass(frozen=True)
class AuditEntry:
    """One change of a connection, with the names of the changed fields but not their values.

    Args:
        who: account name of a person, or name of a command.
        what: made, changed, deleted or handed over.
        owner: after the change, as the name.
    """

    who: str
    what: str
    connection: int
    owner: Owner
    name: str
    fields: tuple[str, ...] = ()
