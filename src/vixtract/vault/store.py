"""The store of connections: an SQLite file of root's in the volume of secrets.

Names, kinds and owners stand there in clear, all values in one encrypted text for each connection.
Both containers open it; SQLite's locks hold between them, for they share the kernel.
"""

from __future__ import annotations

import difflib
import fcntl
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from vixtract.vault.cipher import Cipher, add_key, drop_old_keys
from vixtract.vault.database import FILE, note, open_database
from vixtract.vault.errors import ConnectionFormError, UnknownNameError
from vixtract.vault.kinds import KINDS, check_connection_name, check_values
from vixtract.vault.records import Change, Draft, Owner, Saved

LOCK = "connections.lock"
SECRETS = Path("/srv/secrets")
_COLUMNS = "id, name, owner_kind, owner, kind, sealed, changed_at, changed_by"


def is_there(directory: Path) -> bool:
    """Tell whether anybody has saved a connection yet.

    Args:
        directory: of the store.
    """
    return (directory / FILE).exists()


class Store:
    """Reads and changes connections; checks values, not who asks.

    Args:
        directory: usually /srv/secrets, root's alone.
    """

    def __init__(self, directory: Path = SECRETS) -> None:
        self._directory = directory
        self._cipher = Cipher(directory)

    def list_of(self, owners: Collection[Owner]) -> list[Saved]:
        """Return the connections of owners by name; a person's own come before teams'."""
        with self._open() as database:
            rows = database.execute(
                f"SELECT {_COLUMNS} FROM connection ORDER BY name, owner_kind, owner"  # noqa: S608
            ).fetchall()
        return [self._read(row) for row in rows if Owner(row[2], row[3]) in owners]

    def find(self, owners: Sequence[Owner], name: str) -> Saved:
        """Return the connection that a name means to a person.

        Args:
            owners: the person, then their teams.
            name: of a connection, or `owner/name` where several owners have one of that name.
        Raises:
            UnknownNameError: says what it may have been, or that it is somebody else's.
            VaultError: it cannot be decrypted.
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
            raise UnknownNameError(
                f"Several teams have a connection {bare!r}.", f"Ask for {names}."
            )
        raise self._explain(bare, [saved.name for saved in seen])

    def get(self, identifier: int) -> Saved | None:
        """Return a connection by its number, or None."""
        with self._open() as database:
            row = database.execute(
                f"SELECT {_COLUMNS} FROM connection WHERE id = ?",  # noqa: S608 - constant
                (identifier,),
            ).fetchone()
        return self._read(row) if row else None

    def save(self, draft: Draft, who: str, identifier: int = 0, *, seen: Sequence[Owner]) -> int:
        """Keep a new connection, or change one.

        Args:
            draft: what is wanted.
            who: the person who wants it, for the record of changes.
            identifier: of the connection to change, 0 for a new one.
            seen: whose connections the person sees; a name may stand there once.
        Returns: the connection's number.
        Raises:
            ConnectionFormError: names every field that is wrong.
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
        row = (draft.name, draft.owner.kind, draft.owner.name, draft.kind)
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
            what = "changed" if old else "made"
            change = Change(who, what, identifier, draft.owner, draft.name, tuple(changed))
            note(database, change)
        return identifier

    def complete(self, draft: Draft, old: Saved | None) -> dict[str, str]:
        """Return a draft's values with the kept secrets in them.

        Args:
            draft: what is wanted.
            old: the connection as it is kept.
        Raises:
            ConnectionFormError: a value is wrong; or a secret is to be kept while what decides
                where it is sent changes, which would let it be sent anywhere.
        """
        kind = KINDS.get(draft.kind)
        if kind is None:
            raise ConnectionFormError({"kind": "unknown"})
        same_kind = old is not None and old.kind == kind.name
        kept = {
            name
            for name in kind.secrets
            if name in draft.kept and old is not None and same_kind and old.values.get(name)
        }
        values = check_values(kind, draft.values, kept)
        moved = [
            field.name
            for field in kind.fields
            if field.place and old is not None and values[field.name] != old.values.get(field.name)
        ]
        if kept and moved:
            raise ConnectionFormError(dict.fromkeys(sorted(kept), "retype"))
        return {**values, **{name: old.values[name] for name in kept if old is not None}}

    def remove(self, identifier: int, who: str) -> None:
        """Delete a connection; nothing happens where there is none."""
        with self._open() as database:
            row = database.execute(
                "DELETE FROM connection WHERE id = ? RETURNING owner_kind, owner, name",
                (identifier,),
            ).fetchone()
            if row:
                owner = Owner(row[0], row[1])
                note(database, Change(who, "deleted", identifier, owner, row[2]))

    def changes(self, identifier: int, limit: int = 20) -> list[tuple[float, str, str, str]]:
        """Return the last changes of a connection: Unix seconds, who, what, names of fields."""
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
        """Say what is wrong with a name that led to nothing."""
        with self._open() as database:
            others = database.execute(
                "SELECT 1 FROM connection WHERE name = ? LIMIT 1", (name,)
            ).fetchone()
        near = difflib.get_close_matches(name, seen, 3, 0.6)
        if others:
            return UnknownNameError(
                f"The connection {name!r} is somebody else's.",
                "Ask its owner to share it with a team of yours, or make one of your own in the"
                " portal under Connections.",
            )
        listed = ", ".join(sorted(set(seen))) or "none"
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are: {listed}."
        return UnknownNameError(
            f"There is no connection {name!r}.", f"{hint} The portal makes new ones: Connections."
        )

    def _read(self, row: Sequence[object]) -> Saved:
        identifier, name, owner_kind, owner, kind, sealed, changed_at, changed_by = row
        identity = (str(name), str(owner_kind), str(owner), str(kind))
        assert isinstance(sealed, bytes)
        assert isinstance(identifier, int)
        assert isinstance(changed_at, float)
        return Saved(
            identifier, identity[0], Owner(identity[1], identity[2]), identity[3],
            self._cipher.decrypt(identity, sealed), changed_at, str(changed_by),
        )  # fmt: skip

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with open_database(self._directory) as database:
            yield database

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """Open for a change that encrypts, with the key in force once nobody else writes."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            self._cipher = Cipher(self._directory)
            yield database

    # For root's other processes.

    def forget_owner(self, owner: Owner, who: str) -> list[str]:
        """Delete everything of a person or team that is removed; return the names."""
        with self._open() as database:
            rows = database.execute(
                "DELETE FROM connection WHERE owner_kind = ? AND owner = ? RETURNING id, name",
                (owner.kind, owner.name),
            ).fetchall()
            for number, name in rows:
                note(database, Change(who, "deleted", number, owner, name))
        return sorted(name for _, name in rows)

    def hand_over(self, owner: Owner, new_owner: Owner, who: str) -> dict[str, str]:
        """Give everything of one owner to another; return old names to new ones.

        A name that the new owner has already gets the old owner's behind it.
        """
        taken = {saved.name.casefold() for saved in self.list_of([new_owner])}
        moved: dict[str, str] = {}
        for saved in self.list_of([owner]):
            name, number = saved.name, 1
            while name.casefold() in taken:
                tail = f"-{owner.name}" + (f"-{number}" if number > 1 else "")
                name, number = f"{saved.name[: 64 - len(tail)]}{tail}", number + 1
            row = (name, new_owner.kind, new_owner.name, saved.kind)
            with self._write() as database:
                sealed = self._cipher.encrypt(row, saved.values)
                database.execute(
                    "UPDATE connection SET name = ?, owner_kind = ?, owner = ?, kind = ?,"
                    " sealed = ? WHERE id = ?",
                    (*row, sealed, saved.id),
                )
                note(database, Change(who, "handed over", saved.id, new_owner, name))
            taken.add(name.casefold())
            moved[saved.name] = name
        return moved

    def rotate(self) -> int:
        """Encrypt everything with a new key, and forget the old ones; return how many.

        May be cut off anywhere and run again: until the end both keys can read.
        """
        # Of two at once the second would drop the first one's key.
        with (self._directory / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            add_key(self._directory)
            # What another process seals meanwhile comes before this, or has the new key.
            with self._write() as database:
                rows = database.execute(f"SELECT {_COLUMNS} FROM connection").fetchall()  # noqa: S608
                for row in rows:
                    saved = self._read(row)
                    identity = (saved.name, saved.owner.kind, saved.owner.name, saved.kind)
                    database.execute(
                        "UPDATE connection SET sealed = ? WHERE id = ?",
                        (self._cipher.encrypt(identity, saved.values), saved.id),
                    )
            drop_old_keys(self._directory)
        return len(rows)

    def secret_values(self, owners: Collection[Owner]) -> list[str]:
        """Return every secret text of owners' connections, longest first, for masking.

        Each comes as it is and as it stands in an address, where the two differ; a private key also
        line by line.
        """
        found: set[str] = set()
        for saved in self.list_of(owners):
            for name in KINDS[saved.kind].secrets:
                value = saved.values.get(name, "")
                # The lines around a key are everybody's.
                lines = [line for line in value.splitlines() if not line.startswith("-----")]
                found |= {value, quote(value, safe=""), *(line.strip() for line in lines)}
        return sorted(found - {""}, key=lambda text: (-len(text), text))
