"""The file formats that can be loaded: how each is recognised and opened, and its own options.

A new format is a module like `parquet_files`, a row here and a line in docs/how-to/load.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vixtract.loading.parquet_files import open_parquet
from vixtract.loading.sources import Source
from vixtract.loading.text_files import TextArguments, TextOptions, open_text
from vixtract.loading.workbook import WorkbookArguments, WorkbookOptions, open_workbook


class FormatArguments(TextArguments, WorkbookArguments, total=False):
    """The options of all formats, as keyword arguments of `load`."""


@dataclass(frozen=True)
class FormatOptions(TextOptions, WorkbookOptions):
    """The options of all formats; each format reads its own.

    Only text files check theirs at once. A second `__post_init__` needs one here that calls both.
    """


@dataclass(frozen=True)
class FileFormat:
    """One format of files.

    Args:
        suffixes: in lower case, without that of a compression.
        open: makes a source of a path, the options and the names of the columns, which are empty
            if the file has a header.
    """

    suffixes: tuple[str, ...]
    open: Callable[[Path, Any, Sequence[str]], Source]


FORMATS = (
    FileFormat((".csv", ".txt"), open_text),
    FileFormat((".tsv", ".tab"), partial(open_text, delimiter="\t")),
    FileFormat((".parquet", ".pq"), open_parquet),
    FileFormat((".xlsx", ".xlsm"), open_workbook),
)
