"""What can be loaded, and what is in the table then: frames and rows as people have them."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import math
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from vixtract.loading import load
from vixtract.loading.errors import BadRowError, DriftError, LoadUsageError

pytest_plugins = ["tests.postgres"]

ID = uuid.UUID("30313233-3435-3637-3839-616263646566")
Point = collections.namedtuple("Point", "x y")
MOSCOW = dt.timezone(dt.timedelta(hours=3))
FAR = np.array([0, 2**63 - 1], dtype="int64")


class Word(str, enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Either(enum.Enum):
    A = "a"
    ONE = 1


def frame(**columns):
    return pd.DataFrame(columns)


def indexed(index, **columns):
    return pd.DataFrame(columns, index=index)


@pytest.mark.parametrize(
    ("source", "names", "rows"),
    [
        (frame(city=["b", "a", "b"], v=[1, 2, 3]).groupby("city").sum(), ["city", "v"],
         [("a", 2), ("b", 4)]),
        (frame(city=["b", "a", "b"])["city"].value_counts(), ["city", "count"],
         [("b", 2), ("a", 1)]),
        (indexed(pd.MultiIndex.from_tuples([("x", 1, 2.5)], names=["a", None, "b"]), v=[1]),
         ["a", "b", "v"], [("x", 2.5, 1)]),
        (indexed(pd.RangeIndex(2, name="id"), v=[5, 6]), ["id", "v"], [(0, 5), (1, 6)]),
        (indexed(pd.period_range("2025-01", periods=1, freq="M", name="m"), v=[5]), ["m", "v"],
         [("2025-01", 5)]),
        (indexed([7, 9], v=[5, 6]), ["v"], [(5,), (6,)]),
        (pd.Series([1], name="v"), ["v"], [(1,)]),
        (pd.Index([1], name="k"), ["k"], [(1,)]),
    ],
)  # fmt: skip
def test_a_named_index_of_pandas_is_a_column(database, loaded, source, names, rows):
    assert loaded(source)[1] == rows
    assert [one.name for one in database.execute("SELECT * FROM v.s").description] == names


def test_rows_of_a_long_frame_keep_their_index(database):
    index = pd.Index([f"k{i}" for i in range(50_000)], name="k")
    database.execute("DROP TABLE IF EXISTS v.s")
    load(indexed(index, v=range(50_000)), "v.s", connection=database)
    query = "SELECT count(*), count(*) FILTER (WHERE k = 'k' || v) FROM v.s"
    assert database.execute(query).fetchall() == [(50_000, 50_000)]


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (pd.Series([pd.Period("2025-01", "M"), pd.NaT]), "text", ["2025-01", None]),
        (pd.Series(pd.cut([1, 9, math.nan], [0, 3, 10])), "text", ["(0, 3]", "(3, 10]", None]),
        (pd.Series(pd.arrays.SparseArray([0, 7])), "bigint", [0, 7]),
        (pd.Series(pd.arrays.SparseArray([math.nan, 1.5])), "double precision", [None, 1.5]),
        (pd.Series(pd.Categorical(["a", 1, None])), "text", ["a", "1", None]),
        (pd.Series(pd.Categorical(["a", "b", None])), "text", ["a", "b", None]),
        ([np.array([1]), np.array([3, math.nan])], "jsonb", [[1], [3.0, None]]),
        ([np.array([np.array(["a"]), None], dtype=object)], "jsonb", [[["a"], None]]),
        ([Word.RED, Word.RED], "text", ["red", "red"]),
    ],
)
def test_a_column_of_pandas_is_what_a_person_sees(loaded, column, kind, values):
    assert loaded(frame(c=column)) == ([kind], [(value,) for value in values])


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (pl.Series([{"a": 1}, None], dtype=pl.Object), "jsonb", [{"a": 1}, None]),
        (pl.Series([ID], dtype=pl.Object), "uuid", [ID]),
        (pl.Series([2**100, None, -(2**127)], dtype=pl.Int128), "numeric",
         [decimal.Decimal(2**100), None, decimal.Decimal(-(2**127))]),
        (pl.Series([[1.5, math.nan]]), "jsonb", [[1.5, None]]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_lazy", [False, True])
def test_a_column_of_polars_is_what_a_person_sees(loaded, column, kind, values, is_lazy):
    source = pl.DataFrame({"n": range(len(values)), "c": column})
    rows = list(enumerate(values))
    assert loaded(source.lazy() if is_lazy else source) == (["bigint", kind], rows)


def test_arrows_own_types_are_postgresqls_or_as_stored(loaded, tmp_path):
    ids = pa.array([ID.bytes, None], pa.uuid())
    flags = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8()))
    table = pa.table({"id": ids, "flag": flags})
    parquet.write_table(table, tmp_path / "x.parquet")
    for source in (table, tmp_path / "x.parquet"):
        assert loaded(source) == (["uuid", "smallint"], [(ID, 1), (None, 0)])


def test_uuids_keep_their_dashes_in_a_text(database, loaded):
    database.execute("CREATE TABLE v.s (id text)")
    for source in (pa.table({"id": pa.array([ID.bytes], pa.uuid())}), [{"id": ID}]):
        assert loaded(source)[1] == [(str(ID),)]


def test_lists_of_a_parquet_file_that_pandas_read_are_lists(loaded, tmp_path):
    parquet.write_table(pa.table({"tags": [["a", "b"], ["c"], None]}), tmp_path / "x.parquet")
    source = pd.read_parquet(tmp_path / "x.parquet")
    assert loaded(source) == (["jsonb"], [(["a", "b"],), (["c"],), (None,)])


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        ([Word.RED, None], "text", ["red", None]),
        ([Number.ONE], "bigint", [1]),
        ([Either.A, Either.ONE], "text", ["a", "1"]),
        ([{"x": math.nan, "y": [math.inf, Number.ONE, Either.A, ID, np.int64(5), pd.NA]}], "jsonb",
         [{"x": None, "y": [None, 1, "a", str(ID), 5, None]}]),
        ([np.int64(5), np.array([5])], "text", ["5", "[5]"]),
    ],
)  # fmt: skip
def test_python_values_are_stored_by_value(loaded, values, kind, stored):
    assert loaded([{"v": v} for v in values]) == ([kind], [(one,) for one in stored])


@pytest.mark.parametrize(
    ("source", "row", "reason"),
    [
        ([{"v": None}, {"v": dt.time(1, tzinfo=MOSCOW)}], 2, "it has a time zone"),
        ([{"v": None}, {"v": {"x": "\ud800"}}], 2, "surrogates not allowed"),
        ([{"v": None}, {"v": {(1, 2): 1}}], 2, "keys must be"),
        (frame(v=FAR.view("datetime64[us]"), w=[[1], [2]]), 2, "invalid input syntax"),
        (frame(v=(-FAR).view("datetime64[us]")), 2, "invalid"),
        (pa.table({"v": pa.array([0, -(2**31)], pa.date32())}), 2, "invalid input syntax"),
        ([{"v": 1}, None, {"v": 2}], 2, "a NoneType is not a row"),
        ([None, {"v": 1}], 1, "a NoneType is not a row"),
        ([{"v": 1}, ["v"]], 2, "a list is not a row"),
        ([["v"], ["a"], None], 2, "a NoneType is not a row"),
        ([["v"], ["a"], {"v": 1}], 2, "a dict is not a row"),
        ([["v"], ["a"], "b"], 2, "a str is not a row"),
        ([["v"], ["a"], 5], 2, "a int is not a row"),
    ],
)
def test_a_value_or_row_that_cannot_be_stored_is_named(loaded, source, row, reason):
    with pytest.raises(BadRowError, match=reason) as caught:
        loaded(source)
    assert caught.value.row == row


def test_what_is_no_row_can_be_set_aside(database, loaded):
    database.execute("DROP TABLE IF EXISTS v.bad")
    rows = [{"v": 1}, None, {"v": 2}, 5]
    assert loaded(rows, reject="v.bad")[1] == [(1,), (2,)]
    found = database.execute('SELECT "row", data FROM v.bad ORDER BY 1').fetchall()
    assert found == [(2, "null"), (4, "5")]


@pytest.mark.parametrize(
    "source",
    [
        [{"v": {"a": 1}}, {"v": {(1, 2): 1}}],
        [{"v": {"a": 1}}, {"v": {"a": "\ud800"}}],
        frame(v=(-FAR).view("datetime64[us]")),
    ],
)
def test_a_value_that_cannot_be_stored_can_be_set_aside(database, loaded, source):
    database.execute("DROP TABLE IF EXISTS v.bad")
    assert len(loaded(source, reject="v.bad")[1]) == 1
    assert database.execute('SELECT "row" FROM v.bad').fetchall() == [(2,)]


def test_far_times_that_postgresql_has_are_kept(database, loaded):
    days = pa.array([10**6, 10**7, None], pa.date32())
    table = pa.table({"day": days, "text": [[1], None, None]})
    database.execute("CREATE TABLE v.s (day date, text jsonb)")
    load(table, "v.s", connection=database)
    found = database.execute("SELECT day - date '1970-01-01' FROM v.s").fetchall()
    assert found == [(10**6,), (10**7,), (None,)]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (frame(a=[1]).groupby("a"), "A DataFrameGroupBy cannot be loaded"),
        (pl.DataFrame({"a": [1]}).group_by("a"), "A GroupBy cannot be loaded"),
        (pl.col("a"), "A Expr cannot be loaded"),
        (pa.array([1]), "A Int64Array cannot be loaded"),
        (pa.chunked_array([[1]]), "A ChunkedArray cannot be loaded"),
        (frame(a=[1 + 2j]), "Column a holds complex numbers"),
        (frame(k=[1]).set_index("k", drop=False), "index and a column are both named k"),
        ({"a": 1}, "loaded by columns, but its a is 1"),
        ({"a": "text"}, "loaded by columns, but its a is 'text'"),
        ({"a": [1], "b": [1, 2]}, "not of the same length: a 1, b 2"),
        ([1, 2], "no header: the first is 1"),
        ([("a", None), (1, 2)], "a column has no name"),
    ],
)
def test_what_cannot_be_loaded_is_said(loaded, source, message):
    with pytest.raises(LoadUsageError, match=message):
        loaded(source)


@pytest.mark.parametrize("source", [[Point(1, "a"), Point(3, "b")], {"x": [1, 3], "y": ["a", "b"]}])
def test_named_tuples_and_dicts_of_columns_bring_their_names(database, loaded, source):
    assert loaded(source) == (["bigint", "text"], [(1, "a"), (3, "b")])
    assert [one.name for one in database.execute("SELECT * FROM v.s").description] == ["x", "y"]


@pytest.mark.parametrize("source", [[], (), iter(()), {}, pd.DataFrame(), pl.DataFrame(), [()]])
@pytest.mark.parametrize(
    "options",
    [{"mode": "append"}, {"mode": "upsert", "key": "id"},
     {"mode": "incremental", "watermark": "id"},
     {"mode": "incremental", "watermark": "id", "key": "id"}],
)  # fmt: skip
def test_nothing_new_is_no_rows(database, source, options):
    database.execute("DROP TABLE IF EXISTS v.s")
    database.execute("CREATE TABLE v.s (id int PRIMARY KEY, n text NOT NULL, m int GENERATED ALWAYS AS (id) STORED)")  # fmt: skip
    database.execute("INSERT INTO v.s VALUES (1, 'a')")
    assert load(source, "v.s", connection=database, **options).rows == 0
    if options["mode"] == "incremental":
        for given in (source, None):
            assert load(lambda _, g=given: g, "v.s", connection=database, **options).rows == 0
    assert database.execute("SELECT * FROM v.s").fetchall() == [(1, "a", 1)]


def test_nothing_is_an_error_where_it_would_empty_or_make_a_table(database, loaded):
    with pytest.raises(LoadUsageError, match="no header"):
        loaded([], mode="append")
    database.execute("CREATE TABLE v.s (id int)")
    for source in ([], {}):
        with pytest.raises(LoadUsageError, match="no header"):
            loaded(source)
    with pytest.raises(LoadUsageError, match="A NoneType cannot be loaded"):
        loaded(None, mode="append")
    with pytest.raises(DriftError):
        loaded([{"other": 1}], mode="append")
