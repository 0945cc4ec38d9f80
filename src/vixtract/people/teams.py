"""Teams: their members, their OS group and their shared folder.

The list is `/home/.vixtract/teams.json`, on the volume of the homes, which both containers mount.
No volume holds /etc: each new container makes the groups again, with the same numbers.
"""

from __future__ import annotations

import json
import logging
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vixtract.errors import VixtractError
from vixtract.files import write_whole
from vixtract.people import accounts
from vixtract.people.archive import PLACE, ensure_place
from vixtract.people.names import (
    FIRST_TEAM_GID,
    LAST_TEAM_GID,
    InvalidNameError,
    check_name,
)

log = logging.getLogger(__name__)

FOLDERS = ".teams"

# POSIX ACL, version 2: read, write and enter for owner and group, nothing for others. A default ACL
# replaces the umask: each member may change what another one makes.
_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, 0xFFFFFFFF)
    for tag, permissions in ((0x01, 7), (0x04, 7), (0x20, 0))
)


class TeamError(VixtractError):
    """A team could not be made or changed."""


@dataclass(frozen=True)
class Team:
    """One team; schema, group role and folder have its name.

    Args:
        members: names, sorted.
        is_private: whether BI does not see its schema.
        has_database: whether it has a database of its own beside the schema.
    """

    name: str
    gid: int
    members: tuple[str, ...] = ()
    is_private: bool = False
    has_database: bool = False


def read_teams(home_root: Path = Path("/home")) -> dict[str, Team]:
    """Return all teams by name; none where the list is missing or this process may not read it."""
    return _parse(_load(home_root))


def teams_of(name: str, home_root: Path = Path("/home")) -> list[Team]:
    """Return a person's teams, sorted by name."""
    teams = read_teams(home_root)
    return [teams[team] for team in sorted(teams) if name in teams[team].members]


def team_groups(name: str, home_root: Path) -> tuple[int, ...]:
    """Return the groups of a person's teams."""
    return tuple(team.gid for team in teams_of(name, home_root))


def add_team(
    name: str, home_root: Path, *, is_private: bool = False, has_database: bool = False
) -> Team:
    """Make a team with its group and folder, or change whether it is private.

    Raises:
        InvalidNameError: the name is malformed, reserved or a person's.
        TeamError: all numbers are used, or the group cannot be made.
    """
    content = _load(home_root)
    team = _parse(content).get(name)
    if team is None:
        check_name(name)
        if os.path.lexists(home_root / name) or accounts.has_group(name):
            raise InvalidNameError(f"{name!r} is a person's name.", "Choose another name.")
        # Numbers of removed teams are not used again.
        gid = max(FIRST_TEAM_GID - 1, int(content.get("last_gid", 0))) + 1
        if gid > LAST_TEAM_GID:
            raise TeamError("There are no more numbers for groups of teams.")
        team = Team(name, gid)
    team = replace(team, is_private=is_private, has_database=has_database or team.has_database)
    _store(home_root, content, team)
    ensure_team(team, home_root)
    return team


def set_member(name: str, person: str, home_root: Path, *, is_member: bool) -> None:
    """Put a person into a team, or take them out.

    Raises:
        TeamError: the team does not exist.
    """
    team = find_team(name, home_root)
    others = set(team.members) - {person}
    members = tuple(sorted(others | {person} if is_member else others))
    team = replace(team, members=members)
    _store(home_root, _load(home_root), team)
    ensure_team(team, home_root)
    if not is_member:
        _unlink(home_root, person, team)


def find_team(name: str, home_root: Path) -> Team:
    """Return a team.

    Raises:
        TeamError: there is none of this name.
    """
    team = read_teams(home_root).get(name)
    if team is None:
        raise TeamError(f"There is no team {name!r}.", "See: ./vixtract team list")
    return team


def remove_team(name: str, home_root: Path) -> Path | None:
    """Remove a team and its group; its folder goes to the archive.

    Returns: the folder's new path; None where there was none.
    """
    content = _load(home_root)
    team = find_team(name, home_root)
    folder, target = home_root / FOLDERS / name, None
    if folder.is_dir() and not folder.is_symlink():
        target = ensure_place(home_root, "archive") / f"team-{name}.{team.gid}"
        folder.rename(target)
    for person in team.members:
        _unlink(home_root, person, team)
    del content["teams"][name]
    _write(home_root, content)
    accounts.remove_group(name, team.gid)
    return target


def ensure_teams(home_root: Path = Path("/home")) -> list[str]:
    """Make all groups, memberships, folders and links again; a team that fails is skipped.

    Returns: names of the teams that are complete.
    """
    made = []
    for name, team in sorted(read_teams(home_root).items()):
        try:
            ensure_team(team, home_root)
        except (VixtractError, OSError) as error:
            log.warning("Team %s: %s", name, error)
        else:
            made.append(name)
    return made


def ensure_team(team: Team, home_root: Path) -> None:
    """Make one team's group, memberships, folder and links.

    Raises:
        AccountError: the group cannot be made.
    """
    accounts.ensure_group(team.name, team.gid, team.members)
    parent = home_root / FOLDERS
    parent.mkdir(mode=0o711, exist_ok=True)
    parent.chmod(0o711)
    folder = parent / team.name
    if not folder.is_dir():
        folder.mkdir(mode=0o700)
    os.chown(folder, 0, team.gid)
    accounts.set_group_folder(folder, team.gid)
    try:
        os.setxattr(folder, "system.posix_acl_default", _ACL)
    except OSError as error:
        log.warning("%s has no ACL (%s): members need umask 002 there.", folder, error.strerror)
    for person in team.members:
        try:
            (home_root / person / f"team-{team.name}").symlink_to(folder)
        except (FileExistsError, FileNotFoundError, NotADirectoryError):
            continue


def _unlink(home_root: Path, person: str, team: Team) -> None:
    link = home_root / person / f"team-{team.name}"
    try:
        if link.is_symlink() and link.readlink() == home_root / FOLDERS / team.name:
            link.unlink()
    except OSError:
        return  # the person put something else there just now


def _load(home_root: Path) -> dict[str, Any]:
    try:
        text = (home_root / PLACE / "teams.json").read_text(encoding="utf-8")
    except (FileNotFoundError, PermissionError):
        return {"teams": {}}
    content = json.loads(text)
    return content if isinstance(content, dict) else {"teams": {}}


def _parse(content: Mapping[str, Any]) -> dict[str, Team]:
    return {
        name: Team(
            name,
            int(entry["gid"]),
            tuple(entry.get("members", ())),
            bool(entry.get("private")),
            bool(entry.get("database")),
        )
        for name, entry in content.get("teams", {}).items()
    }


def _store(home_root: Path, content: dict[str, Any], team: Team) -> None:
    content.setdefault("teams", {})[team.name] = {
        "gid": team.gid,
        "members": list(team.members),
        "private": team.is_private,
        "database": team.has_database,
    }
    content["last_gid"] = max(int(content.get("last_gid", 0)), team.gid)
    _write(home_root, content)


def _write(home_root: Path, content: Mapping[str, Any]) -> None:
    path = ensure_place(home_root) / "teams.json"
    write_whole(path, json.dumps(content, indent=1, sort_keys=True) + "\n")
