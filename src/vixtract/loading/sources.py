"""Everything that can be loaded, as a stream of chunks: frames, Arrow, petl, dicts, rows.

A source is read once, piece by piece; only what the caller already holds is in memory. Files are in
`vixtract.loading.files`.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vixtract.loading import types
from vixtract.loading.chunks import BYTES, ROWS, Chunk
from vixtract.loading.encode import Column
from vixtract.loading.errors import BadRowError, DriftError, LoadUsageError, shown
from vixtract.loading.options import Options

if TYPE_CHECKING:
    import pyarrow as pa

# Rows turned into columns at once: so few that their values are still in the processor's cache.
_BLOCK = 256
# Classes without a missing value among them: a float may be NaN, a datetime NaT, a Decimal NaN.
_NEVER_MISSING = {bool, int, str, bytes, dt.date, dt.time, dt.timedelta}
BadRow = Callable[[BadRowError, Any], None]


def refuse(error: BadRowError, row: Any) -> None:
    """Fail at the first bad row.

    Args:
        error: what is wrong with it.
        row: the row.
    Raises:
        BadRowError: always.
    """
    raise error


@dataclass
class Source:
    """A stream of chunks with named columns.

    Args:
        columns: names, in order.
        types: the PostgreSQL type that each column's values ask for.
        chunks: gives the stream once, told the target's columns (a text file is read by them).
        total: rows, where known beforehand; for progress.
        on_bad_row: called with a row whose shape is wrong; `load` replaces it.
    """

    columns: list[str]
    types: dict[str, str]
    chunks: Callable[[Sequence[Column]], Iterator[Chunk]]
    total: int | None = None
    on_bad_row: BadRow = field(default=refuse)


def open_source(data: Any, options: Options) -> Source:
    """Recognise what is to be loaded.

    Args:
        data: path, frame, Arrow data, petl table, iterable of dicts or of rows.
        options: of the load.
    Raises:
        LoadUsageError: nothing that can be loaded, or a repeated column name.
    """
    if isinstance(data, (str, Path)):
        from vixtract.loading.files import open_file

        source = open_file(Path(data), options)
    else:
        source = _open_object(data, options)
    names = source.columns
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names or "" in names:
        what = f"columns {', '.join(twice)} appear twice" if twice else "a column has no name"
        raise LoadUsageError(f"The source cannot be a table: {what if names else 'no columns'}.")
    return source


def _open_object(data: Any, options: Options) -> Source:
    module = type(data).__module__.partition(".")[0]
    if module == "pandas":
        if not hasattr(data, "columns"):
            data = data.to_frame()
        return _from_pandas(data)
    if module == "polars":
        data = data if hasattr(data, "collect_schema") else data.to_frame()
        return _from_polars(data)
    if hasattr(data, "scanner") and module == "pyarrow":
        data = data.scanner(batch_size=ROWS).to_reader()
    if hasattr(data, "__arrow_c_stream__"):
        import pyarrow as pa

        total = getattr(data, "num_rows", None)
        return from_batches(pa.RecordBatchReader.from_stream(data), total)
    if hasattr(data, "__arrow_c_array__"):
        import pyarrow as pa

        batch = pa.record_batch(data)
        return from_batches(pa.RecordBatchReader.from_batches(batch.schema, [batch]))
    if isinstance(data, Mapping):
        return from_rows([list(data), *zip(*data.values(), strict=True)], options)
    if isinstance(data, Iterable) and not isinstance(data, (bytes, bytearray)):
        return from_rows(data, options)
    raise LoadUsageError(
        f"A {type(data).__name__} cannot be loaded.",
        "Give a path, a frame, an Arrow or petl table, or an iterable of dicts or rows.",
    )


def from_batches(reader: pa.RecordBatchReader, total: int | None = None) -> Source:
    """Make a source of Arrow batches.

    Args:
        reader: consumed once.
        total: rows, where known.
    """
    schema = reader.schema

    def chunks(_: Sequence[Column]) -> Iterator[Chunk]:
        first = 1
        for batch in reader:
            for start in range(0, batch.num_rows, ROWS):
                piece = batch.slice(start, ROWS)
                yield Chunk(first, piece.num_rows, piece.columns)
                first += piece.num_rows

    names = [str(name) for name in schema.names]
    kinds = {name: types.infer_arrow(kind) for name, kind in zip(names, schema.types, strict=True)}
    return Source(names, kinds, chunks, total)


def _from_polars(frame: Any) -> Source:
    """A polars frame; a LazyFrame's batches come as the engine makes them, never the whole."""
    schema = frame.collect_schema()
    is_lazy = not hasattr(frame, "height")
    empty = frame.limit(0).collect() if is_lazy else frame.head(0)

    def parts() -> Any:
        if is_lazy:
            return frame.collect_batches(chunk_size=ROWS, maintain_order=True)
        # Piece by piece: all at once would copy every text of the frame.
        return frame.iter_slices(ROWS)

    def chunks(_: Sequence[Column]) -> Iterator[Chunk]:
        first = 1
        for part in parts():
            for batch in part.to_arrow().to_batches(max_chunksize=ROWS):
                yield Chunk(first, batch.num_rows, batch.columns)
                first += batch.num_rows

    kinds = {field.name: types.infer_arrow(field.type) for field in empty.to_arrow().schema}
    return Source(list(schema.names()), kinds, chunks, None if is_lazy else frame.height)


def _from_pandas(frame: Any) -> Source:
    """A pandas frame; its index is not loaded. NaN, NaT and NA are NULL there."""
    names = [str(name) for name in frame.columns]

    def chunks(_: Sequence[Column]) -> Iterator[Chunk]:
        for start in range(0, len(frame), ROWS):
            piece = frame.iloc[start : start + ROWS]
            columns = [_pandas_column(piece.iloc[:, i]) for i in range(len(names))]
            yield Chunk(start + 1, len(piece), columns)

    kinds = {name: _pandas_type(frame.iloc[:, i]) for i, name in enumerate(names)}
    return Source(names, kinds, chunks, len(frame))


def _pandas_column(series: Any) -> Any:
    import pyarrow as pa

    if series.dtype != object:
        array = pa.array(series, from_pandas=True)
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        return array
    values: list[Any] = series.tolist()
    if _may_lack(values):
        for position in series.isna().to_numpy().nonzero()[0]:
            values[position] = None
    return values


def _pandas_type(series: Any) -> str:
    """Return the type of a whole column: the frame is in memory, nothing is left to chance."""
    import pyarrow as pa

    if series.dtype != object:
        return types.infer_arrow(pa.array(series.iloc[:1], from_pandas=True).type)
    values = series.to_numpy()
    return types.infer(values[series.notna().to_numpy()] if _may_lack(values) else values)


def _may_lack(values: Iterable[Any]) -> bool:
    """Tell whether a column may hold one of pandas' missing values: looking for them takes long."""
    return not types.kinds_of(values) <= _NEVER_MISSING


def from_rows(data: Iterable[Any], options: Options) -> Source:
    """Make a source of dicts, or of rows whose first is the header unless names are given.

    Args:
        data: iterated once, never held whole.
        options: of the load.
    Raises:
        LoadUsageError: there is no header.
    """
    total = _length(data)
    iterator = iter(data)
    head = _take_head(iterator)
    if head and isinstance(head[0], Mapping):
        names = list(options.columns) or list(dict.fromkeys(key for row in head for key in row))
        shape = _dict_shape(names)
    else:
        names = list(options.columns)
        if not names:
            if not head or isinstance(head[0], (str, bytes)):
                raise LoadUsageError(
                    "The rows have no header.", 'Say the names: columns=["id", "name"].'
                )
            names = [str(name) for name in head.pop(0)]
            total = None if total is None else total - 1
        shape = _row_shape(names)
    source = Source([str(name) for name in names], {}, lambda _: iter(()), total)
    good = [row for row in head if len(row) == len(names)] if shape.is_rows else head
    for position, name in enumerate(names):
        key = position if shape.is_rows else name
        source.types[str(name)] = types.infer(
            [row[key] if shape.is_rows else row.get(key) for row in good]
        )
    source.chunks = lambda _: _row_chunks(source, head, iterator, shape)
    return source


def _take_head(iterator: Iterator[Any]) -> list[Any]:
    """Take the rows that the types are inferred from: a chunk, fewer where rows are wide."""
    head: list[Any] = []
    step = ROWS // 20
    while len(head) < ROWS:
        more = list(itertools.islice(iterator, step))
        head += more
        if len(more) < step or _weight(more) * len(head) > BYTES * ROWS:
            break
    return head


def _length(data: Any) -> int | None:
    """Return the length of what is in memory; a petl table would run its whole pipeline."""
    return len(data) if isinstance(data, (list, tuple)) else None


@dataclass(frozen=True)
class _Shape:
    """How rows of one kind become columns.

    Args:
        is_rows: sequences; otherwise mappings.
        transpose: gives the columns; raises ValueError for rows of another shape.
        complaint: says what is wrong with a row; empty when nothing is.
    """

    is_rows: bool
    transpose: Callable[[list[Any]], list[Any]]
    complaint: Callable[[Any], str]


def _row_shape(names: list[str]) -> _Shape:
    width = len(names)

    def transpose(rows: list[Any]) -> list[Any]:
        columns: list[list[Any]] = [[] for _ in range(width)]
        for start in range(0, len(rows), _BLOCK):
            block = zip(*rows[start : start + _BLOCK], strict=True)
            for column, values in zip(columns, block, strict=True):
                column.extend(values)
        return columns

    def complaint(row: Any) -> str:
        same = not isinstance(row, (str, bytes)) and len(row) == width
        return "" if same else f"{len(row)} values for {width} columns"

    return _Shape(True, transpose, complaint)


def _dict_shape(names: list[str]) -> _Shape:
    known = set(names)

    def transpose(rows: list[Any]) -> list[Any]:
        if any(not known.issuperset(row) for row in rows):
            raise ValueError(known)
        return [[row.get(name) for row in rows] for name in names]

    def complaint(row: Any) -> str:
        new = sorted(str(key) for key in set(row) - known)
        return f"new column {', '.join(new)}" if new else ""

    return _Shape(False, transpose, complaint)


def _row_chunks(
    source: Source, head: list[Any], rest: Iterator[Any], shape: _Shape
) -> Iterator[Chunk]:
    """Cut rows into chunks; the rows looked at for the types come first."""
    first = 1
    step = ROWS
    pieces = [head]
    del head
    while rows := (pieces.pop() if pieces else list(itertools.islice(rest, step))):
        count = len(rows)
        try:
            columns = shape.transpose(rows)
        except (ValueError, TypeError):
            yield from _careful_chunks(source, first, rows, shape)
        else:
            yield Chunk(first, count, columns)
        step = max(100, min(ROWS, ROWS * BYTES // max(_weight(rows), 1)))
        first += count


def _weight(rows: list[Any]) -> int:
    """Estimate the bytes of a full chunk by its longest texts: a look at every hundredth row."""
    sample = rows[:: max(1, len(rows) // 200)]
    longest = sum(
        len(value)
        for row in sample
        for value in (row.values() if isinstance(row, Mapping) else row)
        if isinstance(value, (str, bytes))
    )
    return longest * ROWS // max(len(sample), 1)


def _careful_chunks(source: Source, first: int, rows: list[Any], shape: _Shape) -> Iterator[Chunk]:
    """Hand over rows of the wrong shape one by one and keep the numbers of the others."""
    start = 0
    for index, row in enumerate([*rows, None]):
        complaint = shape.complaint(row) if index < len(rows) else ""
        if index < len(rows) and not complaint:
            continue
        if good := rows[start:index]:
            yield Chunk(first + start, len(good), shape.transpose(good))
        if complaint and not shape.is_rows:
            raise DriftError(
                f"row {first + index}: {complaint}",
                "Name all columns: columns=[...], or give every row the same keys.",
            )
        if complaint:
            source.on_bad_row(BadRowError(first + index, "", shown(row), complaint), row)
        start = index + 1
