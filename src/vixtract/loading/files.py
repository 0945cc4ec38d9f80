"""CSV, Parquet and Excel files as sources, read piece by piece."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vixtract.loading import types
from vixtract.loading.chunks import ROWS, Chunk
from vixtract.loading.encode import Column, arrow_type
from vixtract.loading.errors import BadRowError, LoadUsageError, shown
from vixtract.loading.options import Options
from vixtract.loading.sources import Source, from_batches
from vixtract.loading.workbook import open_workbook

_FRACTIONS = {"numeric", "real", "double precision"}
_NUMBERS = {*_FRACTIONS, "smallint", "integer", "bigint"}
_TEXTS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": ","}
# Tried in turn where the suffix's own does not cut the first line.
_DELIMITERS = (";", "\t", "|", ",")
_FIRST_LINE = 1 << 16
_BLOCK = 2 << 20
# PostgreSQL's limit for a table.
_MOST_COLUMNS = 1600


def open_file(path: Path, options: Options) -> Source:
    """Recognise a file by its suffix.

    Args:
        path: CSV (also .gz, .bz2, .zst), TSV, Parquet or XLSX.
        options: of the load.
    Raises:
        LoadUsageError: the file is missing or of an unknown kind.
    """
    if not path.is_file():
        raise LoadUsageError(f"There is no file {path}.", f"The folder is {Path.cwd()}.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in {".gz", ".bz2", ".zst"}:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix in {".parquet", ".pq"}:
        return _open_parquet(path)
    if suffix in {".xlsx", ".xlsm"}:
        return open_workbook(path, options)
    if suffix in _TEXTS:
        return _TextFile(path, options, _TEXTS[suffix]).source()
    raise LoadUsageError(
        f"{path.name} is of an unknown kind.", "Known: .csv, .tsv, .txt, .parquet, .xlsx."
    )


def _open_parquet(path: Path) -> Source:
    import pyarrow as pa
    from pyarrow import parquet

    def unreadable(error: Exception) -> LoadUsageError:
        message = str(error).partition("\n")[0]
        return LoadUsageError(f"{path.name} cannot be read: {message}", "Is it whole?")

    def batches() -> Iterator[Any]:
        try:
            yield from file.iter_batches(batch_size=ROWS)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(error) from error

    try:
        file = parquet.ParquetFile(path, memory_map=True, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(error) from error
    reader = pa.RecordBatchReader.from_batches(file.schema_arrow, batches())
    return from_batches(reader, file.metadata.num_rows)


class _TextFile:
    """A delimited file; an empty field is NULL, a quoted empty one is an empty text.

    Args:
        path: file, also compressed.
        options: of the load.
        delimiter: usual one, where the options say none and the first line is not cut by another.
    """

    def __init__(self, path: Path, options: Options, delimiter: str) -> None:
        self.path = path
        self.encoding = options.encoding
        self.decimal = options.decimal
        self.given = [str(name) for name in options.columns]
        self.usual = delimiter
        self.delimiter = options.delimiter
        self.names: list[str] = []
        self.numbers: set[str] = set()
        self.scales: dict[str, int] = {}
        self.bad: list[Any] = []
        self.reported = 0
        self._numbers: list[int] = []
        self._source: Source | None = None

    def source(self) -> Source:
        """Look at the first block and return the source."""
        import pyarrow as pa

        chunks: Callable[[Sequence[Column]], Iterator[Chunk]] = self.chunks
        try:
            self.delimiter = self.delimiter or self._delimiter(self.usual)
            names, sample = self._look()
        except (pa.ArrowException, OSError, ValueError, LookupError) as error:
            if "Empty CSV" not in str(error):
                raise self._error(error) from error
            # Arrow asks for an end of the line, which a file of a header alone may lack.
            names, sample = self.given or self._first_line(self.delimiter), None
            if not names:
                raise LoadUsageError(f"{self.path.name} is empty: it has no header.") from error
            chunks = _no_chunks
        self.bad.clear()
        self.names = names
        columns = sample.columns if sample else [pa.nulls(0, pa.string())] * len(self.names)
        kinds = {n: self._infer(c) for n, c in zip(self.names, columns, strict=True)}
        self.scales = {
            name: types.scale_of(self._as_number(column))
            for name, column in zip(self.names, columns, strict=True)
            if kinds[name] == "numeric"
        }
        self._source = Source(self.names, kinds, chunks)
        return self._source

    def _delimiter(self, usual: str) -> str:
        """Return the usual delimiter, or the one that cuts the first line where that does not."""
        if len(self.given) == 1 or len(self._first_line(usual)) != 1:
            return usual
        return next((one for one in _DELIMITERS if len(self._first_line(one)) > 1), usual)

    def _first_line(self, delimiter: str) -> list[str]:
        """Cut the first line that is not empty; no fields without one."""
        import pyarrow as pa

        with pa.input_stream(str(self.path), compression="detect") as stream:
            start = stream.read(_FIRST_LINE)
        text = codecs.getincrementaldecoder(self.encoding)("replace").decode(start)
        lines = filter(None, text.removeprefix("\ufeff").splitlines())
        return next(csv.reader(lines, delimiter=delimiter), [])

    def _infer(self, column: Any) -> str:
        kind = types.infer_texts(column)
        if self.decimal == "," and kind in {types.TEXT, *_FRACTIONS}:
            return types.infer_texts(self._as_number(column))
        return kind

    def _as_number(self, column: Any) -> Any:
        """Return texts with a point before the fraction; what has one already is no number."""
        import pyarrow.compute as pc

        if self.decimal == ".":
            return column
        column = pc.replace_substring(column, ".", "·")
        return pc.replace_substring(column, ",", ".")

    def _look(self) -> tuple[list[str], Any]:
        """Read the names, and the first block as texts: all in one go, the header as a row."""
        import pyarrow as pa

        unnamed = (f"f{number}" for number in range(_MOST_COLUMNS))
        kinds = dict.fromkeys(self.given or unnamed, pa.string())
        with self._open(kinds, has_header=False) as reader:
            # A long value may leave a block without the end of a row.
            blocks = (block for block in reader if block.num_rows)
            sample = next(blocks, None)
            if self.given or sample is None:
                return self.given, sample
            if sample.num_columns > _MOST_COLUMNS:
                raise LoadUsageError(
                    f"{self.path.name} has {sample.num_columns} columns.",
                    f"PostgreSQL takes {_MOST_COLUMNS}. Is the delimiter {self.delimiter!r}?",
                )
            names = [column[0].as_py() or "" for column in sample.columns]
            rows = sample.slice(1)
            return names, rows if rows.num_rows else next(blocks, rows)

    def chunks(self, target: Sequence[Column]) -> Iterator[Chunk]:
        """Read by the target's types; from a value on that Arrow does not take, read as text.

        Args:
            target: columns of the table, in the file's order.
        """
        import pyarrow as pa

        pairs = list(zip(self.names, target, strict=True))
        self.numbers = {name for name, column in pairs if types.base(column.type) in _NUMBERS}
        texts = dict.fromkeys(self.names, pa.string())
        kinds = {**texts}
        for name, column in pairs:
            wanted = column.type
            if wanted == "numeric" and name in self.scales:
                wanted = f"numeric({types.NUMERIC_DIGITS},{self.scales[name]})"
            if column.category == "b" and types.base(wanted) in _READ_TYPED:
                kinds[name] = arrow_type(wanted) or pa.string()
        done = 0
        try:
            for chunk in self._read(kinds):
                yield chunk
                done = chunk.first + chunk.rows - 1
        except (pa.ArrowException, OSError) as error:
            if kinds == texts:
                raise self._error(error) from error
        else:
            return
        self.bad.clear()
        try:
            yield from self._read(texts, skip=done)
        except (pa.ArrowException, OSError) as error:
            raise self._error(error) from error

    def _read(self, kinds: dict[str, Any], skip: int = 0) -> Iterator[Chunk]:
        """Give the chunks behind row `skip`; cutting is the same each time, so numbers are too."""
        import pyarrow as pa

        first, seen = 1, 0
        are_numbers = [name in self.numbers and kind == pa.string() for name, kind in kinds.items()]
        with self._open(kinds) as reader:
            for batch in reader:
                found, self.bad = self.bad, []
                seen = self._report(found, seen)
                for start in range(0, batch.num_rows, ROWS):
                    piece = batch.slice(start, ROWS)
                    columns = [
                        self._as_number(column) if is_number else column
                        for column, is_number in zip(piece.columns, are_numbers, strict=True)
                    ]
                    chunk = Chunk(first + start, piece.num_rows, columns)
                    behind = skip - chunk.first + 1
                    if behind < chunk.rows:
                        yield chunk.slice(max(behind, 0))
                first += batch.num_rows + len(found)
            self._report(self.bad, seen)

    def _report(self, found: list[Any], seen: int) -> int:
        """Hand over lines of another number of fields that were not reported before."""
        for row in found:
            seen += 1
            if seen <= self.reported or self._source is None:
                continue
            self.reported = seen
            fields = f"{row.actual_columns} fields for {row.expected_columns} columns"
            error = BadRowError(self._number(seen), "", shown(row.text), fields)
            self._source.on_bad_row(error, row.text)
        return seen

    def _number(self, which: int) -> int:
        """Return the number of the which-th bad line: Arrow counts only with one thread."""
        import pyarrow as pa

        if not self._numbers:
            kept, self.bad = self.bad, []
            with self._open(dict.fromkeys(self.names, pa.string()), threads=False) as reader:
                for _ in reader:
                    pass
            header = 0 if self.given else 1
            self._numbers = [(row.number or header) - header for row in self.bad]
            self.bad = kept
        return self._numbers[which - 1]

    def _open(self, kinds: dict[str, Any], *, threads: bool = True, has_header: bool = True) -> Any:
        import pyarrow as pa
        from pyarrow import csv

        def keep(row: Any) -> str:
            self.bad.append(row)
            return "skip"

        stream = pa.input_stream(str(self.path), compression="detect")
        return csv.open_csv(
            stream,
            read_options=csv.ReadOptions(
                block_size=_BLOCK, encoding=self.encoding, use_threads=threads,
                column_names=self.given or None,
                autogenerate_column_names=not (self.given or has_header),
            ),
            parse_options=csv.ParseOptions(
                delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=keep,
                # An empty line of a file with one column is NULL.
                ignore_empty_lines=len(self.names) != 1,
            ),
            convert_options=csv.ConvertOptions(
                column_types=kinds, null_values=[""], strings_can_be_null=True,
                quoted_strings_can_be_null=False, true_values=["true", "t", "True", "TRUE", "1"],
                decimal_point=self.decimal,
                false_values=["false", "f", "False", "FALSE", "0"],
            ),
        )  # fmt: skip

    def _error(self, error: Exception) -> LoadUsageError:
        message = str(error).partition("\n")[0]
        hint = (
            "Is its encoding right? Say encoding='cp1251' for a Russian Windows file,"
            " 'utf-16' for Excel's Unicode text."
        )
        return LoadUsageError(f"{self.path.name} cannot be read: {message}", hint)


def _no_chunks(_target: Sequence[Column]) -> Iterator[Chunk]:
    return iter(())


# What Arrow's CSV reader converts as PostgreSQL would.
_READ_TYPED = {
    *("bigint", "integer", "smallint", "double precision", "numeric", "boolean", "date"),
    *("timestamp without time zone", "timestamp with time zone"),
}
