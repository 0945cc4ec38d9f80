"""The sizes and docstrings that keep the code readable."""

from __future__ import annotations

import ast
import re
import stat
import subprocess
from pathlib import Path

from tests.syntax import list_nodes, read_text

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "src").rglob("*.py")) + sorted((ROOT / "jupyter").rglob("*.py"))
NAMES = {path.relative_to(ROOT).as_posix(): path for path in SOURCE}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
#: Who or what is meant? "No other program", "None", "a field code", "the problem with".
UNCLEAR = re.compile(r"\b(nobody|somebody|no such|a word of|what is wrong with)\b", re.IGNORECASE)


def find_nodes(*kinds: type[ast.AST]) -> list[tuple[str, ast.AST]]:
    """Return the nodes of some kinds with the name of their file."""
    return [
        (name, node)
        for name, path in NAMES.items()
        for node in list_nodes(path)
        if isinstance(node, kinds)
    ]


def find_functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Return all functions with the name of their file."""
    return find_nodes(ast.FunctionDef, ast.AsyncFunctionDef)


def arguments_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the names of a function's arguments, without `*args` and `**options`."""
    arguments = function.args
    return [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def documented_arguments(docstring: str) -> set[str]:
    """Return the names of a docstring's Args section."""
    match = re.search(r"^Args:\n((?:[ ]{4,}.*\n?|\n)+)", docstring, re.MULTILINE)
    if match is None:
        return set()
    return set(re.findall(r"^    \*{0,2}(\w+):", match.group(1), re.MULTILINE))


def test_no_code_dodges_the_formatter():
    marked = [
        f"{name}:{number}: {line.strip()}"
        for name, path in NAMES.items()
        for number, line in enumerate(read_text(path).splitlines(), 1)
        if re.search(r"# *(fmt: *(skip|off)|yapf: *disable)", line)
    ]
    assert not marked, "\n".join(marked)
    # A star before a list of words puts many of them on one line, as the formatter would not.
    squeezed = [
        f"{name}:{node.lineno}: a star before a written-out list"
        for name, node in find_nodes(ast.Starred)
        if isinstance(node.value, (ast.Tuple, ast.List, ast.Set))
    ]
    assert not squeezed, "\n".join(squeezed)


def test_docstrings_name_what_they_mean():
    found = [
        f"{name}: {words[0]!r} in {ast.get_docstring(node).splitlines()[0]!r}"
        for name, node in find_nodes(*DOCUMENTED)
        if (words := UNCLEAR.search(ast.get_docstring(node) or ""))
    ]
    assert not found, "\n".join(found)


def test_modules_stay_small():
    assert len(NAMES) > 100
    lengths = {name: len(read_text(path).splitlines()) for name, path in NAMES.items()}
    assert {name: lines for name, lines in lengths.items() if lines > 500} == {}


def test_functions_stay_small():
    functions = find_functions()
    assert len(functions) > 1000
    long = [
        f"{name}: {function.name} has {function.end_lineno - function.lineno + 1} lines"
        for name, function in functions
        if function.end_lineno - function.lineno >= 60
    ]
    assert not long, "\n".join(long)
    wide = [
        f"{name}: {function.name} has {len(arguments)} parameters"
        for name, function in functions
        if len(arguments := set(arguments_of(function)) - {"self", "cls"}) > 6
    ]
    assert not wide, "\n".join(wide)


def test_public_code_is_documented():
    modules = find_nodes(ast.Module)
    public = [(name, tree, "the module") for name, tree in modules]
    public += [
        (name, node, node.name)
        for name, tree in modules
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef))
        and not node.name.startswith("_")
    ]
    bare = [f"{name}: {what}" for name, node, what in public if not ast.get_docstring(node)]
    assert not bare, "\n".join(bare)


def test_documented_arguments_exist():
    wrong = []
    for name, function in find_functions():
        variable = (function.args.vararg, function.args.kwarg)
        real = {*arguments_of(function), *(a.arg for a in variable if a)}
        names = documented_arguments(ast.get_docstring(function) or "") - real
        wrong += [f"{name}: {function.name} has no {argument}" for argument in sorted(names)]
    assert not wrong, "\n".join(wrong)


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


def test_no_file_has_marks_of_a_conflict_or_names_a_work_place():
    marks = re.compile(rb"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)
    words = re.compile(rb"/work/main|/work/shared|\.ci/notes|deb\.debian\.org/debian/pool")
    for path in tracked_files():
        if path.is_file() and path != Path(__file__):
            content = path.read_bytes()
            assert not words.search(content) and not marks.search(content), path
