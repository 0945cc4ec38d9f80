"""petl's sorting, grouping and converting, several times faster, with the same rows in order.

`vixtract.petl_fast()` turns it on for a notebook. Sorting compares native keys where that gives
petl's own order (`petl_keys`), grouping hashes and orders only the distinct keys (`petl_groups`),
converting touches the converted fields only (`petl_convert`). What is not certain to give the same
result is left to petl. Of petl this replaces `SortView._iternocache`,
`SortView._iterfromfilecache`, `itermultiaggregate`, `itersimpleaggregate`, `iterfieldconvert`.
"""

from __future__ import annotations

import heapq
import itertools
import pickle
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from vixtract.known_libraries import find_unknown
from vixtract.loading.petl_convert import iter_field_convert
from vixtract.loading.petl_groups import iter_multi_aggregate, iter_simple_aggregate, stock
from vixtract.loading.petl_keys import Key, KeyColumn, UnknownOrderError, build_key, sort_rows


class petl_fast:
    """Turn the acceleration on; as a context manager, restore the former state at the end.

    Tables are lazy: the acceleration must be on when a table's rows are read.
    """

    def __init__(self, on: bool = True) -> None:
        self._was_on = bool(stock)
        _switch(on)

    def __enter__(self) -> petl_fast:
        """Stay on until the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the former state."""
        _switch(self._was_on)

    def __repr__(self) -> str:
        return f"petl_fast({'on' if stock else 'off'})"


def _switch(on: bool) -> None:
    from petl.transform import conversions, reductions, sorts

    unknown = find_unknown("petl")
    if on and unknown:
        warnings.warn(f"petl_fast leaves {unknown} as it is: it is not known.", stacklevel=3)
        return
    owners = {owner.__name__: owner for owner in (sorts.SortView, reductions, conversions)}
    if on and not stock:
        ours = (
            (sorts.SortView, "_iternocache", _iter_sorted),
            (sorts.SortView, "_iterfromfilecache", _iter_from_file_cache),
            (reductions, "itermultiaggregate", iter_multi_aggregate),
            (reductions, "itersimpleaggregate", iter_simple_aggregate),
            (conversions, "iterfieldconvert", iter_field_convert),
        )
        for owner, name, function in ours:
            stock[owner.__name__, name] = getattr(owner, name)
            setattr(owner, name, function)
    elif not on:
        for (owner_name, name), function in stock.items():
            setattr(owners[owner_name], name, function)
        stock.clear()


def _iter_sorted(view: Any, source: Any, key: Any, reverse: bool) -> Iterator[tuple[Any, ...]]:
    """`SortView._iternocache` with native keys."""
    from petl.comparison import comparable_itemgetter
    from petl.util.base import asindices

    view.clearcache()
    iterator = iter(source)
    try:
        header = next(iterator)
    except StopIteration:
        if key is None:
            return
        header = []
    yield tuple(header)
    indices = asindices(header, key) if key is not None else range(len(header))
    stock_key = comparable_itemgetter(*indices)
    sorter = _Sorter(indices, stock_key, reverse)
    rows = sorter.sort(list(itertools.islice(iterator, 0, view.buffersize)))
    if view.buffersize is None or len(rows) < view.buffersize:
        if view._cache:
            view._hdrcache, view._memcache, view._getkey = header, rows, stock_key
        for row in rows:
            yield tuple(row)
        return
    files = []
    while rows:
        files.append(_dump(rows, view.tempdir))
        rows = sorter.sort(list(itertools.islice(iterator, 0, view.buffersize)))
    if view._cache:
        view._hdrcache, view._filecache, view._getkey = header, files, stock_key
        view._vixtract_sorter = sorter
    for row in sorter.merge([_iter_file(file) for file in files]):
        yield tuple(row)


def _iter_from_file_cache(view: Any) -> Iterator[tuple[Any, ...]]:
    """`SortView._iterfromfilecache` with native keys."""
    # A cache that was made while the acceleration was off has no sorter.
    sorter = getattr(view, "_vixtract_sorter", None) or _Sorter([], view._getkey, view.reverse)
    # A local name keeps the files alive while they are read.
    files = view._filecache
    yield tuple(view._hdrcache)
    for row in sorter.merge([_iter_file(file) for file in files]):
        yield tuple(row)


def _iter_file(file: Any) -> Iterator[Any]:
    from petl.transform.sorts import _iterchunk

    yield from _iterchunk(file.name)


def _dump(rows: Sequence[Any], folder: str | None) -> Any:
    """Write a sorted chunk to a file that is deleted with its last reference."""
    from petl.transform import sorts

    with sorts.NamedTemporaryFile(dir=folder, delete=False, mode="wb") as file:
        wrapper = sorts._NamedTempFileDeleteOnGC(file.name)
        for row in rows:
            pickle.dump(row, file, protocol=-1)
    return wrapper


class _Sorter:
    """Sorts chunks and merges them, with native keys while all values seen allow it."""

    def __init__(self, indices: Sequence[int], stock_key: Key, reverse: bool) -> None:
        self.columns = [KeyColumn(index) for index in indices]
        self.stock_key = stock_key
        self.reverse = reverse
        self.is_native = True

    def sort(self, rows: list[Any]) -> list[Any]:
        if self.is_native and self.columns:
            try:
                return sort_rows(rows, self.columns, reverse=self.reverse)
            except UnknownOrderError:
                self.is_native = False
        rows.sort(key=self.stock_key, reverse=self.reverse)
        return rows

    def merge(self, chunks: list[Iterator[Any]]) -> Iterator[Any]:
        if self.is_native and self.columns:
            return heapq.merge(*chunks, key=build_key(self.columns), reverse=self.reverse)
        from petl.transform.sorts import _mergesorted

        merged: Iterator[Any] = _mergesorted(self.stock_key, self.reverse, *chunks)
        return merged
