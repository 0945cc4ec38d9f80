"""The options of a load, checked once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real
from typing import Any, TypedDict, cast

from vixtract.loading.errors import LoadUsageError
from vixtract.loading.formats import FormatArguments, FormatOptions

MODES = ("replace", "append", "upsert", "incremental")
DRIFTS = ("fail", "add", "widen")


class Expectations(TypedDict, total=False):
    """The conditions for publishing the rows.

    `not_null`: columns without NULL. `unique`: columns, or tuples of columns, without duplicates
    among the rows of the load. `rows`: (least, most) rows of the load; None means no limit.
    `rows_change`: (least, most) as factors of the rows of the last load that had any. `allowed`:
    column to its allowed values; NULL is always allowed. A single text counts as a list of one.
    """

    not_null: str | Sequence[str]
    unique: str | Sequence[str | Sequence[str]]
    rows: tuple[int | None, int | None]
    rows_change: tuple[float | None, float | None]
    allowed: Mapping[str, Any]


class MoreOptions(FormatArguments, total=False):
    """The further keyword arguments of `load`; `Options` explains them."""

    columns: Sequence[str]
    types: Mapping[str, str]
    drift: str
    expect: Expectations
    reject: str
    max_rejects: int
    progress: bool | None
    watermark: str


@dataclass(frozen=True)
class Options(FormatOptions):
    """A load's options, those of all formats among them.

    Args:
        mode: replace, append, upsert or incremental.
        key: columns that identify a row; may be empty.
        watermark: column of `incremental` that grows.
        columns: names, for sources without a header.
        types: PostgreSQL types by column, for a table that does not exist yet.
        drift: what to do if the source's columns differ: fail, add, widen.
        reject: table for bad rows; empty: a bad row fails the load.
        max_rejects: number of bad rows at which the load fails all the same.
        progress: show progress; None: in Lab and in jobs.
    """

    mode: str = "replace"
    key: tuple[str, ...] = ()
    watermark: str = ""
    columns: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    drift: str = "fail"
    expect: Expectations = field(default_factory=Expectations)
    reject: str = ""
    max_rejects: int = 1000
    progress: bool | None = None

    @classmethod
    def build(cls, mode: str, key: str | Sequence[str] | None, more: Mapping[str, Any]) -> Options:
        """Check the arguments of `load` and return them as options.

        Raises:
            LoadUsageError: an option is unknown or wrong, or contradicts another.
        """
        known = set(cls.__dataclass_fields__) - {"mode", "key"}
        unknown = sorted(set(more) - known)
        _require(not unknown, f"unknown option {', '.join(unknown)}", f"Known: {sorted(known)}.")
        keys = (key,) if isinstance(key, str) else tuple(key or ())
        values = {**more, "columns": tuple(more.get("columns") or ())}
        values["expect"] = _shaped(more.get("expect") or {})
        options = cls(mode=mode, key=keys, **values)
        options._check()
        return options

    def _check(self) -> None:
        _require(self.mode in MODES, f"mode {self.mode!r} is unknown", f"Known: {MODES}.")
        _require(self.drift in DRIFTS, f"drift {self.drift!r} is unknown", f"Known: {DRIFTS}.")
        _require(
            self.mode != "upsert" or bool(self.key),
            "mode upsert needs a key",
            'Say which columns identify a row: key="id".',
        )
        _require(
            (self.mode == "incremental") == bool(self.watermark),
            "mode incremental needs a watermark, and no other mode takes one",
            'Say which column grows: mode="incremental", watermark="updated_at".',
        )
        _require(len(set(self.key)) == len(self.key), "the key has a column twice", "")


def _shaped(expect: Any) -> Expectations:
    """Check the shape of every expectation: lists for one and many, pairs of limits."""
    _require(
        isinstance(expect, Mapping),
        f"expect={expect!r} is not a dict",
        'Write {"rows": (1, None)}.',
    )
    wrong = sorted(map(str, set(expect) - set(Expectations.__annotations__)))
    names = sorted(Expectations.__annotations__)
    _require(not wrong, f"unknown expectation {', '.join(wrong)}", f"Known: {names}.")
    shaped: dict[str, Any] = dict(expect)
    if "not_null" in expect:
        shaped["not_null"] = _names("not_null", expect["not_null"])
    if "unique" in expect:
        several = _listed("unique", expect["unique"])
        shaped["unique"] = tuple(_names("unique", one) for one in several)
        _require(all(shaped["unique"]), 'expect: {"unique": …} has an empty list', 'Write ["id"].')
    if "allowed" in expect:
        allowed = expect["allowed"]
        what = f'expect: {{"allowed": {allowed!r}}} is not a dict'
        _require(isinstance(allowed, Mapping), what, 'Write {"status": ["new", "paid"]}.')
        _names("allowed", allowed.keys())
        shaped["allowed"] = {name: _listed("allowed", values) for name, values in allowed.items()}
    for name in ("rows", "rows_change"):
        if name in expect:
            _check_limits(name, expect[name])
    return cast(Expectations, shaped)


def _listed(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str):
        return (values,)
    is_list = isinstance(values, Iterable) and not isinstance(values, (bytes, Mapping))
    _require(is_list, f'expect: {{"{name}": …}} has {values!r}, not a list', "Write […].")
    return tuple(values)


def _names(name: str, values: Any) -> tuple[str, ...]:
    names = _listed(name, values)
    is_names = all(isinstance(one, str) for one in names)
    _require(is_names, f'expect: {{"{name}": {values!r}}} names no columns', 'Write ["id"].')
    return names


def _check_limits(name: str, limits: Any) -> None:
    is_pair = isinstance(limits, (tuple, list)) and len(limits) == 2
    known = [one for one in limits if one is not None] if is_pair else []
    is_well = is_pair and all(isinstance(one, (Real, Decimal)) for one in known)
    what = f'expect: {{"{name}": {limits!r}}} is not a pair of limits'
    _require(is_well, what, f'Write {{"{name}": (least, most)}}, None for no limit.')
    what = f'expect: {{"{name}": {limits!r}}} can never hold'
    _require(known == sorted(known), what, "The lower limit comes first.")


def _require(condition: bool, message: str, hint: str) -> None:
    if not condition:
        raise LoadUsageError(message, hint)
