"""Connections as they are kept and as they are wanted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Owner:
    """Whose a connection is.

    Args:
        kind: `person` or `team`.
        name: account name, or the team's.
    """

    kind: str
    name: str


@dataclass(frozen=True)
class Saved:
    """A connection as it is kept.

    Args:
        id: in the store.
        name: what notebooks ask for.
        owner: whose it is.
        kind: one of KINDS.
        values: with the secret ones.
        changed_at: Unix seconds.
        changed_by: person.
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
    """What a person wants kept.

    Args:
        name: what notebooks ask for.
        owner: whose it shall be.
        kind: one of KINDS.
        values: as typed.
        kept: secret fields that stay as they are stored.
    """

    name: str
    owner: Owner
    kind: str
    values: Mapping[str, str] = field(repr=False)
    kept: Collection[str] = ()


@dataclass(frozen=True)
class Change:
    """What somebody did with a connection; of values only their fields' names.

    Args:
        who: person, or a command's name.
        what: made, changed, deleted or handed over.
        connection: its number.
        owner: whose it is from then on.
        name: what it is called from then on.
        fields: what has changed.
    """

    who: str
    what: str
    connection: int
    owner: Owner
    name: str
    fields: tuple[str, ...] = ()
