"""The errors of loads; each has a hint.

LoadError
├── BadRowError        a row that the table cannot hold: number, column, value
├── DriftError         the source's columns differ from the table's
├── ExpectationError   the data breaks `expect=`
├── TargetError        the table cannot be written this way
└── LoadUsageError     wrong arguments
"""

from __future__ import annotations

from pathlib import Path

from vixtract.errors import UsageError, VixtractError


class LoadError(VixtractError):
    """A load has failed and changed nothing."""


class BadRowError(LoadError):
    """A row that does not fit the table.

    Args:
        row: its number in the source, the first data row is 1; 0 if unknown.
        column: name of the column, empty if the row as a whole is wrong.
        value: the value as Python shows it, shortened.
    """

    def __init__(self, row: int, column: str, value: str, reason: str) -> None:
        place = f"row {row}" if row else "a row"
        if column:
            place += f", column {column}"
        shown = f": {value}" if value else ""
        super().__init__(
            f"{place}{shown}: {reason}",
            "Correct the value, give the column another type with types={...}, or set bad rows"
            ' aside with reject="schema.table".',
        )
        self.row, self.column, self.value, self.reason = row, column, value, reason

    def __reduce__(self) -> tuple[type[BadRowError], tuple[int, str, str, str]]:
        """Pickle with the arguments of the constructor."""
        return type(self), (self.row, self.column, self.value, self.reason)


class DriftError(LoadError):
    """The source's columns differ from the table's, and no option allows that."""


class ExpectationError(LoadError):
    """The data breaks an expectation; nothing was published."""


class TargetError(LoadError):
    """The table cannot be written the way that was asked for."""


class LoadUsageError(LoadError, UsageError):
    """`load` or `read` was called with wrong arguments."""


def shown(value: object, limit: int = 60) -> str:
    """Return the `repr` of a value, shortened to so many characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def unreadable(path: Path, reason: object, hint: str) -> LoadUsageError:
    """Return the error for a file that cannot be read, with the first line of the reason."""
    message = str(reason).partition("\n")[0]
    return LoadUsageError(f"{path.name} cannot be read: {message}", hint)
