"""What notebooks call: `vixtract.connection("crm")` and `vixtract.connections()`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from vixtract.vault import client
from vixtract.vault.connection import Connection
from vixtract.vault.errors import UnknownNameError, VaultError
from vixtract.vault.registry import KINDS


def connection(name: str) -> Any:
    """Return a connection by its name, ready to use.

    A database has `.url` (of SQLAlchemy), `.connect()` (DB-API) and `.engine()`; HTTP has
    `.client()` (a `requests.Session` with the token and the address) and `.headers`; S3 has
    `.client()` (`pyarrow.fs.S3FileSystem`), `.storage_options` (of polars) and `.file(path)`; SFTP
    has `.client()` (of paramiko) and `.file(path)`. Each value is an attribute: `.host`, `.user`.

    Args:
        name: as in the portal under Connections; `team/name` if two teams have one of that name.
    Raises:
        UnknownNameError: the person has no connection of this name; the hint has similar names.
        NoVaultError: the vault does not answer.
    """
    if not isinstance(name, str) or not name.strip():
        raise VaultError("A connection is asked for by its name.", "For example: connection('crm')")
    found = _ask(do="get", name=name.strip())["connection"]
    return make(found["kind"], found["values"], name=found["name"], owner=found["owner"][1])


def connections() -> list[str]:
    """Return the names of the person's own connections and of those of their teams, sorted.

    Raises:
        NoVaultError: the vault does not answer.
    """
    found = _ask(do="list")["connections"]
    count = Counter(each["name"].casefold() for each in found)
    names = [
        each["name"]
        if count[each["name"].casefold()] == 1 or each["owner"][0] == "person"
        else f"{each['owner'][1]}/{each['name']}"
        for each in found
    ]
    return sorted(names, key=str.casefold)


def make(kind: str, values: dict[str, str], *, name: str = "", owner: str = "") -> Connection:
    """Return the object of a connection of a kind in KINDS."""
    return KINDS[kind].connection(name, owner, values)


def _ask(**question: str) -> dict[str, Any]:
    answer = client.ask(question)
    if answer.get("error"):
        kind = UnknownNameError if answer.get("unknown") else VaultError
        raise kind(str(answer["error"]), str(answer.get("hint") or ""))
    return answer
