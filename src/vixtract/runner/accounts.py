"""People's OS accounts in the job container: made for their first run, ended when they have left.

Nothing here may be part of `runner.daemon`: the fork server gets `ensure_account` by its name.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vixtract.errors import VixtractError
from vixtract.people import accounts
from vixtract.people.archive import list_left

log = logging.getLogger(__name__)

ARCHIVE = ".removed"
_LOCK = Path("/run/vixtract/accounts.lock")


def tidy(home_root: Path, runs_root: Path, known: set[tuple[str, int]]) -> None:
    """End the accounts of people who have left, and move their runs away.

    Names and uids that are done with are added to `known`; what failed is tried again later.
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
    """Move a former person's records to a folder that only root reads; return it, None for none."""
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


def ensure_account(name: str, home_root: Path) -> None:
    """Make a person's OS account where this container does not have it yet."""
    with _locked():
        accounts.ensure_account(name, home_root)


def _end_account(name: str, uid: int) -> None:
    with _locked():
        accounts.remove_account(name, uid)


@contextmanager
def _locked() -> Iterator[None]:
    """Keep other processes of this container away: useradd gives up while another one writes."""
    lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
