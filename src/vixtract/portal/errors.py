"""The portal's errors, each with its HTTP status."""

from __future__ import annotations

from collections.abc import Mapping

from vixtract.errors import VixtractError


class PortalError(VixtractError):
    """An error that a page shows; `status` is its HTTP status."""

    status = 500


class NotFoundError(PortalError):
    """It does not exist, or belongs to another person: the answer is the same."""

    status = 404


class LoginError(PortalError):
    """The visitor is not signed in, or the Hub does not let them use the portal."""

    status = 401


class ForbiddenError(PortalError):
    """The request did not come from a page of the portal, or the account may not do this."""

    status = 403


class AwayError(PortalError):
    """The scheduler or the Hub does not answer; a later try may work."""

    status = 503


class FormError(PortalError):
    """A form that cannot be saved as it is.

    Args:
        problems: name of a field to the message about it, in the person's language.
    """

    status = 422

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in problems.items()))
        self.problems = dict(problems)

    def __reduce__(self) -> tuple[type[FormError], tuple[dict[str, str]]]:
        """Pickle with the fields."""
        return type(self), (self.problems,)
