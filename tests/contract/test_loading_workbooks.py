"""Workbooks as people format them, and files that are damaged."""

from __future__ import annotations

import openpyxl
import pyarrow as pa
import pytest
from openpyxl.styles import Font
from pyarrow import parquet

from vixtract.loading.errors import LoadUsageError

pytest_plugins = ["tests.postgres"]


@pytest.fixture
def workbook(tmp_path):
    def write(rows, change=None):
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        if change:
            change(book)
        path = tmp_path / "x.xlsx"
        book.save(path)
        return path

    return write


def embellish(book):
    book.active["B9"].font = book.active["G1"].font = Font(bold=True)


def test_formatted_cells_of_a_sheet_are_no_columns(loaded, workbook):
    rows = [["id", None, "n", None], [1, None, "a"], [], [2], [3, None, "c", None, None]]
    expected = [(1, "a"), (2, None), (3, "c")]
    assert loaded(workbook(rows, embellish)) == (["bigint", "text"], expected)


@pytest.mark.parametrize(("row", "letter"), [([1, "x", 2], "B"), ([1, None, 2, "x"], "D")])
def test_a_value_in_a_column_without_a_name_is_an_error(loaded, workbook, row, letter):
    path = workbook([["id", None, "n"], [0, None, 1], row])
    with pytest.raises(LoadUsageError, match=f"column {letter} has no name, but row 3 has 'x'"):
        loaded(path)


def test_a_sheet_without_a_header_takes_the_names_that_are_given(loaded, workbook):
    path = workbook([[1, "a"], [2]], embellish)
    assert loaded(path, columns=["id", "n"]) == (["bigint", "text"], [(1, "a"), (2, None)])


def test_a_sheet_of_a_chart_is_passed_over(loaded, workbook):
    def add_chart(book):
        sheet = book.create_chartsheet(index=0)
        sheet.add_chart(openpyxl.chart.BarChart())

    path = workbook([["id"], [1]], add_chart)
    assert loaded(path)[1] == [(1,)]
    for name in (5, -2, "Chart"):
        with pytest.raises(LoadUsageError, match=rf"has no sheet {name!r}"):
            loaded(path, sheet=name)


@pytest.mark.parametrize("suffix", ["xlsx", "parquet"])
def test_a_damaged_file_cannot_be_read(loaded, workbook, tmp_path, suffix):
    whole = workbook([["id"], *([i] for i in range(20_000))])
    if suffix == "parquet":
        whole = tmp_path / "whole.parquet"
        parquet.write_table(pa.table({"id": range(20_000)}), whole, compression="gzip")
    content = whole.read_bytes()
    middle = len(content) // 3
    spoilt = content[:middle] + bytes(1000) + content[middle + 1000 :]
    path = tmp_path / f"bad.{suffix}"
    for damaged in (b"none at all", content[:-2000], spoilt):
        path.write_bytes(damaged)
        with pytest.raises(LoadUsageError, match=rf"bad.{suffix} cannot be read"):
            loaded(path)
