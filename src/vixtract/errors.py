"""The tree of errors that a person can meet, and the exit code each ends a command with.

VixtractError                 1  something failed
├── UsageError                2  the command was called wrongly
├── SettingsError             3  a setting is missing or wrong
├── PreconditionError         3  the machine is not ready
└── (each package adds its own, derived from one of these)
"""

from __future__ import annotations


class VixtractError(Exception):
    """What happened, and what the person can do about it.

    Args:
        message: one line, what happened, without a secret in it.
        hint: one line, what to do; empty when nothing can be done.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[VixtractError], tuple[str, str]]:
        """Pickle with the hint: errors travel between processes."""
        return type(self), (self.message, self.hint)


class UsageError(VixtractError):
    """The command was called with arguments that make no sense together."""

    exit_code = 2


class SettingsError(VixtractError):
    """One or more settings are missing or wrong; the message names all of them."""

    exit_code = 3


class PreconditionError(VixtractError):
    """The machine lacks something that the command needs."""

    exit_code = 3


class RequestError(VixtractError):
    """A request that is refused: nothing has been started or changed for it.

    Args:
        message: as of every error.
        hint: as of every error.
        code: what programs go by, such as `not_found`; the message may change.
    """

    def __init__(self, message: str, hint: str = "", *, code: str = "refused") -> None:
        super().__init__(message, hint)
        self.code = code
