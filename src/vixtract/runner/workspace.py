"""The two directories of a run: its record under /runs/<owner>, and a private temporary one.

Below its first level the record belongs to the owner, who may put anything there at any moment: all
writing in it happens with the owner's rights and relative to an open directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vixtract.errors import RequestError, VixtractError
from vixtract.files import write_whole
from vixtract.people.archive import list_left
from vixtract.processes.person import Person, acting_as, find_person
from vixtract.runner.accounts import move_runs
from vixtract.runner.config import RunnerConfig
from vixtract.runner.environment import PRIVATE_FOLDERS

_MAX_ATTEMPTS = 100
LOADS = "loads.jsonl"
MAX_LOADS_BYTES = 256 * 1024
MAX_LOADS = 100
_MODES = ("replace", "append", "upsert", "incremental")


@dataclass(frozen=True)
class Workspace:
    """The record of one run, open as `directory`, and the temporary directory `private`."""

    person: Person
    path: Path
    directory: int
    private: Path

    def create(self, name: str) -> int:
        """Make a new file in the record and return a descriptor to write it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with acting_as(self.person):
            return os.open(name, flags, 0o600, dir_fd=self.directory)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace a JSON file of the record in one durable step."""
        text = json.dumps(content, indent=1, ensure_ascii=False, default=str)
        with acting_as(self.person):
            write_whole(Path(name), text.encode("utf-8", "replace"), folder=self.directory)

    def remove(self, name: str) -> None:
        """Remove a file or link of the record, if it exists."""
        with acting_as(self.person), contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self.directory)

    def has_file(self, name: str) -> bool:
        """Return whether the record has a regular file of that name."""
        with acting_as(self.person):
            try:
                status = os.stat(name, dir_fd=self.directory, follow_symlinks=False)
            except OSError:
                return False
        return stat.S_ISREG(status.st_mode)

    def close(self) -> None:
        """Remove the private directory; the record stays."""
        os.close(self.directory)
        # Works relative to open directories: a link put there during the removal is not followed.
        shutil.rmtree(self.private, ignore_errors=True)


def make_workspace(person: Person, job: str, config: RunnerConfig) -> Workspace:
    """Make the directories of a run; a retry of the same job gets `<job>-2` and so on.

    Raises:
        RequestError: the disk is full, or another file has the name.
    """
    try:
        for name, uid in list_left(config.home_root):
            if name == person.name and uid != person.uid:
                move_runs(name, uid, config.runs_root)
        _ensure_owner_directory(config.runs_root, person)
        path, directory = _make_record(config.runs_root / person.name, job, person)
        private = _make_private(config.tmp_root, person)
    except OSError as error:
        raise RequestError(
            f"The run's directory cannot be made: {os.strerror(error.errno or 0)}.",
            "Look at the free space and the owners of the volume `runs`.",
        ) from None
    return Workspace(person, path, directory, private)


def make_owner_directories(config: RunnerConfig) -> None:
    """Make the run directories of all people: the link `runs` in a new home leads there."""
    for home in sorted(config.home_root.iterdir()):
        try:
            _ensure_owner_directory(config.runs_root, find_person(home.name, config.home_root))
        except (OSError, VixtractError):
            continue  # not a person's home; if it is, their first run reports the problem


def remove_leftovers(tmp_root: Path) -> None:
    """Remove private directories whose supervisor has ended."""
    for entry in tmp_root.iterdir():
        if not Path("/proc", entry.name.removeprefix("r")).exists():
            shutil.rmtree(entry, ignore_errors=True)


def _ensure_owner_directory(runs_root: Path, person: Person) -> None:
    path = runs_root / person.name
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise
    # Also repairs a start that was interrupted between the two steps. The parent is root's, so no
    # other account can replace the directory.
    status = path.lstat()
    if (status.st_uid, status.st_gid) != (person.uid, person.gid):
        os.chown(path, person.uid, person.gid, follow_symlinks=False)
    if stat.S_IMODE(status.st_mode) != 0o700:
        path.chmod(0o700)


def _make_record(parent: Path, job: str, person: Person) -> tuple[Path, int]:
    with acting_as(person):
        for attempt in range(1, _MAX_ATTEMPTS):
            path = parent / (job if attempt == 1 else f"{job}-{attempt}")
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                continue
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            return path, os.open(path, flags)
    raise RequestError(f"The job {job} has been tried {_MAX_ATTEMPTS - 1} times already.")


def _make_private(tmp_root: Path, person: Person) -> Path:
    # Short, because paths of the kernel's sockets in it may have at most 107 bytes.
    private = tmp_root / f"r{os.getpid()}"
    shutil.rmtree(private, ignore_errors=True)
    private.mkdir(mode=0o700)
    os.chown(private, person.uid, person.gid)
    with acting_as(person):
        for name in PRIVATE_FOLDERS:
            (private / name).mkdir(mode=0o700)
    return private


def read_loads(work: Workspace) -> list[dict[str, Any]]:
    """Return what a run loaded into PostgreSQL, as `vixtract.load` noted it beside the output.

    The file is the owner's to write: it is limited in size, and every field is checked. The caller
    has the owner's rights.

    Returns: table (`schema.table`), mode, rows, bytes and seconds of each; the newest MAX_LOADS.
    """
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(LOADS, flags, dir_fd=work.directory)
    except OSError:
        return []
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return []
        text = file.read(MAX_LOADS_BYTES)
    loads = [load for load in map(parse_load, text.splitlines()) if load is not None]
    return loads[-MAX_LOADS:]


def parse_load(line: bytes) -> dict[str, Any] | None:
    """Return the known fields of a load's record, or None where the line is not a record."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    schema, table = content.get("schema", ""), content.get("table")
    if not isinstance(table, str) or not table or not isinstance(schema, str):
        return None
    table = f"{schema}.{table}" if schema else table
    if len(table) > 140 or not table.isprintable():
        return None
    load: dict[str, Any] = {"table": table}
    if content.get("mode") in _MODES:
        load["mode"] = content["mode"]
    for name in ("rows", "bytes", "seconds"):
        value = content.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 10**15:
            load[name] = value
    return load
