"""petl's `aggregate` by hashing: rows are collected by key, and only the distinct keys are sorted.

petl sorts the whole table first. Here the values that the aggregations need are kept for each key,
up to a limit; beyond it, or if a key is not of the types of `petl_keys`, petl does it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vixtract.loading.petl_keys import RANKS, UnknownOrderError, sort_keys

# petl's own functions while ours are in their place.
stock: dict[tuple[str, str], Any] = {}
# Rows kept, in petl's sort buffers (100,000 rows unless configured): values alone, or whole rows.
VALUE_BUFFERS = 10
ROW_BUFFERS = 2

Getter = Callable[[Any], Any]


@dataclass(frozen=True)
class _Need:
    """What one aggregation needs of a group.

    Args:
        indices: columns whose values it needs; None: whole rows.
        counts: it needs only the number of rows.
        as_list: it needs the rows as a list, otherwise as an iterator.
        convert: applied to each row first; None for nothing.
    """

    function: Getter
    indices: tuple[int, ...] | None
    counts: bool = False
    as_list: bool = False
    convert: Getter | None = None


def iter_multi_aggregate(source: Any, key: Any, aggregation: Any) -> Iterator[tuple[Any, ...]]:
    """Replace petl's `itermultiaggregate`, with the same rows in the same order."""

    def plan(header: Sequence[Any]) -> list[_Need]:
        return [_plan_multi(spec, header) for spec in aggregation.values()]

    def ordinary(rows: Any) -> Any:
        return stock["petl.transform.reductions", "itermultiaggregate"](rows, key, aggregation)

    yield from _aggregate(source, key, plan, ordinary)


def iter_simple_aggregate(
    table: Any, key: Any, aggregation: Any, value: Any, field: Any
) -> Iterator[tuple[Any, ...]]:
    """Replace petl's `itersimpleaggregate`, with the same rows in the same order."""

    def plan(header: Sequence[Any]) -> list[_Need]:
        from petl.util.base import asindices

        # petl counts the items it gets, whatever their value.
        counts = aggregation is len
        if callable(value):
            return [_Need(aggregation, None, counts, convert=value)]
        indices = None if value is None else tuple(asindices(header, value))
        return [_Need(aggregation, indices, counts)]

    def ordinary(rows: Any) -> Any:
        function = stock["petl.transform.reductions", "itersimpleaggregate"]
        return function(rows, key, aggregation, value, field)

    yield from _aggregate(table, key, plan, ordinary)


def _plan_multi(spec: Any, header: Sequence[Any]) -> _Need:
    """Read one aggregation as petl does; what it would refuse is left to it."""
    if callable(spec):
        return _Need(spec, None, counts=spec is len, as_list=True)
    if isinstance(spec, str):
        return _Need(list, (header.index(spec),))
    if len(spec) == 1 and isinstance(spec[0], str):
        return _Need(list, (header.index(spec[0]),))
    if len(spec) == 1 and callable(spec[0]):
        return _Need(spec[0], None, counts=spec[0] is len, as_list=True)
    if len(spec) != 2:
        raise UnknownOrderError
    fields, function = spec
    if fields is None:
        return _Need(function, None, counts=function is len, as_list=True)
    names = fields if isinstance(fields, (list, tuple)) else [fields]
    return _Need(function, tuple(header.index(name) for name in names))


def _aggregate(source: Any, key: Any, plan: Any, ordinary: Any) -> Iterator[tuple[Any, ...]]:
    groups = None
    if _is_ours(source, key):
        groups = getattr(source, "_vixtract_groups", None)
        if groups is None:
            groups = _collect(source, key, plan)
    if groups is None:
        yield from ordinary(source)
        return
    header, needs, ordered, width = groups
    if source._cache:
        source._vixtract_groups = groups
    # petl makes the output's header.
    yield from ordinary(iter([header]))
    getters = _getters(needs, header)
    for value, rows in ordered:
        cells = [getter(rows) for getter in getters]
        yield (*(value if width > 1 else (value,)), *cells)


def _is_ours(source: Any, key: Any) -> bool:
    """Tell whether petl would sort this source for the key, and has not done so yet."""
    from petl.transform.sorts import SortView

    return (
        type(source) is SortView
        and key is not None
        and not callable(key)
        and source.key == key
        and source.reverse is False
        and source._memcache is None
        and source._filecache is None
    )


def _collect(source: Any, key: Any, plan: Any) -> Any:
    """Return the source's rows by key; None if petl has to group them."""
    from petl.util.base import asindices

    iterator = iter(source.source)
    try:
        header = next(iterator)
        indices = asindices(header, key)
        needs = plan(header)
    except Exception:
        return None
    is_rows = any(need.indices is None and not need.counts for need in needs)
    columns = _columns(needs)
    keep = _keeper(is_rows, columns, header)
    limit = ROW_BUFFERS if is_rows else VALUE_BUFFERS
    most = None if source.buffersize is None else source.buffersize * limit
    try:
        groups = _hash(iterator, operator.itemgetter(*indices), keep, (len(indices), most))
        ordered = [(value, groups[value]) for value in sort_keys(list(groups), len(indices))]
    except (UnknownOrderError, IndexError, KeyError, TypeError):
        return None
    return tuple(header), needs, ordered, len(indices)


def _columns(needs: Sequence[_Need]) -> list[int]:
    """Return the columns whose values are kept, each once."""
    return list(dict.fromkeys(i for need in needs if not need.counts for i in need.indices or ()))


def _keeper(is_rows: bool, columns: Sequence[int], header: Sequence[Any]) -> Getter:
    """Return what is kept of a row: the row, a value, some values, or nothing."""
    if is_rows:
        width = len(header)

        def keep_row(row: Any) -> Any:
            if len(row) < width and columns:
                raise UnknownOrderError
            return row

        return keep_row
    return operator.itemgetter(*columns) if columns else lambda _: None


def _hash(
    rows: Iterator[Any], get_key: Getter, keep: Getter, limits: tuple[int, int | None]
) -> dict[Any, list[Any]]:
    width, most = limits
    groups: dict[Any, list[Any]] = {}
    known = RANKS.keys()
    find = groups.get
    for count, row in enumerate(rows):
        value = get_key(row)
        found = find(value)
        if found is None:
            if not (known >= set(map(type, value)) if width > 1 else type(value) in known):
                raise UnknownOrderError
            groups[value] = found = []
        found.append(keep(row))
        if count == most:
            raise UnknownOrderError
    return groups


def _getters(needs: Sequence[_Need], header: Sequence[Any]) -> list[Getter]:
    """Return, for each aggregation, a function from a group's kept rows to its cell."""
    from petl.util.base import Record

    is_rows = any(need.indices is None and not need.counts for need in needs)
    columns = _columns(needs)
    fields = [str(name) for name in header]
    return [_getter(need, is_rows, columns, lambda row: Record(row, fields)) for need in needs]


def _record_getter(need: _Need, record: Getter) -> Getter:
    convert = need.convert
    if need.as_list:
        return lambda rows: need.function([record(row) for row in rows])
    if convert is not None:
        return lambda rows: need.function(convert(record(row)) for row in rows)
    return lambda rows: need.function(record(row) for row in rows)


def _getter(need: _Need, is_rows: bool, columns: list[int], record: Getter) -> Getter:
    if need.counts:
        return len
    if need.indices is None:
        return _record_getter(need, record)
    if not is_rows and len(columns) == 1 and len(need.indices) == 1:
        return lambda rows: need.function(row for row in rows)
    positions = need.indices if is_rows else tuple(columns.index(i) for i in need.indices)
    if not is_rows and len(columns) == 1:
        # The column is wanted twice: one value is kept, but pairs are needed.
        return lambda rows: need.function((row,) * len(positions) for row in rows)
    pick = operator.itemgetter(*positions)
    return lambda rows: need.function(pick(row) for row in rows)
