"""Expectations hold for what is right and fail for what is not, as the column's type compares."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid

import pandas
import pytest

from vixtract.loading import load
from vixtract.loading.errors import ExpectationError, LoadUsageError

UTC = dt.timezone.utc
pytest_plugins = ["tests.postgres"]

NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=3)))


@pytest.mark.parametrize(
    ("kind", "value", "allowed", "other"),
    [
        ("boolean", True, [True], [False]),
        ("boolean", True, ["yes", None], [None]),
        ("double precision", 1.0, [0.0, 1.0], [0.1]),
        ("real", 0.1, [0.1], [0.2]),
        ("numeric", decimal.Decimal("20.00"), [10, 20], [10, 2]),
        ("numeric(5,2)", decimal.Decimal("20.01"), [decimal.Decimal("20.010")], [20.005]),
        ("bigint", 1, [1.0], ["2"]),
        ("timestamp with time zone", NOON, [NOON], [NOON.replace(tzinfo=dt.timezone.utc)]),
        ("timestamp with time zone", NOON, ["2024-01-01 09:00Z"], ["2024-01-01 12:00Z"]),
        ("date", dt.date(2024, 1, 1), ["01.01.2024"], [dt.date(2024, 1, 2)]),
        ("interval", dt.timedelta(hours=24), ["1 day"], ["1 hour"]),
        ("text", 'a,"b\\', ['a,"b\\', "NULL"], ["a"]),
        ("text", "x", "x", ""),
        ("varchar(3)", "abc", ["abc"], ["abcd"]),
        ("character(3)", "ab", ["ab"], ["a"]),
        ("uuid", uuid.UUID(int=5), [uuid.UUID(int=5)], []),
        ("bytea", b"\0\\a", [b"\0\\a"], [b"a"]),
        ("jsonb", {"a": 1, "b": 2}, [{"b": 2.0, "a": 1}], ['{"a": 1}']),
        ("v.mood", "good", ["good", "bad"], pandas.Series(["bad"])),
        ("text", True, [True], [False]),
    ],
)
def test_allowed_values_compare_as_the_columns_type(database, kind, value, allowed, other):
    database.execute(
        "DROP TYPE IF EXISTS v.mood CASCADE; CREATE TYPE v.mood AS ENUM ('good', 'bad')"
    )
    database.execute(f"DROP TABLE IF EXISTS v.t; CREATE TABLE v.t (x {kind})")
    rows = [("x",), (value,), (None,)]
    assert load(rows, "v.t", connection=database, expect={"allowed": {"x": allowed}}).rows == 2
    with pytest.raises(ExpectationError, match=r"x = .* in 1 rows is not allowed"):
        load(rows, "v.t", connection=database, expect={"allowed": {"x": other}})


@pytest.mark.parametrize(
    ("kind", "value", "allowed", "holds"),
    [
        ("date", dt.date(2024, 1, 1), ["soon"], False),
        ("bigint", 1, [1.5], False),
        ("bigint", 1, ["1", "n/a"], True),
        ("json", '{"a": 1}', ['{"a": 1}'], True),
        ("v.state", "new", ["new", "gone"], True),
        ("v.state", "old", ["new", "gone"], False),
        ("text", "b", ["a\0"], False),
        ("timestamp", dt.datetime(2024, 1, 1), [dt.datetime(2024, 1, 1, tzinfo=UTC)], False),
    ],
)
def test_allowed_values_that_the_type_cannot_read_are_compared_as_texts(
    database, kind, value, allowed, holds
):
    database.execute("DROP TABLE IF EXISTS v.t; DROP TYPE IF EXISTS v.state")
    database.execute("CREATE TYPE v.state AS ENUM ('new', 'old')")
    database.execute(f"CREATE TABLE v.t (x {kind})")
    try:
        if holds:
            load([("x",), (value,)], "v.t", connection=database, expect={"allowed": {"x": allowed}})
        else:
            with pytest.raises(ExpectationError, match="is not allowed"):
                load(
                    [("x",), (value,)],
                    "v.t",
                    connection=database,
                    expect={"allowed": {"x": allowed}},
                )
    finally:
        database.execute("DROP TABLE v.t")


def test_a_text_stands_for_one_column(database):
    database.execute("DROP TABLE IF EXISTS v.t")
    rows = [("id", "city"), (1, "a"), (1, None)]
    with pytest.raises(ExpectationError, match="id = 1 appears 2 times"):
        load(rows, "v.t", connection=database, expect={"unique": "id"})
    with pytest.raises(ExpectationError, match="city is NULL in 1 rows"):
        load(rows, "v.t", connection=database, expect={"not_null": "city"})


@pytest.mark.parametrize(
    "expect",
    [{"rows": 5}, {"rows": (1,)}, {"rows": "12"}, {"rows": (9, 1)}, {"rows_change": 0.5}, {"unique": [()]},
     {"not_null": 1}, {"not_null": [1]}, {"unique": [["id"], 3]}, {"allowed": ["id"]}, {"allowed": {"id": 5}},
     {"allowed": {1: []}}, {"sum": 1}, ["id"]],
)  # fmt: skip
def test_expectations_of_a_wrong_shape_are_told_before_anything_is_read(expect):
    def rows():
        raise AssertionError("the source was read")
        yield

    with pytest.raises(LoadUsageError, match="expect"):
        load(rows(), "v.t", connection="host=nowhere.invalid", expect=expect)


@pytest.mark.parametrize("mode", ["replace", "append"])
def test_rows_change_is_compared_with_the_last_load_that_had_rows(database, mode):
    database.execute(
        "DROP TABLE IF EXISTS v.t; CREATE SCHEMA IF NOT EXISTS vixtract;"
        'CREATE TABLE vixtract.load (run text, schema text, "table" text, mode text, rows bigint,'
        " bytes bigint, seconds float, at timestamptz)"
    )
    try:
        four = [("id",), *((i,) for i in range(4))]
        load(four, "v.t", mode=mode, connection=database)
        load(four[:1], "v.t", mode=mode, connection=database)
        expect = {"rows_change": (0.5, 2)}
        with pytest.raises(ExpectationError, match="1 rows after 4 in the last load"):
            load(four[:2], "v.t", mode=mode, connection=database, expect=expect)
        load(four, "v.t", mode=mode, connection=database, expect=expect)
    finally:
        database.execute("DROP SCHEMA vixtract CASCADE")


def test_a_result_shows_as_its_line(database):
    database.execute("DROP TABLE IF EXISTS v.t")
    result = load([{"id": 1}], "v.t", connection=database)
    assert repr(result) == str(result) == f"v.t: 1 rows in {result.seconds:.2f} s (replace)"
