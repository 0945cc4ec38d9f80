"""The files of runs, read by the homes server: the portal's account cannot open them.

Whether the person may see a run is decided before (`access`). Only folders that a run of this
owner can have are asked for.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from pydantic import TypeAdapter

from vixtract.homes.client import HomesError, ask
from vixtract.portal.errors import AwayError, NotFoundError
from vixtract.portal.models import Run
from vixtract.processes.questions import UnansweredError

log = logging.getLogger(__name__)

CHUNK = 256 * 1024


@dataclass(frozen=True)
class RunFile:
    """A file that a run wrote: its path below the run's folder, its size in bytes, its change."""

    path: str
    size: int
    changed: datetime


@dataclass(frozen=True)
class Cell:
    """A code cell of an executed notebook, and its outputs as a shortened text and its digest.

    Args:
        number: as a person counts, from 1.
        id: nbformat's; empty in old notebooks.
        source: shortened.
        failed: whether it raised an error.
    """

    number: int
    id: str
    source: str
    digest: str
    text: str
    failed: bool


FILES, CELLS = TypeAdapter(list[RunFile]), TypeAdapter(list[Cell])


@dataclass(frozen=True)
class OpenFile:
    """A file that is open for reading, with its size then; iterating over it closes it."""

    file: BinaryIO
    size: int

    def __iter__(self) -> Iterator[bytes]:
        """Yield the content up to the size that the file had when it was opened."""
        left = self.size
        with self.file:
            while left > 0 and (data := self.file.read(min(CHUNK, left))):
                left -= len(data)
                yield data


class Archive:
    """Asks the homes server about runs. Every call blocks."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def list_files(self, run: Run) -> list[RunFile]:
        """List the files that a run wrote; empty where its folder is gone.

        Raises:
            AwayError: the homes server does not answer.
        """
        try:
            answer, _ = self._ask(run, do="files")
        except NotFoundError:
            return []
        return FILES.validate_python(answer.get("files") or [])

    def list_cells(self, run: Run) -> list[Cell]:
        """Return the code cells of the executed notebook; empty where it cannot be read."""
        if not run.output_name:
            return []
        try:
            answer, _ = self._ask(run, do="cells", path=run.output_name)
        except (NotFoundError, AwayError):
            return []
        return CELLS.validate_python(answer.get("cells") or [])

    def open(self, run: Run, path: str) -> OpenFile:
        """Open a file of a run; the path is below the run's folder.

        Raises:
            NotFoundError: there is no regular file at this path.
            AwayError: the homes server does not answer.
        """
        answer, descriptors = self._ask(run, do="open", path=path)
        if len(descriptors) != 1:
            raise _no_file()
        return OpenFile(os.fdopen(descriptors[0], "rb"), int(answer.get("size") or 0))

    def _ask(self, run: Run, **question: str) -> tuple[Mapping[str, Any], list[int]]:
        whole = {**question, "person": run.owner, "record": _find_record(run)}
        return ask_homes(self._path, whole)


def _find_record(run: Run) -> str:
    """Return the name of a run's folder; NotFoundError if no run of this id can have that name."""
    name = PurePosixPath(run.folder).name if run.folder else run.id
    expected = rf"{re.escape(run.id)}(-\d{{1,2}})?"
    if not run.owner or not re.fullmatch(expected, name):
        raise _no_file()
    return name


def _no_file() -> NotFoundError:
    return NotFoundError("File not found.", "Old runs are deleted after a while.")


def ask_homes(path: Path, question: Mapping[str, str]) -> tuple[Mapping[str, Any], list[int]]:
    """Ask the homes server one question.

    Args:
        question: as `vixtract.homes.server` describes it.
    Returns: the answer, and the descriptors that came with it, which the caller closes.
    Raises:
        NotFoundError: the homes server did not find it.
        AwayError: it does not answer.
    """
    files: list[int] = []
    try:
        return ask(path, question, files), files
    except HomesError as error:
        raise NotFoundError(error.message, error.hint) from error
    except UnansweredError as error:
        log.warning("the homes server did not answer: %s", error.message)
        raise AwayError("The files of runs cannot be read now.", "Try again.") from error
