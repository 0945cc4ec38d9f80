"""Who may import whom: the boundaries of docs/reference/architecture.md, enforced."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "vixtract"
MODULES = sorted(SOURCE.rglob("*.py"))
ALLOWED = {
    "__init__": set(),
    "__main__": {"ops"},
    "settings": {"errors", "values", "settings_signin"},
    "settings_signin": set(),
    "values": set(),
    "errors": set(),
    "secret_settings": {"settings", "errors"},
    "ledger": {"errors"},
    "certificates": {"errors", "settings", "values"},
    "people": {
        *("errors", "settings", "settings_signin", "secret_settings", "certificates", "vault"),
    },
    "vault": {"errors", "people"},
    "loading": {"errors"},
    "notebooks": {"settings", "secret_settings", "errors", "people", "ledger", "vault"},
    "scheduler": {"settings", "errors", "people", "ledger"},
    "cronicle": {"settings", "errors", "people", "ledger", "scheduler", "notebooks"},
    "portal": {"settings", "errors", "people", "ledger", "scheduler", "vault"},
    "ops": {"settings", "secret_settings", "errors", "values"},
}
HOST_SIDE = {
    *("ops", "settings", "settings_signin", "secret_settings", "values", "errors", "__init__"),
}


def room(path: Path) -> str:
    """Return the package (or top module) that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_names(path: Path) -> set[str]:
    """Return the dotted names of all imports of a file, wherever in it they stand."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_packages_import_only_what_they_may(path):
    own = room(path)
    rooms = {folder.name.removesuffix(".py") for folder in SOURCE.iterdir()}
    for name in imported_names(path):
        parts = name.split(".")
        if parts[0] != "vixtract" or len(parts) < 2 or parts[1] not in rooms:
            continue
        assert parts[1] == own or parts[1] in ALLOWED[own], f"{own} must not import {name}"


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
