"""Source, the stream of chunks that everything becomes; and sources of Arrow data, dicts and rows.

A source is read once, chunk by chunk, and never held in memory as a whole. Files are in
`vixtract.loading.formats`, frames of pandas and polars in `vixtract.loading.frames`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vixtract.loading import types
from vixtract.loading.chunks import BYTES, ROWS, Chunk
from vixtract.loading.errors import BadRowError, DriftError, LoadError, LoadUsageError, shown
from vixtract.loading.target import Column

# Rows transposed at once: so few that their values stay in the processor's cache.
_BLOCK = 256


def refuse(error: BadRowError, row: Any) -> None:
    """Raise the error of the first bad row."""
    raise error


@dataclass
class Source:
    """A stream of chunks with named columns.

    Args:
        columns: names, in order.
        types: PostgreSQL type of each column, inferred from the values.
        chunks: returns the stream once; a text file is read with the types of the target's columns.
        total: number of rows, if known; for progress.
        on_bad_row: called with each row of a wrong shape; `load` replaces it.
    """

    columns: list[str]
    types: dict[str, str]
    chunks: Callable[[Sequence[Column]], Iterator[Chunk]]
    total: int | None = None
    on_bad_row: Callable[[BadRowError, Any], None] = refuse


def unlike_a_table(data: Any) -> LoadUsageError:
    """Return the error for an object that cannot be loaded."""
    return LoadUsageError(
        f"A {type(data).__name__} cannot be loaded.",
        "Give a path, a frame, an Arrow or petl table, or an iterable of dicts or rows.",
    )


def from_arrow(data: Any) -> Source:
    """Make a source of a table, batch or reader: anything with Arrow's PyCapsule interface.

    Raises:
        LoadUsageError: it has no named columns.
    """
    try:
        if hasattr(data, "__arrow_c_stream__"):
            reader = pa.RecordBatchReader.from_stream(data)
        else:
            batch = pa.record_batch(data)
            reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
    except pa.ArrowInvalid as error:
        # For example a single column.
        raise unlike_a_table(data) from error
    return from_batches(reader, getattr(data, "num_rows", None))


def from_batches(reader: pa.RecordBatchReader, total: int | None = None) -> Source:
    """Make a source of Arrow batches; `total` is the number of their rows, if known."""
    schema = reader.schema
    names = [str(name) for name in schema.names]
    kinds = {name: types.infer_arrow(kind) for name, kind in zip(names, schema.types, strict=True)}
    return Source(names, kinds, lambda _: number_batches(reader), total)


def number_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[Chunk]:
    """Cut Arrow batches of any size into chunks."""
    first = 1
    for batch in batches:
        columns = [_unwrapped(column) for column in batch.columns]
        whole = Chunk(first, batch.num_rows, columns)
        for start in range(0, batch.num_rows, ROWS):
            yield whole.slice(start, start + ROWS)
        first += batch.num_rows


def _unwrapped(column: pa.Array) -> pa.Array:
    """Return the stored values of an extension type, unless PostgreSQL has the type."""
    is_extension = isinstance(column.type, pa.BaseExtensionType)
    return column.storage if is_extension and not types.is_uuid(column.type) else column


def from_columns(data: Mapping[Any, Any]) -> Source:
    """Make a source of a dict that has a list of values for each column's name.

    Raises:
        LoadUsageError: a value is not a list, or the columns differ in length.
    """
    columns = {}
    for name, values in data.items():
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise LoadUsageError(
                f"A dict is loaded by columns, but its {name} is {shown(values)}.",
                "Give a list for each column; a dict that is a row goes into a list: [row].",
            )
        columns[name] = list(values)
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        each = ", ".join(f"{name} {len(values)}" for name, values in columns.items())
        raise LoadUsageError(f"The dict's columns are not of the same length: {each}.")
    rows = list(zip(*columns.values(), strict=True))
    return from_rows(rows, tuple(columns))


def from_rows(data: Iterable[Any], columns: Sequence[str] = ()) -> Source:
    """Make a source of dicts, of named tuples, or of rows.

    Args:
        data: iterated once, never held as a whole.
        columns: names; without them the first row is the header.
    Raises:
        LoadUsageError: the first row is not a header.
    """
    # A petl table would run its whole pipeline to tell its length.
    total = len(data) if isinstance(data, (list, tuple)) else None
    iterator = iter(data)
    head = _take_head(iterator)
    names: list[Any] = list(columns)
    if isinstance(next((row for row in head if row is not None), None), Mapping):
        dicts = [row for row in head if isinstance(row, Mapping)]
        names = names or list(dict.fromkeys(key for row in dicts for key in row))
        shape = _dict_shape(names)
    else:
        if not names and head and hasattr(head[0], "_fields"):
            names = list(head[0]._fields)
        elif not names and head:
            names = _header(head.pop(0))
            total = total and total - 1
        shape = _row_shape(names)
    names = ["" if name is None else str(name) for name in names]
    source = Source(names, {}, lambda _: iter(()), total if head else 0)
    try:
        values = shape.transpose(head)
    except (ValueError, TypeError):
        values = shape.transpose([row for row in head if shape.refusal(0, row) is None])
    source.types = {name: types.infer(one) for name, one in zip(names, values, strict=True)}
    source.chunks = lambda _: _row_chunks(source, head, iterator, shape)
    return source


def _header(row: Any) -> list[Any]:
    if not _is_row(type(row)):
        raise LoadUsageError(
            f"The rows have no header: the first is {shown(row)}.",
            'Give dicts, lists or tuples, and the names if they have none: columns=["id", "name"].',
        )
    return list(row)


def _is_row(kind: type) -> bool:
    """Tell whether a class holds a row's values in order."""
    others = (str, bytes, bytearray, Mapping, set, frozenset)
    return hasattr(kind, "__len__") and not issubclass(kind, others)


def _take_head(iterator: Iterator[Any]) -> list[Any]:
    """Take the rows that the types are inferred from: one chunk, or fewer if rows are wide."""
    head: list[Any] = []
    step = ROWS // 20
    while len(head) < ROWS:
        more = list(itertools.islice(iterator, step))
        head += more
        if len(more) < step or _weight(more) * len(head) > BYTES * ROWS:
            break
    return head


@dataclass(frozen=True)
class _Shape:
    """How rows of one shape become columns.

    Args:
        transpose: returns the columns; raises ValueError or TypeError for rows of another shape.
        refusal: returns the error for a row with its number, or None if its shape is right.
    """

    transpose: Callable[[list[Any]], list[Any]]
    refusal: Callable[[int, Any], LoadError | None]


def _row_shape(names: list[Any]) -> _Shape:
    width = len(names)

    def transpose(rows: list[Any]) -> list[Any]:
        if not all(map(_is_row, set(map(type, rows)))):
            # A dict or a text of the same length would pass as a row.
            raise TypeError
        columns: list[list[Any]] = [[] for _ in range(width)]
        for start in range(0, len(rows), _BLOCK):
            block = zip(*rows[start : start + _BLOCK], strict=True)
            for column, values in zip(columns, block, strict=True):
                column.extend(values)
        return columns

    def refusal(number: int, row: Any) -> LoadError | None:
        if not _is_row(type(row)):
            return _no_row(number, row)
        if len(row) == width:
            return None
        return BadRowError(number, "", shown(row), f"{len(row)} values for {width} columns")

    return _Shape(transpose, refusal)


def _dict_shape(names: list[Any]) -> _Shape:
    known = set(names)

    def transpose(rows: list[Any]) -> list[Any]:
        if not all(issubclass(kind, Mapping) for kind in set(map(type, rows))):
            raise TypeError
        if any(not known.issuperset(row) for row in rows):
            raise ValueError(known)
        return [[row.get(name) for row in rows] for name in names]

    def refusal(number: int, row: Any) -> LoadError | None:
        if not isinstance(row, Mapping):
            return _no_row(number, row)
        new = sorted(str(key) for key in set(row) - known)
        hint = "Name all columns: columns=[...], or give every row the same keys."
        return DriftError(f"row {number}: new column {', '.join(new)}", hint) if new else None

    return _Shape(transpose, refusal)


def _no_row(number: int, row: Any) -> BadRowError:
    reason = f"a {type(row).__name__} is not a row like the others"
    return BadRowError(number, "", shown(row), reason)


def _row_chunks(
    source: Source, head: list[Any], rest: Iterator[Any], shape: _Shape
) -> Iterator[Chunk]:
    """Cut rows into chunks; those that the types were inferred from come first."""
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
    """Estimate the bytes of a full chunk from the texts of about 200 rows."""
    sample = rows[:: max(1, len(rows) // 200)]
    longest = sum(
        len(value) for row in sample for value in _values(row) if isinstance(value, (str, bytes))
    )
    return longest * ROWS // max(len(sample), 1)


def _values(row: Any) -> Iterable[Any]:
    if isinstance(row, Mapping):
        return row.values()
    return row if _is_row(type(row)) else ()


def _careful_chunks(source: Source, first: int, rows: list[Any], shape: _Shape) -> Iterator[Chunk]:
    """Report rows of a wrong shape one by one; the others keep their numbers."""
    start = 0
    for index, row in enumerate(rows):
        error = shape.refusal(first + index, row)
        if error is None:
            continue
        if good := rows[start:index]:
            yield Chunk(first + start, len(good), shape.transpose(good))
        if not isinstance(error, BadRowError):
            raise error
        source.on_bad_row(error, row)
        start = index + 1
    if good := rows[start:]:
        yield Chunk(first + start, len(good), shape.transpose(good))
