"""Puts secret settings into the volume `secrets`; run as root in a container of its own.

    python -I -m vixtract.hub.delivery < {"POSTGRES_PASSWORD": "..."}

Prints the names that changed, one a line. What is not given is removed: its default holds again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from vixtract.files import write_durably
from vixtract.secret_settings import DELIVERED, SECRET_NAMES


def deliver(values: Mapping[str, str], directory: Path = DELIVERED) -> list[str]:
    """Make the files of a directory say what is given.

    Args:
        values: secret setting to value.
        directory: made 0700 with its parent where it is missing.
    Returns: names whose value changed.
    Raises:
        ValueError: a name is none of a secret setting, or a value is empty or has a line break.
    """
    for name, value in values.items():
        if name not in SECRET_NAMES or not value or "\n" in value:
            raise ValueError(f"{name} cannot be delivered")
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.parent.chmod(0o700)
    directory.mkdir(mode=0o700, exist_ok=True)
    changed = []
    for path in directory.iterdir():
        if path.name not in values:
            path.unlink()
            changed.append(path.name)
    for name, value in values.items():
        path = directory / name
        if not (path.is_file() and path.read_text("utf-8") == value):
            write_durably(path, value)
            changed.append(name)
    return sorted(name for name in changed if not name.startswith("."))


def main() -> int:
    """Deliver what stands on standard input as JSON."""
    sys.stdout.write("\n".join(deliver(json.load(sys.stdin))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
