"""Deleting the records of runs that the engine no longer keeps.

The engine has no right to the folders, so it asks. Like every touch of an owner's files this is
done with the owner's rights, relative to open directories.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from pathlib import Path

from vixtract.errors import RequestError
from vixtract.people.names import FIRST_UID
from vixtract.processes.person import Person, acting_as

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_records(runs_root: Path, owner: str, job: str) -> int:
    """Delete the folders of a job and its retries, and return how many they were.

    The shape of owner and job has been checked.

    Raises:
        RequestError: something of the job is still there.
    """
    parent = runs_root / owner
    try:
        status = parent.lstat()
    except FileNotFoundError:
        return 0
    # The parent is root's, so this owner can be trusted. The home may no longer exist.
    if not stat.S_ISDIR(status.st_mode) or (os.getuid() == 0 and status.st_uid < FIRST_UID):
        raise RequestError(f"{parent} is no person's directory.")
    person = Person(owner, status.st_uid, parent)
    with acting_as(person):
        directory = os.open(parent, _FOLDER)
        try:
            pattern = re.compile(rf"{re.escape(job)}(-\d{{1,2}})?")
            with os.scandir(directory) as entries:
                names = [entry.name for entry in entries if pattern.fullmatch(entry.name)]
            for name in names:
                _remove(name, directory)
        finally:
            os.close(directory)
    return len(names)


def _remove(name: str, directory: int) -> None:
    if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=directory)
        return
    with contextlib.suppress(OSError):
        shutil.rmtree(name, dir_fd=directory)
        return
    try:
        _open_up(name, directory)
        shutil.rmtree(name, dir_fd=directory)
    except OSError as error:
        raise RequestError(f"The run's folder cannot be deleted: {error.strerror}.") from None


def _open_up(name: str, directory: int) -> None:
    """Restore the owner's write permission in folders that the run made read-only."""
    os.chmod(name, 0o700, dir_fd=directory)
    for _, folders, _, here in os.fwalk(name, dir_fd=directory):
        for folder in folders:
            if stat.S_ISDIR(os.stat(folder, dir_fd=here, follow_symlinks=False).st_mode):
                os.chmod(folder, 0o700, dir_fd=here)
