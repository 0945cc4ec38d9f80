"""Files of people who left: moved to a directory that only root reads, packed, or handed over.

The directory is `/home/.vixtract`, on the volume of the homes. `left/<name>.<uid>` records who
left: a uid in there is never used again, also not after a restore.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
import threading
from pathlib import Path

from vixtract.errors import VixtractError
from vixtract.files import publish_file, write_whole

log = logging.getLogger(__name__)

PLACE = ".vixtract"
PACK_S = 6 * 3600.0


class ArchiveError(VixtractError):
    """Files could not be moved."""


def ensure_place(home_root: Path, folder: str = "") -> Path:
    """Return a directory below `/home/.vixtract`, made 0700 root where it is missing.

    Args:
        folder: left, archive, kept or moving; empty is the place itself.
    """
    place = home_root / PLACE
    for directory in (place, place / folder):
        directory.mkdir(mode=0o700, exist_ok=True)
        directory.chmod(0o700)
    return place / folder


def list_left(home_root: Path) -> list[tuple[str, int]]:
    """Return name and former uid of all people who left; empty for all accounts but root."""
    try:
        names = sorted(entry.name for entry in (home_root / PLACE / "left").iterdir())
    except (FileNotFoundError, PermissionError):
        return []
    pairs = [name.rpartition(".") for name in names if not name.startswith(".")]
    return [(name, int(uid)) for name, _, uid in pairs if name and uid.isdigit()]


def generation(name: str, home_root: Path) -> int:
    """Return how many people of this name left before; each had another PostgreSQL password."""
    return sum(left == name for left, _ in list_left(home_root))


def find_moved(name: str, home_root: Path) -> Path | None:
    """Return the last home of this name that is not handed over yet."""
    for left, uid in reversed(list_left(home_root)):
        path = home_root / PLACE / "moving" / f"{left}.{uid}"
        if left == name and path.is_dir():
            return path
    return None


def take_home(name: str, home_root: Path, folder: str) -> Path | None:
    """Move a home, in one step, to where only root can reach it.

    Args:
        name: person whose processes have ended.
        folder: archive (to be packed), kept, or moving (to be handed over).
    Returns: the new path; None where there is no home any more.
    Raises:
        ArchiveError: the path is not a person's home, or it cannot be moved.
    """
    home = home_root / name
    try:
        status = home.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid == 0:
        raise ArchiveError(f"{home} is not a person's home.", "Move it away by hand.")
    label = f"{name}.{status.st_uid}"
    target = ensure_place(home_root, folder) / label
    try:
        # First the record: from here on the uid is not used again.
        write_whole(ensure_place(home_root, "left") / label, "")
        home.rename(target)
    except OSError as error:
        raise ArchiveError(f"{home} cannot be moved: {error.strerror}.") from error
    return target


def choose_folder(name: str, to: str, home_root: Path) -> str:
    """Return a name that is free in the other person's home: `from-<name>`."""
    number, folder = 1, f"from-{name}"
    while os.path.lexists(home_root / to / folder):
        number += 1
        folder = f"from-{name}-{number}"
    return folder


def hand_over_home(name: str, to: str, folder: str, home_root: Path) -> Path | None:
    """Give a home to another person, as a folder in theirs; may be interrupted and run again.

    The processes of the person who leaves have ended.

    Returns: where the files are now; None where there were none left to move.
    Raises:
        ArchiveError: the files cannot be moved, or the folder's name is taken.
    """
    moving = take_home(name, home_root, "moving") or find_moved(name, home_root)
    if moving is None:
        return None
    target = home_root / to / folder
    receiver = (home_root / to).lstat()
    if os.path.lexists(target):
        raise ArchiveError(f"{target} exists already.", f"{to} has to rename it.")
    _give(moving, int(moving.name.rpartition(".")[2]), receiver.st_uid)
    runs = moving / "runs"
    if runs.is_symlink():
        runs.unlink()
    # Only root reached the tree so far; what the receiver puts at the target now is not followed.
    try:
        moving.rename(target)
    except OSError as error:
        raise ArchiveError(f"{moving} cannot be moved to {target}: {error.strerror}.") from error
    return target


def _give(top: Path, uid: int, to: int) -> None:
    """Change the owner of all files of a person in a tree that only root can reach."""
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = os.path.join(folder, name)  # noqa: PTH118 - millions of files
            # A hard link to another person's file stays theirs.
            if os.lstat(path).st_uid == uid:
                os.chown(path, to, to, follow_symlinks=False)
    os.chown(top, to, to, follow_symlinks=False)


class Packer:
    """A daemon thread that packs archived homes into `<name>.<uid>.tar.gz`."""

    def __init__(self, home_root: Path) -> None:
        self._home_root = home_root
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="packer", daemon=True)

    def start(self) -> None:
        """Start; what an earlier container left is packed first."""
        self._wake.set()
        self._thread.start()

    def wake(self) -> None:
        """Have the thread look for something to pack; return at once."""
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            try:
                pack(self._home_root)
            except (OSError, subprocess.SubprocessError, VixtractError) as error:
                log.error("Archived files stay unpacked: %s", error)


def pack(home_root: Path) -> list[Path]:
    """Pack all directories in the archive; an interruption leaves the directory or the whole file.

    Returns: the files made.
    Raises:
        ArchiveError: tar failed; the directory stays.
    """
    archive = home_root / PLACE / "archive"
    made = []
    for directory in sorted(archive.iterdir() if archive.is_dir() else ()):
        if directory.is_dir() and not directory.is_symlink():
            target = archive / f"{directory.name}.tar.gz"
            partial = archive / f".{directory.name}.partial"
            _tar(directory, partial)
            publish_file(partial, target)
            shutil.rmtree(directory)
            made.append(target)
    return made


def _tar(directory: Path, target: Path) -> None:
    command = ["/usr/bin/nice", "-n", "15", "/usr/bin/tar", "--create", "--gzip"]
    command += ["--numeric-owner", "--file", str(target), "--directory", str(directory.parent)]
    done = subprocess.run(
        [*command, "--", directory.name],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=PACK_S,
        check=False,
    )
    # 1: a socket was left out, which holds no data.
    if done.returncode not in (0, 1):
        raise ArchiveError(f"{directory} was not packed: {done.stderr.strip()[-200:]}")
    target.chmod(0o600)
