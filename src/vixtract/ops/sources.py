"""Which files go into an image, and one hash of their content.

The hash becomes a label of the image: while it matches the files, nothing is rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

#: The build host's certificate authorities: they have a label of their own.
CA_FILE = "docker/base/ca/host.crt"


def join_lines(dockerfile: str) -> list[str]:
    """Return a Dockerfile's instructions, one a line, without comments."""
    kept = "\n".join(line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    return [" ".join(line.split()) for line in re.sub(r"\\\s*\n", " ", kept).splitlines() if line]


def list_copied(dockerfile: str) -> list[str]:
    """Return the sources of COPY and ADD as written, without those from other stages."""
    sources: list[str] = []
    for line in join_lines(dockerfile):
        keyword, _, rest = line.partition(" ")
        if keyword.upper() not in ("COPY", "ADD"):
            continue
        flags = re.match(r"(?:--\S+ )*", rest)
        assert flags is not None
        if "--from=" in flags[0]:
            continue
        rest = rest[flags.end() :]
        parts = json.loads(rest) if rest.startswith("[") else rest.split()
        sources += [part for part in parts[:-1] if "://" not in part]
    return sources


def list_arguments(dockerfile: str) -> set[str]:
    """Return the names that a Dockerfile declares with ARG."""
    found = (re.match(r"ARG (\w+)", line, re.IGNORECASE) for line in join_lines(dockerfile))
    return {match[1] for match in found if match}


class IgnoreFile:
    """The rules of `.dockerignore`.

    Source: https://docs.docker.com/build/concepts/context/#dockerignore-files
    """

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for raw in text.splitlines():
            line = raw.strip()
            if line and not line.startswith("#"):
                kept = line.startswith("!")
                self._rules.append((_pattern(line.lstrip("!").strip("/")), kept))

    def allows(self, path: str) -> bool:
        """Say whether a file goes into the build context, to which its path is relative."""
        allowed = True
        for pattern, kept in self._rules:
            if pattern.match(path):
                allowed = kept
        return allowed


def _pattern(rule: str) -> re.Pattern[str]:
    text = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", rule):
        special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
        text += special.get(part, re.escape(part))
    # A rule for a folder holds for all that lies in it.
    return re.compile(text + r"(?:/.*)?\Z")


def list_files(root: Path, dockerfile: str) -> list[str]:
    """Return the files that go into an image, the Dockerfile first, without the authorities.

    Args:
        dockerfile: path of the Dockerfile relative to the build context.
    Returns: sorted paths relative to the context.
    """
    ignore_file = root / ".dockerignore"
    ignore = IgnoreFile(ignore_file.read_text("utf-8") if ignore_file.is_file() else "")
    found: set[str] = set()
    for source in list_copied((root / dockerfile).read_text("utf-8")):
        pattern = source.strip("/")
        tops = [root] if pattern in ("", ".") else root.glob(pattern)
        for top in tops:
            paths = [p for p in top.rglob("*") if not p.is_dir()] if top.is_dir() else [top]
            found |= {p.relative_to(root).as_posix() for p in paths}
    kept = sorted(path for path in found if path != CA_FILE and ignore.allows(path))
    return [dockerfile, *[path for path in kept if path != dockerfile]]


def hash_files(root: Path, files: Sequence[str], extra: str = "") -> str:
    """Return one hash of names, contents and executable bits of files: 16 hexadecimal digits.

    Args:
        root: folder that the names are relative to.
        extra: more text to hash, such as the hash of the image below.
    """
    digest = hashlib.sha256(extra.encode())
    for name in files:
        path = root / name
        if path.is_symlink():
            content, mode = str(path.readlink()).encode(), "link"
        else:
            content = path.read_bytes()
            mode = "exec" if path.stat().st_mode & 0o100 else "file"
        digest.update(f"\0{name}\0{mode}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]
