"""Sheets of an Excel workbook as sources."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from vixtract.loading.errors import LoadUsageError, shown, unreadable
from vixtract.loading.sources import Source, from_rows

# The errors of openpyxl and its parsers for a damaged file, or one of another format; XML's is a
# SyntaxError.
_WRONG_CONTENT = (SyntaxError, LookupError, ValueError, TypeError, AttributeError)
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, *_WRONG_CONTENT)


class WorkbookArguments(TypedDict, total=False):
    """Options of a workbook, as keyword arguments of `load`."""

    sheet: str | int


@dataclass(frozen=True)
class WorkbookOptions:
    """Options of a workbook: the sheet's name, or its position from 0."""

    sheet: str | int = 0


def open_workbook(path: Path, options: WorkbookOptions, columns: Sequence[str] = ()) -> Source:
    """Open one sheet, read row by row; `columns` names the columns if it has no header.

    Raises:
        LoadUsageError: the file is not a workbook, the sheet does not exist, or a column that has
            values has no name.
    """
    import openpyxl

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    # Not book.sheetnames, which has the sheets that are a single chart too.
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    names = list(sheets)
    wanted = options.sheet
    if isinstance(wanted, int) and -len(names) <= wanted < len(names):
        wanted = names[wanted]
    if wanted not in names:
        raise LoadUsageError(f"{path.name} has no sheet {wanted!r}.", f"It has {names}.")
    return from_rows(_named(path, _read(path, sheets[wanted]), columns), columns)


def _read(path: Path, sheet: Any) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield the rows that are not blank, with their row numbers in Excel."""
    # Some programs write a wrong size of the sheet.
    sheet.reset_dimensions()
    rows = enumerate(sheet.iter_rows(values_only=True), 1)
    try:
        yield from (pair for pair in rows if any(value is not None for value in pair[1]))
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def _named(
    path: Path, rows: Iterator[tuple[int, tuple[Any, ...]]], given: Sequence[str]
) -> Iterator[list[Any]]:
    """Yield the rows without the columns that have no name, which must be empty.

    Every cell that was ever formatted belongs to a column of the sheet.
    """
    from openpyxl.utils import get_column_letter

    header: Sequence[Any] = given
    if not given:
        _, header = next(rows, (0, ()))
    kept = [i for i, name in enumerate(header) if name not in {None, ""}]
    if header and not given:
        yield [header[i] for i in kept]
    names = set(kept)
    for number, row in rows:
        for i, value in enumerate(row):
            if value is not None and i not in names:
                raise LoadUsageError(
                    f"{path.name}: column {get_column_letter(i + 1)} has no name, but row {number}"
                    f" has {shown(value)} there.",
                    "Name the column, or empty it.",
                )
        # A row ends at its last cell.
        yield [row[i] if i < len(row) else None for i in kept]


def _unreadable(path: Path, error: Exception) -> LoadUsageError:
    hint = "Is it whole, an .xlsx (not an .xls of another name) and without a password?"
    return unreadable(path, error, hint)
