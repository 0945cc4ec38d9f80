"""What the homes server reads of a run's record, in a process that has become its owner for good.

The owner may have put anything into the folder: no link is followed at any level, and only regular
files count.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vixtract.errors import RequestError
from vixtract.processes.person import Person

MAX_FILES = 1000
MAX_DEPTH = 6
MAX_CELLS = 500
NOTEBOOK_BYTES = 50 * 1024 * 1024
TEXT_SHOWN = 300
SOURCE_SHOWN = 2000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a pipe without a writer would wait.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_RECORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,70}")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# The appliance's own files, which the page shows elsewhere.
_OWN = frozenset({"log.txt", "run.json", "output.html", "loads.jsonl", "input.ipynb"})


def open_record(person: Person, runs_root: Path, record: str) -> int:
    """Return a descriptor of a run's folder, which usually has the name of the job's id.

    Raises:
        RequestError: there is none.
    """
    if not _RECORD.fullmatch(record):
        raise no_file()
    try:
        parent = os.open(runs_root / person.name, _FOLDER)
    except OSError:
        raise no_file() from None
    try:
        return os.open(record, _FOLDER, dir_fd=parent)
    except OSError:
        raise no_file() from None
    finally:
        os.close(parent)


def list_files(folder: int) -> dict[str, Any]:
    """List the files of a run.

    Returns: `files`: path, size in bytes and time of change in epoch seconds, by path; `cut`:
        whether there are more.
    """
    files: list[dict[str, Any]] = []
    for path, status in _walk(folder, "", 0):
        if len(files) == MAX_FILES:
            return {"files": files, "cut": True}
        files.append({"path": path, "size": status.st_size, "changed": status.st_mtime})
    return {"files": files, "cut": False}


def open_file(folder: int, path: str) -> tuple[dict[str, Any], int]:
    """Open a file of a run for reading.

    Returns: `size` and `changed`, and the descriptor.
    Raises:
        RequestError: the path is not a regular file, or it contains a link.
    """
    parts = path.split("/")
    if len(path) > 4096 or len(parts) > MAX_DEPTH + 1 or {"", ".", ".."} & set(parts):
        raise no_file()
    here = os.dup(folder)
    try:
        for part in parts[:-1]:
            deeper = os.open(part, _FOLDER, dir_fd=here)
            os.close(here)
            here = deeper
        descriptor = os.open(parts[-1], _FILE, dir_fd=here)
    except (OSError, ValueError):
        raise no_file() from None
    finally:
        os.close(here)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise no_file()
    return {"size": status.st_size, "changed": status.st_mtime}, descriptor


def read_cells(folder: int, name: str) -> dict[str, Any]:
    """Read the code cells of an executed notebook, shortened.

    Returns: `cells`: number as a person counts, id, source, digest and text of the output, and
        whether it raised an error.
    Raises:
        RequestError: it is no notebook.
    """
    about, descriptor = open_file(folder, name)
    with os.fdopen(descriptor, "rb") as file:
        if about["size"] > NOTEBOOK_BYTES:
            raise RequestError("The notebook is too large to be shown.")
        try:
            content = json.loads(file.read(NOTEBOOK_BYTES))
            cells = content["cells"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise RequestError("The executed notebook cannot be read.") from None
    counted = [cell for cell in cells if isinstance(cell, dict) and _counts(cell)]
    return {
        "cells": [_show(number, cell) for number, cell in enumerate(counted[:MAX_CELLS], 1)],
        "cut": len(counted) > MAX_CELLS,
    }


def no_file() -> RequestError:
    """Return the error for a file that does not exist or may not be shown."""
    return RequestError("There is no such file.")


def _walk(folder: int, prefix: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.name.startswith(".") or (not prefix and entry.name in _OWN):
            continue
        if not entry.name.isprintable():
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth < MAX_DEPTH:
                try:
                    deeper = os.open(entry.name, _FOLDER, dir_fd=folder)
                except OSError:
                    continue
                try:
                    yield from _walk(deeper, f"{prefix}{entry.name}/", depth + 1)
                finally:
                    os.close(deeper)
        elif entry.is_file(follow_symlinks=False):
            yield prefix + entry.name, entry.stat(follow_symlinks=False)


def _counts(cell: Mapping[str, Any]) -> bool:
    """Return whether a cell counts: code that is not empty and was not added by papermill."""
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    is_added = isinstance(tags, list) and "injected-parameters" in tags
    return (
        cell.get("cell_type") == "code" and bool(_text(cell.get("source")).strip()) and not is_added
    )


def _show(number: int, cell: Mapping[str, Any]) -> dict[str, Any]:
    outputs = [out for out in cell.get("outputs") or [] if isinstance(out, dict)]
    bare = [
        {k: v for k, v in out.items() if k not in ("execution_count", "metadata")}
        for out in outputs
    ]
    failed = any(out.get("output_type") == "error" for out in outputs)
    text = "".join(_output_text(out) for out in outputs)
    return {
        "number": number,
        "id": _text(cell.get("id"))[:64],
        "source": _text(cell.get("source"))[:SOURCE_SHOWN],
        "digest": hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()[:16],
        "text": _ANSI.sub("", text)[:TEXT_SHOWN],
        "failed": failed,
    }


def _output_text(output: Mapping[str, Any]) -> str:
    if output.get("output_type") == "error":
        return f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}"
    data = output.get("data")
    return _text(output.get("text") or (data.get("text/plain") if isinstance(data, dict) else ""))


def _text(value: object) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""
