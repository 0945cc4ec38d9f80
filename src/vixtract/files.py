"""Files in /srv/secrets: made once by whichever container comes first, then read by all.

A file appears complete or not at all: it is written under a temporary name, synced, and linked to
its own name, which fails where another container was faster.
"""

from __future__ import annotations

import base64
import os
import secrets
import string
import tempfile
from collections.abc import Callable
from pathlib import Path

from vixtract.errors import PreconditionError


def _letters_and_digits() -> str:
    alphabet = string.ascii_letters + string.digits
    return secrets.choice(string.ascii_letters) + "".join(
        secrets.choice(alphabet) for _ in range(39)
    )


_GENERATORS: dict[str, Callable[[], str]] = {
    "role_key": lambda: secrets.token_hex(32),
    "api_key": _letters_and_digits,
    "hub_token": _letters_and_digits,
    "cronicle_key": _letters_and_digits,
    "cronicle_session": _letters_and_digits,
    "cronicle_oauth": _letters_and_digits,
    "worker_key": _letters_and_digits,
    # What Fernet takes as a key.
    "connection_key": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
}


def generate_secret(name: str) -> str:
    """Return a new value of a secret.

    Args:
        name: as in `ensure_secret`.
    """
    return _GENERATORS[name]()


def ensure_secret(directory: Path, name: str) -> str:
    """Return a secret, making it first where it is missing.

    Args:
        directory: usually /srv/secrets; made 0700 where it is missing.
        name: `role_key` (64 hex digits), `connection_key` (Fernet's), or one of the others (40
            letters and digits).
    Raises:
        PreconditionError: the file exists and is empty, or belongs to somebody else.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / name
    if not path.exists():
        _create(path, _GENERATORS[name]())
    return read_secret(path)


def write_durably(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace a file in one step; a cut leaves the old text or the new, never a part.

    Args:
        path: file to replace; its directory must exist.
        text: whole new content.
        mode: permissions of the new file.
    """
    temporary = _write_temporary(path, text, mode)
    try:
        temporary.replace(path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _create(path: Path, text: str) -> None:
    temporary = _write_temporary(path, text + "\n", 0o600)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass  # another container was first: its secret is the one
    finally:
        temporary.unlink()
    sync_directory(path.parent)


def read_secret(path: Path) -> str:
    """Return a secret that must be there.

    Args:
        path: file of it.
    Raises:
        PreconditionError: it is open to others, or cut short.
    """
    status = path.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PreconditionError(
            f"{path} is open to others.", f"Give it to root: chown root {path}; chmod 600 {path}"
        )
    value = path.read_text(encoding="ascii").strip()
    if len(value) < 32:
        raise PreconditionError(
            f"{path} is empty or cut short.",
            "Put it back from a backup, or delete it to have a new one.",
        )
    return value


def _write_temporary(path: Path, text: str, mode: int) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    return Path(name)


def sync_directory(directory: Path) -> None:
    """Make renames in a directory last through a power cut.

    Args:
        directory: where something was renamed, made or removed.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
