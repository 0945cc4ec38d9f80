"""Opens notebooks inside their owner's home, with no way out through links, pipes or devices.

The caller must have the owner's rights: for good, or by `person.acting_as`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path, PurePosixPath

from vixtract.errors import Failure, RequestError
from vixtract.processes.person import Person

# Folder of pinned copies of notebooks in a home; a copy is named by its SHA-256.
PINNED = (".local", "share", "vixtract", "pinned")

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def relative_parts(notebook: str, person: Person, home_root: Path) -> tuple[str, ...]:
    """Split a notebook's path, in the home or absolute, into its components below the home.

    Raises:
        RequestError: the path leads elsewhere, by itself or by `..`.
    """
    path = PurePosixPath(notebook)
    if path.is_absolute():
        home = home_root / person.name
        if not path.is_relative_to(home):
            raise RequestError(
                f"{notebook} is not in {person.name}'s home.",
                f"Give a path below {home}.",
                Failure("notebook.not_in_home"),
            )
        path = path.relative_to(home)
    if ".." in path.parts:
        raise RequestError(
            f"{notebook} goes up with `..`.",
            "Give the plain path in the home.",
            Failure("notebook.not_in_home"),
        )
    if not path.parts:
        raise RequestError(
            "The path names the home itself.",
            "Give the path of a notebook in it.",
            Failure("notebook.not_in_home"),
        )
    return path.parts


def open_notebook(person: Person, parts: tuple[str, ...], limit: int) -> int:
    """Open a notebook component by component, following no link.

    Returns: a file descriptor of a regular file of at most `limit` bytes, open for reading.
    Raises:
        RequestError: it does not exist or is not a readable file; the message has the reason.
    """
    shown = "/".join(parts)
    directory = os.open(person.home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for index, part in enumerate(parts[:-1]):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            deeper = _open_at(directory, part, flags, (shown, index), person)
            os.close(directory)
            directory = deeper
        # O_NONBLOCK: opening a named pipe must not wait for its other end.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        notebook = _open_at(directory, parts[-1], flags, (shown, len(parts)), person)
    finally:
        os.close(directory)
    try:
        _check_file(os.fstat(notebook), shown, limit)
    except RequestError:
        os.close(notebook)
        raise
    return notebook


def open_pinned(person: Person, digest: str, limit: int) -> int:
    """Open a pinned copy for reading after checking its content against the SHA-256 in its name.

    Raises:
        RequestError: the copy does not exist, or was changed.
    """
    parts = (*PINNED, f"{digest}.ipynb")
    source = open_notebook(person, parts, limit)
    found = hashlib.sha256()
    while chunk := os.read(source, 1 << 20):
        found.update(chunk)
    os.lseek(source, 0, os.SEEK_SET)
    if found.hexdigest() != digest:
        os.close(source)
        raise RequestError(
            f"The pinned version at ~/{'/'.join(parts)} was changed after it was pinned.",
            "Open the schedule and pin the notebook again.",
        )
    return source


def copy_notebook(source: int, directory: int, name: str, limit: int) -> None:
    """Copy and close what was opened, so that what was checked is what runs.

    Raises:
        RequestError: the file grew over the limit.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(source, "rb") as reader:
        target = os.open(name, flags, 0o600, dir_fd=directory)
        with os.fdopen(target, "wb") as writer:
            copied = 0
            while chunk := reader.read(1 << 20):
                copied += len(chunk)
                if copied > limit:
                    raise grown()
                writer.write(chunk)


def too_large(message: str) -> RequestError:
    """Return the error for a notebook that is too large."""
    hint = "Clear its outputs (Edit > Clear Outputs of All Cells) and save it."
    return RequestError(message, hint, Failure("notebook.too_large"))


def grown() -> RequestError:
    """Return the error for a notebook that became too large while it was read."""
    return too_large("The notebook grew over the size limit while it was read.")


def _open_at(directory: int, part: str, flags: int, place: tuple[str, int], person: Person) -> int:
    try:
        return os.open(part, flags, dir_fd=directory)
    except FileNotFoundError:
        raise RequestError(
            f"There is no {place[0]} in {person.name}'s home: not found.",
            "Check the notebook's path and name.",
            Failure("notebook.not_found"),
        ) from None
    except OSError as error:
        # The component that stands in the way, which may be a folder above the notebook.
        shown = "/".join(place[0].split("/")[: place[1] + 1])
        raise _explain(error, directory, part, shown, person) from None


def _explain(error: OSError, directory: int, part: str, shown: str, person: Person) -> RequestError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV):
        return RequestError(
            f"{shown} is {_what_stands(directory, part)}; links and special files are not opened.",
            "Put the notebook itself there.",
            Failure("notebook.not_a_file"),
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return RequestError(
            f"{person.name} may not read {shown}.",
            "Let its owner read it (chmod u+r).",
            Failure("notebook.not_readable"),
        )
    return RequestError(f"{shown} cannot be opened: {os.strerror(error.errno or 0)}.")


def _what_stands(directory: int, part: str) -> str:
    try:
        mode = os.stat(part, dir_fd=directory, follow_symlinks=False).st_mode
    except OSError:
        return "gone"
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return next((kind for test, kind in _KINDS if test(mode)), "a file, not a directory")


def _check_file(status: os.stat_result, shown: str, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((kind for test, kind in _KINDS if test(status.st_mode)), "no file")
        raise RequestError(
            f"{shown} is {kind}, not a regular file.",
            "Give a notebook's path.",
            Failure("notebook.not_a_file"),
        )
    if status.st_size == 0:
        raise RequestError(
            f"{shown} is empty (0 bytes).",
            "Save it again in JupyterLab.",
            Failure("notebook.not_a_notebook"),
        )
    if status.st_size > limit:
        raise too_large(
            f"{shown} has {status.st_size / 1e6:.0f} MB; the limit is {limit / 1e6:.0f} MB."
        )
