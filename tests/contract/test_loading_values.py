"""Values through PostgreSQL and back: what goes in comes out, whatever the source and the way."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import uuid

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.loaded import stored
from vixtract.loading import load, read
from vixtract.loading.errors import BadRowError

pytest_plugins = ["tests.postgres"]

UTC = dt.timezone.utc
ZONES = [UTC, dt.timezone(dt.timedelta(hours=3)), dt.timezone(dt.timedelta(hours=-9, minutes=-30))]
# PostgreSQL's text holds everything but NUL and half characters.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
TEXTS |= st.sampled_from(["", "NULL", "\\N", "Ёж\r\nи «ко»", 'the "big", one', "\t", "\\.", "'"])
MOMENTS = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 12, 31))
STRATEGIES = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "numeric": st.decimals(
        allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30
    )
    | st.sampled_from([decimal.Decimal("NaN"), decimal.Decimal("1E+20"), decimal.Decimal("1E-30")]),
    "double precision": st.floats(),
    "boolean": st.booleans(),
    "text": TEXTS,
    "bytea": st.binary(max_size=30),
    "date": st.dates(),
    "time without time zone": st.times(),
    "timestamp without time zone": st.datetimes(),
    "timestamp with time zone": MOMENTS.flatmap(
        lambda moment: st.sampled_from(ZONES).map(lambda zone: moment.replace(tzinfo=zone))
    ),
    "interval": st.timedeltas(dt.timedelta(days=-(10**6)), dt.timedelta(days=10**6)),
    "uuid": st.uuids(),
}
FAST = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def same(one, other) -> bool:
    """Compare as PostgreSQL does: NaN equals NaN, nested values too."""
    if isinstance(one, (float, decimal.Decimal)) and isinstance(other, (float, decimal.Decimal)):
        return one == other or (math.isnan(one) and math.isnan(other))
    return one == other


@pytest.mark.parametrize("kind", STRATEGIES)
@FAST
@given(data=st.data())
def test_python_values_come_back_as_they_were(database, kind, data):
    values = data.draw(st.lists(st.none() | STRATEGIES[kind], max_size=8))
    database.execute(f"DROP TABLE IF EXISTS v.t; CREATE TABLE v.t (n bigint, x {kind})")
    load([("n", "x"), *enumerate(values)], "v.t", connection=database)
    found = [row[1] for row in stored(database)]
    assert all(map(same, values, found)) and len(values) == len(found), (values, found)


@pytest.mark.parametrize("kind", STRATEGIES)
@FAST
@given(data=st.data())
def test_inferred_type_holds_what_it_was_inferred_from(database, kind, data):
    values = data.draw(st.lists(STRATEGIES[kind], min_size=1, max_size=5))
    database.execute("DROP TABLE IF EXISTS v.t")
    result = load([("n", "x"), *enumerate(values)], "v.t", connection=database)
    assert result.types == {"n": "bigint", "x": kind}
    assert all(map(same, values, [row[1] for row in stored(database)]))


@FAST
@given(values=st.lists(st.one_of(st.none(), *STRATEGIES.values()), min_size=1, max_size=6))
def test_mixed_values_never_get_lost(database, values):
    """A mixture ends in a type that holds all of it, or in an error that names a row of it."""
    database.execute("DROP TABLE IF EXISTS v.t")
    try:
        load([("n", "x"), *enumerate(values)], "v.t", connection=database)
    except BadRowError as error:
        assert error.column == "x" and 1 <= error.row <= len(values)
        return
    found = [row[1] for row in stored(database)]
    assert [value is None for value in found] == [value is None for value in values]


@FAST
@given(
    rows=st.lists(
        st.tuples(TEXTS | st.none(), st.none() | st.integers(-(2**40), 2**40)), max_size=8
    )
)
def test_csv_keeps_null_and_empty_text_apart(database, tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("n,x,y\n")
        for number, (text, whole) in enumerate(rows):
            quoted = "" if text is None else '"' + text.replace('"', '""') + '"'
            file.write(f"{number},{quoted},{'' if whole is None else whole}\n")
    database.execute("DROP TABLE IF EXISTS v.t; CREATE TABLE v.t (n bigint, x text, y bigint)")
    load(path, "v.t", connection=database)
    # A field's line break may be any: Arrow keeps it.
    assert [row[1:] for row in stored(database)] == rows


@FAST
@given(data=st.data())
def test_arrow_frames_come_back_as_they_were(database, data):
    import pyarrow as pa

    kinds = {
        "bigint": pa.int64(), "double precision": pa.float64(), "boolean": pa.bool_(), "text": pa.string(),
        "bytea": pa.binary(), "date": pa.date32(), "time without time zone": pa.time64("us"),
        "timestamp without time zone": pa.timestamp("us"), "timestamp with time zone": pa.timestamp("us", "UTC"),
    }  # fmt: skip
    columns, names = [], []
    rows = data.draw(st.integers(0, 5))
    for name, kind in kinds.items():
        values = data.draw(st.lists(st.none() | STRATEGIES[name], min_size=rows, max_size=rows))
        columns.append(pa.array(values, kind))
        names.append(name.replace(" ", "_"))
    table = pa.table([pa.array(range(rows), pa.int64()), *columns], names=["n", *names])
    database.execute("DROP TABLE IF EXISTS v.t")
    result = load(table, "v.t", connection=database)
    assert list(result.types.values())[1:] == list(kinds)
    expected = [tuple(row.values()) for row in table.to_pylist()]
    found = stored(database)
    assert all(all(map(same, a, b)) for a, b in zip(expected, found, strict=True)), (
        expected,
        found,
    )


@pytest.mark.parametrize("where", ["before", "behind"])
def test_chunks_after_the_first_are_as_exact(database, where):
    """Values that only the server can read stand between chunks of binary COPY."""
    odd = decimal.Decimal("NaN")
    values = [decimal.Decimal(i).scaleb(-2) for i in range(45_000)]
    values[0 if where == "before" else 44_999] = odd
    database.execute("DROP TABLE IF EXISTS v.t; CREATE TABLE v.t (n bigint, x numeric(20,4))")
    load([("n", "x"), *enumerate(values)], "v.t", connection=database)
    assert all(map(same, values, [row[1] for row in stored(database)]))


def test_infinite_dates_are_stored_as_such_and_read_as_the_last_and_first(database):
    database.execute(
        "DROP TABLE IF EXISTS v.t; CREATE TABLE v.t (n int, d date, t timestamp, z timestamptz)"
    )
    rows = [
        ("n", "d", "t", "z"),
        (1, *["infinity"] * 3),
        (2, *["-infinity"] * 3),
        (3, *["2020-01-02"] * 3),
    ]
    load(rows, "v.t", connection=database)
    finite = "SELECT isfinite(d), isfinite(t), isfinite(z) FROM v.t ORDER BY n"
    assert database.execute(finite).fetchall() == [(False,) * 3, (False,) * 3, (True,) * 3]
    back = list(read("SELECT * FROM v.t ORDER BY n", connection=database))
    assert back[1][1:3] == (dt.date.max, dt.datetime.max)
    assert back[2][1:3] == (dt.date.min, dt.datetime.min)
    assert back[3][1:3] == (dt.date(2020, 1, 2), dt.datetime(2020, 1, 2))
    assert back[1][3].tzinfo is not None


def test_pandas_missing_values_are_null(database):
    import pandas as pd

    frame = pd.DataFrame(
        {
            "n": [1, 2],
            "f": [1.5, float("nan")],
            "t": pd.to_datetime(["2020-01-01 10:00", None]),
            "z": pd.to_datetime(["2020-01-01 10:00", None]).tz_localize("Europe/Moscow"),
            "o": pd.Series(["a", None], dtype=object),
            "m": pd.Series([pd.NA, 5], dtype="Int64"),
            "c": pd.Categorical(["x", None]),
            "d": pd.Series([decimal.Decimal("1.10"), float("nan")], dtype=object),
        }
    )
    database.execute("DROP TABLE IF EXISTS v.t")
    result = load(frame, "v.t", connection=database)
    assert result.types["z"] == "timestamp with time zone" and result.types["d"] == "numeric"
    rows = stored(database)
    assert rows[0] == (
        *(1, 1.5, dt.datetime(2020, 1, 1, 10), dt.datetime(2020, 1, 1, 7, tzinfo=UTC)),
        *("a", None, "x", decimal.Decimal("1.10")),
    )
    assert rows[1] == (2, None, None, None, None, 5, None, None)


def test_nan_of_python_and_arrow_stays_nan(database):
    import pyarrow as pa

    for source in (pa.table({"n": [1], "x": [math.nan]}), [{"n": 1, "x": math.nan}]):
        database.execute("DROP TABLE IF EXISTS v.t")
        load(source, "v.t", connection=database)
        assert math.isnan(stored(database)[0][1])


def test_doubles_into_numeric_are_the_decimals_a_person_sees(database):
    import pandas as pd

    values = [0.1, 0.285, 12.34, 1e15, 99999999999.99, 0.07, -0.005]
    exact = {1: 0.29, 6: -0.01}
    database.execute("DROP TABLE IF EXISTS v.t; CREATE TABLE v.t (n bigint, x numeric(20,2))")
    load(pd.DataFrame({"n": range(7), "x": values}), "v.t", connection=database)
    expected = [decimal.Decimal(repr(exact.get(i, v))) for i, v in enumerate(values)]
    assert [row[1] for row in stored(database)] == expected


def test_naive_times_count_in_the_sessions_zone_and_zoned_ones_never_lose_theirs(database):
    database.execute("DROP TABLE IF EXISTS v.t; CREATE TABLE v.t (n int, x timestamptz)")
    with psycopg.connect(database.info.dsn + f" password={database.info.password}") as connection:
        connection.execute("SET TimeZone = 'Europe/Moscow'")
        load([("n", "x"), (1, dt.datetime(2020, 1, 1, 3))], "v.t", connection=connection)
    assert stored(database) == [(1, dt.datetime(2020, 1, 1, tzinfo=UTC))]
    database.execute("DROP TABLE v.t; CREATE TABLE v.t (n int, x timestamp)")
    with pytest.raises(BadRowError, match=r"row 2, column x.*has a time zone"):
        rows = [("n", "x"), (1, None), (2, dt.datetime(2020, 1, 1, tzinfo=UTC))]
        load(rows, "v.t", connection=database)


def test_nested_values_and_uuids_find_their_types(database):
    database.execute("DROP TABLE IF EXISTS v.t")
    one = uuid.uuid4()
    rows = [{"n": 1, "doc": {"a": [1, "Ж"]}, "u": one}, {"n": 2, "doc": [1, None], "u": None}]
    result = load(rows, "v.t", connection=database)
    assert result.types == {"n": "bigint", "doc": "jsonb", "u": "uuid"}
    assert stored(database) == [(1, {"a": [1, "Ж"]}, one), (2, [1, None], None)]
    database.execute("DROP TABLE v.t; CREATE TABLE v.t (n int, a int[], e text[])")
    load([("n", "a", "e"), (1, [1, None, 3], ["x,y", 'q"'])], "v.t", connection=database)
    assert stored(database) == [(1, [1, None, 3], ["x,y", 'q"'])]


@pytest.mark.parametrize("to", ["petl", "pandas", "polars", "arrow"])
def test_read_gives_what_was_loaded(database, to):
    database.execute("DROP TABLE IF EXISTS v.t")
    rows = [
        (1, "Ёж", decimal.Decimal("1.50"), dt.date(2020, 1, 2), None),
        (2, None, None, None, 2.5),
    ]
    load([("n", "s", "d", "day", "f"), *rows], "v.t", connection=database)
    found = read("v.t", to=to, connection=database)
    if to == "petl":
        assert list(found) == list(found) == [("n", "s", "d", "day", "f"), *rows]
    elif to == "pandas":
        assert found["n"].tolist() == [1, 2] and found["s"][0] == "Ёж" and found["f"].isna()[0]
    elif to == "polars":
        assert found["d"].to_list() == [decimal.Decimal("1.50"), None]
    else:
        assert [tuple(row.values()) for row in found.to_pylist()] == rows


def test_read_streams_and_takes_parameters(database):
    table = read(
        "SELECT i, i %% 2 AS odd FROM generate_series(1, %s) i",
        params=[100_000],
        connection=database,
    )
    iterator = iter(table)
    assert [next(iterator) for _ in range(3)] == [("i", "odd"), (1, 1), (2, 0)]
    iterator.close()
    assert (
        json.dumps(
            read(
                "SELECT 1 AS one WHERE 'a%' LIKE 'a%'", to="arrow", connection=database
            ).to_pylist()
        )
        == '[{"one": 1}]'
    )
