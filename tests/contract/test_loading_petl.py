"""petl with the acceleration on gives what stock petl gives: the same rows in the same order."""

from __future__ import annotations

import datetime as dt
import decimal
import subprocess
import sys
import uuid

import petl as etl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from petl.transform import reductions

import vixtract
from vixtract.loading import petl_groups

NAN = float("nan")
NUMBERS = (
    st.integers(-3, 3) | st.booleans() | st.sampled_from([0.0, -0.0, 1.0, 1.5, NAN, float("inf")])
)
NUMBERS |= st.sampled_from([decimal.Decimal(1), decimal.Decimal("1.5"), decimal.Decimal("NaN")])
TIMES = st.sampled_from(
    [
        dt.date(2020, 1, 1), dt.date(2020, 1, 2), dt.datetime(2020, 1, 1), dt.time(1), dt.timedelta(1),
        dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), dt.time(1, tzinfo=dt.timezone.utc),
    ]
)  # fmt: skip
OTHERS = st.sampled_from(
    [b"a", (1, "x"), (1, 2), [1], [1, None], uuid.UUID(int=1), uuid.UUID(int=2)]
)
TEXTS = st.text("abЖ", max_size=2)
# Mostly columns as people have them, sometimes a mixture of everything.
COLUMN = st.sampled_from(
    [
        st.integers(-3, 3), TEXTS, st.integers(-3, 3) | st.none(), TEXTS | st.none(), NUMBERS, TIMES,
        TEXTS | st.integers(-3, 3), st.one_of(st.none(), NUMBERS, TEXTS, TIMES, OTHERS),
        st.dates(dt.date(2020, 1, 1), dt.date(2020, 1, 3)),
    ]
)  # fmt: skip


@st.composite
def tables(draw, min_rows=0):
    """Tables of three columns, sometimes with rows that are too short or too long."""
    cells = [draw(COLUMN) for _ in range(3)]
    width = st.sampled_from([3] * 30 + [1, 2, 4]) if draw(st.booleans()) else st.just(3)
    rows = []
    for _ in range(draw(st.integers(min_rows, 12))):
        row = [draw(cell) for cell in cells] + ["more"]
        rows.append(tuple(row[: draw(width)]))
    return [("a", "b", "c"), *rows]


def outcome(build):
    """Return the rows, or the kind of error; repr tells 1 from True and one NaN from none."""
    try:
        return [repr(row) for row in build()]
    except Exception as error:
        return type(error)


def both(build):
    """Return what stock and accelerated petl give, each read twice: caches must not change it."""

    def twice():
        table = build()
        return [*table, *table]

    assert not petl_groups.stock
    stock = outcome(twice)
    with vixtract.petl_fast():
        assert petl_groups.stock
        fast = outcome(twice)
    assert not petl_groups.stock
    return stock, fast


KEYS = st.sampled_from(["a", "b", ("a", "b"), ("c", "a"), ["b"], 1])
BUFFERS = st.sampled_from([None, 2, 3, 100])


@settings(max_examples=400, deadline=None)
@given(tables(), KEYS | st.none(), st.booleans(), BUFFERS)
def test_sort_gives_the_same_rows_in_the_same_order(table, key, reverse, buffersize):
    stock, fast = both(lambda: etl.sort(table, key, reverse=reverse, buffersize=buffersize))
    assert fast == stock


AGGREGATIONS = st.sampled_from(
    [
        {"n": len},
        {"n": len, "all": ("b", list), "last": ("c", lambda values: list(values)[-1])},
        {"rows": (None, list)},
        {"pairs": (("b", "c"), list), "same": (("b", "b"), list)},
        {"first": ("c", next), "n": (None, len), "b": "b"},
        {"total": ("a", sum)},
        {"none": ("missing", sum)},
        {},
    ]
)


@settings(max_examples=400, deadline=None)
@given(tables(), KEYS, AGGREGATIONS, BUFFERS)
def test_aggregate_gives_the_same_rows_in_the_same_order(table, key, aggregation, buffersize):
    stock, fast = both(lambda: etl.aggregate(table, key, aggregation, buffersize=buffersize))
    assert fast == stock


@settings(max_examples=300, deadline=None)
@given(tables(), KEYS, st.sampled_from([len, list, sum, max, lambda g: [tuple(v) for v in g]]),
       st.sampled_from([None, "b", ("b", "c"), lambda row: row["c"]]), BUFFERS)  # fmt: skip
def test_simple_aggregate_gives_the_same(table, key, function, value, buffersize):
    stock, fast = both(lambda: etl.aggregate(table, key, function, value, buffersize=buffersize))
    assert fast == stock


@settings(max_examples=200, deadline=None)
@given(
    tables(),
    tables(),
    st.sampled_from(["join", "leftjoin", "outerjoin", "antijoin", "complement"]),
    BUFFERS,
)
def test_joins_and_set_operations_give_the_same(left, right, name, buffersize):
    def build():
        options = {"buffersize": buffersize}
        if name != "complement":
            options["key"] = "a"
        return getattr(etl, name)(left, right, **options)

    stock, fast = both(build)
    assert fast == stock


@settings(max_examples=100, deadline=None)
@given(tables(), st.sampled_from(["duplicates", "unique", "distinct", "mergeduplicates"]))
def test_deduplication_gives_the_same(table, name):
    stock, fast = both(lambda: getattr(etl, name)(table, "a"))
    assert fast == stock


CONVERTERS = st.sampled_from(
    [
        str, int, float, repr, len, "upper", ("replace", "a", "b"), ["lower"], {"a": 1, 1: "one"}, {}, None, 7,
        lambda value: value + 1, lambda value: next(iter(())), lambda value: [value],
    ]
)  # fmt: skip
FIELDS = st.sampled_from(["a", "b", "c", 0, 1, 5, -1, True, "missing"])


@settings(max_examples=400, deadline=None)
@given(
    tables(),
    st.dictionaries(FIELDS, CONVERTERS, max_size=3),
    st.sampled_from([True, False, "inline", None]),
    st.sampled_from([{}, {"pass_row": True}, {"where": lambda row: row[0] == 1}]),
)
def test_convert_gives_the_same(table, converters, failonerror, options):
    def build():
        return etl.convert(table, converters, failonerror=failonerror, errorvalue="?", **options)

    stock, fast = both(build)
    assert fast == stock


def test_convert_calls_nothing_for_the_other_fields():
    """What is measured in seconds by the bench is counted here: one call per converted value."""
    table = [tuple("abcdefgh"), *((i,) * 8 for i in range(100))]
    calls = 0

    def count(frame, event, _):
        nonlocal calls
        calls += event == "call" and frame.f_code.co_name != "iter_field_convert"

    with vixtract.petl_fast():
        rows = iter(etl.convert(table, "c", lambda value: value + 1))
        next(rows)
        sys.setprofile(count)
        try:
            last = list(rows)[-1]
        finally:
            sys.setprofile(None)
    assert last == (99, 99, 100, 99, 99, 99, 99, 99)
    assert calls <= 110


def test_grouping_more_rows_than_are_kept_is_left_to_the_sort(monkeypatch):
    monkeypatch.setattr(petl_groups, "VALUE_BUFFERS", 2)
    table = [("a", "b"), *((i % 7, i) for i in range(1000))]
    stock, fast = both(lambda: etl.aggregate(table, "a", {"b": ("b", list)}, buffersize=100))
    assert fast == stock


def test_acceleration_takes_the_comparisons_away():
    """What is measured in seconds by the bench is counted here: petl's comparison is not called."""
    from petl.comparison import Comparable

    table = [("a", "b"), *((str(i % 97), i) for i in range(2000))]
    calls = []
    less = Comparable.__lt__
    try:
        Comparable.__lt__ = lambda one, other: calls.append(1) or less(one, other)
        with vixtract.petl_fast():
            list(etl.sort(table, ("a", "b")))
            list(etl.aggregate(table, "a", {"b": ("b", sum)}))
        assert not calls
        list(etl.sort(table, "a"))
        assert calls
    finally:
        Comparable.__lt__ = less


def test_switch_restores_petl_and_can_be_nested():
    before = reductions.itermultiaggregate
    with vixtract.petl_fast():
        with vixtract.petl_fast():
            pass
        assert reductions.itermultiaggregate is not before
        assert repr(vixtract.petl_fast()) == "petl_fast(on)"
    assert reductions.itermultiaggregate is before
    vixtract.petl_fast()
    vixtract.petl_fast(False)
    assert reductions.itermultiaggregate is before


def test_cache_filled_while_on_is_readable_when_off():
    table = etl.sort([("a",), *((i,) for i in (3, 1, 2, 5, 4))], "a", buffersize=2)
    with vixtract.petl_fast():
        first = list(table)
    assert list(table) == first == [("a",), (1,), (2,), (3,), (4,), (5,)]
    other = etl.sort([("a",), *((i,) for i in (3, 1, 2, 5, 4))], "a", buffersize=2)
    first = list(other)
    with vixtract.petl_fast():
        assert list(other) == first


@pytest.mark.parametrize("part", ["transform", "util"])
def test_petls_own_tests_pass_with_it_on(part, tmp_path):
    """petl ships its tests; those of files and databases need data that it does not ship."""
    plugin = tmp_path / "turn_on.py"
    plugin.write_text(
        "import vixtract\nvixtract.petl_fast()\n"
        "def pytest_unconfigure():\n"
        "    from vixtract.loading import petl_groups\n    assert petl_groups.stock\n"
    )
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "turn_on", "-c", "/dev/null", "-W", "ignore"),
        *("-p", "no:cacheprovider", "--pyargs", f"petl.test.{part}"),
    ]
    source = next(path for path in sys.path if path.endswith("src"))
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": f"{tmp_path}:{source}",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
