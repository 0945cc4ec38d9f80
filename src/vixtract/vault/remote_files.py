"""Files on other systems, as petl takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from vixtract.vault.errors import VaultError


@dataclass(frozen=True)
class RemoteFile:
    """A file as petl takes it: `petl.fromcsv(crm.file("in/sales.csv"))`."""

    opener: Callable[[str, str], AbstractContextManager[Any]]
    path: str

    @contextmanager
    def open(self, mode: str = "rb") -> Iterator[Any]:
        """Open the file in mode `rb` or `wb`."""
        if mode not in {"rb", "wb"}:
            raise VaultError(f"A remote file cannot be opened as {mode!r}.", "Use 'rb' or 'wb'.")
        with self.opener(self.path, mode) as file:
            yield file
