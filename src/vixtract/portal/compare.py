"""What changed between two runs of the same schedule. Pure functions of the given runs."""

from __future__ import annotations

from collections import Counter
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
    """A table's rows, a file's size or a parameter in both runs; None where it is in one alone."""

    name: str
    before: str | int | None
    now: str | int | None


@dataclass(frozen=True)
class CellChange:
    """A cell whose output or text differs, with its output before and now.

    Args:
        number: in this run, as a person counts.
        source: first line of its text.
        edited: whether its text changed too.
    """

    number: int
    source: str
    before: str
    now: str
    edited: bool


@dataclass(frozen=True)
class Comparison:
    """A run and an earlier one: rows of every table that either loaded, and all that differs."""

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
    """Compare two runs; cells and files are those of the later and of the earlier one."""
    sizes = [{file.path: file.size for file in some} for some in files]
    now, before = run.parameters, previous.parameters
    changed, same = _compare_cells(*cells)
    return Comparison(
        run,
        previous,
        _join(_count_rows(previous), _count_rows(run)),
        [change for change in _join(sizes[1], sizes[0]) if change.before != change.now],
        _join(_texts(before, now), _texts(now, before)),
        changed,
        same,
    )


def _count_rows(run: Run) -> dict[str, int]:
    rows: Counter[str] = Counter()
    for load in run.loads:
        rows[str(load.get("table", ""))] += int(load.get("rows") or 0)
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
