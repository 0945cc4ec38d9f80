"""Explain errors of the notebook libraries to the author of the notebook."""

from __future__ import annotations

import json
import re
from typing import Any

from vixtract.errors import VixtractError

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SECONDS = re.compile(r"after (\d+) seconds")
_TRACE_LINES = 40

_READ_ONLY = "homes are read-only in scheduled runs: write to the directory in VIXTRACT_OUTPUT_DIR"
_MEMORY = "the run's memory limit was reached: load less at once, or raise the event's limit"


class NotebookError(VixtractError):
    """A notebook that cannot be run as it is."""


def load_notebook(data: bytes, name: str) -> Any:
    """Return a notebook of any known format as nbformat's node, upgraded to version 4.

    Raises:
        NotebookError: the file is not a notebook; the message says what it is.
    """
    import nbformat

    resave = "Open it in JupyterLab and save it again, or take it from a backup."
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise NotebookError(f"{name} is not a notebook: it is not text in UTF-8.", resave) from None
    except RecursionError:
        raise NotebookError(f"{name} is not a notebook: it is nested too deeply.", resave) from None
    except ValueError as error:
        if not data.strip():
            raise NotebookError(f"{name} is empty.", resave) from None
        if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            raise NotebookError(f"{name} is not a notebook: it is not JSON.", resave) from None
        raise NotebookError(f"{name} is damaged, perhaps cut off: {error}.", resave) from None
    _check_shape(content, name)
    try:
        notebook = nbformat.reads(json.dumps(content), as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(notebook)
    except Exception as error:
        first = str(error).strip().splitlines()[:1]
        raise NotebookError(
            f"{name} is not a valid notebook: {' '.join(first)[:200]}", resave
        ) from None
    return notebook


def _check_shape(content: Any, name: str) -> None:
    if not isinstance(content, dict) or "nbformat" not in content:
        raise NotebookError(
            f"{name} is JSON, but not a notebook.", "Give the path of a file made by JupyterLab."
        )
    major = content["nbformat"]
    if not isinstance(major, int) or isinstance(major, bool) or major < 1:
        raise NotebookError(f"{name} has a notebook format of {str(major)[:40]!r}, which is none.")
    if major > 4:
        raise NotebookError(
            f"{name} has notebook format {major}; this appliance knows formats up to 4.",
            "Save it with an older JupyterLab, or upgrade the appliance.",
        )


def explain_failure(error: BaseException, cell: int, kernel: str) -> tuple[str, str]:
    """Return what happened and what to do where no cell failed; cell 0 is before the first."""
    name = type(error).__name__
    if name == "NoSuchKernel":
        wanted = getattr(error, "name", kernel)
        return (
            f"There is no kernel {wanted!r} here.",
            "Leave the event's kernel empty, or install it with `ipython kernel install --user`.",
        )
    about_kernel = _explain_kernel(error, cell)
    if about_kernel:
        return about_kernel
    if name == "PapermillMissingParameterException":
        return f"The parameters do not fit: {error}.", ""
    if isinstance(error, OSError) and error.errno == 28:
        return "The disk is full.", "Make room on the volume `runs`."
    return f"The notebook could not be run: {name}: {str(error)[:500]}", ""


def _explain_kernel(error: BaseException, cell: int) -> tuple[str, str] | None:
    name = type(error).__name__
    if name == "DeadKernelError" or (isinstance(error, RuntimeError) and "died" in str(error)):
        where = f"in cell {cell}" if cell else "at its start"
        return (
            f"The kernel died {where}: out of memory, or a crash inside a library.",
            "See the last lines of the log.",
        )
    if name == "CellTimeoutError":
        found = _SECONDS.search(str(error))
        limit = f"{found[1]} s" if found else "a cell may"
        return (
            f"Cell {cell} took longer than {limit}.",
            "The limit is execution.timeout in the notebook's metadata, or papermill's"
            " --execution-timeout.",
        )
    if isinstance(error, RuntimeError) and "respond" in str(error):
        return "The kernel did not start in time.", "Look at the machine's load and start it again."
    return None


def hint_for(name: str, message: str) -> str:
    """Return a hint about an error in a cell, or an empty text."""
    if name == "MemoryError" or name.endswith("ArrayMemoryError"):
        return _MEMORY
    if "[Errno 30]" in message or "Read-only file system" in message:
        return _READ_ONLY
    return ""


def plain_traceback(lines: list[str]) -> str:
    """Return the last lines of a traceback without colours."""
    text = _ANSI.sub("", "\n".join(lines)).splitlines()
    if len(text) > _TRACE_LINES:
        text = ["…", *text[-_TRACE_LINES:]]
    return "\n".join(line[:500] for line in text)
