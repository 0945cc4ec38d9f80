"""Read a notebook's parameters and kernel without running anything of it.

The cell tagged `parameters` is read with Python's own parser: names, literal values, annotations
and comments. Papermill, which replaces the values at run time, takes its names from the same cell.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import tokenize
from collections.abc import Mapping
from datetime import date
from typing import Any

from vixtract.errors import Failure, RequestError

MAX_PARAMETERS = 100
MAX_TEXT = 2000
TAG = "parameters"
_NAMES = {
    "str": "text",
    "int": "integer",
    "float": "number",
    "bool": "yes_no",
    "date": "date",
    "datetime.date": "date",
    "list": "json",
    "dict": "json",
}
_CHOICES = re.compile(r"^\s*(?:choices|one of)\s*:\s*(.+)$", re.IGNORECASE)
# Also the path of an interpreter, which some kernel specifications give as their language.
_PYTHON = re.compile(r"(?:^|/)python[0-9.]*$")
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def inspect_notebook(text: str) -> dict[str, Any]:
    """Read a notebook's parameters and kernel.

    Returns: `parameters` (list of name, kind, default, help, choices), `kernel`, `language`, and
        `problem`: why there are no parameters, or empty.
    Raises:
        RequestError: the text is not a notebook.
    """
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        raise RequestError(
            "The file is no notebook: it is not JSON.",
            "Save it again in JupyterLab.",
            Failure("notebook.not_a_notebook"),
        ) from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise RequestError(
            "The file is no notebook: it has no cells.",
            "Use format 4.",
            Failure("notebook.not_a_notebook"),
        )
    metadata = _mapping(notebook.get("metadata"))
    kernel = _mapping(metadata.get("kernelspec"))
    # As in papermill: the kernel's own language info comes before its specification.
    told = _mapping(metadata.get("language_info")).get("name") or kernel.get("language")
    language = str(told or "python")[:100]
    if _PYTHON.search(language):
        language = "python"
    found: list[dict[str, Any]] = []
    problem = ""
    source = _find_source(notebook["cells"])
    if source is not None and language == "python":
        try:
            found = read_parameters(source)
        except (SyntaxError, ValueError, RecursionError) as error:
            line = getattr(error, "lineno", None) or 1
            problem = f"line {line}: {getattr(error, 'msg', None) or error}"[:MAX_TEXT]
    return {
        "parameters": found,
        "kernel": str(kernel.get("name") or "")[:100],
        "language": language,
        "tagged": source is not None,
        "problem": problem,
    }


def _find_source(cells: list[Any]) -> str | None:
    for cell in cells:
        tags = _mapping(_mapping(cell).get("metadata")).get("tags")
        if isinstance(tags, list) and TAG in tags and cell.get("cell_type") == "code":
            source = cell.get("source", "")
            return "".join(map(str, source)) if isinstance(source, list) else str(source)
    return None


def read_parameters(source: str) -> list[dict[str, Any]]:
    """Return the assignments of a parameters cell, in order.

    Returns: name, kind (as in `portal.library.KINDS`), default (JSON value or None), help, choices,
        required.
    Raises:
        SyntaxError: the code is not Python.
    """
    # Magics and shell commands are not Python; the rest of the cell is.
    lines = ["" if re.match(r"\s*[%!]", line) else line for line in source.split("\n")]
    source = "\n".join(lines)
    comments = _read_comments(source)
    found: dict[str, dict[str, Any]] = {}
    for node in ast.parse(source).body:
        target = _target(node)
        if target is None or target.startswith("_"):
            continue
        assert isinstance(node, (ast.Assign, ast.AnnAssign))
        parameter = _describe(node, target, comments, lines)
        if parameter is not None:
            found[target] = parameter
    return list(found.values())[:MAX_PARAMETERS]


def _target(node: ast.stmt) -> str | None:
    target: ast.expr | None = None
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    elif isinstance(node, ast.AnnAssign):
        target = node.target
    return target.id if isinstance(target, ast.Name) else None


def _describe(
    node: ast.Assign | ast.AnnAssign, name: str, comments: Mapping[int, str], lines: list[str]
) -> dict[str, Any] | None:
    is_known, default = _read_value(node.value)
    if node.value is not None and not is_known:
        # Computed at run time: a form cannot know the value.
        return None
    annotation = node.annotation if isinstance(node, ast.AnnAssign) else None
    kind, choices = _read_annotation(annotation)
    help_text, listed = _find_help(node, comments, lines)
    choices = choices or [_read_choice(text, default) for text in listed]
    if choices:
        kind = "choice"
    return {
        "name": name[:MAX_TEXT],
        "kind": kind or _guess_kind(node.value, default),
        "default": default,
        "help": help_text[:MAX_TEXT],
        "choices": choices,
        "required": node.value is None,
    }


def _read_value(node: ast.expr | None) -> tuple[bool, Any]:
    """Return whether a value is a literal, and its JSON value."""
    if node is None:
        return False, None
    day = _read_date_call(node)
    if day is not None:
        return True, day
    try:
        value = ast.literal_eval(node)
        # A form cannot send what JSON cannot hold: bytes, sets, complex numbers.
        return True, json.loads(json.dumps(value, allow_nan=False))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False, None


def _read_date_call(node: ast.expr) -> str | None:
    """Read `date(2026, 1, 31)` and `datetime.date(2026, 1, 31)`."""
    if not isinstance(node, ast.Call) or node.keywords or len(node.args) != 3:
        return None
    if ast.unparse(node.func) not in ("date", "datetime.date"):
        return None
    try:
        return date(*(ast.literal_eval(argument) for argument in node.args)).isoformat()
    except (ValueError, TypeError):
        return None


def _read_annotation(node: ast.expr | None) -> tuple[str, list[Any]]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            node = ast.parse(node.value, mode="eval").body
        except SyntaxError:
            node = None
    if node is None:
        return "", []
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _read_annotation(node.left)
    if isinstance(node, ast.Subscript):
        base = ast.unparse(node.value).rpartition(".")[2]
        if base == "Literal":
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            values = [_read_value(part) for part in parts]
            return "choice", [value for is_known, value in values if is_known]
        if base == "Optional":
            return _read_annotation(node.slice)
        return _NAMES.get(base, ""), []
    return _NAMES.get(ast.unparse(node), ""), []


def _guess_kind(node: ast.expr | None, default: Any) -> str:
    if isinstance(default, bool):
        return "yes_no"
    if isinstance(default, int):
        return "integer"
    if isinstance(default, float):
        return "number"
    if isinstance(default, (list, dict)):
        return "json"
    is_date = isinstance(default, str) and _ISO_DATE.fullmatch(default)
    return "date" if is_date or (node is not None and _read_date_call(node)) else "text"


def _read_comments(source: str) -> dict[int, str]:
    """Return the comment of each line by line number."""
    found: dict[int, str] = {}
    with contextlib.suppress(tokenize.TokenError, IndentationError):
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                found[token.start[0]] = token.string.lstrip("#").strip()
    return found


def _find_help(
    node: ast.stmt, comments: Mapping[int, str], lines: list[str]
) -> tuple[str, list[str]]:
    """Return help and choices from the comment beside an assignment, or from those above it."""
    texts: list[str] = []
    above = node.lineno - 1
    while above in comments and lines[above - 1].lstrip().startswith("#"):
        texts.insert(0, comments[above])
        above -= 1
    if (node.end_lineno or node.lineno) in comments:
        texts.append(comments[node.end_lineno or node.lineno])
    listed: list[str] = []
    kept = []
    for line in texts:
        text = line
        match = _CHOICES.match(text) or re.search(r"\b(?:choices|one of)\s*:\s*(.+)$", text)
        if match:
            listed = [part.strip().strip("'\"") for part in match[1].split(",") if part.strip()]
            text = text[: match.start()].rstrip(" .;,(-")
        # `# type: int` is papermill's older notation for the type.
        if text and not text.startswith("type:"):
            kept.append(text)
    return " ".join(kept), listed[:200]


def _read_choice(text: str, default: Any) -> Any:
    """Return a choice from a comment in the type of the default."""
    if isinstance(default, bool):
        return text.lower() in ("true", "yes")
    if isinstance(default, (int, float)):
        with contextlib.suppress(ValueError):
            return type(default)(text)
    return text


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
