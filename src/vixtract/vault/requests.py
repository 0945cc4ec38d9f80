"""The vault's answers, which depend on who asks.

A person's process gets the connections of that person and their teams, with all values. The portal
names the person it acts for, may change that person's connections, and never gets a secret value.
Root may ask for any person, and for what a person's run needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vixtract.errors import VixtractError
from vixtract.people.archive import generation
from vixtract.people.names import check_name
from vixtract.people.roles import role_password
from vixtract.processes.server import Peer
from vixtract.vault import owners
from vixtract.vault.errors import ConnectionFormError, UnknownNameError, VaultError
from vixtract.vault.isolated_test import IsolatedTest
from vixtract.vault.records import Draft, Owner, Saved
from vixtract.vault.registry import KINDS
from vixtract.vault.store import SECRETS, Store


@dataclass(frozen=True)
class VaultConfig:
    """The paths and accounts of a vault.

    Args:
        portal_uid: of the portal; -1 if there is none.
        test_uid: account of the tests' processes.
    """

    socket_path: Path
    secrets_dir: Path = SECRETS
    home_root: Path = Path("/home")
    portal_uid: int = -1
    test_uid: int = 65534
    tester: IsolatedTest = field(default_factory=IsolatedTest)


def answer(question: Mapping[str, Any], peer: Peer, config: VaultConfig) -> dict[str, Any]:
    """Answer one question.

    Returns: the answer; or `error` and `hint`, with `problems` for a form.
    """
    try:
        if peer.uid == config.portal_uid:
            return _answer_portal(question, config)
        if peer.uid == 0 and isinstance(question.get("person"), str):
            person = str(question["person"])
            if question.get("do") == "run":
                return _answer_run(person, config)
        else:
            person = owners.person_of(peer.uid, config.home_root)
        return _answer_person(question, person, config)
    except ConnectionFormError as error:
        return {"error": error.message, "hint": error.hint, "problems": error.problems}
    except VixtractError as error:
        unknown = isinstance(error, UnknownNameError)
        return {"error": error.message, "hint": error.hint, "unknown": unknown}


def _answer_person(question: Mapping[str, Any], person: str, config: VaultConfig) -> dict[str, Any]:
    """Answer a person's own process."""
    store, seen = Store(config.secrets_dir), owners.owners_seen_by(person, config.home_root)
    task = question.get("do")
    if task == "list":
        return {"connections": [_describe(saved) for saved in store.list_of(seen)]}
    if task == "secrets":
        return {"secrets": store.secret_values(seen)}
    if task == "get":
        saved = store.find(seen, _text(question, "name", 200))
        return {"connection": {**_describe(saved), "values": dict(saved.values)}}
    raise VaultError("The vault does not answer this question.")


def _answer_run(person: str, config: VaultConfig) -> dict[str, Any]:
    """Answer root, which starts a run, with the texts to mask and the role's password.

    Both need keys for all people, which must not be in a process that forks runs.
    """
    seen = owners.owners_seen_by(person, config.home_root)
    try:
        key = (config.secrets_dir / "role_key").read_text(encoding="ascii").strip()
        password = role_password(key, person, generation(person, config.home_root))
    except FileNotFoundError:
        password = ""
    return {"secrets": Store(config.secrets_dir).secret_values(seen), "password": password}


def _answer_portal(question: Mapping[str, Any], config: VaultConfig) -> dict[str, Any]:
    """Answer the portal, which acts for a signed-in person."""
    person = _text(question, "person", 32)
    check_name(person)
    store, seen = Store(config.secrets_dir), owners.owners_seen_by(person, config.home_root)
    task = question.get("do")
    if task == "list":
        return {"connections": [_describe(saved) for saved in store.list_of(seen)]}
    if task == "owners":
        return {"owners": list(map(list, seen))}
    identifier = question.get("id", 0)
    old = _find(store, seen, identifier) if identifier else None
    if task == "show" and old:
        return {"connection": _show(store, old)}
    if task == "delete" and old:
        store.remove(old.id, person)
        return {"deleted": old.name}
    if task == "save":
        draft = _read_draft(question, seen, old)
        return {"id": store.save(draft, person, old.id if old else 0, seen=seen)}
    if task == "test":
        if old and "values" not in question:
            kind, values = old.kind, old.values
        else:
            draft = _read_draft({"name": "test", **question}, seen, old)
            kind, values = draft.kind, store.complete(draft, old)
        return {"test": config.tester.run(kind, values, config.test_uid)}
    raise VaultError("The vault does not answer this question.")


def _find(store: Store, seen: Sequence[Owner], identifier: object) -> Saved:
    saved = store.get(identifier) if type(identifier) is int else None
    if saved is None or saved.owner not in seen:
        # The error does not tell whether another person has a connection of this number.
        raise UnknownNameError("You have no such connection.")
    return saved


def _read_draft(question: Mapping[str, Any], seen: Sequence[Owner], old: Saved | None) -> Draft:
    values, kept = question.get("values"), question.get("kept") or []
    wanted = question.get("owner")
    if not isinstance(values, dict) or not isinstance(kept, list):
        raise VaultError("The vault does not answer this question.")
    owner = old.owner if old else seen[0]
    if isinstance(wanted, list) and len(wanted) == 2:
        owner = Owner(*map(str, wanted))
    if owner not in seen:
        raise ConnectionFormError({"owner": "not_an_owner"})
    texts = {str(name): str(value) for name, value in values.items()}
    name, kind = _text(question, "name", 200), _text(question, "kind", 30)
    return Draft(name, owner, kind, texts, list(map(str, kept)))


def _describe(saved: Saved) -> dict[str, Any]:
    """Return what every page may show of a connection."""
    kind = KINDS[saved.kind]
    return {
        "id": saved.id,
        "name": saved.name,
        "kind": saved.kind,
        "owner": list(saved.owner),
        "changed_at": saved.changed_at,
        "changed_by": saved.changed_by,
        "where": saved.values.get("host") or saved.values.get("address") or kind.title,
    }


def _show(store: Store, saved: Saved) -> dict[str, Any]:
    """Return a connection without its secrets, but with the names of those that are set."""
    secrets = KINDS[saved.kind].secrets
    return {
        **_describe(saved),
        "values": {name: value for name, value in saved.values.items() if name not in secrets},
        "set": [name for name in secrets if saved.values.get(name)],
        "changes": [
            {"at": at, "who": who, "what": what, "fields": fields.split()}
            for at, who, what, fields in store.changes(saved.id)
        ],
    }


def _text(question: Mapping[str, Any], name: str, longest: int) -> str:
    value = question.get(name)
    if not isinstance(value, str) or len(value) > longest or "\0" in value:
        raise VaultError(f"The question has no valid {name}.")
    return value
