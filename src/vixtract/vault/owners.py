"""The owners whose connections a person may use: the person and their teams."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from vixtract.errors import VixtractError
from vixtract.people import teams
from vixtract.people.names import FIRST_UID, check_name
from vixtract.vault.errors import VaultError
from vixtract.vault.records import Owner
from vixtract.vault.store import SECRETS, Store, is_there

HOMES = Path("/home")


def owners_seen_by(person: str, home_root: Path = HOMES) -> list[Owner]:
    """Return the owners whose connections a person may use, the person first."""
    names = (team.name for team in teams.teams_of(person, home_root))
    return [Owner("person", person), *(Owner("team", name) for name in names)]


def person_of(uid: int, home_root: Path = HOMES) -> str:
    """Return the account name of the person with a uid.

    Raises:
        VaultError: the uid is not a person's.
    """
    try:
        name = pwd.getpwuid(uid).pw_name
        check_name(name)
        owner = os.lstat(home_root / name).st_uid
    except (KeyError, OSError, VixtractError):
        owner = -1
    if owner != uid or uid < FIRST_UID:
        raise VaultError("Connections are given only to processes of people.")
    return name


# Called by root's other processes.


def forget_owner(kind: str, name: str, *, who: str, directory: Path = SECRETS) -> list[str]:
    """Delete the connections of a removed person or team and return their names."""
    return Store(directory).forget_owner(Owner(kind, name), who) if is_there(directory) else []


def hand_over(
    kind: str, name: str, new_kind: str, new_name: str, *, who: str, directory: Path = SECRETS
) -> dict[str, str]:
    """Give the connections of a person or team to another; return a map of old names to new ones.

    Each kind is `person` or `team`.
    """
    if not is_there(directory):
        return {}
    return Store(directory).hand_over(Owner(kind, name), Owner(new_kind, new_name), who)


def rotate(directory: Path = SECRETS) -> int:
    """Encrypt all connections with a new key, delete the old one, and return their number."""
    return Store(directory).rotate() if is_there(directory) else 0
