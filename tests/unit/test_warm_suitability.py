"""What sends a notebook to a kernel of its own: files that Python would import instead."""

from __future__ import annotations

import subprocess
import sys
import types
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from vixtract.notebooks.warm.suitability import find_shadow

# Neither built in nor read at Python's start.
NAME = "colorsys"


@pytest.mark.parametrize(
    "file",
    [
        f"{NAME}.py", f"{NAME}.pyc", f"{NAME}{EXTENSION_SUFFIXES[0]}", f"{NAME}.so",
        f"{NAME}/__init__.py", f"{NAME}/__init__.pyc", f"{NAME}/__init__.so",
        f"{NAME}/data.csv", f"{NAME}/part.py", NAME, f"{NAME}.csv", f"{NAME}.happy",
        f"{NAME}.cpython-27-elsewhere.so", f"my{NAME}.py", f"{NAME}.egg-info/__init__.py",
    ],
)  # fmt: skip
def test_what_takes_a_librarys_place_is_what_python_would_import(tmp_path, file):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    asked = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {NAME}; print({NAME}.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", asked], capture_output=True, text=True, timeout=30, check=False
    )
    # An empty binary cannot be imported, and is what Python takes.
    is_taken = done.returncode != 0 or str(tmp_path) in done.stdout
    found = find_shadow([str(tmp_path)], {NAME})
    assert bool(found) == is_taken, (found, done.stdout)
    assert found in ("", str(tmp_path / Path(file).parts[0]))


def test_a_folder_is_part_of_a_package_that_has_no_init(tmp_path, monkeypatch):
    (tmp_path / "in_parts").mkdir()
    assert not find_shadow([str(tmp_path)], {"in_parts"})
    module = types.ModuleType("in_parts")
    module.__path__ = ["/usr/lib/python3/dist-packages/in_parts"]
    monkeypatch.setitem(sys.modules, "in_parts", module)
    assert find_shadow([str(tmp_path)], {"in_parts"}) == str(tmp_path / "in_parts")


def test_an_archive_on_the_path_may_hold_anything(tmp_path):
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        archive.writestr(f"{NAME}.py", "")
    assert find_shadow([str(tmp_path / "missing")], {NAME}) == ""
    assert find_shadow([str(tmp_path / "own.zip")], {NAME}) == str(tmp_path / "own.zip")
