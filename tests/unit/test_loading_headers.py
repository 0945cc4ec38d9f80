"""A CSV's header and first block: names and types, whatever stands before the first row's end."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from vixtract.loading.errors import LoadUsageError
from vixtract.loading.formats import FORMATS
from vixtract.loading.opening import open_source
from vixtract.loading.options import Options

LONG = b"x" * (2 << 20)


@pytest.fixture
def look(tmp_path):
    def open_text(content, **options):
        path = tmp_path / "data.csv"
        path.write_bytes(content)
        return open_source(path, Options(**options))

    return open_text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbfid,name\n1,a\n", {"id": "bigint", "name": "text"}),
        (b'"a\nb",c\n1,2\n', {"a\nb": "bigint", "c": "bigint"}),
        (b"\n\nid,name\n\n1,a\n", {"id": "bigint", "name": "text"}),
        (b"id,name\r\n1,a\r\n", {"id": "bigint", "name": "text"}),
        (b"id,name\n", {"id": "text", "name": "text"}),
        (b"id,name", {"id": "text", "name": "text"}),
        (b"id;name\n1;a\n", {"id": "bigint", "name": "text"}),
        (b"id\tname\n1\ta\n", {"id": "bigint", "name": "text"}),
        (b'\xef\xbb\xbf"id";"a\nb"\n1;2\n', {"id": "bigint", "a\nb": "bigint"}),
        (b"id,a;b\n1,x\n", {"id": "bigint", "a;b": "text"}),
        (b"note|text\nhello\nworld\n", {"note|text": "text"}),
        (b"name; text\n\nMiller\n", {"name; text": "text"}),
        (b'"a\nb",c', {"a\nb": "text", "c": "text"}),
        (",".join(f"a long name of a column {i:039}" for i in range(1500)).encode(),
         {f"a long name of a column {i:039}": "text" for i in range(1500)}),
        (b"n\n1\n\n3\n", {"n": "bigint"}),
        (b"\r\n\nn\n1\n\n3\n", {"n": "bigint"}),
        (b"1,2\n3,4\n", {"1": "bigint", "2": "bigint"}),
        (b"id,region\n1,01\n2,77\n", {"id": "bigint", "region": "text"}),
        (b'id,geom,price\n1,"' + LONG + b'",2.50\n2,y,3.75\n',
         {"id": "bigint", "geom": "text", "price": "numeric"}),
        (b"a,b\n" + b"\n" * len(LONG) + b"1,2\n", {"a": "bigint", "b": "bigint"}),
    ],
)  # fmt: skip
def test_names_and_types_are_those_of_the_header_and_of_the_first_rows(look, content, expected):
    assert look(content).types == expected


def test_a_file_without_a_header_takes_the_names_that_are_given(look):
    assert look(b"1,x\n2,y\n", columns=("id", "name")).types == {"id": "bigint", "name": "text"}


def test_one_column_whose_name_is_given_is_not_cut(look):
    assert look(b"a;b\nc\n", columns=("note",)).types == {"note": "text"}


def test_commas_in_names_separate_nothing_where_they_stand_before_fractions(look):
    kinds = look(b"Umsatz, EUR;Menge\n1,5;3\n2,5;4\n", decimal=",").types
    assert kinds == {"Umsatz, EUR": "numeric", "Menge": "bigint"}
    assert look(b'a,b\n"1,5",3\n', decimal=",").types == {"a": "numeric", "b": "bigint"}


@pytest.mark.parametrize("delimiter", [";;", "\\t"])
def test_a_delimiter_is_one_character(delimiter):
    with pytest.raises(LoadUsageError, match="not a single character"):
        Options.build("replace", None, {"delimiter": delimiter})


def test_a_comma_before_the_fraction_is_taken_where_it_is_asked_for(look):
    content = (
        b"price;rate;count;version;at\n10,50;1e-3;7;1.5;2026-01-01 10:00:00.5\n"
        b"7,255;2,5;;1.10;2026-01-01 11:00:00\n"
    )
    assert list(look(content, decimal=",").types.values()) == [
        *("numeric", "double precision", "bigint", "text", "timestamp without time zone"),
    ]
    assert look(content).types["price"] == "text"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "data.csv is empty"),
        (b"id,,x\n1,2,3\n", "a column has no name"),
        (b"a,a\n1,2\n", "columns a appear twice"),
        (",".join(map(str, range(1601))).encode() + b"\n", "data.csv has 1601 columns"),
        ("имя\nа\n".encode("cp1251"), "data.csv cannot be read"),
    ],
)
def test_what_cannot_be_a_table_says_why(look, content, message):
    with pytest.raises(LoadUsageError, match=message):
        look(content)


def test_a_damaged_compressed_file_cannot_be_read(tmp_path):
    path = tmp_path / "data.csv.gz"
    path.write_bytes(gzip.compress(b"id,name\n1,a\n")[:-12])
    with pytest.raises(LoadUsageError, match=r"data.csv.gz cannot be read"):
        open_source(path, Options())


def test_the_guide_names_every_suffix(tmp_path):
    guide = (Path(__file__).parents[2] / "docs" / "how-to" / "load.md").read_text(encoding="utf-8")
    assert ".csv" in FORMATS
    assert [suffix for suffix in FORMATS if f"`{suffix}`" not in guide] == []
    path = tmp_path / "data.xls"
    path.touch()
    with pytest.raises(LoadUsageError, match="unknown kind") as caught:
        open_source(path, Options())
    assert all(suffix in caught.value.hint for suffix in FORMATS)
