"""Which types are chosen for a source's columns, and what importing the package costs."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from vixtract.loading import types
from vixtract.loading.errors import BadRowError
from vixtract.loading.opening import open_source
from vixtract.loading.options import Options

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "text"),
        ([None, None], "text"),
        ([1, True], "text"),
        ([True, None], "boolean"),
        ([1, 2**62], "bigint"),
        ([1, 2**63], "numeric"),
        ([1, 1.5], "double precision"),
        ([1, decimal.Decimal("1.5")], "numeric"),
        ([1.5, decimal.Decimal("1.5")], "numeric"),
        ([dt.date(2020, 1, 1), dt.datetime(2020, 1, 1)], "timestamp without time zone"),
        ([dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)], "text"),
        (["1", 1], "text"),
        ([{"a": 1}, [1]], "jsonb"),
    ],
)
def test_python_values_ask_for_a_type_that_holds_them_all(values, expected):
    assert types.infer(values) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", "-20", None], "bigint"),
        (["0", "007"], "text"),
        (["01", "77"], "text"),
        (["-01"], "text"),
        (["01.5"], "text"),
        (["1 ", "2"], "text"),
        (["1\n", "2"], "text"),
        (["+7", "1"], "text"),
        (["-0"], "numeric"),
        (["-9223372036854775808"], "bigint"),
        (["1." + "5" * 40], "numeric"),
        (["1" * 40], "numeric"),
        (["1.5e3", "12345678901234567890"], "numeric"),
        (["1.5e3", "3.3333333333333335e-07"], "double precision"),
        (["1e999"], "text"),
        (["1.", "-.5"], "double precision"),
        (["9223372036854775808"], "numeric"),
        (["1.50", "2", "-0.5"], "numeric"),
        (["1e5", "2.5"], "double precision"),
        (["1_000"], "text"),
        (["nan", "inf"], "text"),
        (["true", "false"], "boolean"),
        (["0", "1"], "bigint"),
        (["2020-02-29"], "date"),
        (["2021-02-29"], "text"),
        (["20200101"], "bigint"),
        (["2020-W01-1"], "text"),
        (["2020-02-29", "2020-02-29 10:00"], "text"),
        (["2020-02-30 10:00"], "text"),
        (["2020-01-01 10:00", "2020-01-01 10:00+03:00"], "text"),
        (["2020-01-01 10:00", "2020-01-01T10:00:05.25"], "timestamp without time zone"),
        (["2020-01-01T10:00:00+03:00"], "timestamp with time zone"),
        (["01.02.2020"], "text"),
        ([""], "text"),
        (["-"], "text"),
        (["١٢"], "text"),
    ],
)
def test_texts_of_a_file_become_numbers_only_where_nothing_is_lost(texts, expected):
    assert types.infer_texts(pa.array(texts, pa.string())) == expected


@pytest.mark.parametrize(
    ("texts", "digits"),
    [(["1.50", "2", None], 2), (["1", "-0"], 0), (["0.125"], 3), ([None], 0), ([], 0)],
)
def test_decimals_of_a_file_keep_the_digits_behind_the_point(texts, digits):
    assert types.scale_of(pa.array(texts, pa.string())) == digits


def test_rows_are_read_once_and_piece_by_piece():
    seen = []

    def rows():
        yield "a", "b"
        for number in range(100_000):
            seen.append(number)
            yield number, "x"

    source = open_source(rows(), Options())
    assert len(seen) < 25_000
    chunks = source.chunks(())
    next(chunks)
    assert len(seen) < 25_000
    rest = list(chunks)
    assert seen == list(range(100_000))
    assert rest[-1].first + rest[-1].rows == 100_001


@pytest.mark.parametrize("row", [(2**63,), {"n": 2**63}])
def test_whole_numbers_beyond_bigint_in_rows_ask_for_numeric(row):
    source = open_source([row, row], Options(columns=("n",)))
    assert source.types == {"n": "numeric"}


@pytest.mark.parametrize("missing", [None, pd.NaT, pd.NA, float("nan")])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (dt.date(2024, 2, 29), "date"),
        (dt.time(1, 2), "time without time zone"),
        (dt.timedelta(1), "interval"),
        (decimal.Decimal("1.5"), "numeric"),
        ("a", "text"),
        (7, "bigint"),
        (True, "boolean"),
        (b"x", "bytea"),
    ],
)
def test_pandas_objects_tell_their_type_whatever_is_missing(value, expected, missing):
    frame = pd.DataFrame({"n": pd.Series([value, missing, value], dtype=object)})
    source = open_source(frame, Options())
    assert source.types == {"n": expected}
    (chunk,) = source.chunks(())
    assert chunk.values(0) == [value, None, value]
    whole = open_source(frame.dropna(), Options())
    assert whole.types == {"n": expected}


def test_wide_rows_come_in_smaller_pieces():
    rows = ({"text": "x" * 100_000} for _ in range(5_000))
    sizes = [chunk.rows for _, chunk in zip(range(3), open_source(rows, Options()).chunks(()))]
    assert max(sizes) <= 1000


def test_bad_row_survives_a_trip_between_processes():
    import pickle

    error = BadRowError(5, "price", "'oops'", "no number")
    again = pickle.loads(pickle.dumps(error))
    assert (again.row, again.column, again.value, again.hint) == (5, "price", "'oops'", error.hint)


@pytest.mark.parametrize("statement", ["import vixtract", "import vixtract; vixtract.petl_fast"])
def test_importing_brings_no_heavy_library_along(statement):
    program = f"{statement}; import sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    heavy = {"pyarrow", "pandas", "polars", "petl", "psycopg", "pgpq", "numpy"}
    assert not heavy & set(json.loads(done.stdout))
