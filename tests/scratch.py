"""A scratch folder that other accounts can reach; pytest's own are closed again at each start."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder with mode 0755 and remove it afterwards."""
    path = Path(tempfile.mkdtemp(prefix="vixtract-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
