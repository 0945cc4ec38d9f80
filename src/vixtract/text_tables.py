"""Tables of plain text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def render_table(
    head: Sequence[str], rows: Sequence[Sequence[object]], widest: int | None = 60
) -> list[str]:
    """Align rows in columns, numbers to the right.

    Args:
        widest: longer cells are cut to this number of characters; None shows them whole.
    Returns: lines without spaces at their ends.
    """
    texts = [[_cell_text(cell, widest) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts)]
    right = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(head))]
    lines = []
    for cells in [list(head), ["-" * width for width in widths], *texts]:
        aligned = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, right)
        ]
        lines.append("  ".join(aligned).rstrip())
    return lines


def _cell_text(cell: object, widest: int | None) -> str:
    """Return one cell as one line; None is an empty text, a float has four digits."""
    if cell is None:
        return ""
    text = f"{cell:.4g}" if isinstance(cell, float) and abs(cell) < 1000 else str(cell)
    text = " ".join(text.split())
    return text if widest is None or len(text) <= widest else text[: widest - 1] + "…"


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, (int, float)) and not isinstance(cell, bool))


def format_span(seconds: float) -> str:
    """Return a span of time in its two largest units: `3 d 4 h`, `2 min 5 s`."""
    left = int(seconds)
    parts: list[tuple[int, str]] = []
    for name, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts or name == "s":
            parts.append((count, name))
    return " ".join(f"{count} {name}" for count, name in parts[:2] if count or len(parts) == 1)
