"""CSV, Parquet and Excel files as sources, read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vixtract.loading.chunks import ROWS
from vixtract.loading.errors import LoadUsageError, unreadable
from vixtract.loading.options import Options
from vixtract.loading.sources import Source, from_batches
from vixtract.loading.text_files import TextFile
from vixtract.loading.workbook import open_workbook

_TEXTS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": ","}


def open_file(path: Path, options: Options) -> Source:
    """Recognise a file by its suffix.

    Args:
        path: CSV (also .gz, .bz2, .zst), TSV, Parquet or XLSX.
        options: of the load.
    Raises:
        LoadUsageError: the file is missing or of an unknown kind.
    """
    if not path.is_file():
        raise LoadUsageError(f"There is no file {path}.", f"The folder is {Path.cwd()}.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in {".gz", ".bz2", ".zst"}:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix in {".parquet", ".pq"}:
        return _open_parquet(path)
    if suffix in {".xlsx", ".xlsm"}:
        return open_workbook(path, options)
    if suffix in _TEXTS:
        return TextFile(path, options, _TEXTS[suffix]).source()
    raise LoadUsageError(
        f"{path.name} is of an unknown kind.", "Known: .csv, .tsv, .txt, .parquet, .xlsx."
    )


def _open_parquet(path: Path) -> Source:
    import pyarrow as pa
    from pyarrow import parquet

    def batches() -> Iterator[Any]:
        try:
            yield from file.iter_batches(batch_size=ROWS)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error, "Is it whole?") from error

    try:
        file = parquet.ParquetFile(path, memory_map=True, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error, "Is it whole?") from error
    reader = pa.RecordBatchReader.from_batches(file.schema_arrow, batches())
    return from_batches(reader, file.metadata.num_rows)
