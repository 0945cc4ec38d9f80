"""The file of settings beside the compose file: read as both generations of compose read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vixtract.files import write_whole

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)")
HEADER = "# Settings of this ViXtract, see .env.example. Edit freely; ./vixtract adds lines."


def parse_env(text: str) -> dict[str, str]:
    """Read `NAME=value` lines: name to value without quotes and remarks, the last one wins."""
    values = {}
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found:
            values[found[1]] = _plain(found[2])
    return values


def _plain(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value[0] in "\"'" and (end := value.find(value[0], 1)) > 0:
        return value[1:end]
    return "" if value.startswith("#") else re.split(r"\s#", value)[0].rstrip()


def update_env(text: str, changes: Mapping[str, str], header: str = HEADER) -> str:
    """Set values, leave every other line as it is, and begin a new file with a header."""
    left = dict(changes)
    lines = []
    for line in text.splitlines() or [header]:
        found = _LINE.fullmatch(line)
        if found and found[1] in changes:
            # A name that stands twice is kept once: the last one would have won.
            if found[1] in left:
                lines.append(f"{found[1]}={left.pop(found[1])}")
        else:
            lines.append(line)
    lines += [f"{name}={value}" for name, value in left.items()]
    return "\n".join(lines) + "\n"


def load_env(path: Path) -> dict[str, str]:
    """Return the values of a file, none where it does not exist."""
    return parse_env(path.read_text("utf-8")) if path.is_file() else {}


def load_lines(path: Path) -> dict[str, int]:
    """Return the number of the line that sets each name of a file: the last one of several."""
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    found = ((number, _LINE.fullmatch(line)) for number, line in enumerate(lines, 1))
    return {match[1]: number for number, match in found if match}


def save_env(path: Path, changes: Mapping[str, str], header: str = HEADER) -> bool:
    """Set values in a file that only its owner may read, in one step; make it where it is missing.

    Returns: whether the file was written.
    """
    before = path.read_text("utf-8") if path.is_file() else ""
    after = update_env(before, changes, header)
    if path.is_file() and after == before:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, after)
    return True
