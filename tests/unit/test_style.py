"""The sizes and docstrings that keep the code readable."""

from __future__ import annotations

import ast
import re
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "src").rglob("*.py")) + sorted((ROOT / "jupyter").rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in SOURCE]


def functions(path: Path):
    """Yield every function of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def documented_arguments(docstring: str) -> set[str]:
    """Return the names of a docstring's Args section."""
    match = re.search(r"^Args:\n((?:[ ]{4,}.*\n?|\n)+)", docstring, re.MULTILINE)
    if match is None:
        return set()
    return set(re.findall(r"^    \*{0,2}(\w+):", match.group(1), re.MULTILINE))


@pytest.mark.parametrize("path", SOURCE, ids=NAMES)
def test_modules_and_functions_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500
    for function in functions(path):
        assert function.end_lineno - function.lineno < 60, function.name
        arguments = function.args
        named = arguments.args + arguments.kwonlyargs + arguments.posonlyargs
        assert len([a for a in named if a.arg not in {"self", "cls"}]) <= 6, function.name


@pytest.mark.parametrize("path", SOURCE, ids=NAMES)
def test_public_code_is_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "module docstring"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            assert node.name.startswith("_") or ast.get_docstring(node), node.name


@pytest.mark.parametrize("path", SOURCE, ids=NAMES)
def test_documented_arguments_exist(path):
    for function in functions(path):
        names = documented_arguments(ast.get_docstring(function) or "")
        arguments = function.args
        real = {a.arg for a in arguments.args + arguments.kwonlyargs + arguments.posonlyargs}
        real |= {a.arg for a in (arguments.vararg, arguments.kwarg) if a}
        assert names <= real, f"{function.name}: {sorted(names - real)}"


def tracked_files() -> list[Path]:
    """Return the files that git tracks."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    return [ROOT / name for name in listing.stdout.split("\0") if name]


def test_scripts_are_executable():
    for path in tracked_files():
        if path.is_file() and path.suffix in {"", ".sh"} and path.read_bytes()[:2] == b"#!":
            assert path.stat().st_mode & stat.S_IXUSR, f"{path} has #! but no x bit"


def test_no_file_names_a_work_place():
    words = re.compile(rb"/work/main|/work/shared|\.ci/notes|deb\.debian\.org/debian/pool")
    for path in tracked_files():
        if path.is_file() and path != Path(__file__):
            assert not words.search(path.read_bytes()), path
