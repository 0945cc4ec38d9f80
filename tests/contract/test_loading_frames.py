"""Frames of what is read: types come from the server, not from the rows that happen to be first."""

from __future__ import annotations

import decimal
import uuid

import polars
import pyarrow as pa
import pytest

from vixtract.loading import read

pytest_plugins = ["tests.postgres"]

# The first pieces have nothing in the arrays, later ones do.
LATE = "SELECT CASE WHEN i < 30000 THEN '{{}}'::{0}[] ELSE array[{1}] END AS a FROM generate_series(1, 40000) i"
ELEMENTS = [
    ("int", "i", pa.int32(), 30_000),
    ("bigint", "i", pa.int64(), 30_000),
    ("text", "'x' || i", pa.string(), "x30000"),
    ("uuid", "'00000000-0000-0000-0000-000000000001'::uuid", pa.string(), str(uuid.UUID(int=1))),
    ("jsonb", "jsonb_build_object('n', i)", pa.string(), '{"n": 30000}'),
    ("bool", "true", pa.bool_(), True),
    ("numeric", "i + 0.5", pa.decimal128(6, 1), decimal.Decimal("30000.5")),
]


@pytest.mark.parametrize(("kind", "element", "arrow", "value"), ELEMENTS)
def test_arrays_have_the_servers_type(database, kind, element, arrow, value):
    query = LATE.format(kind, element)
    table = read(query, to="arrow", connection=database)
    assert table.schema.field("a").type == pa.list_(arrow)
    assert (table["a"][0].as_py(), table["a"][29_999].as_py()) == ([], [value])
    assert read(query, to="polars", connection=database)["a"].to_list()[29_999] == [value]
    assert list(read(query, to="pandas", connection=database)["a"][29_999]) == [value]


@pytest.mark.parametrize("kind", ["int", "numeric", "text"])
def test_arrays_of_arrays_after_empty_ones(database, kind):
    query = LATE.format(kind, "array[1, 2]")
    table = read(query.replace("[1, 2]", f"[1, 2]::{kind}[]"), to="arrow", connection=database)
    found = table["a"].to_pylist()
    assert found[0] == []
    assert [[str(value) for value in row] for row in found[-1]] == [["1", "2"]]


def test_arrays_of_null_and_of_nothing(database):
    table = read(
        "SELECT '{}'::int[] a, NULL::text[] b, array[NULL, 1.5] c", to="arrow", connection=database
    )
    assert table.to_pylist() == [{"a": [], "b": None, "c": [None, decimal.Decimal("1.5")]}]
    assert read("SELECT '{}'::numeric[] a", to="polars", connection=database).rows() == [([],)]


def test_numbers_of_more_digits_than_polars_has_become_doubles(database):
    query = "SELECT 1e40::numeric + 0.5 AS a, array[1e40 + 0.5] AS b, 1.5 AS c"
    frame = read(query, to="polars", connection=database)
    assert frame.rows() == [(1e40, [1e40], decimal.Decimal("1.5"))]
    assert frame.dtypes[:2] == [polars.Float64, polars.List(polars.Float64)]
    exact = read(query, to="arrow", connection=database)["a"].to_pylist()
    assert exact == [decimal.Decimal("1" + "0" * 40 + ".5")]
