"""Who may import whom: the boundaries of docs/reference/architecture.md, enforced."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path

import pytest

from tests.syntax import list_nodes

SOURCE = Path(__file__).parents[2] / "src" / "vixtract"
MODULES = sorted(SOURCE.rglob("*.py"))
# What a package may import besides itself and the standard library: docs/reference/architecture.md.
BASE = {
    "__init__",
    "errors",
    "values",
    "files",
    "addresses",
    "credentials",
    "sqlite",
    "text_tables",
    "known_libraries",
}
SETTINGS = {"settings", "settings_table", "secret_settings"}
ALLOWED = {
    "__init__": set(),
    "values": set(),
    "errors": set(),
    "addresses": set(),
    "files": {"errors", "credentials"},
    "credentials": set(),
    "sqlite": set(),
    "text_tables": set(),
    "people_commands": set(),
    "settings_table": {"__init__"},
    "stores": set(),
    "language": set(),
    "settings": {"__init__", "errors", "values", "settings_table"},
    "secret_settings": {"settings_table", "errors"},
    "ledger": {"errors", "files", "sqlite"},
    "known_libraries": set(),
    "loading": {"errors", "known_libraries"},
    "certificates": {*BASE, *SETTINGS},
    "people": {*BASE, *SETTINGS, "certificates"},
    "processes": {*BASE, *SETTINGS, "people"},
    "vault": {*BASE, *SETTINGS, "people", "processes"},
    "notebooks": {*BASE, *SETTINGS, "vault"},
    "notebooks.warm": {*BASE, *SETTINGS, "notebooks", "processes"},
    "runner": {
        *(*BASE, *SETTINGS, "people", "processes", "notebooks", "notebooks.warm"),
        *("ledger", "vault", "runner.workers"),
    },
    "scheduler": {*BASE, *SETTINGS, "ledger", "processes", "scheduler.client"},
    "scheduler.client": {"errors"},
    "scheduler.embedded": {*BASE, *SETTINGS, "ledger", "processes", "runner", "scheduler"},
    "cronicle_edge": {
        *(*BASE, *SETTINGS, "ledger", "runner", "people", "processes"),
        *("scheduler", "scheduler.client"),
    },
    "hub": {
        *(*BASE, *SETTINGS, "language", "people_commands", "people", "vault"),
        *("processes", "scheduler", "scheduler.client"),
    },
    "homes": {*BASE, "people", "processes", "notebooks"},
    "portal": {
        *(*BASE, *SETTINGS, "language", "people", "ledger", "vault"),
        *("homes", "processes", "scheduler", "scheduler.client"),
    },
    "ops": {*BASE, *SETTINGS, "stores", "people_commands", "scheduler.client"},
}
ALLOWED["runner.workers"] = {*ALLOWED["runner"], "runner"}
# The main processes put everything together.
ALLOWED["containers"] = {*ALLOWED} - {"ops"}
# Packages and modules inside of others that have a row of their own.
INNER = {
    *(("notebooks", "warm"), ("runner", "workers")),
    *(("scheduler", "embedded"), ("scheduler", "client")),
}
# One package of two rows: the parts lie in one folder and are not taken apart.
ONE = {("runner", "runner.workers")}
HOST_SIDE = {
    *(
        "ops",
        "settings",
        "settings_table",
        "stores",
        "secret_settings",
        "values",
        "errors",
        "files",
        "credentials",
        "text_tables",
        "people_commands",
        "scheduler.client",
        "__init__",
    ),
}


def room(path: Path) -> str:
    """Return the package (or top module) that a file belongs to."""
    return room_of(path.relative_to(SOURCE).with_suffix("").parts)


def room_of(parts: tuple[str, ...]) -> str:
    """Return the package of a dotted name's parts below `vixtract`."""
    return ".".join(parts[:2]) if parts[:2] in INNER else parts[0]


@functools.cache
def imported_names(path: Path) -> set[str]:
    """Return the dotted names of all imports of a file, wherever in it they stand."""
    names = set()
    for node in list_nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_name(path: Path) -> str:
    """Return the dotted name of a file's module below `vixtract`, empty for the top."""
    return (
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix("__init__").strip(".")
    )


NAMES = {module_name(path): path for path in MODULES}


@functools.cache
def imported_modules(path: Path) -> set[str]:
    """Return the modules of ours that a file imports, also inside of functions."""
    found = set()
    for name in imported_names(path):
        top, _, rest = name.partition(".")
        if top != "vixtract":
            continue
        while rest and rest not in NAMES:
            rest = rest.rpartition(".")[0]
        found.add(rest)
    return found - {module_name(path)}


def find_circle(edges: dict[str, set[str]]) -> list[str]:
    """Return the names of one circle in order, or nothing where there is none."""
    done: set[str] = set()

    def follow(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for following in sorted(edges.get(name, ())):
            circle = follow(following, [*way, name])
            if circle:
                return circle
        done.add(name)
        return []

    return next(filter(None, (follow(name, []) for name in sorted(edges))), [])


def test_packages_import_only_what_they_may():
    wrong = []
    for path in MODULES:
        own = room(path)
        for name in sorted(imported_modules(path)):
            other = room_of(tuple(name.split("."))) if name else "__init__"
            if other != own and other not in ALLOWED[own]:
                wrong.append(f"{path.relative_to(SOURCE)} must not import {name}")
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_files():
    # A package's own __init__ is imported with each of its modules, and imports none when loaded.
    edges = {name: imported_modules(path) - {""} for name, path in NAMES.items() if name}
    assert find_circle(edges) == []


def test_no_circle_of_packages():
    edges: dict[str, set[str]] = {}
    for path in MODULES:
        own = room(path)
        others = {room_of(tuple(other.split("."))) for other in imported_modules(path) if other}
        edges.setdefault(own, set()).update(
            other for other in others - {own} if tuple(sorted((own, other))) not in ONE
        )
    assert find_circle(edges) == []


def test_find_circle_finds_one():
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room(p) in HOST_SIDE], ids=lambda p: str(p.relative_to(SOURCE))
)
def test_host_side_needs_only_an_old_python(path):
    for name in imported_names(path):
        top = name.split(".")[0]
        assert top == "vixtract" or top in sys.stdlib_module_names, f"{path} imports {name}"
        assert top not in {"tomllib"}, f"{path}: {top} is newer than Python 3.9"
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 9))
    assert not any(
        keyword.arg in {"kw_only", "slots"}
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
    ), f"{path}: dataclass options of Python 3.10"
