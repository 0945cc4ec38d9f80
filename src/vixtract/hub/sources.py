"""Where each person signs in: locally, by LDAP or by OpenID Connect; one name has one source.

The table is in the Hub's SQLite file, beside the passwords. A name without a row is local if the
Hub has a user, a password or a home of that name. So an account of LDAP or OpenID Connect can take
over neither a local person nor the home of a person who left. All calls block.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vixtract.errors import VixtractError
from vixtract.sqlite import has_table, open_sqlite

LOCAL = "local"
LDAP = "ldap"
OIDC = "oidc"
WORDS = {LOCAL: "a local password", LDAP: "LDAP", OIDC: "OpenID Connect"}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vixtract_source (
    name TEXT PRIMARY KEY, source TEXT NOT NULL, subject TEXT NOT NULL, signed_in_at REAL NOT NULL,
    is_ended INTEGER NOT NULL DEFAULT 0, is_deleted INTEGER NOT NULL DEFAULT 0);
"""


class TakenError(VixtractError):
    """The name belongs to another person."""


@dataclass(frozen=True)
class Identity:
    """A person whom LDAP or the issuer vouches for, allowed to sign in.

    Args:
        name: as the source spells it, in lower case; not yet checked by the rules of names.
        subject: identifier that the source never gives to another account; empty if it has none.
        is_admin: in the group of administrators; None where the settings name no group.
    """

    name: str
    subject: str
    is_admin: bool | None


@dataclass(frozen=True)
class Origin:
    """A person of LDAP or OpenID Connect, as the table has them.

    Args:
        subject: as of `Identity`.
        signed_in_at: last sign-in, seconds since 1970.
        is_ended: whether the sessions of that sign-in were ended already.
        is_deleted: whether the Hub user was deleted since; the name stays reserved for the source.
    """

    name: str
    source: str
    subject: str
    signed_in_at: float
    is_ended: bool
    is_deleted: bool


class SourceStore:
    """The table of people of LDAP and OpenID Connect."""

    def __init__(
        self, database: Path, home_root: Path, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._home_root = home_root
        self._clock = clock
        with open_sqlite(self._database) as connection:
            connection.executescript(_SCHEMA)

    def find(self, name: str) -> str:
        """Return LOCAL, LDAP or OIDC, or an empty text for a name that is not taken."""
        with open_sqlite(self._database) as connection:
            origin = _read(connection, name)
            if origin:
                return origin.source
            return LOCAL if self._is_local(connection, name) else ""

    def origins(self) -> list[Origin]:
        """Return all people of LDAP and OpenID Connect by name, also deleted ones."""
        with open_sqlite(self._database) as connection:
            names = connection.execute("SELECT name FROM vixtract_source ORDER BY name").fetchall()
            return [o for (name,) in names if (o := _read(connection, name))]

    def claim(self, name: str, source: str, subject: str) -> None:
        """Record a sign-in by LDAP or OpenID Connect; the first one reserves the name.

        Raises:
            TakenError: the name is a local person's, another source's or another account's.
        """
        with open_sqlite(self._database) as connection:
            connection.execute("BEGIN IMMEDIATE")
            origin = _read(connection, name)
            if origin is None and self._is_local(connection, name):
                raise _taken(name, LOCAL)
            if origin and origin.source != source:
                raise _taken(name, origin.source)
            if origin and origin.subject and subject and origin.subject != subject:
                raise TakenError(
                    f"The name {name!r} belongs to another account of {WORDS[source]} here.",
                    "An administrator can give the name free; see the page on sign-in.",
                )
            kept = subject or (origin.subject if origin else "")
            connection.execute(
                "INSERT OR REPLACE INTO vixtract_source VALUES (?, ?, ?, ?, 0, 0)",
                (name, source, kept, self._clock()),
            )

    def mark_ended(self, name: str) -> None:
        """Record that the sessions of the last sign-in are ended."""
        with open_sqlite(self._database) as connection:
            connection.execute("UPDATE vixtract_source SET is_ended = 1 WHERE name = ?", (name,))

    def note_added(self, name: str) -> None:
        """Record that the Hub has a user: one who is added again after a deletion is local."""
        with open_sqlite(self._database) as connection:
            connection.execute(
                "DELETE FROM vixtract_source WHERE name = ? AND is_deleted = 1", (name,)
            )

    def note_deleted(self, name: str) -> None:
        """Record that the Hub's user is deleted: the name stays reserved for the same account."""
        with open_sqlite(self._database) as connection:
            connection.execute("UPDATE vixtract_source SET is_deleted = 1 WHERE name = ?", (name,))

    def assign(self, name: str, source: str) -> None:
        """Set where a person signs in from now on; the next account of that name there is taken."""
        with open_sqlite(self._database) as connection:
            connection.execute("DELETE FROM vixtract_source WHERE name = ?", (name,))
            if source != LOCAL:
                connection.execute("DELETE FROM vixtract_password WHERE name = ?", (name,))
                connection.execute(
                    "INSERT INTO vixtract_source VALUES (?, ?, '', ?, 0, 0)",
                    (name, source, self._clock()),
                )

    def _is_local(self, connection: sqlite3.Connection, name: str) -> bool:
        for table in ("users", "vixtract_password"):
            known = f"SELECT 1 FROM {table} WHERE name = ?"  # noqa: S608  one of the two above
            if has_table(connection, table) and connection.execute(known, (name,)).fetchone():
                return True
        return os.path.lexists(self._home_root / name)


def _read(connection: sqlite3.Connection, name: str) -> Origin | None:
    row = connection.execute(
        "SELECT source, subject, signed_in_at, is_ended, is_deleted FROM vixtract_source"
        " WHERE name = ?",
        (name,),
    ).fetchone()
    return row and Origin(name, row[0], row[1], row[2], bool(row[3]), bool(row[4]))


def _taken(name: str, source: str) -> TakenError:
    return TakenError(
        f"The name {name!r} belongs to a person who signs in with {WORDS[source]} here.",
        "An administrator can change that; see the page on sign-in.",
    )
