"""What a run loaded into PostgreSQL, as `vixtract.load` noted it beside the run's output.

The file is the owner's to write, so it is read as a claim: limited in size, every field checked.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any

from vixtract.runner.workspace import Workspace

NAME = "loads.jsonl"
MAX_BYTES = 256 * 1024
MAX_LOADS = 100
_MODES = ("replace", "append", "upsert", "incremental")


def read_loads(work: Workspace) -> list[dict[str, Any]]:
    """Read the loads of a run; the caller has the owner's rights.

    Args:
        work: the run's directories.
    Returns: table (`schema.table`), mode, rows, bytes and seconds of each; the newest MAX_LOADS.
    """
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(NAME, flags, dir_fd=work.directory)
    except OSError:
        return []
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return []
        text = file.read(MAX_BYTES)
    loads = [load for load in map(parse_load, text.splitlines()) if load is not None]
    return loads[-MAX_LOADS:]


def parse_load(line: bytes) -> dict[str, Any] | None:
    """Check one line.

    Args:
        line: JSON object.
    Returns: the fields that are known, or None where it is no record of a load.
    """
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    schema, table = content.get("schema", ""), content.get("table")
    if not isinstance(table, str) or not table or not isinstance(schema, str):
        return None
    table = f"{schema}.{table}" if schema else table
    if len(table) > 140 or not table.isprintable():
        return None
    load: dict[str, Any] = {"table": table}
    if content.get("mode") in _MODES:
        load["mode"] = content["mode"]
    for name in ("rows", "bytes", "seconds"):
        value = content.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 10**15:
            load[name] = value
    return load
