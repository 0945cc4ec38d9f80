"""Files that appear whole or not at all, and the secrets that containers share in /srv/secrets.

A secret is made once, by whichever container comes first, and then read by all.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

from vixtract.credentials import generate_password
from vixtract.errors import PreconditionError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_whole(
    path: Path,
    content: str | bytes,
    *,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
    folder: int | None = None,
    sync: bool = True,
) -> None:
    """Replace a file in one step: a crash leaves the old content or the new, never a part.

    The content goes to a new file in the same directory, which must exist; it then takes the name.
    A link that stands under either name is replaced, never followed.

    Args:
        mode: permissions of the new file, whatever the umask.
        owner: uid and gid of the new file; those of this process by default.
        folder: descriptor of an open directory; `path` is then a plain name in it.
        sync: write content and name to the disk before returning. Without it a power cut, but no
            crash of the process, may lose both.
    Raises:
        OSError: the file cannot be written; the old one is still there.
    """
    opened = _open_folder(path.parent) if folder is None else nullcontext(folder)
    with opened as descriptor:
        with _temporary_file(descriptor, path.name, content, mode, owner, sync) as temporary:
            os.replace(temporary, path.name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        if sync:
            os.fsync(descriptor)


def publish_file(temporary: Path, path: Path) -> None:
    """Give a file that another program wrote its final name, once its content is on the disk.

    Args:
        temporary: the finished file, in the directory of `path`.
    """
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make renames in a directory last through a power cut."""
    with _open_folder(directory) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _open_folder(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _temporary_file(
    folder: int,
    name: str,
    content: str | bytes,
    mode: int,
    owner: tuple[int, int] | None,
    sync: bool,
) -> Iterator[str]:
    """Give the name of a new file with this content; what still has that name at the end goes."""
    # A name may have 255 bytes in all, and a character up to four of them.
    temporary = f".{name[:50]}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, _NEW_FILE, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            if owner is not None:
                os.fchown(descriptor, *owner)
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if sync:
                os.fsync(descriptor)
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)


_CRONICLE = ("cronicle_key", "cronicle_session", "cronicle_oauth")
_PLAIN = ("api_key", "hub_token", "worker_key", *_CRONICLE)
_GENERATORS: dict[str, Callable[[], str]] = {
    **dict.fromkeys(_PLAIN, partial(generate_password, 40)),
    "role_key": partial(secrets.token_hex, 32),
    # What Fernet takes as a key.
    "connection_key": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
}


def generate_secret(name: str) -> str:
    """Return a new value of a secret, see `ensure_secret`."""
    return _GENERATORS[name]()


def ensure_secret(directory: Path, name: str) -> str:
    """Return a secret, making it first where it is missing.

    Args:
        directory: usually /srv/secrets; made 0700 where it is missing.
        name: `role_key` (64 hex digits), `connection_key` (Fernet's), or one of the others (40
            letters and digits).
    Raises:
        PreconditionError: the file exists, and is empty or can be read by others.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / name
    if not path.exists():
        _create(path, generate_secret(name))
    return read_secret(path)


def _create(path: Path, text: str) -> None:
    with (
        _open_folder(path.parent) as folder,
        _temporary_file(folder, path.name, text + "\n", 0o600, None, True) as temporary,
        # Refused where another container was faster: then its secret counts.
        suppress(FileExistsError),
    ):
        os.link(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    sync_directory(path.parent)


def read_secret(path: Path) -> str:
    """Return a secret that must be there.

    Raises:
        PreconditionError: its file is open to others, or cut short.
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
