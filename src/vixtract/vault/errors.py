"""What can go wrong with connections.

VaultError
├── NoVaultError           nobody answers
├── UnknownNameError       no such connection, or not this person's
└── ConnectionFormError    values that cannot be kept, by field
"""

from __future__ import annotations

from collections.abc import Mapping

from vixtract.errors import VixtractError


class VaultError(VixtractError):
    """A connection cannot be had or kept; in a notebook both lines are shown."""

    def __str__(self) -> str:
        """Both lines: a notebook shows nothing but this text."""
        return f"{self.message} {self.hint}".strip()


class NoVaultError(VaultError):
    """The process that keeps the connections does not answer."""


class UnknownNameError(VaultError):
    """There is no such connection, or it is somebody else's."""


class ConnectionFormError(VaultError):
    """Values that cannot be kept as they are.

    Args:
        problems: name of a field to a word for what is wrong with it, one of PROBLEMS.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        listed = "; ".join(f"{name}: {word}" for name, word in sorted(problems.items()))
        super().__init__(f"The connection cannot be kept: {listed}.")
        self.problems = dict(problems)

    def __reduce__(self) -> tuple[type[ConnectionFormError], tuple[dict[str, str]]]:  # type: ignore[override]
        """Pickle with the fields."""
        return type(self), (self.problems,)


PROBLEMS = (
    "missing", "too_long", "not_a_port", "not_a_choice", "not_a_url", "not_a_host", "not_a_name",
    "not_a_header", "not_a_fingerprint", "not_a_key", "control", "taken", "retype", "not_an_owner",
    "unknown",
)  # fmt: skip
