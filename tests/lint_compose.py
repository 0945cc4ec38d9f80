"""Ask compose-lint about every compose file, those that add to another one merged with it.

Usage: lint_compose.py COMPOSE_LINT FILE... Exit code 1 when it finds something that
.compose-lint.yml does not give a reason for.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

MAIN = "docker-compose.yml"
CONFIG = ".compose-lint.yml"


def merge(base: Any, more: Any) -> Any:
    """Return what compose makes of a value and what a second file adds to it."""
    if isinstance(base, dict) and isinstance(more, dict):
        added = {key: merge(base.get(key), value) for key, value in more.items()}
        return {**base, **added}
    if isinstance(base, list) and isinstance(more, list):
        return [*base, *more]
    return more


def whole_files(root: Path, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield each file's name and content; a file whose services are all the main one's adds to it."""
    main = yaml.safe_load((root / MAIN).read_text(encoding="utf-8"))
    for name in names:
        content = yaml.safe_load((root / name).read_text(encoding="utf-8"))
        adds = name != MAIN and set(content["services"]) <= set(main["services"])
        yield name, merge(main, content) if adds else content


def lint(program: str, root: Path, names: Sequence[str]) -> int:
    """Check all files; print what is found; return 1 where that is anything.

    Args:
        program: compose-lint.
        root: folder of the files and of compose-lint's configuration.
        names: files relative to it.
    """
    worst = 0
    for name, content in whole_files(root, names):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            path.write_text(yaml.safe_dump(content), encoding="utf-8")
            done = subprocess.run(
                [program, "--config", str(root / CONFIG), "--fail-on", "low", str(path)],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        if done.returncode:
            worst = 1
            sys.stderr.write(f"{name}:\n{done.stdout}{done.stderr}\n")
    return worst


if __name__ == "__main__":
    sys.exit(lint(sys.argv[1], Path.cwd(), sys.argv[2:]))
