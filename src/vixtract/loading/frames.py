"""Frames of pandas and polars as sources."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from vixtract.loading import types
from vixtract.loading.chunks import ROWS, Chunk
from vixtract.loading.errors import LoadUsageError
from vixtract.loading.sources import Source, number_batches, unlike_a_table
from vixtract.loading.target import Column

# Classes none of whose values is missing: a float may be NaN, a datetime NaT, a Decimal NaN.
_NEVER_MISSING = {bool, int, str, bytes, dt.date, dt.time, dt.timedelta}


def from_pandas(data: Any) -> Source:
    """Make a source of what pandas holds: NaN, NaT and NA are NULL, a named index is a column.

    Raises:
        LoadUsageError: the object is something else, or PostgreSQL has no type for a column.
    """
    import pandas as pd

    if isinstance(data, pd.Index):
        data = data.to_frame(index=False)
    elif isinstance(data, pd.Series):
        data = data.to_frame()
    if not isinstance(data, pd.DataFrame):
        raise unlike_a_table(data)
    levels = [i for i, name in enumerate(data.index.names) if name not in (None, "")]
    named = [(str(data.index.names[i]), data.index.get_level_values(i)) for i in levels]
    names = [str(name) for name in data.columns]
    if both := sorted({name for name, _ in named} & set(names)):
        raise LoadUsageError(
            f"The index and a column are both named {', '.join(both)}.",
            "Rename one, or leave the index out: frame.reset_index(drop=True).",
        )
    columns = [level.to_series() for _, level in named]
    columns += [data.iloc[:, i] for i in range(len(names))]
    names = [*(name for name, _ in named), *names]
    converts = [_converter(name, one.dtype) for name, one in zip(names, columns, strict=True)]
    pairs = list(zip(columns, converts, strict=True))

    def chunks(_: Sequence[Column]) -> Iterator[Chunk]:
        for start in range(0, len(data), ROWS):
            pieces = [convert(one.iloc[start : start + ROWS]) for one, convert in pairs]
            rows = min(ROWS, len(data) - start)
            yield Chunk(start + 1, rows, [_pandas_column(piece) for piece in pieces])

    kinds = {name: _pandas_type(*pair) for name, pair in zip(names, pairs, strict=True)}
    return Source(names, kinds, chunks, len(data))


def _converter(name: str, kind: Any) -> Callable[[Any], Any]:
    """Return a function that makes a series of this dtype one that Arrow or Python reads."""
    import pandas as pd

    labels = (pd.PeriodDtype, pd.IntervalDtype)
    if isinstance(kind, pd.SparseDtype):
        return lambda series: series.sparse.to_dense()
    if isinstance(kind, labels):
        return lambda series: series.astype("string")
    if isinstance(kind, pd.CategoricalDtype):
        if isinstance(kind.categories.dtype, labels):
            names = kind.categories.astype("string")
            return lambda series: series.cat.rename_categories(names)
        if kind.categories.dtype == object and len(types.kinds_of(kind.categories)) > 1:
            return lambda series: series.astype(object)
    if kind.kind == "c":
        raise LoadUsageError(
            f"Column {name} holds complex numbers.", "Load their .real and .imag as two columns."
        )
    return lambda series: series


def _pandas_column(series: Any) -> Any:
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


def _pandas_type(series: Any, convert: Callable[[Any], Any]) -> str:
    """Return the type of a whole column: the frame is in memory, so all values are looked at."""
    first = convert(series.iloc[:1])
    if first.dtype != object:
        return types.infer_arrow(pa.array(first, from_pandas=True).type)
    series = convert(series)
    values = series.to_numpy()
    return types.infer(values[series.notna().to_numpy()] if _may_lack(values) else values)


def _may_lack(values: Iterable[Any]) -> bool:
    """Tell whether a column may have missing values of pandas: searching them takes long."""
    return not types.kinds_of(values) <= _NEVER_MISSING


def from_polars(data: Any) -> Source:
    """Make a source of what polars holds; of a LazyFrame, batches as its engine makes them.

    Raises:
        LoadUsageError: the object is something else.
    """
    import polars as pl

    frame = data.to_frame() if isinstance(data, pl.Series) else data
    if not isinstance(frame, (pl.DataFrame, pl.LazyFrame)):
        raise unlike_a_table(data)
    schema = frame.collect_schema()
    # Arrow has no integers of that size.
    huge = [name for name, kind in schema.items() if kind in {pl.Int128, pl.UInt128}]
    if huge:
        frame = frame.with_columns(pl.col(huge).cast(pl.String))
    objects = [name for name, kind in schema.items() if kind == pl.Object]
    if objects and isinstance(frame, pl.LazyFrame):
        # Their type is inferred from their values, and polars' engine gives no parts of them.
        frame = frame.collect()
    return _polars_source(frame, huge, objects)


def _polars_source(frame: Any, huge: list[str], objects: list[str]) -> Source:
    is_lazy = not hasattr(frame, "height")
    empty = frame.limit(0).collect() if is_lazy else frame.head(0)

    def parts() -> Any:
        if is_lazy:
            return frame.collect_batches(chunk_size=ROWS, maintain_order=True)
        # In slices: at once it would copy every text of the frame.
        return frame.iter_slices(ROWS)

    def chunks(_: Sequence[Column]) -> Iterator[Chunk]:
        if objects:
            return _polars_objects(frame, objects)
        tables = (part.to_arrow() for part in parts())
        return number_batches(batch for table in tables for batch in table.to_batches())

    kinds = {field.name: types.infer_arrow(field.type) for field in empty.to_arrow().schema}
    kinds |= dict.fromkeys(huge, "numeric")
    kinds |= {name: types.infer(frame[name].to_list()) for name in objects}
    return Source(list(empty.columns), kinds, chunks, None if is_lazy else frame.height)


def _polars_objects(frame: Any, objects: list[str]) -> Iterator[Chunk]:
    """Yield Python objects as they are: to Arrow, polars gives their addresses."""
    first = 1
    for part in frame.iter_slices(ROWS):
        table = part.drop(objects).to_arrow()
        columns = [
            part[name].to_list() if name in objects else table[name] for name in frame.columns
        ]
        yield Chunk(first, part.height, columns)
        first += part.height
