"""Cutting column names that are too long for PostgreSQL, as the server does.

The server cuts them silently, so the table would have other columns than its source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from psycopg import Connection

from vixtract.loading.connections import fetch_value
from vixtract.loading.errors import LoadUsageError
from vixtract.loading.options import Expectations, Options
from vixtract.loading.sources import Source

# In the server's encoding; in UTF-8 a Cyrillic letter has two bytes.
BYTES = 63


def cut_names(connection: Connection, source: Source, options: Options) -> tuple[Options, str]:
    """Cut the source's names; return the options with the cut names, and a note on what was cut.

    Raises:
        LoadUsageError: two names become equal.
    """
    names = list(source.columns)
    if all(len(name.encode(errors="replace")) <= BYTES for name in names):
        return options, ""
    query = (
        "SELECT array(SELECT name::name::text FROM unnest(%s::text[]) WITH ORDINALITY"
        " AS n (name, place) ORDER BY place)"
    )
    kept = fetch_value(connection, query, [names])
    short = dict(zip(names, kept, strict=True))
    if same := [name for name in names if kept.count(short[name]) > 1]:
        raise LoadUsageError(
            f"Columns have the same first {BYTES} bytes, all that PostgreSQL keeps of a name:"
            f" {', '.join(same)}.",
            "Rename them in the source.",
        )
    cut = [f"{name} is {short[name]}" for name in names if name != short[name]]
    source.columns = kept
    source.types = {short[name]: kind for name, kind in source.types.items()}
    note = f"names of columns are cut to {BYTES} bytes: {', '.join(cut)}"
    return _rename(options, lambda name: short.get(name, name)), note


def _rename(options: Options, new: Callable[[str], str]) -> Options:
    expect = dict(options.expect)
    if "not_null" in options.expect:
        expect["not_null"] = [new(name) for name in options.expect["not_null"]]
    if "unique" in options.expect:
        expect["unique"] = [tuple(map(new, one)) for one in options.expect["unique"]]
    if "allowed" in options.expect:
        allowed = options.expect["allowed"]
        expect["allowed"] = {new(name): values for name, values in allowed.items()}
    return replace(
        options,
        key=tuple(map(new, options.key)),
        watermark=new(options.watermark),
        types={new(name): kind for name, kind in options.types.items()},
        expect=cast("Expectations", expect),
    )
