"""The tree of errors that a person can meet, each with its exit code; and the shape of a failure.

VixtractError                 1  something failed
├── UsageError                2  the command was called wrongly
├── SettingsError             3  a setting is missing or wrong
├── PreconditionError         3  the machine is not ready
└── (each package adds its own, derived from one of these)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Union

#: What a part of a failure may be; as in JSON, without nesting.
Part = Union[str, int, float, bool, None]

MAX_PARTS = 16
MAX_TEXT = 500
_CODE = re.compile(r"[a-z][a-z0-9_]{0,31}(\.[a-z][a-z0-9_]{0,31}){0,2}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class Failure:
    """A failure as runs and loads store it: a program can tell its kind, any language can word it.

    Texts that are longer than `MAX_TEXT` characters are shortened.

    Args:
        code: kind of the failure, such as `load.bad_row`: up to three small words.
        parts: name to what the kind leaves open, such as `row` and `column`; `MAX_PARTS` at most.
            No secret may be in it.
        cure: name of the cure, a small word as in a code; empty where there is none.
    Raises:
        ValueError: a code, a name or a cure is not of this form, or there are too many parts.
    """

    code: str
    parts: Mapping[str, Part] = field(default_factory=dict)
    cure: str = ""

    def __post_init__(self) -> None:
        """Check the form and shorten texts."""
        if not _CODE.fullmatch(self.code):
            raise ValueError(f"{self.code!r} is not the code of a failure")
        if self.cure and not _CODE.fullmatch(self.cure):
            raise ValueError(f"{self.cure!r} is not the name of a cure")
        if len(self.parts) > MAX_PARTS:
            raise ValueError(f"a failure has {MAX_PARTS} parts at most")
        for name, part in self.parts.items():
            if not _NAME.fullmatch(name) or not isinstance(part, (str, int, float, type(None))):
                raise ValueError(f"{name!r} is not a part of a failure")
        parts = {name: _shorten(part) for name, part in self.parts.items()}
        object.__setattr__(self, "parts", parts)

    def to_json(self) -> dict[str, Any]:
        """Return `code`, `parts` and `cure` as a dictionary for JSON."""
        return {"code": self.code, "parts": dict(self.parts), "cure": self.cure}

    @classmethod
    def from_json(cls, value: object) -> Failure:
        """Read what `to_json` returned; the value is not trusted.

        Raises:
            ValueError: it is not a failure.
        """
        if not isinstance(value, Mapping) or set(value) != {"code", "parts", "cure"}:
            raise ValueError("a failure has code, parts and cure")
        code, parts, cure = value["code"], value["parts"], value["cure"]
        if not (isinstance(code, str) and isinstance(parts, Mapping) and isinstance(cure, str)):
            raise ValueError("a failure has two texts, and parts by name")
        if not all(isinstance(name, str) for name in parts):
            raise ValueError("parts of a failure have names")
        return cls(code, parts, cure)


def _shorten(part: Part) -> Part:
    if isinstance(part, str) and len(part) > MAX_TEXT:
        return part[: MAX_TEXT - 1] + "…"
    # JSON has neither infinity nor NaN.
    return str(part) if isinstance(part, float) and not math.isfinite(part) else part


class VixtractError(Exception):
    """What happened, and what the person can do about it.

    Args:
        message: one line, what happened, without a secret in it.
        hint: one line, what to do; empty when nothing can be done.
        failure: the same for programs, where the error has a kind.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "", failure: Failure | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.failure = failure

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with hint and failure: errors travel between processes."""
        return type(self), (self.message, self.hint), {"failure": self.failure}


class UsageError(VixtractError):
    """The command was called with arguments that make no sense together."""

    exit_code = 2


class SettingsError(VixtractError):
    """One or more settings are missing or wrong; the message names all of them."""

    exit_code = 3


class PreconditionError(VixtractError):
    """The machine does not have what the command needs."""

    exit_code = 3


class RequestError(VixtractError):
    """A request that is refused: nothing has been started or changed for it."""
