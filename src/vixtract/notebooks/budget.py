"""Limit the output that a notebook keeps, with a line where output was cut."""

from __future__ import annotations

from typing import Any

MEGABYTE = 1_000_000
CELL_BYTES = 5 * MEGABYTE
NOTEBOOK_BYTES = 20 * MEGABYTE

_COUNTED = ("stream", "display_data", "execute_result", "update_display_data", "error")
# Bytes that a message takes besides its content. Without it a million one-byte outputs are free.
_OVERHEAD = 200
_ERROR_TEXT = 100_000


class OutputBudget:
    """Count what kernel messages add to a cell and to the notebook, and cut what exceeds limits."""

    def __init__(self, cell_bytes: int = CELL_BYTES, notebook_bytes: int = NOTEBOOK_BYTES) -> None:
        self._cell_bytes = cell_bytes
        self._notebook_bytes = notebook_bytes
        self._used_by_cell: dict[int, int] = {}
        self._used = 0
        self._cut: set[int] = set()

    def admit(self, message: dict[str, Any], cell: int) -> dict[str, Any] | None:
        """Return a cell's message, shortened in place or made a note of the cut; None drops it."""
        kind = message["msg_type"]
        if kind.startswith("comm"):
            return message if self._take(message, cell) else None
        if kind not in _COUNTED:
            return message
        if kind == "error":
            _shorten_error(message["content"])
            return message
        left = self._left(cell)
        if self._take(message, cell):
            return message
        if cell in self._cut:
            return None
        self._cut.add(cell)
        return self._say_cut(message, left)

    def _left(self, cell: int) -> int:
        of_cell = self._cell_bytes - self._used_by_cell.get(cell, 0)
        return max(0, min(of_cell, self._notebook_bytes - self._used) - _OVERHEAD)

    def _take(self, message: dict[str, Any], cell: int) -> bool:
        if cell in self._cut:
            return False
        size = _OVERHEAD + measure(message["content"])
        self._used_by_cell[cell] = self._used_by_cell.get(cell, 0) + size
        self._used += size
        if self._used_by_cell[cell] <= self._cell_bytes and self._used <= self._notebook_bytes:
            return True
        # Output that was cut does not count against the cells that follow.
        self._used -= size
        return False

    def _say_cut(self, message: dict[str, Any], left: int) -> dict[str, Any]:
        is_cell = self._used + left < self._notebook_bytes - _OVERHEAD
        limit = self._cell_bytes if is_cell else self._notebook_bytes
        scope = "a cell" if is_cell else "the notebook"
        line = f"\n[output cut here: more than {limit / MEGABYTE:g} MB in {scope}]\n"
        kept = ""
        name = "stderr"
        if message["msg_type"] == "stream":
            kept = message["content"]["text"][: left // 4]
            name = message["content"]["name"]
        self._used += len(kept)
        message["msg_type"] = message["header"]["msg_type"] = "stream"
        message["content"] = {"name": name, "text": kept + line}
        return message


def measure(value: Any) -> int:
    """Estimate the bytes that a JSON value takes in the file."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
    if isinstance(value, dict):
        return sum(len(str(key)) + 4 + measure(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return sum(2 + measure(item) for item in value)
    return 8


def _shorten_error(content: dict[str, Any]) -> None:
    content["ename"] = str(content.get("ename", ""))[:1000]
    content["evalue"] = str(content.get("evalue", ""))[:_ERROR_TEXT]
    lines = []
    left = _ERROR_TEXT
    for line in content.get("traceback", []):
        lines.append(str(line)[:left])
        left -= len(lines[-1])
        if left <= 0:
            lines.append("[traceback cut here]")
            break
    content["traceback"] = lines
