"""Python files read and parsed once in a process, for tests that look at all of `src`."""

from __future__ import annotations

import ast
import functools
from pathlib import Path


@functools.cache
def read_text(path: Path) -> str:
    """Return a file's text."""
    return path.read_text(encoding="utf-8")


@functools.cache
def list_nodes(path: Path) -> list[ast.AST]:
    """Return all nodes of a file's syntax tree, the module first."""
    return list(ast.walk(ast.parse(read_text(path))))
