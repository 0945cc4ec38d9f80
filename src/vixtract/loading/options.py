"""What a caller may ask of a load, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from vixtract.loading.errors import LoadUsageError

MODES = ("replace", "append", "upsert", "incremental")
DRIFTS = ("fail", "add", "widen")
DECIMALS = (".", ",")


class Expectations(TypedDict, total=False):
    """What must hold before anything is published.

    `not_null`: columns without NULL. `unique`: columns, or tuples of columns, without duplicates.
    `rows`: (least, most) rows of the load; None means no limit. `rows_change`: (least, most) as
    factors of the last load's rows. `allowed`: column to its allowed values, NULL always allowed.
    """

    not_null: Sequence[str]
    unique: Sequence[str | Sequence[str]]
    rows: tuple[int | None, int | None]
    rows_change: tuple[float | None, float | None]
    allowed: Mapping[str, Sequence[Any]]


class MoreOptions(TypedDict, total=False):
    """Keyword arguments of `load` beside the usual ones; `Options` says what each means."""

    columns: Sequence[str]
    types: Mapping[str, str]
    drift: str
    expect: Expectations
    reject: str
    max_rejects: int
    progress: bool | None
    encoding: str
    delimiter: str
    decimal: str
    sheet: str | int
    watermark: str


@dataclass(frozen=True)
class Options:
    """A load's options.

    Args:
        mode: replace, append, upsert or incremental.
        key: columns that identify a row; empty without one.
        watermark: column of `incremental` that grows.
        columns: names for rows that come without a header.
        types: PostgreSQL types by column, for a table that does not exist yet.
        drift: what to do when the source's columns differ: fail, add, widen.
        expect: what must hold before publishing.
        reject: table that bad rows are set aside into; empty: a bad row fails the load.
        max_rejects: bad rows at which the load fails all the same.
        progress: show progress; None: in Lab and in jobs.
        encoding: of a text file.
        delimiter: of a text file; empty: by its suffix, or what its first line is cut by.
        decimal: mark before the fraction in a text file: "." or ",".
        sheet: of a workbook, by name or by position from 0.
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
    encoding: str = "utf-8"
    delimiter: str = ""
    decimal: str = "."
    sheet: str | int = 0

    @classmethod
    def build(cls, mode: str, key: str | Sequence[str] | None, more: Mapping[str, Any]) -> Options:
        """Check the arguments of `load` and put them together.

        Args:
            mode: one of MODES.
            key: a column or several, or None.
            more: the other keyword arguments.
        Raises:
            LoadUsageError: an option is unknown, or they make no sense together.
        """
        known = set(cls.__dataclass_fields__) - {"mode", "key"}
        unknown = sorted(set(more) - known)
        _require(not unknown, f"unknown option {', '.join(unknown)}", f"Known: {sorted(known)}.")
        keys = (key,) if isinstance(key, str) else tuple(key or ())
        values = {**more, "columns": tuple(more.get("columns") or ())}
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
            "mode incremental and watermark go together",
            'Say which column grows: mode="incremental", watermark="updated_at".',
        )
        _require(
            self.decimal in (".", ","), f"decimal {self.decimal!r} is unknown", "Known: . and ,"
        )
        wrong = sorted(set(self.expect) - set(Expectations.__annotations__))
        names = sorted(Expectations.__annotations__)
        _require(not wrong, f"unknown expectation {', '.join(wrong)}", f"Known: {names}.")
        _require(len(set(self.key)) == len(self.key), "the key names a column twice", "")


def _require(condition: bool, message: str, hint: str) -> None:
    if not condition:
        raise LoadUsageError(message, hint)
