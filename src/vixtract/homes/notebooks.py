"""What the homes server reads of a home, in a process that has become its owner for good.

Each function works with the person's rights alone, follows no link, and returns a JSON object.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from vixtract.errors import Failure, RequestError
from vixtract.files import write_whole
from vixtract.notebooks.inspection import inspect_notebook
from vixtract.processes.notebook_files import PINNED, grown, open_notebook, relative_parts
from vixtract.processes.person import Person

NOTEBOOK_BYTES = 50 * 1024 * 1024
MAX_ENTRIES = 20_000
MAX_LISTED = 500
MAX_DEPTH = 8
_SKIPPED = frozenset({"node_modules", "__pycache__", "lost+found", "venv", "site-packages"})
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def inspect(person: Person, notebook: str) -> dict[str, Any]:
    """Read the parameters and the kernel of a notebook below the home.

    Raises:
        RequestError: it cannot be read; the message has the reason.
    """
    content = _read(person, notebook)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise RequestError(
            "The file is no notebook: it is not UTF-8.",
            "Save it again in JupyterLab.",
            Failure("notebook.not_a_notebook"),
        ) from None
    return inspect_notebook(text)


def pin(person: Person, notebook: str) -> dict[str, Any]:
    """Store a copy of a notebook below the home as it is now, named by its content.

    Returns: `pinned`: SHA-256 of the content, in hexadecimal.
    Raises:
        RequestError: it cannot be read, or the copy cannot be written.
    """
    content = _read(person, notebook)
    inspect_notebook(content.decode("utf-8", "replace"))
    digest = hashlib.sha256(content).hexdigest()
    try:
        _write_copy(person, digest, content)
    except OSError as error:
        raise RequestError(
            f"The pinned copy cannot be written: {os.strerror(error.errno or 0)}.",
            "Look for a link or a file at ~/.local/share/vixtract/pinned, and at the free space.",
            Failure("notebook.not_written"),
        ) from None
    return {"pinned": digest}


def list_home(person: Person) -> dict[str, Any]:
    """List the person's notebooks, newest first, and the kernels in their home.

    Returns: `notebooks` (paths below the home), `kernels` (name, title), `cut` (whether the home
        has more than are looked at).
    """
    found: list[tuple[float, str]] = []
    seen = 0
    home = os.open(person.home, _FOLDER)
    for path, status in _walk(home, "", 0):
        seen += 1
        if seen > MAX_ENTRIES:
            break
        if status is not None:
            found.append((status.st_mtime, path))
    found.sort(reverse=True)
    return {
        "notebooks": [path for _, path in found[:MAX_LISTED]],
        "kernels": list_kernels(person.home / ".local/share/jupyter/kernels"),
        "cut": seen > MAX_ENTRIES or len(found) > MAX_LISTED,
    }


def list_kernels(folder: Path) -> list[dict[str, str]]:
    """Read the kernels that are installed in a folder, as `<name>/kernel.json`.

    Returns: name and title of each, by name; what cannot be read is left out.
    """
    kernels = []
    try:
        entries = sorted(folder.iterdir())[:100]
    except OSError:
        return []
    for entry in entries:
        try:
            specification = json.loads((entry / "kernel.json").read_text("utf-8")[:100_000])
            title = str(specification["display_name"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        kernels.append({"name": entry.name[:100], "title": title[:200]})
    return kernels


def _walk(folder: int, prefix: str, depth: int) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yield every entry, with a status where it is a notebook; closes the descriptor."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            path = prefix + entry.name
            is_hidden = entry.name.startswith(".")
            # Links are left out: notebooks are opened without following any.
            if entry.is_dir(follow_symlinks=False):
                yield path, None
                if depth < MAX_DEPTH and not is_hidden and entry.name not in _SKIPPED:
                    try:
                        deeper = os.open(entry.name, _FOLDER, dir_fd=folder)
                    except OSError:
                        continue
                    yield from _walk(deeper, f"{path}/", depth + 1)
            else:
                wanted = entry.name.endswith(".ipynb") and not is_hidden
                is_file = wanted and entry.is_file(follow_symlinks=False) and path.isprintable()
                yield path, entry.stat(follow_symlinks=False) if is_file else None
    except OSError:
        return
    finally:
        os.close(folder)


def _read(person: Person, notebook: str) -> bytes:
    parts = relative_parts(notebook, person, person.home.parent)
    with os.fdopen(open_notebook(person, parts, NOTEBOOK_BYTES), "rb") as file:
        content = file.read(NOTEBOOK_BYTES + 1)
    if len(content) > NOTEBOOK_BYTES:
        raise grown()
    return content


def _write_copy(person: Person, digest: str, content: bytes) -> None:
    folder = os.open(person.home, _FOLDER)
    try:
        for part in PINNED:
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=folder)
            deeper = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = deeper
        name = f"{digest}.ipynb"
        if _is_same(folder, name, len(content)):
            return
        write_whole(Path(name), content, mode=0o400, folder=folder)
    finally:
        os.close(folder)


def _is_same(folder: int, name: str, size: int) -> bool:
    """Return whether a copy of this size exists; the runner checks its content before each run."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size
