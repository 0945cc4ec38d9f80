"""What can go wrong with a load, each with the person's way out.

LoadError
├── BadRowError        a row that the table cannot hold: number, column, value
├── DriftError         the source's columns are not the table's
├── ExpectationError   the data is not what `expect=` says
└── TargetError        the table cannot be written this way
"""

from __future__ import annotations

from pathlib import Path

from vixtract.errors import UsageError, VixtractError


class LoadError(VixtractError):
    """A load that changed nothing: the table is as it was."""


class BadRowError(LoadError):
    """A row that does not fit the table.

    Args:
        row: its number in the source, the first data row is 1; 0 where unknown.
        column: name of the column, empty where the row as a whole is wrong.
        value: the value as Python shows it, shortened.
        reason: what is wrong with it.
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
        """Pickle by its own arguments."""
        return type(self), (self.row, self.column, self.value, self.reason)


class DriftError(LoadError):
    """The source's columns differ from the table's and nothing says what to do."""


class ExpectationError(LoadError):
    """The data breaks an expectation; nothing was published."""


class TargetError(LoadError):
    """The table cannot be written the way that was asked for."""


class LoadUsageError(LoadError, UsageError):
    """`load` or `read` was called with arguments that make no sense together."""


def shown(value: object, limit: int = 60) -> str:
    """Return a value as Python shows it, shortened.

    Args:
        value: anything.
        limit: characters.
    """
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def unreadable(path: Path, reason: object, hint: str) -> LoadUsageError:
    """Return the error for a file that cannot be read.

    Args:
        path: of the file.
        reason: what the library says; its first line is shown.
        hint: what to do.
    """
    message = str(reason).partition("\n")[0]
    return LoadUsageError(f"{path.name} cannot be read: {message}", hint)
