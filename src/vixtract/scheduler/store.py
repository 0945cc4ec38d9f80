"""Events and API keys in the ledger's file."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vixtract.ledger.database import Database
from vixtract.scheduler.events import SERVICE_ACCOUNT, Event

PRIVILEGES = (
    "admin",
    "create_events",
    "edit_events",
    "delete_events",
    "run_events",
    "abort_events",
)


@dataclass(frozen=True)
class StoredEvent:
    """An event with the point in time up to which its slots are settled."""

    event: Event
    cursor: int


@dataclass(frozen=True)
class Caller:
    """Who makes a call.

    Args:
        title: title of the API key, for logs and descriptions; never the key itself.
        username: author of events made with the key.
    """

    title: str
    username: str
    privileges: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_admin(self) -> bool:
        """Whether the key may do everything."""
        return bool(self.privileges.get("admin"))

    def may(self, privilege: str) -> bool:
        """Say whether the key has a privilege."""
        return self.is_admin or bool(self.privileges.get(privilege))

    def owns(self, username: str) -> bool:
        """Say whether the key may see and change what this author made."""
        return self.is_admin or self.username == username


def hash_key(key: str) -> str:
    """Return the hash that is stored of an API key: plain, because keys are long and random."""
    return hashlib.sha256(key.encode()).hexdigest()


def find_caller(database: Database, api_key: str, given: str) -> Caller | None:
    """Return the caller that a key belongs to, or None if it is unknown or inactive."""
    given_hash = hash_key(given)
    if hmac.compare_digest(given_hash, hash_key(api_key)):
        return Caller("vixtract", SERVICE_ACCOUNT, {"admin": 1})
    row = database.row("SELECT * FROM api_key WHERE key_hash = ? AND active = 1", (given_hash,))
    if row is None or not hmac.compare_digest(str(row["key_hash"]), given_hash):
        return None
    return Caller(row["title"], row["username"], json.loads(row["privileges"]))


def create_key(database: Database, caller: Caller, key: str, now: int) -> str:
    """Store a further key, as a hash; return its id, the old one if the key is there already."""
    identifier, privileges = "k" + secrets.token_hex(6), json.dumps(caller.privileges)
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO api_key VALUES (?, ?, ?, ?, 1, ?, ?, ?) ON CONFLICT (key_hash) DO UPDATE"
            " SET title = excluded.title, username = excluded.username, active = 1,"
            " privileges = excluded.privileges, modified = excluded.modified",
            (identifier, caller.title, hash_key(key), caller.username, privileges, now, now),
        )
        row = database.row("SELECT id FROM api_key WHERE key_hash = ?", (hash_key(key),))
        return str(row["id"]) if row else identifier


def list_keys(database: Database) -> list[dict[str, Any]]:
    """Return all further keys without their hashes."""
    columns = "id, title, username, active, privileges, created, modified"
    rows = database.rows(f"SELECT {columns} FROM api_key ORDER BY created DESC, id")  # noqa: S608 - constant
    return [{**row, "privileges": json.loads(row["privileges"])} for row in rows]


def delete_key(database: Database, identifier: str) -> bool:
    """Delete a key; return whether there was one."""
    return bool(database.execute("DELETE FROM api_key WHERE id = ?", (identifier,)))


def _decode(row: Mapping[str, Any]) -> StoredEvent:
    return StoredEvent(Event(**json.loads(row["body"])), int(row["cursor"]))


def list_events(database: Database) -> list[StoredEvent]:
    """Return all events, newest first as in Cronicle."""
    rows = database.rows("SELECT body, cursor FROM event ORDER BY created DESC, rowid DESC")
    return [_decode(row) for row in rows]


def get_event(database: Database, *, id: str = "", title: str = "") -> StoredEvent | None:
    """Return the event with an id, or with a title, or None."""
    column, value = ("id", id) if id else ("title", title)
    row = database.row(f"SELECT body, cursor FROM event WHERE {column} = ?", (value,))  # noqa: S608 - two constants
    return _decode(row) if row else None


def find_next_due(database: Database, identifier: str, after: float) -> float | None:
    """Return when an event is due next after a time, or None where it runs only by hand."""
    stored = get_event(database, id=identifier)
    if stored is None or not stored.event.enabled:
        return None
    return next(stored.event.due_times(int(after)), None)


def put_event(database: Database, event: Event, cursor: int | None = None) -> None:
    """Insert or replace a checked event; a cursor of None keeps the present one."""
    shape = event.to_dict()
    database.execute(
        "INSERT INTO event (id, title, username, enabled, body, cursor, created, modified) VALUES"
        " (:id, :title, :username, :enabled, :body, coalesce(:cursor, 0), :created, :modified)"
        " ON CONFLICT (id) DO UPDATE SET title = excluded.title, username = excluded.username,"
        " enabled = excluded.enabled, body = excluded.body, modified = excluded.modified,"
        " cursor = coalesce(:cursor, cursor)",
        {**shape, "body": json.dumps(shape, ensure_ascii=False), "cursor": cursor},
    )


def delete_event(database: Database, identifier: str) -> None:
    """Delete an event; its runs and slots stay as history."""
    database.execute("DELETE FROM event WHERE id = ?", (identifier,))


def get_engine(database: Database) -> str:
    """Return the engine that ran last, whose schedule is the valid one; empty if none has run."""
    row = database.row("SELECT value FROM note WHERE name = 'engine'")
    return str(row["value"]) if row else ""


def set_engine(database: Database, name: str) -> None:
    """Record the engine that runs: embedded or cronicle."""
    database.execute(
        "INSERT INTO note VALUES ('engine', ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name,),
    )
