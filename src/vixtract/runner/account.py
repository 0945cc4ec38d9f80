"""Making a person's OS account where this container does not have it yet."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def ensure_account(name: str, home_root: Path) -> None:
    """Make a person's OS account where it is missing.

    Supervisors are separate processes, and useradd gives up at once while another one writes.

    Args:
        name: the person.
        home_root: directory of the homes.
    """
    from vixtract.people import accounts

    lock = os.open("/run/vixtract/accounts.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        accounts.ensure_account(name, home_root)
    finally:
        os.close(lock)
