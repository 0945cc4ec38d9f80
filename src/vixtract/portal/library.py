"""People's notebooks as the portal sees them: read as their owner by the homes server.

The answers contain text that people wrote: their shape is checked here, and they are only shown.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vixtract.errors import VixtractError
from vixtract.homes.client import HomesError, ask
from vixtract.language import Language, mark
from vixtract.processes.questions import UnansweredError

log = logging.getLogger(__name__)

KINDS = ("text", "integer", "number", "yes_no", "date", "choice", "json")
# What the job container has too; a person's own kernels come from the homes server.
KERNEL_FOLDERS = (Path("/usr/share/jupyter/kernels"), Path("/usr/local/share/jupyter/kernels"))


class LibraryError(VixtractError):
    """A notebook cannot be read or pinned; the message says why, for the person."""


@dataclass(frozen=True)
class Parameter:
    """One variable of a parameters cell.

    Args:
        default: JSON value that stands in the notebook; None where there is none.
        choices: JSON values, for kind choice.
        required: whether the notebook gives it no value.
    """

    name: str
    kind: str = "text"
    default: Any = None
    help: str = ""
    choices: tuple[Any, ...] = ()
    required: bool = False


@dataclass(frozen=True)
class Inspection:
    """What the homes server finds in a notebook.

    Args:
        kernel: its own kernel's name, may be empty.
        problem: why its parameters cannot be shown, or empty.
        found: whether the notebook could be read at all.
    """

    parameters: tuple[Parameter, ...] = ()
    kernel: str = ""
    problem: str = ""
    found: bool = True


@dataclass(frozen=True)
class Listing:
    """A person's notebooks and kernels.

    Args:
        notebooks: paths below the home, newest first.
        kernels: name to title, of all kernels that the person's jobs can use.
    """

    notebooks: tuple[str, ...] = ()
    kernels: Mapping[str, str] = field(default_factory=dict)


# By the codes of failures; what has no text here is shown in its own words.
EXPLANATIONS = {
    "notebook.not_found": mark("The notebook was not found in the home folder."),
    "notebook.not_in_home": mark("The path leads to no notebook in the home folder."),
    "notebook.not_a_file": mark("Links and special files are not opened."),
    "notebook.not_readable": mark("The file may not be read: let its owner read it."),
    "notebook.not_a_notebook": mark(
        "The file is no notebook, or is empty: save it again in JupyterLab."
    ),
    "notebook.too_large": mark("The notebook is too large: clear its outputs."),
    "notebook.not_written": mark("The pinned copy cannot be written: look at the free space."),
}


def explain(error: LibraryError, language: Language) -> str:
    """Return why a notebook cannot be read or pinned, in the person's language."""
    if error.failure and error.failure.code in EXPLANATIONS:
        return language.say(EXPLANATIONS[error.failure.code])
    return f"{language.say(error.message)} {language.say(error.hint) if error.hint else ''}".strip()


class Library:
    """Asks the homes server."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def inspect(self, person: str, notebook: str) -> Inspection:
        """Return the parameters of a notebook, named by its path below the home; blocks.

        Raises:
            LibraryError: it cannot be read, with the reason.
        """
        answer = self._ask(do="inspect", person=person, notebook=notebook)
        return Inspection(
            tuple(_read_parameters(answer.get("parameters"))),
            str(answer.get("kernel") or "")[:100],
            str(answer.get("problem") or "")[:2000],
        )

    def pin(self, person: str, notebook: str) -> str:
        """Keep a copy of a notebook as it is now; return its SHA-256. Blocks.

        Raises:
            LibraryError: it cannot be kept, with the reason.
        """
        digest = self._ask(do="pin", person=person, notebook=notebook).get("pinned")
        if not isinstance(digest, str) or len(digest) != 64:
            raise LibraryError("The notebook could not be pinned.")
        return digest

    def list(self, person: str) -> Listing:
        """Return a person's notebooks and kernels, without unreadable ones. Blocks."""
        kernels: dict[str, str] = {}
        for folder in KERNEL_FOLDERS:
            kernels.update(_read_kernels(folder))
        try:
            answer = self._ask(do="list", person=person)
        except LibraryError as error:
            log.info("no list for %s: %s", person, error.message)
            answer = {}
        for kernel in _objects(answer.get("kernels")):
            kernels[str(kernel.get("name"))[:100]] = str(kernel.get("title"))[:200]
        return Listing(tuple(map(str, answer.get("notebooks") or ())), kernels)

    def _ask(self, **question: str) -> dict[str, Any]:
        try:
            return ask(self._path, question)
        except HomesError as error:
            raise LibraryError(error.message, error.hint, error.failure) from error
        except UnansweredError as error:
            log.warning("the homes server did not answer: %s", error.message)
            raise LibraryError("The notebook cannot be looked at now.", "Try again.") from error


def _read_parameters(values: object) -> Sequence[Parameter]:
    parameters = []
    for value in _objects(values):
        name, kind = str(value.get("name")), str(value.get("kind"))
        if not name.isidentifier() or kind not in KINDS:
            continue
        choices = value.get("choices")
        parameters.append(
            Parameter(
                name,
                kind,
                value.get("default"),
                str(value.get("help") or ""),
                tuple(choices) if isinstance(choices, list) else (),
                bool(value.get("required")),
            )
        )
    return parameters


def _read_kernels(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.glob("*/kernel.json")):
        try:
            found[path.parent.name] = str(json.loads(path.read_text("utf-8"))["display_name"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def _objects(values: object) -> list[Mapping[str, Any]]:
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []
