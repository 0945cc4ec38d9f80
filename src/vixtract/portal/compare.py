"""What changed between two runs of the same schedule. Pure functions of the given runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vixtract.portal.archive import Cell, RunFile
from vixtract.portal.models import Run

MAX_SHOWN = 50
MAX_TEXT = 300
# The duration of shorter runs depends on what else the machine does.
SHORT_S = 5.0


@dataclass(frozen=True)
class Difference:
    """One value of two runs: a table's rows, a file's size or a parameter.

    Args:
        name: table, file or parameter.
        before: its value in the earlier run; None where it had none.
        now: its value in this run; None where it has none.
    """

    name: str
    before: str | int | None
    now: str | int | None


@dataclass(frozen=True)
class CellChange:
    """A cell whose output or text differs.

    Args:
        number: in this run, as a person counts.
        source: first line of its text.
        before: text of its output then.
        now: text of its output now.
        edited: whether its text changed too.
    """

    number: int
    source: str
    before: str
    now: str
    edited: bool


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Args:
        run: the later one.
        previous: the earlier one.
        tables: rows loaded, of every table that either loaded.
        files: sizes of files that differ.
        parameters: those that differ.
        cells: those whose output or text differs.
        same_cells: how many are the same.
    """

    run: Run
    previous: Run
    tables: Sequence[Difference]
    files: Sequence[Difference]
    parameters: Sequence[Difference]
    cells: Sequence[CellChange]
    same_cells: int

    @property
    def ratio(self) -> float | None:
        """This run's duration divided by the earlier one's, or None."""
        if not self.previous.elapsed or (self.run.elapsed or 0) < SHORT_S:
            return None
        return (self.run.elapsed or 0) / self.previous.elapsed


def compare_runs(
    run: Run,
    previous: Run,
    cells: tuple[Sequence[Cell], Sequence[Cell]],
    files: tuple[Sequence[RunFile], Sequence[RunFile]],
) -> Comparison:
    """Compare two runs.

    Args:
        run: the later one.
        previous: the earlier one.
        cells: of the later and of the earlier one.
        files: of the later and of the earlier one.
    """
    sizes = [{file.path: file.size for file in some} for some in files]
    changed, same = _compare_cells(*cells)
    return Comparison(
        run,
        previous,
        _join(count_rows(previous), count_rows(run)),
        [change for change in _join(sizes[1], sizes[0]) if change.before != change.now],
        _join(
            _texts(previous.parameters, run.parameters), _texts(run.parameters, previous.parameters)
        ),
        changed,
        same,
    )


def count_rows(run: Run) -> dict[str, int]:
    """Sum up the rows that a run loaded, by table."""
    rows: dict[str, int] = {}
    for load in run.loads:
        name = str(load.get("table", ""))
        rows[name] = rows.get(name, 0) + int(load.get("rows") or 0)
    return rows


def _texts(values: Mapping[str, object], others: Mapping[str, object]) -> dict[str, str]:
    """Return the values that differ from the others, shortened."""
    return {
        name: str(value)[:MAX_TEXT]
        for name, value in values.items()
        if name not in others or others[name] != value
    }


def _join(before: Mapping[str, str | int], now: Mapping[str, str | int]) -> list[Difference]:
    names = sorted({*before, *now})[:MAX_SHOWN]
    return [Difference(name, before.get(name), now.get(name)) for name in names]


def _compare_cells(now: Sequence[Cell], before: Sequence[Cell]) -> tuple[list[CellChange], int]:
    # Cells of old notebooks have no ids; their numbers are compared instead.
    earlier: dict[str | int, Cell] = {cell.id or cell.number: cell for cell in before}
    changed, same = [], 0
    for cell in now:
        then = earlier.get(cell.id or cell.number)
        edited = then is not None and then.source != cell.source
        if then is not None and then.digest == cell.digest and not edited:
            same += 1
            continue
        first = next((line for line in cell.source.splitlines() if line.strip()), "")
        changed.append(
            CellChange(cell.number, first[:120], then.text if then else "", cell.text, edited)
        )
    return changed[:MAX_SHOWN], same
