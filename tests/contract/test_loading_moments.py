"""Texts of dates and times: what their column cannot hold is refused, never dropped."""

from __future__ import annotations

import datetime as dt
import itertools

import psycopg
import pyarrow as pa
import pytest

from tests.contract.loaded import stored
from vixtract.loading import load
from vixtract.loading.errors import BadRowError
from vixtract.loading.target import Column
from vixtract.loading.text_moments import require_whole

pytest_plugins = ["tests.postgres"]

TIMESTAMP = "timestamp without time zone"
DAYS = [" 2024-01-02", "Tue 2024-01-02", "2024-01-02", "20240102", "02.01.2024", "1/2/2024", "2 January 2024", "Tue, 02 Jan 2024",
        "Jan 02 2024", "J2460312", "2024.002", "infinity"]  # fmt: skip
CLOCKS = ["", " 00:00", "T00:00:00", " 00:00:00.000", " 12:00:00 AM", " 12:00 PM", " 15:30", "T15:30:00",
          " 15:30:00.25", " 3:30 PM", " 153000", "T1530", " 00:00:01", " 15:30 BC"]  # fmt: skip
ZONES = ["", "Z", " z", "+03", " +3", "-03:30", " -0300", " UTC", " MSK", " Europe/Moscow", " EST5EDT",
         " GMT+3", " america/new_york", " NOVT", "-07:30:15"]  # fmt: skip
MOMENTS = [*map("".join, itertools.product(DAYS, CLOCKS, ZONES))]


def is_refused(text, kind):
    try:
        require_whole([text], Column("x", kind), 1)
    except BadRowError:
        return True
    return False


def ask(database, query, text):
    """Return the server's answer, None where it does not read the text."""
    try:
        return database.execute(query, {"text": text}).fetchone()[0]
    except psycopg.DataError:
        return None


def test_exactly_the_texts_that_would_lose_something_are_refused(database):
    """The server tells: a text with a zone means the same moment in every session's zone."""
    readable = 0
    wrong = []
    for text in MOMENTS:
        moments = []
        for zone in ("UTC", "Asia/Tokyo"):
            database.execute(f"SET TimeZone = '{zone}'")
            moments.append(ask(database, "SELECT extract(epoch from %(text)s::timestamptz)", text))
        if moments[0] is None or text.startswith("infinity"):
            continue
        readable += 1
        has_zone = moments[0] == moments[1]
        has_time = ask(database, "SELECT %(text)s::timestamp <> %(text)s::date", text)
        expected = has_zone, has_zone or has_time
        if (is_refused(text, TIMESTAMP), is_refused(text, "date")) != expected:
            wrong.append(text)
    assert not wrong
    assert readable > 800
    database.execute("RESET TimeZone")


@pytest.mark.parametrize("text", ["now", "today", "-infinity", "epoch", "n/a", "", "unknown"])
def test_words_are_left_to_the_server(text):
    assert not any(is_refused(text, kind) for kind in ("date", TIMESTAMP))


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("date", "2024-01-01", "2024-01-02 15:30:00"),
        (TIMESTAMP, "2024-01-01 10:00:00", "2024-01-02 15:30:00+03"),
        ("time without time zone", "10:00", "15:30+03"),
    ],
)
@pytest.mark.parametrize("form", ["rows", "arrow", "file", "objects"])
def test_text_that_loses_something_is_a_bad_row(database, tmp_path, kind, good, bad, form):
    numbers, texts = list(range(1, 6)), [good, None, good, bad, good]
    source = {"n": numbers, "x": texts}
    if form == "arrow":
        source = pa.table(source)
    elif form == "file":
        source = tmp_path / "x.csv"
        lines = [f"{n},{text or ''}\n" for n, text in zip(numbers, texts, strict=True)]
        source.write_text("n,x\n" + "".join(lines))
    elif form == "objects":
        # Another column's values take all the row's the slow way.
        source["y"] = [dt.date(2024, 1, 1), "2024-01-01", None, None, None]
    database.execute(f"DROP TABLE IF EXISTS v.t, v.bad; CREATE TABLE v.t (n int, x {kind}, y date)")
    if form != "objects":
        database.execute("ALTER TABLE v.t DROP y")
    with pytest.raises(BadRowError, match=r"row 4, column x: .*has a time") as caught:
        load(source, "v.t", connection=database)
    assert caught.value.row == 4
    assert load(source, "v.t", connection=database, reject="v.bad").rejected == 1
    assert [row[0] for row in stored(database)] == [1, 2, 3, 5]
    assert database.execute('SELECT row, "column" FROM v.bad').fetchall() == [(4, "x")]


def test_type_taken_from_the_first_rows_keeps_no_half_of_later_ones(database, tmp_path):
    database.execute("DROP TABLE IF EXISTS v.t")
    path = tmp_path / "x.csv"
    path.write_text("n,x\n" + "1,2024-01-01\n" * 250_000 + "2,2024-01-02 15:30:00\n")
    with pytest.raises(BadRowError, match="row 250001, column x"):
        load(path, "v.t", connection=database)


@pytest.mark.parametrize(
    "value",
    [dt.time(15, tzinfo=dt.timezone.utc), dt.datetime(2024, 1, 1, 15, tzinfo=dt.timezone.utc)],
)
def test_zone_of_a_python_value_is_not_dropped_by_a_column_of_times(database, value):
    database.execute("DROP TABLE IF EXISTS v.t; CREATE TABLE v.t (x time)")
    with pytest.raises(BadRowError, match="has a time zone"):
        load([{"x": value}], "v.t", connection=database)
