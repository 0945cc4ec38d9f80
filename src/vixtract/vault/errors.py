"""The errors of connections.

VaultError
├── NoVaultError           the vault does not answer
├── UnknownNameError       the person has no connection of this name
└── ConnectionFormError    values that cannot be saved, by field
"""

from __future__ import annotations

from collections.abc import Mapping

from vixtract.errors import VixtractError


class VaultError(VixtractError):
    """A connection cannot be read or saved."""

    def __str__(self) -> str:
        """Return message and hint: a notebook shows only this text."""
        return f"{self.message} {self.hint}".strip()


class NoVaultError(VaultError):
    """The vault's process does not answer."""


class UnknownNameError(VaultError):
    """The person has no connection of this name."""


class ConnectionFormError(VaultError):
    """Values that cannot be saved, with the code of each field's problem (`fields.PROBLEMS`)."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        listed = "; ".join(f"{name}: {code}" for name, code in sorted(problems.items()))
        super().__init__(f"The connection cannot be saved: {listed}.")
        self.problems = dict(problems)

    def __reduce__(self) -> tuple[type[ConnectionFormError], tuple[dict[str, str]]]:
        """Pickle with the problems."""
        return type(self), (self.problems,)
