"""Local passwords, in a table of the Hub's SQLite file, with lock-out after failures.

All calls block (hashing takes part of a second): the Hub runs them in threads. Failures are counted
for each name and client. A client is an address, or a browser that has logged in as that name
before. So wrong passwords from elsewhere cannot lock a person out of their usual browser.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vixtract.errors import VixtractError
from vixtract.language import Language, mark
from vixtract.sqlite import open_sqlite

TOO_MANY_FAILURES = mark("Too many failed attempts. Try again in %s min.")
MIN_LENGTH = 8
MAX_LENGTH = 256
"""Characters. Longer input is refused before it is hashed."""

KNOWN_DEFAULTS = frozenset({"vixtract", "password", "12345678", "changeme"})

# OWASP's minimum for scrypt: 32 MiB and three passes; 0.3 s on one busy core.
_LOG_N, _R, _P = 15, 8, 3

WINDOW_S = 15 * 60
MAX_FAILURES_PER_CLIENT = 5
MAX_FAILURES_PER_NAME = 50
"""Within the window, over all addresses; browsers that are known are not counted."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vixtract_password (
    name TEXT PRIMARY KEY, hash TEXT NOT NULL, changed_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS vixtract_login_failure (
    name TEXT NOT NULL, client TEXT NOT NULL, failed_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS vixtract_first_password (name TEXT PRIMARY KEY);
CREATE INDEX IF NOT EXISTS vixtract_login_failure_name ON vixtract_login_failure (name, failed_at);
"""


class PasswordError(VixtractError):
    """A new password that cannot be taken.

    Args:
        text: English message, to be translated before the values are filled in.
    """

    def __init__(self, text: str, *values: object) -> None:
        super().__init__(text % values if values else text)
        self.text, self.values = text, values

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the values."""
        return type(self), (self.text, *self.values)

    def explain(self, language: Language) -> str:
        """Return the message in a language."""
        return language.say(self.text) % self.values if self.values else language.say(self.text)


class LockedError(VixtractError):
    """Too many failures; the message says how long to wait."""

    def __init__(self, minutes: int) -> None:
        super().__init__(
            TOO_MANY_FAILURES % minutes,
            "An administrator can set a new password, which unlocks at once.",
        )
        self.minutes = minutes

    def __reduce__(self) -> tuple[type[LockedError], tuple[int]]:
        """Pickle with the number."""
        return type(self), (self.minutes,)


def hash_password(password: str, *, salt: bytes | None = None) -> str:
    """Return `scrypt$log2n$r$p$salt$hash`; the salt is random where none is given.

    Source: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
    """
    salt = os.urandom(16) if salt is None else salt
    key = _derive(password, salt, _LOG_N, _R, _P)
    encoded = [base64.b64encode(part).decode("ascii") for part in (salt, key)]
    return "$".join(["scrypt", str(_LOG_N), str(_R), str(_P), *encoded])


def is_hash_of(stored: str, password: str) -> bool:
    """Compare a password with a text of `hash_password`, in constant time.

    A password longer than MAX_LENGTH never matches.
    """
    if len(password) > MAX_LENGTH:
        return False
    _, log_n, r, p, salt, key = stored.split("$")
    derived = _derive(password, base64.b64decode(salt), int(log_n), int(r), int(p))
    return hmac.compare_digest(derived, base64.b64decode(key))


def check_new_password(password: str, *, name: str) -> None:
    """Refuse a password that is too short, too long or known.

    Raises:
        PasswordError: says which rule it breaks.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise PasswordError(mark("A password has %s to %s characters."), MIN_LENGTH, MAX_LENGTH)
    if password.lower() in KNOWN_DEFAULTS or password.lower() == name:
        raise PasswordError(mark("This password is too easy to guess."))


class PasswordStore:
    """Password rows and failures; missing tables are made."""

    def __init__(self, database: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        # Checked for unknown names, so that they take as long as known ones.
        self._unused_hash = hash_password(base64.b64encode(os.urandom(16)).decode("ascii"))
        with open_sqlite(self._database) as connection:
            connection.executescript(_SCHEMA)

    def has_password(self, name: str) -> bool:
        """Return whether a person has a local password."""
        return self._stored_hash(name) is not None

    def has_hash_of(self, name: str, password: str) -> bool:
        """Return whether this is the person's password, without counting a failure."""
        stored = self._stored_hash(name)
        return stored is not None and is_hash_of(stored, password)

    def names(self) -> frozenset[str]:
        """Return all names with a local password."""
        with open_sqlite(self._database) as connection:
            rows = connection.execute("SELECT name FROM vixtract_password").fetchall()
        return frozenset(row[0] for row in rows)

    def set_password(self, name: str, password: str, *, is_first: bool = False) -> None:
        """Set or replace a password and delete the name's failures. The caller checks the rules.

        Args:
            is_first: another person knows it: it is accepted only to choose a new one.
        """
        row = (name, hash_password(password), self._clock())
        with open_sqlite(self._database) as connection:
            connection.execute("INSERT OR REPLACE INTO vixtract_password VALUES (?, ?, ?)", row)
            connection.execute("DELETE FROM vixtract_first_password WHERE name = ?", (name,))
            if is_first:
                connection.execute("INSERT INTO vixtract_first_password VALUES (?)", (name,))
            connection.execute("DELETE FROM vixtract_login_failure WHERE name = ?", (name,))

    def first_names(self) -> frozenset[str]:
        """Return the names whose password must be changed at the next login."""
        with open_sqlite(self._database) as connection:
            rows = connection.execute("SELECT name FROM vixtract_first_password").fetchall()
        return frozenset(row[0] for row in rows)

    def fingerprint(self, name: str) -> str:
        """Return a text that changes with the password; empty for a person without one."""
        stored = self._stored_hash(name)
        return hashlib.sha256(stored.encode()).hexdigest() if stored else ""

    def delete(self, name: str) -> None:
        """Forget a person's password and failures."""
        with open_sqlite(self._database) as connection:
            for kind in ("password", "first_password", "login_failure"):
                statement = f"DELETE FROM vixtract_{kind} WHERE name = ?"  # noqa: S608
                connection.execute(statement, (name,))

    def verify(self, name: str, password: str, *, client: str) -> bool:
        """Check a password of a valid name, and count a failure.

        Args:
            client: `address:…`, or `browser:…` for one that has logged in as this name before.
        Raises:
            LockedError: too many failures; the password was not checked.
        """
        self.check_lock(name, client)
        stored = self._stored_hash(name)
        if is_hash_of(stored or self._unused_hash, password) and stored is not None:
            self.clear_failures(name, client)
            return True
        self.record_failure(name, client)
        return False

    def check_lock(self, name: str, client: str) -> None:
        """Refuse a name after too many failures, wherever its password would be checked.

        Raises:
            LockedError: says how long to wait.
        """
        now = self._clock()
        query = (
            "SELECT client, failed_at FROM vixtract_login_failure WHERE name = ? AND failed_at > ?"
        )
        with open_sqlite(self._database) as connection:
            rows = connection.execute(query, (name, now - WINDOW_S)).fetchall()
        own = sorted(failed_at for who, failed_at in rows if who == client)
        unknown = sorted(failed_at for who, failed_at in rows if who.startswith("address:"))
        oldest = []
        if len(own) >= MAX_FAILURES_PER_CLIENT:
            oldest.append(own[-MAX_FAILURES_PER_CLIENT])
        if client.startswith("address:") and len(unknown) >= MAX_FAILURES_PER_NAME:
            oldest.append(unknown[-MAX_FAILURES_PER_NAME])
        if oldest:
            minutes = max(1, math.ceil((max(oldest) + WINDOW_S - now) / 60))
            raise LockedError(minutes)

    def clear_failures(self, name: str, client: str) -> None:
        """Delete a client's failures: it has signed in."""
        with open_sqlite(self._database) as connection:
            connection.execute(
                "DELETE FROM vixtract_login_failure WHERE name = ? AND client = ?", (name, client)
            )

    def record_failure(self, name: str, client: str) -> None:
        """Count one wrong password."""
        now = self._clock()
        with open_sqlite(self._database) as connection:
            connection.execute(
                "DELETE FROM vixtract_login_failure WHERE failed_at < ?", (now - WINDOW_S,)
            )
            connection.execute(
                "INSERT INTO vixtract_login_failure VALUES (?, ?, ?)", (name, client, now)
            )

    def _stored_hash(self, name: str) -> str | None:
        query = "SELECT hash FROM vixtract_password WHERE name = ?"
        with open_sqlite(self._database) as connection:
            row = connection.execute(query, (name,)).fetchone()
        return None if row is None else str(row[0])


def _derive(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=1 << log_n,
        r=r,
        p=p,
        maxmem=256 * (1 << log_n) * r,
        dklen=32,
    )
