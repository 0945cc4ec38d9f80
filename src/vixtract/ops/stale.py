"""Files that a killed container daemon leaves behind, and that keep it from starting.

dockerd refuses to start while its pid file names any living process, even one that is no dockerd
(after a reboot that kept /run, the number may belong to another program); so does the containerd
that it manages. Left-over state of containers makes runc say "container with given ID already
exists". All of it lies in /run and holds no data; /var/lib/docker is never touched.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

RUN = "var/run"
CONTAINERD_FILES = (
    "containerd.pid",
    "containerd.sock",
    "containerd.sock.ttrpc",
    "containerd-debug.sock",
)
#: State of single containers: of runc, and of containerd's shims.
CONTAINER_STATE = (
    "docker/runtime-runc/moby",
    "docker/runtime-runc/plugins.moby",
    "docker/containerd/daemon/io.containerd.runtime.v2.task/moby",
    "docker/containerd/daemon/io.containerd.runtime.v1.linux/moby",
)


def process_names(root: Path) -> Iterator[tuple[int, str]]:
    """Yield number and name of every living process; zombies are dead."""
    for folder in (root / "proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            text = (folder / "stat").read_text("utf-8", "replace")
            # "pid (name) state …": the name may hold spaces and brackets itself.
            name, rest = text.split("(", 1)[1].rsplit(")", 1)
            if rest.split()[0] not in "ZX":
                yield int(folder.name), name


def find_process(root: Path, prefix: str) -> int:
    """Return the id of a living process whose name (15 characters at most) has a prefix, or 0."""
    numbers = (number for number, name in process_names(root) if name.startswith(prefix))
    return next(numbers, 0)


def find_stale_files(root: Path) -> list[Path]:
    """Return what must be removed before dockerd can start; change nothing.

    Returns: files and folders without a mount in them; nothing while a dockerd runs.
    """
    if find_process(root, "dockerd"):
        return []
    run = root / RUN
    stale = [run / "docker.pid"]
    containerd = run / "docker/containerd"
    living = {number for number, name in process_names(root) if name == "containerd"}
    if _pid_in(containerd / "containerd.pid") not in living:
        stale += [containerd / name for name in CONTAINERD_FILES]
    # Living shims still hold containers: dockerd finds them by this state and ends them itself.
    if not find_process(root, "containerd-shim"):
        stale += [path for folder in CONTAINER_STATE for path in sorted((run / folder).glob("*"))]
    there = [path for path in stale if path.is_symlink() or path.exists()]
    # A container's file system may still be mounted there: removing would empty it.
    mounts = _mount_points(root)
    return [path for path in there if not any(_lies_in(mount, path) for mount in mounts)]


def _mount_points(root: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        lines = (root / "proc/mounts").read_text("utf-8", "replace").splitlines()
        return [root.resolve() / line.split()[1].lstrip("/") for line in lines if " " in line]
    return []


def _lies_in(mount: Path, folder: Path) -> bool:
    # /var/run is a link to /run, which is what the table of mounts names.
    real = folder.resolve()
    return mount == real or real in mount.parents


def _pid_in(file: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(file.read_text("ascii").strip())
    return 0


def remove_stale_files(paths: Sequence[Path]) -> int:
    """Remove files and folders; return how many are gone."""
    removed = 0
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed += not path.exists()
    return removed
