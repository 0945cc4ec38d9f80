"""The sizes and docstrings that keep the code readable."""

from __future__ import annotations

import ast
import re
import stat
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "src").rglob("*.py")) + sorted((ROOT / "jupyter").rglob("*.py"))
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in SOURCE}
TREES = {name: ast.parse(text) for name, text in TEXTS.items()}
FUNCTIONS = [
    (name, node)
    for name, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
#: Who or what is meant? "No other program", "None", "a field code", "the problem with".
UNCLEAR = re.compile(r"\b(nobody|somebody|no such|a word of|what is wrong with)\b", re.IGNORECASE)


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
        for name, text in TEXTS.items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(r"# *(fmt: *(skip|off)|yapf: *disable)", line)
    ]
    assert not marked, "\n".join(marked)
    # A star before a list of words puts many of them on one line, as the formatter would not.
    squeezed = [
        f"{name}:{node.lineno}: a star before a written-out list"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Starred) and isinstance(node.value, (ast.Tuple, ast.List, ast.Set))
    ]
    assert not squeezed, "\n".join(squeezed)


def test_docstrings_name_what_they_mean():
    found = [
        f"{name}: {words[0]!r} in {ast.get_docstring(node).splitlines()[0]!r}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, DOCUMENTED)
        if (words := UNCLEAR.search(ast.get_docstring(node) or ""))
    ]
    assert not found, "\n".join(found)


def test_modules_stay_small():
    assert len(TEXTS) > 100
    lengths = {name: len(text.splitlines()) for name, text in TEXTS.items()}
    assert {name: lines for name, lines in lengths.items() if lines > 500} == {}


def test_functions_stay_small():
    assert len(FUNCTIONS) > 1000
    long = [
        f"{name}: {function.name} has {function.end_lineno - function.lineno + 1} lines"
        for name, function in FUNCTIONS
        if function.end_lineno - function.lineno >= 60
    ]
    assert not long, "\n".join(long)
    wide = [
        f"{name}: {function.name} has {len(arguments)} parameters"
        for name, function in FUNCTIONS
        if len(arguments := set(arguments_of(function)) - {"self", "cls"}) > 6
    ]
    assert not wide, "\n".join(wide)


def test_public_code_is_documented():
    public = [(name, tree, "the module") for name, tree in TREES.items()]
    public += [
        (name, node, node.name)
        for name, tree in TREES.items()
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef))
        and not node.name.startswith("_")
    ]
    bare = [f"{name}: {what}" for name, node, what in public if not ast.get_docstring(node)]
    assert not bare, "\n".join(bare)


def test_documented_arguments_exist():
    wrong = []
    for name, function in FUNCTIONS:
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
