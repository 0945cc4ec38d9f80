"""People as the Hub's database knows them, and `people.json` for other services."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vixtract.files import write_whole
from vixtract.sqlite import has_table, open_sqlite

FILE_NAME = "people.json"


@dataclass(frozen=True)
class HubUser:
    """One user of the Hub."""

    name: str
    is_admin: bool


def read_people(database: Path) -> list[HubUser]:
    """Return the Hub's users, sorted by name; none where the file or the table is missing."""
    rows = _select(database, "users", "SELECT name, admin FROM users ORDER BY name")
    return [HubUser(name, bool(admin)) for name, admin in rows]


def read_stamps(database: Path) -> dict[str, str]:
    """Return for each person a digest that changes when the Hub ends all of their logins."""
    rows = _select(database, "users", "SELECT name, cookie_id FROM users")
    # The cookie id is the Hub's own secret: only its digest leaves the database.
    return {name: hashlib.sha256(str(word).encode()).hexdigest()[:16] for name, word in rows}


def clear_spawner_state(database: Path) -> int:
    """Forget the processes of the last container: their ids may be other people's now."""
    statement = "UPDATE spawners SET state = '{}' WHERE state IS NOT NULL AND state != '{}'"
    return _change(database, "spawners", statement)


def forget_service_tokens(database: Path) -> int:
    """Forget the tokens of the Hub's services: it makes those of its configuration at each start.

    Without it a token stays valid after another one took its place in the configuration.
    The Hub must not run.
    """
    statement = "DELETE FROM api_tokens WHERE service_id IS NOT NULL"
    return _change(database, "api_tokens", statement)


def _select(database: Path, table: str, query: str) -> list[Any]:
    """Return the rows of a query, none where the file or the table is missing."""
    if not database.exists():
        return []
    with open_sqlite(database, read_only=True) as connection:
        return connection.execute(query).fetchall() if has_table(connection, table) else []


def _change(database: Path, table: str, statement: str) -> int:
    """Return how many rows a statement changed, 0 where the file or the table is missing."""
    if not database.exists():
        return 0
    with open_sqlite(database) as connection:
        return connection.execute(statement).rowcount if has_table(connection, table) else 0


def publish_admins(
    directory: Path,
    admins: Collection[str],
    blocked: Collection[str] = (),
    stamps: Mapping[str, str] | None = None,
) -> bool:
    """Write `people.json` where its content changed, and return whether it did.

    Args:
        blocked: names of people for whom nothing may run.
        stamps: of `read_stamps`; those of admins are written, for services with their own sessions.
    """
    content: dict[str, object] = {"admins": sorted(set(admins) - set(blocked))}
    if blocked:
        content["blocked"] = sorted(blocked)
    if stamps:
        kept = sorted(set(admins) & set(stamps))
        content["stamps"] = {name: stamps[name] for name in kept}
    text = json.dumps(content) + "\n"
    path = directory / FILE_NAME
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_whole(path, text)
    return True


def read_admins(directory: Path) -> frozenset[str]:
    """Return the admins' names; none where the file is missing or is not valid JSON."""
    return _read_names(directory, "admins")


def read_blocked(directory: Path) -> frozenset[str]:
    """Return the names of people for whom nothing may run: disabled, or being removed."""
    return _read_names(directory, "blocked")


def _read_names(directory: Path, field: str) -> frozenset[str]:
    try:
        content = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))
        return frozenset(str(name) for name in content[field])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return frozenset()
