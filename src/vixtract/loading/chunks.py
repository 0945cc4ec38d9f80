"""A chunk of a source: some thousand rows, stored by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

# Large enough that the cost per chunk does not matter, small enough that several fit into memory.
ROWS = 20_000
# A limit for chunks of few but wide rows.
BYTES = 32 << 20


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a source.

    Args:
        first: number of the first row in the source, from 1.
        rows: how many rows.
        columns: one Arrow array or one sequence of Python values a column, each `rows` long.
    """

    first: int
    rows: int
    columns: Sequence[Any]

    def values(self, position: int) -> list[Any]:
        """Return the column at a position, from 0, as Python values."""
        column = self.columns[position]
        return _as_python(column) if hasattr(column, "to_pylist") else list(column)

    def row(self, index: int) -> tuple[Any, ...]:
        """Return the row at an index, from 0 within the chunk, as Python values."""
        return tuple(
            _as_python(column.slice(index, 1))[0] if hasattr(column, "to_pylist") else column[index]
            for column in self.columns
        )

    def slice(self, start: int, stop: int | None = None) -> Chunk:
        """Return the rows from `start`, from 0, to before `stop`, without copying Arrow's."""
        end = self.rows if stop is None else min(stop, self.rows)
        cut = [
            column.slice(start, end - start) if hasattr(column, "to_pylist") else column[start:end]
            for column in self.columns
        ]
        return Chunk(self.first + start, end - start, cut)


def _as_python(array: pa.Array) -> list[Any]:
    """Return Python values, cut to microseconds: Arrow needs pandas for nanoseconds."""
    kind = array.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        array = array.cast(pa.timestamp("us", kind.tz), safe=False)
    elif pa.types.is_time64(kind) and kind.unit == "ns":
        array = array.cast(pa.time64("us"), safe=False)
    elif pa.types.is_duration(kind) and kind.unit == "ns":
        array = array.cast(pa.duration("us"), safe=False)
    try:
        return list(array.to_pylist())
    except OverflowError:
        return [_far_as_text(scalar) for scalar in array]


def _far_as_text(scalar: pa.Scalar) -> Any:
    """Return a time beyond Python's range as text, which the server reads or refuses."""
    try:
        return scalar.as_py()
    except OverflowError:
        return scalar.cast(pa.string()).as_py()
