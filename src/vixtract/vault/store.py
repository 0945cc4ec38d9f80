"""The store of connections: an SQLite file of root's in the volume of secrets.

Names, kinds and owners are stored in clear, the values of a connection in one encrypted text. Both
containers open the file; SQLite's locks hold between them because they share the kernel.
"""

from __future__ import annotations

import difflib
import fcntl
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vixtract.vault.cipher import Cipher, add_key, drop_old_keys
from vixtract.vault.database import FILE, note, open_database
from vixtract.vault.errors import ConnectionFormError, UnknownNameError
from vixtract.vault.fields import check_connection_name
from vixtract.vault.kind import check_values
from vixtract.vault.records import AuditEntry, Draft, Owner, Saved
from vixtract.vault.registry import KINDS

LOCK = "connections.lock"
SECRETS = Path("/srv/secrets")
_COLUMNS = "id, name, owner_kind, owner, kind, sealed, changed_at, changed_by"


def is_there(directory: Path) -> bool:
    """Tell whether a store exists: the first saved connection makes it."""
    return (directory / FILE).exists()


class Store:
    """Reads and changes the connections in root's directory; checks values, but not who asks."""

    def __init__(self, directory: Path = SECRETS) -> None:
        self._directory = directory
        self._cipher = Cipher(directory)

    def list_of(self, owners: Collection[Owner]) -> list[Saved]:
        """Return the connections of owners, sorted by name, a person's before a team's."""
        with self._open() as database:
            rows = database.execute(
                f"SELECT {_COLUMNS} FROM connection ORDER BY name, owner_kind, owner"  # noqa: S608
            ).fetchall()
        return [self._read(row) for row in rows if Owner(row[2], row[3]) in owners]

    def find(self, owners: Sequence[Owner], name: str) -> Saved:
        """Return a person's connection by its name.

        Args:
            owners: the person, then their teams.
            name: of a connection, or `owner/name` if several owners have one of that name.
        Raises:
            UnknownNameError: none of the owners has it, or several teams have; the hint helps on.
            VaultError: the connection cannot be decrypted.
        """
        owner, _, bare = name.rpartition("/")
        seen = self.list_of(owners)
        named = [saved for saved in seen if saved.name.casefold() == bare.casefold()]
        found = [saved for saved in named if not owner or saved.owner.name == owner]
        own = [saved for saved in found if saved.owner.kind == "person"]
        if len(found) == 1 or own:
            return (own or found)[0]
        if found:
            names = ", ".join(f'"{saved.owner.name}/{saved.name}"' for saved in found)
            message = f"Several teams have a connection {bare!r}."
            raise UnknownNameError(message, f"Ask for {names}.")
        raise self._explain(bare, [saved.name for saved in seen])

    def get(self, identifier: int) -> Saved | None:
        """Return a connection by its number, or None."""
        with self._open() as database:
            query = f"SELECT {_COLUMNS} FROM connection WHERE id = ?"  # noqa: S608 - constant
            row = database.execute(query, (identifier,)).fetchone()
        return self._read(row) if row else None

    def save(self, draft: Draft, who: str, identifier: int = 0, *, seen: Sequence[Owner]) -> int:
        """Save a new connection, or change one, and return its number.

        Args:
            who: the person who saves it, for the record of changes.
            identifier: of the connection to change, 0 for a new one.
            seen: the owners whose connections the person may use; among these a name is unique.
        Raises:
            ConnectionFormError: has the problem of every field that is wrong.
        """
        old = self.get(identifier) if identifier else None
        problems, values = check_connection_name(draft.name), {}
        try:
            values = self.complete(draft, old)
        except ConnectionFormError as error:
            problems |= error.problems
        if problems:
            raise ConnectionFormError(problems)
        changed = sorted(n for n in values if old is None or old.values.get(n) != values[n])
        if old and (old.name, old.owner) != (draft.name, draft.owner):
            changed += ["name" if old.name != draft.name else "owner"]
        row = (draft.name, *draft.owner, draft.kind)
        with self._write() as database:
            sealed = self._cipher.encrypt(row, values)
            self._check_free(database, draft, identifier, seen)
            if old is None:
                cursor = database.execute(
                    "INSERT INTO connection (name, owner_kind, owner, kind, sealed, changed_at,"
                    " changed_by) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (*row, sealed, time.time(), who),
                )
                identifier = cursor.lastrowid or 0
            else:
                database.execute(
                    "UPDATE connection SET name = ?, owner_kind = ?, owner = ?, kind = ?,"
                    " sealed = ?, changed_at = ?, changed_by = ? WHERE id = ?",
                    (*row, sealed, time.time(), who, identifier),
                )
            what, fields = "changed" if old else "made", tuple(changed)
            note(database, AuditEntry(who, what, identifier, draft.owner, draft.name, fields))
        return identifier

    def complete(self, draft: Draft, old: Saved | None) -> dict[str, str]:
        """Return a draft's values together with the secrets that it keeps of the stored ones.

        Raises:
            ConnectionFormError: a value is wrong; or a secret is kept although its destination
                changes, which would let the person have it sent to any server.
        """
        kind = KINDS.get(draft.kind)
        if kind is None:
            raise ConnectionFormError({"kind": "unknown"})
        stored = old.values if old and old.kind == kind.name else {}
        kept = {name for name in kind.secrets if name in draft.kept and stored.get(name)}
        values = check_values(kind, draft.values, kept)
        destinations = [field.name for field in kind.fields if field.destination]
        if kept and any(values[name] != stored.get(name) for name in destinations):
            raise ConnectionFormError(dict.fromkeys(sorted(kept), "retype"))
        return {**values, **{name: stored[name] for name in kept}}

    def remove(self, identifier: int, who: str) -> None:
        """Delete a connection if it exists."""
        with self._open() as database:
            row = database.execute(
                "DELETE FROM connection WHERE id = ? RETURNING owner_kind, owner, name",
                (identifier,),
            ).fetchone()
            if row:
                owner = Owner(row[0], row[1])
                note(database, AuditEntry(who, "deleted", identifier, owner, row[2]))

    def changes(self, identifier: int, limit: int = 20) -> list[tuple[float, str, str, str]]:
        """Return the latest changes of a connection: Unix seconds, who, what, names of fields."""
        with self._open() as database:
            return database.execute(
                "SELECT at, who, what, fields FROM change WHERE connection = ?"
                " ORDER BY id DESC LIMIT ?",
                (identifier, limit),
            ).fetchall()

    def _check_free(
        self, database: sqlite3.Connection, draft: Draft, identifier: int, seen: Sequence[Owner]
    ) -> None:
        rows = database.execute(
            "SELECT owner_kind, owner FROM connection WHERE name = ? AND id <> ?",
            (draft.name, identifier),
        ).fetchall()
        if {Owner(*row) for row in rows} & {*seen, draft.owner}:
            raise ConnectionFormError({"name": "taken"})

    def _explain(self, name: str, seen: Sequence[str]) -> UnknownNameError:
        """Return the error for a name that none of the owners has."""
        with self._open() as database:
            query = "SELECT 1 FROM connection WHERE name = ? LIMIT 1"
            others = database.execute(query, (name,)).fetchone()
        near = difflib.get_close_matches(name, seen, 3, 0.6)
        if others:
            return UnknownNameError(
                f"The connection {name!r} belongs to another person or team.",
                "Ask its owner to share it with a team of yours, or make one of your own in the"
                " portal under Connections.",
            )
        listed = ", ".join(sorted(set(seen))) or "none"
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are: {listed}."
        return UnknownNameError(
            f"There is no connection {name!r}.", f"{hint} The portal makes new ones: Connections."
        )

    def _read(self, row: Sequence[Any]) -> Saved:
        identifier, name, owner_kind, owner, kind, sealed, *change = row
        values = self._cipher.decrypt((name, owner_kind, owner, kind), sealed)
        return Saved(identifier, name, Owner(owner_kind, owner), kind, values, *change)

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return open_database(self._directory)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """Lock the file for a change, and read the key that is valid from then on."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            self._cipher = Cipher(self._directory)
            yield database

    # For root's other processes.

    def forget_owner(self, owner: Owner, who: str) -> list[str]:
        """Delete all connections of a removed person or team and return their names, sorted."""
        with self._open() as database:
            rows = database.execute(
                "DELETE FROM connection WHERE owner_kind = ? AND owner = ? RETURNING id, name",
                owner,
            ).fetchall()
            for number, name in rows:
                note(database, AuditEntry(who, "deleted", number, owner, name))
        return sorted(name for _, name in rows)

    def hand_over(self, owner: Owner, new_owner: Owner, who: str) -> dict[str, str]:
        """Give all connections of one owner to another; return a map of old names to new ones.

        If the new owner has a connection of that name, the old owner's name is added to it.
        """
        taken = {saved.name.casefold() for saved in self.list_of([new_owner])}
        moved: dict[str, str] = {}
        for saved in self.list_of([owner]):
            name, number = saved.name, 1
            while name.casefold() in taken:
                tail = f"-{owner.name}" + (f"-{number}" if number > 1 else "")
                name, number = f"{saved.name[: 64 - len(tail)]}{tail}", number + 1
            row = (name, *new_owner, saved.kind)
            with self._write() as database:
                sealed = self._cipher.encrypt(row, saved.values)
                database.execute(
                    "UPDATE connection SET name = ?, owner_kind = ?, owner = ?, kind = ?,"
                    " sealed = ? WHERE id = ?",
                    (*row, sealed, saved.id),
                )
                note(database, AuditEntry(who, "handed over", saved.id, new_owner, name))
            taken.add(name.casefold())
            moved[saved.name] = name
        return moved

    def rotate(self) -> int:
        """Encrypt all connections with a new key, delete the old keys, and return the number.

        May be interrupted and run again: until the end, values of both keys can be read.
        """
        # A second rotation at the same time would delete this one's key.
        with (self._directory / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            add_key(self._directory)
            # What another process encrypts meanwhile comes before this, or has the new key.
            with self._write() as database:
                rows = database.execute(f"SELECT {_COLUMNS} FROM connection").fetchall()  # noqa: S608
                for row in rows:
                    saved = self._read(row)
                    identity = (saved.name, *saved.owner, saved.kind)
                    sealed = self._cipher.encrypt(identity, saved.values)
                    change = "UPDATE connection SET sealed = ? WHERE id = ?"
                    database.execute(change, (sealed, saved.id))
            drop_old_keys(self._directory)
        return len(rows)

    def secret_values(self, owners: Collection[Owner]) -> list[str]:
        """Return every secret text of the owners' connections, the longest first, for masking.

        Each secret comes as it is and URL-encoded; a private key also line by line.
        """
        found: set[str] = set()
        for saved in self.list_of(owners):
            for name in KINDS[saved.kind].secrets:
                value = saved.values.get(name, "")
                # The lines around a key are no secret.
                lines = [line for line in value.splitlines() if not line.startswith("-----")]
                found |= {value, quote(value, safe=""), *(line.strip() for line in lines)}
        return sorted(found - {""}, key=lambda text: (-len(text), text))
