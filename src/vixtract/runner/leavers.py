"""What the job container does when a person left: ends what still runs, moves their runs away."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from pathlib import Path

from vixtract.errors import VixtractError
from vixtract.people.accounts import remove_account
from vixtract.people.archive import list_left

log = logging.getLogger(__name__)

ARCHIVE = ".removed"
_ACCOUNTS_LOCK = Path("/run/vixtract/accounts.lock")


def tidy(home_root: Path, runs_root: Path, known: set[tuple[str, int]]) -> None:
    """Look after everybody who left since the last look; a later call tries again what failed.

    Args:
        home_root: directory of the homes, which remembers who left.
        runs_root: records of runs.
        known: names and uids that are done with; changed here.
    """
    for name, uid in list_left(home_root):
        if (name, uid) in known:
            continue
        try:
            _end_account(name, uid)
            moved = move_runs(name, uid, runs_root)
        except (OSError, VixtractError) as error:
            log.error("What %s (uid %d) left is not moved yet: %s", name, uid, error)
        else:
            known.add((name, uid))
            if moved:
                log.info("Runs of %s, who was removed, are in %s", name, moved)


def move_runs(name: str, uid: int, runs_root: Path) -> Path | None:
    """Move the records of a person who left to a place that only root reads.

    Args:
        name: person.
        uid: that was theirs.
        runs_root: records of runs.
    Returns: the new place; None where there is nothing of theirs.
    """
    path = runs_root / name
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid:
        return None
    archive = runs_root / ARCHIVE
    archive.mkdir(mode=0o700, exist_ok=True)
    target = archive / f"{name}.{uid}"
    path.rename(target)
    return target


def _end_account(name: str, uid: int) -> None:
    # Other processes of this container make accounts under the same lock.
    lock = os.open(_ACCOUNTS_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_account(name, uid)
    finally:
        os.close(lock)
