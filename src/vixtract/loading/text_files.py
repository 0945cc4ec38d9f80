"""CSV and similar files as a source, read block by block by Arrow."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa

from vixtract.loading import types
from vixtract.loading.chunks import ROWS, Chunk
from vixtract.loading.encode import arrow_type, has_infinite
from vixtract.loading.errors import BadRowError, LoadUsageError, shown, unreadable
from vixtract.loading.sources import Source
from vixtract.loading.target import Column

# Tried in turn if the usual delimiter does not occur in the first line.
_DELIMITERS = (";", "\t", "|")
_START = 1 << 16
_BLOCK = 2 << 20
# For values longer than a block; several blocks are in memory at once.
_LARGEST_BLOCK = 128 << 20
_ENDS = "\r\n"
_TAIL = 4096
# PostgreSQL's limit for a table.
_MOST_COLUMNS = 1600
_FRACTIONS = {"numeric", "real", "double precision"}
_NUMBERS = _FRACTIONS | types.INTEGERS
# The types that Arrow's CSV reader converts as PostgreSQL does.
_READ_TYPED = _NUMBERS - {"real"} | {"boolean", "date", types.TIMESTAMP, types.TIMESTAMPTZ}
_DECIMALS = (".", ",")


class TextArguments(TypedDict, total=False):
    """Options of a text file, as keyword arguments of `load`."""

    encoding: str
    delimiter: str
    decimal: str


@dataclass(frozen=True)
class TextOptions:
    """Options of a text file.

    Args:
        encoding: any that Python knows.
        delimiter: one character; empty: recognised by the suffix and the first two lines.
        decimal: the decimal mark: "." or ",".
    Raises:
        LoadUsageError: the delimiter is longer, or the decimal mark is another.
    """

    encoding: str = "utf-8"
    delimiter: str = ""
    decimal: str = "."

    def __post_init__(self) -> None:
        if len(self.delimiter) > 1:
            raise LoadUsageError(f"delimiter {self.delimiter!r} is not a single character")
        if self.decimal not in _DECIMALS:
            raise LoadUsageError(f"decimal {self.decimal!r} is unknown", f"Known: {_DECIMALS}.")


def open_text(
    path: Path, options: TextOptions, columns: Sequence[str] = (), *, delimiter: str = ","
) -> Source:
    """Open a delimited file, also a compressed one, read block by block.

    Args:
        columns: names, if the file has no header.
        delimiter: the usual one for the suffix.
    Raises:
        LoadUsageError: the file has no header, or cannot be read.
    """
    return TextFile(path, options, columns, delimiter).source()


class TextFile:
    """A delimited file: an empty field is NULL, a quoted empty field is an empty text."""

    def __init__(
        self, path: Path, options: TextOptions, columns: Sequence[str], delimiter: str
    ) -> None:
        self.path = path
        self.encoding = options.encoding
        self.decimal = options.decimal
        self.given = [str(name) for name in columns]
        self.usual = delimiter
        self.delimiter = options.delimiter
        self.names: list[str] = []
        self.numbers: set[str] = set()
        self.scales: dict[str, int] = {}
        self.bad: list[Any] = []
        self.reported = 0
        self._blank = 0
        self._block = _BLOCK
        self._numbers: list[int] = []
        self._source: Source | None = None

    def source(self) -> Source:
        """Read the first block and return the source."""
        chunks: Callable[[Sequence[Column]], Iterator[Chunk]] = self.chunks
        try:
            self._recognise()
            names, sample = self._look()
        except (pa.ArrowException, OSError, ValueError, LookupError) as error:
            if "Empty CSV" not in str(error):
                raise self._error(error) from error
            # Arrow needs a line end, which a file with only a header may lack.
            names, sample = self.given or self._header(self._text(_LARGEST_BLOCK)), None
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

    def _recognise(self) -> None:
        """Find the delimiter by the first two lines, and count the blank lines before them."""
        text = self._text(_START)
        lines = text.lstrip(_ENDS)
        if not self.given:
            self._blank = len(text[: len(text) - len(lines)].splitlines())
        if self.delimiter:
            return

        def cuts(delimiter: str) -> bool:
            rows = csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter)
            first, *others = map(len, itertools.islice(filter(None, rows), 2))
            return first > 1 and others in ([], [first])

        self.delimiter = self.usual
        # With a decimal comma, commas are in numbers and in names.
        is_doubtful = self.decimal == "," == self.usual or len(self._header(lines)) == 1
        if lines and is_doubtful and len(self.given) != 1:
            self.delimiter = next(filter(cuts, _DELIMITERS), self.usual)

    def _stream(self) -> Any:
        return pa.input_stream(str(self.path), compression="detect")

    def _text(self, size: int) -> str:
        """Return the beginning of the file, up to `size` bytes, as text."""
        with self._stream() as stream:
            start = stream.read(size)
        decoder = codecs.getincrementaldecoder(self.encoding)("replace")
        return decoder.decode(start).removeprefix("\ufeff")

    def _header(self, text: str) -> list[str]:
        """Return the fields of the first line; empty if there is none."""
        lines = io.StringIO(text.lstrip(_ENDS), newline="")
        return next(csv.reader(lines, delimiter=self.delimiter), [])

    def _infer(self, column: Any) -> str:
        kind = types.infer_texts(column)
        if self.decimal == "," and kind in {types.TEXT, *_FRACTIONS}:
            return types.infer_texts(self._as_number(column))
        return kind

    def _as_number(self, column: Any) -> Any:
        """Return texts with a point for the decimal comma; one with a point becomes no number."""
        import pyarrow.compute as pc

        if self.decimal == ".":
            return column
        column = pc.replace_substring(column, ".", "·")
        return pc.replace_substring(column, ",", ".")

    def _look(self) -> tuple[list[str], Any]:
        """Read the names and the first block as texts, with the header as a row."""
        unnamed = (f"f{number}" for number in range(_MOST_COLUMNS))
        kinds = dict.fromkeys(self.given or unnamed, pa.string())
        try:
            with self._open(kinds, has_header=False) as reader:
                # Inside a long value, a block may have no end of a row.
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
        except pa.ArrowInvalid as error:
            if not self._grow(error):
                raise
            return self._look()

    def _grow(self, error: Exception) -> bool:
        """Use larger blocks for a value that did not fit; return False if they are the largest."""
        if "straddl" not in str(error) or self._block >= _LARGEST_BLOCK:
            return False
        self._block *= 4
        self.bad.clear()
        return True

    def chunks(self, target: Sequence[Column]) -> Iterator[Chunk]:
        """Read with the target's types, and as text from the first value that Arrow refuses."""
        pairs = list(zip(self.names, target, strict=True))
        self.numbers = {name for name, column in pairs if types.base(column.type) in _NUMBERS}
        texts = dict.fromkeys(self.names, pa.string())
        kinds = texts.copy()
        for name, column in pairs:
            wanted = column.type
            if wanted == "numeric" and name in self.scales:
                wanted = f"numeric({types.NUMERIC_DIGITS},{self.scales[name]})"
            if column.category == "b" and types.base(wanted) in _READ_TYPED:
                kinds[name] = arrow_type(wanted) or pa.string()
        done = 0
        while True:
            try:
                for chunk in self._read(kinds, skip=done):
                    yield chunk
                    done += chunk.rows
            except (pa.ArrowException, OSError) as error:
                if self._grow(error):
                    continue
                if kinds == texts:
                    raise self._error(error) from error
                self.bad.clear()
                kinds = texts
            else:
                return

    def _read(self, kinds: dict[str, Any], skip: int) -> Iterator[Chunk]:
        """Yield the chunks after the first `skip` rows."""
        first, seen, given = 1, 0, 0
        are_numbers = [name in self.numbers and kind == pa.string() for name, kind in kinds.items()]
        last = None
        with self._open(kinds) as reader:
            for batch in reader:
                found, self.bad = self.bad, []
                seen = self._report(found, seen)
                _refuse_infinite(batch)
                for start in range(0, batch.num_rows, ROWS):
                    piece = batch.slice(start, ROWS)
                    columns = [
                        self._as_number(column) if is_number else column
                        for column, is_number in zip(piece.columns, are_numbers, strict=True)
                    ]
                    chunk = Chunk(first + start, piece.num_rows, columns)
                    behind, given = skip - given, given + chunk.rows
                    if behind < chunk.rows:
                        yield chunk.slice(max(behind, 0))
                if batch.num_rows:
                    last = batch.column(batch.num_columns - 1)[-1].as_py()
                first += batch.num_rows + len(found)
            self._report(self.bad, seen)
        if isinstance(last, str) and self._is_left_open(last):
            raise self._left_open(first - 1, last)

    def _is_left_open(self, last: str) -> bool:
        """Tell whether the last value is the rest of the file, because a quote is missing."""
        if not any(end in last for end in _ENDS):
            return False
        quoted = ('"' + last.replace('"', '""'))[-_TAIL:]
        decoder = codecs.getincrementaldecoder(self.encoding)("replace")
        tail = ""
        with self._stream() as stream:
            while block := stream.read(1 << 20):
                tail = (tail + decoder.decode(block))[-_TAIL:]
        if tail.endswith(quoted):
            return True
        # Or a later quote ended it, and the text after that quote belongs to it too.
        line, value = (re.split("[\r\n]", text)[-1] for text in (tail.rstrip(_ENDS), last))
        return any(
            letter == '"' and line[:at] + line[at + 1 :] == value and line[at + 1 :].strip()
            for at, letter in enumerate(line)
        )

    def _ends_open(self, text: str) -> bool:
        """Tell whether a line that Arrow refused is the rest of the file."""
        if "\n" not in text:
            return False
        lines = io.StringIO(text, newline="")
        try:
            for _ in csv.reader(lines, delimiter=self.delimiter, strict=True):
                pass
        except csv.Error as error:
            return "unexpected end" in str(error) or "field larger" in str(error)
        return False

    def _left_open(self, row: int, value: str) -> BadRowError:
        reason = "a quote is left open, and the rest of the file would be one value"
        return BadRowError(row, self.names[-1], shown(value), reason)

    def _report(self, found: list[Any], seen: int) -> int:
        """Report new lines with a wrong number of fields; return the number of all such lines."""
        for row in found:
            seen += 1
            if seen <= self.reported or self._source is None:
                continue
            if self._ends_open(row.text):
                raise self._left_open(self._number(seen), row.text)
            fields = f"{row.actual_columns} fields for {row.expected_columns} columns"
            error = BadRowError(self._number(seen), "", shown(row.text), fields)
            self._source.on_bad_row(error, row.text)
            self.reported = seen
        return seen

    def _number(self, which: int) -> int:
        """Return the row number of a bad line by reading again: Arrow counts with one thread."""
        if not self._numbers:
            kept, self.bad = self.bad, []
            with self._open(dict.fromkeys(self.names, pa.string()), threads=False) as reader:
                for _ in reader:
                    pass
            header = 0 if self.given else self._blank + 1
            self._numbers = [(row.number or header) - header for row in self.bad]
            self.bad = kept
        return self._numbers[which - 1]

    def _open(self, kinds: dict[str, Any], *, threads: bool = True, has_header: bool = True) -> Any:
        from pyarrow import csv

        def keep(row: Any) -> str:
            self.bad.append(row)
            return "skip"

        return csv.open_csv(
            self._stream(),
            read_options=csv.ReadOptions(
                block_size=self._block,
                encoding=self.encoding,
                use_threads=threads,
                column_names=self.given or None,
                skip_rows=self._blank,
                autogenerate_column_names=not (self.given or has_header),
            ),
            parse_options=csv.ParseOptions(
                delimiter=self.delimiter,
                newlines_in_values=True,
                invalid_row_handler=keep,
                # An empty line of a file with one column is NULL.
                ignore_empty_lines=len(self.names) != 1,
            ),
            convert_options=csv.ConvertOptions(
                column_types=kinds,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["true", "t", "True", "TRUE", "1"],
                decimal_point=self.decimal,
                false_values=["false", "f", "False", "FALSE", "0"],
            ),
        )

    def _error(self, error: Exception) -> LoadUsageError:
        message, hint = str(error), ""
        if "straddl" in message:
            message = f"a value is longer than {_LARGEST_BLOCK >> 20} MB; is a quote left open?"
        elif isinstance(error, OSError):
            hint = "Is the file whole?"
        elif isinstance(error, (UnicodeError, LookupError)) or "UTF8" in message:
            hint = (
                "Is its encoding right? Say encoding='cp1251' for a Russian Windows file,"
                " 'utf-16' for Excel's Unicode text."
            )
        return unreadable(self.path, message, hint)


def _no_chunks(_target: Sequence[Column]) -> Iterator[Chunk]:
    return iter(())


def _refuse_infinite(batch: Any) -> None:
    """Fail if a value became infinite, so that the server reads its text."""
    if any(pa.types.is_floating(c.type) and has_infinite(c) for c in batch.columns):
        raise pa.ArrowInvalid("infinite")
