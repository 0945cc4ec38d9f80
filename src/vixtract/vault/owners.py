"""Whose connections a person sees: their own, and those of their teams.

Everything that asks for membership of teams asks here.
"""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from vixtract.errors import VixtractError
from vixtract.people.names import FIRST_UID, check_name
from vixtract.vault.errors import VaultError
from vixtract.vault.records import Owner
from vixtract.vault.store import SECRETS, Store

TEAM_PREFIX = "team-"


def teams_of(person: str) -> list[str]:
    """Return the names of a person's teams: the groups `team-NAME` that they are a member of.

    Args:
        person: account name.
    """
    return sorted(
        group.gr_name.removeprefix(TEAM_PREFIX)
        for group in grp.getgrall()
        if group.gr_name.startswith(TEAM_PREFIX) and person in group.gr_mem
    )


def owners_seen_by(person: str) -> list[Owner]:
    """Return whose connections a person sees: the person first.

    Args:
        person: account name.
    """
    return [Owner("person", person), *(Owner("team", name) for name in teams_of(person))]


def person_of(uid: int, home_root: Path = Path("/home")) -> str:
    """Return whose processes have a uid.

    Args:
        uid: as the kernel tells it.
        home_root: directory of the homes.
    Raises:
        VaultError: it is no person's.
    """
    try:
        name = pwd.getpwuid(uid).pw_name
        check_name(name)
        owner = os.lstat(home_root / name).st_uid
    except (KeyError, OSError, VixtractError):
        owner = -1
    if owner != uid or uid < FIRST_UID:
        raise VaultError("Connections are handed to people's own processes alone.")
    return name


# What other commands of root's call.


def forget_owner(kind: str, name: str, *, who: str, directory: Path = SECRETS) -> list[str]:
    """Delete the connections of a person or team that is removed; return their names.

    Args:
        kind: `person` or `team`.
        name: the person's or the team's.
        who: for the record of changes.
        directory: of the store.
    """
    return Store(directory).forget_owner(Owner(kind, name), who)


def hand_over(
    kind: str, name: str, new_kind: str, new_name: str, *, who: str, directory: Path = SECRETS
) -> dict[str, str]:
    """Give the connections of a person or team to another; return old names to new ones.

    Args:
        kind: `person` or `team`.
        name: the person's or the team's.
        new_kind: of who gets them.
        new_name: who gets them.
        who: for the record of changes.
        directory: of the store.
    """
    return Store(directory).hand_over(Owner(kind, name), Owner(new_kind, new_name), who)


def secret_values(person: str, directory: Path = SECRETS) -> list[str]:
    """Return every secret text that a person's processes can be handed, longest first.

    Args:
        person: account name.
        directory: of the store.
    """
    return Store(directory).secret_values(owners_seen_by(person))


def rotate(directory: Path = SECRETS) -> int:
    """Encrypt all connections with a new key and forget the old one; return how many there are.

    Args:
        directory: of the store.
    """
    return Store(directory).rotate()
