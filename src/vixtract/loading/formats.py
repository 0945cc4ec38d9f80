"""The file formats that can be loaded: how each is recognised and opened, and its own options.

A new format is a module like `parquet_files`, a row here and a line in docs/how-to/load.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


_open_tabs = partial(open_text, delimiter="\t")
# By suffix, without that of a compression: what makes a source of a path, the options and the names
# of the columns, which are empty if the file has a header.
FORMATS: Mapping[str, Callable[[Path, Any, Sequence[str]], Source]] = {
    ".csv": open_text,
    ".txt": open_text,
    ".tsv": _open_tabs,
    ".tab": _open_tabs,
    ".parquet": open_parquet,
    ".pq": open_parquet,
    ".xlsx": open_workbook,
    ".xlsm": open_workbook,
}
