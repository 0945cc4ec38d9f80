"""Opening sources: a file by its suffix, an object by the library of its class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vixtract.loading.chunks import ROWS
from vixtract.loading.errors import LoadUsageError
from vixtract.loading.formats import FORMATS
from vixtract.loading.frames import from_pandas, from_polars
from vixtract.loading.options import Options
from vixtract.loading.sources import Source, from_arrow, from_columns, from_rows, unlike_a_table
from vixtract.loading.target import Column

_COMPRESSIONS = (".gz", ".bz2", ".zst")


def open_source(data: Any, options: Options, known: Sequence[Column] = ()) -> Source:
    """Return the source for any data that can be loaded.

    Args:
        data: path, frame, Arrow data, petl table, iterable of dicts or of rows; in mode
            incremental also None for no rows.
        known: columns of the table, if it exists: empty data counts as no rows of these columns,
            except in mode replace.
    Raises:
        LoadUsageError: the data cannot be loaded, or has no columns or a repeated column name.
    """
    if isinstance(data, (str, Path)):
        source = _open_file(Path(data), options)
    else:
        is_nothing = data is None and options.mode == "incremental"
        source = _open_object([] if is_nothing else data, options)
        if not source.columns and source.total == 0 and options.mode != "replace":
            kinds = {column.name: column.type for column in known if not column.generated}
            source = Source(list(kinds), kinds, lambda _: iter(()), 0)
    names = source.columns
    if not names:
        raise LoadUsageError(
            "The source has no columns and no header.", 'Say the names: columns=["id", "name"].'
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or "" in names:
        what = f"columns {', '.join(twice)} appear twice" if twice else "a column has no name"
        raise LoadUsageError(f"The source cannot be a table: {what}.")
    return source


def _open_object(data: Any, options: Options) -> Source:
    libraries = {kind.__module__.partition(".")[0] for kind in type(data).__mro__}
    if "pandas" in libraries:
        return from_pandas(data)
    if "polars" in libraries:
        return from_polars(data)
    if "pyarrow" in libraries and hasattr(data, "scanner"):
        data = data.scanner(batch_size=ROWS).to_reader()
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        return from_arrow(data)
    if isinstance(data, Mapping):
        return from_columns(data)
    if isinstance(data, Iterable) and not isinstance(data, (bytes, bytearray)):
        return from_rows(data, options.columns)
    raise unlike_a_table(data)


def _open_file(path: Path, options: Options) -> Source:
    """Open a file by the format that its suffix names."""
    if not path.is_file():
        raise LoadUsageError(f"There is no file {path}.", f"The folder is {Path.cwd()}.")
    plain = path.with_suffix("") if path.suffix.lower() in _COMPRESSIONS else path
    suffix = plain.suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise LoadUsageError(f"{path.name} is of an unknown kind.", f"Known: {known}.")
    return FORMATS[suffix](path, options, options.columns)
