"""What a kind of connection is made of: its form, its test, and the object that notebooks get."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from vixtract.vault.connection import Connection
from vixtract.vault.errors import ConnectionFormError
from vixtract.vault.fields import Field
from vixtract.vault.probe_results import ProbeResult, find_meaning

# For a test, which has 18 seconds in all.
REACH_S = 5.0


class Kind(ABC):
    """One kind of connection.

    A subclass sets:
        title: a proper name, the same in every language.
        fields: in the form's order.
        connection: class of the object that notebooks get.
        meanings: pattern of a driver's error to the code of a result.
        results: sentences for the codes that no other kind has.
    """

    title: ClassVar[str]
    fields: ClassVar[tuple[Field, ...]]
    connection: ClassVar[type[Connection]]
    meanings: ClassVar[Mapping[str, str]] = {}
    results: ClassVar[Mapping[str, str]] = {}

    @property
    def name(self) -> str:
        """The short name, as in the store."""
        return self.connection.kind

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names of the secret fields."""
        return tuple(field.name for field in self.fields if field.secret)

    def find_missing(self, values: Mapping[str, str], kept: Collection[str]) -> Collection[str]:
        """Return the empty fields that other fields need; the kept ones are not empty."""
        return ()

    def find_server(self, values: Mapping[str, str]) -> tuple[str, int]:
        """Return the host and the port that a connection goes to."""
        return values["host"], int(values["port"])

    def uses_proxy(self, values: Mapping[str, str]) -> bool:
        """Tell whether requests leave by the operator's proxy, which decides where they may go."""
        return False

    def may_reach_own_database(self, values: Mapping[str, str]) -> bool:
        """Tell whether a test may go to the appliance's own PostgreSQL."""
        return False

    @abstractmethod
    def test(self, connection: Any) -> None:
        """Use a connection of this kind once.

        Raises:
            Exception: a ProbeResult, or what the driver raises.
        """

    def explain(self, error: BaseException) -> ProbeResult:
        """Return what an error of the test means."""
        return find_meaning(error, self.meanings)


def find_server_of_url(url: str) -> tuple[str, int]:
    """Return the host and the port of an http or https address, checked by rule url."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def check_values(
    kind: Kind, values: Mapping[str, str], kept: Collection[str] = ()
) -> dict[str, str]:
    """Check and complete what a person typed.

    Args:
        values: those that are not of the kind's fields are left out.
        kept: secret fields whose stored value stays; they need no value here.
    Returns: a value for each field, with the defaults filled in, without the kept fields.
    Raises:
        ConnectionFormError: has the problem of every field that is wrong.
    """
    found: dict[str, str] = {}
    problems: dict[str, str] = {}
    for field in kind.fields:
        if field.secret and field.name in kept:
            continue
        # Passwords may begin and end with spaces.
        text = values.get(field.name, "")
        text = text if field.secret else text.strip()
        text = text or field.default
        problem = field.check(text)
        if problem:
            problems[field.name] = problem
        found[field.name] = text
    for name in kind.find_missing(found, kept):
        problems.setdefault(name, "missing")
    if problems:
        raise ConnectionFormError(problems)
    return found
