"""Text files through PostgreSQL: types, separators, late surprises, damage."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import gzip

import pytest

from tests.contract.loaded import stored
from vixtract.loading import load, text_files
from vixtract.loading.errors import BadRowError, LoadError

pytest_plugins = ["tests.postgres"]


def test_csv_types_are_inferred_without_losing_zeros(database, tmp_path):
    path = tmp_path / "people.csv"
    with path.open("w", encoding="cp1251", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["n", "inn", "сумма", "day", "at", "share", "note"])
        writer.writerow(
            [1, "007712345678", "10.50", "2020-01-31", "2020-01-31 10:00", "1e-3", "Ёж"]
        )
        writer.writerow(
            [2, "7712345678", "7.255", "2020-02-01", "2020-02-01T11:00:05.5", "2.5", ""]
        )
    database.execute("DROP TABLE IF EXISTS v.t")
    result = load(path, "v.t", connection=database, encoding="cp1251", delimiter=";")
    assert list(result.types.values()) == [
        *(
            "bigint",
            "text",
            "numeric",
            "date",
            "timestamp without time zone",
            "double precision",
            "text",
        )
    ]
    assert stored(database)[1] == (
        *(2, "7712345678", decimal.Decimal("7.255"), dt.date(2020, 2, 1)),
        *(dt.datetime(2020, 2, 1, 11, 0, 5, 500_000), 2.5, None),
    )
    assert stored(database)[0][1] == "007712345678"


def test_text_file_that_turns_odd_late_is_read_on_as_text(database, tmp_path):
    """Beyond the first block a value needs the server's reading; no row is lost or doubled."""
    path = tmp_path / "late.csv"
    lines = [f"{i},{i % 1000}.25,plain" for i in range(300_000)]
    lines[250_000] = '250000,NaN,"two\nlines"'
    lines[280_000] = "280000, 7.5 ,blanks"
    path.write_text("n,x,s\n" + "\n".join(lines) + "\n", encoding="utf-8")
    database.execute("DROP TABLE IF EXISTS v.t")
    assert load(path, "v.t", connection=database).rows == 300_000
    row = database.execute("SELECT count(DISTINCT n), sum(n), min(x) FROM v.t").fetchone()
    assert row[:2] == (300_000, sum(range(300_000)))
    odd = database.execute(
        "SELECT x::text, s FROM v.t WHERE n IN (250000, 280000) ORDER BY n"
    ).fetchall()
    assert odd == [("NaN", "two\nlines"), ("7.5", "blanks")]


def test_a_russian_export_needs_the_decimal_mark_alone(database, tmp_path):
    """Semicolons are found; commas before fractions are read by Arrow, and as text behind "NaN"."""
    path = tmp_path / "late.csv"
    lines = [f"{i};{i % 1000},25;{i},5;a,b" for i in range(300_000)]
    lines[250_000] = '250000;NaN;7;"two\nlines"'
    path.write_text("n;x;r;s\n" + "\n".join(lines) + "\n", encoding="utf-8")
    database.execute("DROP TABLE IF EXISTS v.t")
    result = load(path, "v.t", connection=database, decimal=",", types={"r": "real"})
    assert result.types == {"n": "bigint", "x": "numeric", "r": "real", "s": "text"}
    row = database.execute("SELECT count(DISTINCT n), sum(n) FROM v.t").fetchone()
    assert row == (300_000, sum(range(300_000)))
    odd = database.execute(
        "SELECT x::text, r, s FROM v.t WHERE n IN (249999, 250000, 250001) ORDER BY n"
    ).fetchall()
    assert odd == [("999.25", 249999.5, "a,b"), ("NaN", 7, "two\nlines"), ("1.25", 250001.5, "a,b")]


@pytest.mark.parametrize("value", ["1.234", "1.234,50", "1,234,50"])
def test_no_thousand_is_taken_for_a_fraction(database, tmp_path, value):
    path = tmp_path / "sums.csv"
    path.write_text(f"n;x\n1;{value}\n")
    database.execute("DROP TABLE IF EXISTS v.t; CREATE TABLE v.t (n int, x numeric)")
    with pytest.raises(BadRowError, match="row 1, column x"):
        load(path, "v.t", connection=database, decimal=",")
    assert stored(database) == []


def test_a_file_of_a_header_alone_empties_the_table(database, tmp_path):
    path = tmp_path / "none.csv"
    path.write_text("n,x")
    database.execute("DROP TABLE IF EXISTS v.t; CREATE TABLE v.t AS SELECT 1 AS n, 2 AS x")
    assert load(path, "v.t", connection=database).rows == 0
    assert stored(database) == []


def test_a_compressed_file_that_ends_early_changes_nothing(database, tmp_path):
    path = tmp_path / "cut.csv.gz"
    content = "n,x\n" + "".join(f"{i},{i * 7919 % 10_007}\n" for i in range(600_000))
    packed = gzip.compress(content.encode())
    path.write_bytes(packed[: len(packed) // 10 * 9])
    database.execute("DROP TABLE IF EXISTS v.t; CREATE TABLE v.t AS SELECT 1 AS n, 2 AS x")
    with pytest.raises(LoadError, match=r"cut.csv.gz cannot be read"):
        load(path, "v.t", connection=database)
    assert stored(database) == [(1, 2)]


def test_a_blank_line_before_the_header_is_no_row(database, tmp_path):
    path = tmp_path / "n.csv"
    path.write_text("\n\nn\n1\n\n3\n1,2\n")
    database.execute("DROP TABLE IF EXISTS v.t, v.bad")
    result = load(path, "v.t", connection=database, reject="v.bad")
    assert (result.rows, stored(database)) == (3, [(1,), (3,), (None,)])
    assert database.execute('SELECT "row" FROM v.bad').fetchall() == [(4,)]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ('id,t\n1,a\n2,"b\n' + "3,c\n" * 1000, "row 2, column t"),
        ('id,t\n1,a\n2,"b\n3,"x"\n', "row 2, column t"),
        ('t,id\na,1\n"b,2\nc,3\n', "row 2"),
        ('id,t\n1,a\n2,"b\n' + "3,c\n" * 2_000_000, "longer than 2 MB"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"reject": "v.bad"}])
def test_a_quote_left_open_takes_no_rows_along(
    database, tmp_path, monkeypatch, content, place, options
):
    monkeypatch.setattr(text_files, "_LARGEST_BLOCK", 2 << 20)
    path = tmp_path / "open.csv"
    path.write_text(content)
    database.execute("DROP TABLE IF EXISTS v.t, v.bad")
    with pytest.raises(LoadError, match=rf"{place}(.|\n)*quote"):
        load(path, "v.t", connection=database, **options)
    assert database.execute("SELECT to_regclass('v.t')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('n,t\n1,"a\nb"\n2\n', [(1, "a\nb")]),
        ('n,t\n1,"a\nb"\n(1 row)\n', [(1, "a\nb")]),
        ('n,t\n1,"a\nb" \n', [(1, "a\nb ")]),
        ('n,t\n5" pipe,"a\nb",x,extra\n1,b\n', [(1, "b")]),
        ('n,t\n1,b\n5" pipe,"a\nb",extra\n', [(1, "b")]),
        ('n,t\n1,"say ""a"",\nor ""b"""\n', [(1, 'say "a",\nor "b"')]),
    ],
)
def test_a_line_break_in_quotes_is_no_quote_left_open(database, tmp_path, content, expected):
    path = tmp_path / "closed.csv"
    path.write_text(content)
    database.execute("DROP TABLE IF EXISTS v.t, v.bad")
    load(path, "v.t", connection=database, reject="v.bad")
    assert stored(database) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1251"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n\r\n"])
def test_a_last_value_of_several_lines_is_whole(database, tmp_path, encoding, end):
    path = tmp_path / "last.csv"
    path.write_bytes(f'n,t\n1,"Ёж\nи ""ко""\n"{end}'.encode(encoding))
    database.execute("DROP TABLE IF EXISTS v.t")
    load(path, "v.t", connection=database, encoding=encoding)
    assert stored(database) == [(1, 'Ёж\nи "ко"\n')]


def test_a_value_longer_than_a_block_is_read(database, tmp_path):
    path = tmp_path / "long.csv"
    long = "x" * (20 << 20)
    rows = "".join(f"{i},short\n" for i in range(400_000))
    path.write_text(f'n,t\n{rows}1,2,3\n400000,"{long}"\n400001,NaN\n{rows}')
    database.execute("DROP TABLE IF EXISTS v.t, v.bad")
    result = load(path, "v.t", connection=database, reject="v.bad")
    assert (result.rows, result.rejected) == (800_002, 1)
    query = "SELECT count(*), sum(n::bigint), max(length(t)) FROM v.t"
    both = 2 * sum(range(400_000)) + 400_000 + 400_001
    assert database.execute(query).fetchone() == (800_002, both, 20 << 20)


def test_a_number_too_large_for_a_double_is_refused(database, tmp_path):
    path = tmp_path / "large.csv"
    path.write_text("n,x\n1,inf\n2,1e400\n")
    database.execute("DROP TABLE IF EXISTS v.t; CREATE TABLE v.t (n int, x double precision)")
    with pytest.raises(BadRowError, match="row 2, column x"):
        load(path, "v.t", connection=database)
    path.write_text("n,x\n1,inf\n2,2.5\n")
    load(path, "v.t", connection=database)
    assert stored(database) == [(1, float("inf")), (2, 2.5)]


def test_long_codes_keep_all_their_digits(database, tmp_path):
    path = tmp_path / "codes.csv"
    code = "1234567890" * 4
    path.write_text(f"n,code,x\n1,{code},1.5e3\n2,{code[::-1][1:]},12345678901234567890\n")
    database.execute("DROP TABLE IF EXISTS v.t")
    load(path, "v.t", connection=database)
    texts = database.execute("SELECT code::text, x::text FROM v.t ORDER BY n").fetchall()
    assert texts == [(code, "1500"), (code[::-1][1:], "12345678901234567890")]
