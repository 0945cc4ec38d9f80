"""Finds a person's account by their home, and takes a person's rights for file access."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vixtract.errors import RequestError
from vixtract.people.names import FIRST_UID
from vixtract.people.teams import team_groups


@dataclass(frozen=True)
class Person:
    """An owner of notebooks.

    Args:
        uid: owner of the home, 2000 or more; the group id is the same.
        teams: groups of the person's teams, whose folders they may read.
    """

    name: str
    uid: int
    home: Path
    teams: tuple[int, ...] = ()

    @property
    def gid(self) -> int:
        """The person's own group."""
        return self.uid

    @property
    def groups(self) -> list[int]:
        """All groups that the person's processes get: their own and their teams'."""
        return [self.gid, *self.teams]


def find_person(name: str, home_root: Path) -> Person:
    """Look up a person by their home; the name's shape is checked already.

    Raises:
        RequestError: there is no home, or its owner is no person.
    """
    home = home_root / name
    try:
        status = os.lstat(home)
    except FileNotFoundError:
        raise RequestError(
            f"There is no person {name!r}: {home} does not exist.",
            "Check the owner's name, or add the person in the Hub.",
        ) from None
    if not stat.S_ISDIR(status.st_mode) or not FIRST_UID <= status.st_uid < 60000:
        raise RequestError(
            f"{home} is not a person's home (owner uid {status.st_uid}).",
            f"Homes are directories that belong to a uid of {FIRST_UID} or more.",
        )
    return Person(name, status.st_uid, home, team_groups(name, home_root))


@contextmanager
def acting_as(person: Person) -> Iterator[None]:
    """Access files with the person's rights and no others, inside a `with` block.

    Only the effective ids change, so the person's processes can neither signal nor trace this one.
    The calling process must have a single thread; in unit tests, where it is not root's, its ids
    stay.
    """
    # Inside another such block the outer one gives the rights back.
    if os.getuid() != 0 or os.geteuid() == person.uid:
        yield
        return
    os.setgroups(person.groups)
    os.setegid(person.gid)
    os.seteuid(person.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups([])
