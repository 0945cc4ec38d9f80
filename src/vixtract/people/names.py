"""Rules for names of people: one name is used in the Hub, the OS and PostgreSQL."""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Callable

from vixtract.errors import VixtractError

FIRST_UID = 2000
"""Accounts of people start here; everything below belongs to the system."""

FIRST_TEAM_GID, LAST_TEAM_GID = 30000, 39999
"""Groups of teams: above every person's own group, which has the number of their account."""

_PATTERN = re.compile(r"[a-z_][a-z0-9._-]{0,31}")

# Names with a meaning for PostgreSQL, for the appliance or in /home.
_RESERVED = frozenset(
    {
        "root",
        "postgres",
        "vixtract",
        "cronicle",
        "portal",
        "bi",
        "bi_readers",
        "etl_users",
        "vixtract_teams",
        "bi_access",
        "vixtract_sharing",
        "etl",
        "public",
        "none",
        "information_schema",
        "current_user",
        "session_user",
        "current_role",
        "lost-found",
    }
)


class InvalidNameError(VixtractError):
    """The name cannot be a person's."""


def check_name(name: str, *, lookup_uid: Callable[[str], int | None] | None = None) -> None:
    """Refuse a name that cannot be a person's.

    Args:
        name: as typed, already in lower case; 1 to 32 characters.
        lookup_uid: gives the uid of an account (or the gid of a group) of that name, or None; the
            machine's own by default.
    Raises:
        InvalidNameError: says which rule the name breaks.
    """
    hint = "Use 1 to 32 of a-z, 0-9, dot, dash and underscore, beginning with a letter."
    if not _PATTERN.fullmatch(name):
        raise InvalidNameError(f"{_shorten(name)} is not a valid name.", hint)
    if ".." in name or name.endswith("."):
        raise InvalidNameError(f"{name!r} has a dot where none is allowed.", hint)
    if name in _RESERVED or name.startswith("pg_"):
        raise InvalidNameError(f"{name!r} is a reserved name.", "Choose another name.")
    uid = (lookup_uid or _lookup_id)(name)
    if uid is not None and uid < FIRST_UID:
        raise InvalidNameError(f"{name!r} is a system account or group.", "Choose another name.")
    if uid is not None and FIRST_TEAM_GID <= uid <= LAST_TEAM_GID:
        raise InvalidNameError(f"{name!r} is the name of a team.", "Choose another name.")


def is_name(text: str) -> bool:
    """Return whether a text has the shape of a person's name; a reserved one counts too."""
    return bool(_PATTERN.fullmatch(text)) and ".." not in text


def _shorten(name: str) -> str:
    """Quote typed text so that it is safe in a log line."""
    return repr(name if len(name) <= 40 else name[:40] + "…")


def _lookup_id(name: str) -> int | None:
    """Return the number of an account or group: each person has a group of their own name."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        pass
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
