"""Parquet files as sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from vixtract.loading.chunks import ROWS
from vixtract.loading.errors import unreadable
from vixtract.loading.sources import Source, from_batches


def open_parquet(path: Path, _options: object = None, columns: Sequence[str] = ()) -> Source:
    """Open a Parquet file, which names its columns; it is read a batch at a time.

    Raises:
        LoadUsageError: the file cannot be read.
    """
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
