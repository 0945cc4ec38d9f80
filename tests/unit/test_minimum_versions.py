"""The lock files against the oldest versions that are fit to face strangers."""

from __future__ import annotations

import json
import re

import pytest

from tests.versions import DEBIAN, GONE, LOCKS, NODE, PYTHON, ROOT, number, read_lock


@pytest.mark.parametrize("name", PYTHON)
def test_no_lock_file_holds_an_older_library(name):
    least, reason = PYTHON[name]
    held = {folder: lock[name] for folder in LOCKS if name in (lock := read_lock(folder))}
    assert held, f"{name} is in no image any more: take its line out"
    old = {folder: version for folder, version in held.items() if number(version) < number(least)}
    assert not old, f"{name} {old} is older than {least}: {reason}"


def test_no_lock_file_holds_an_older_module_of_node():
    lock = json.loads((ROOT / "jupyter/package-lock.json").read_text(encoding="utf-8"))
    held = {path.rpartition("node_modules/")[2]: item for path, item in lock["packages"].items()}
    for name, (least, reason) in NODE.items():
        assert number(held[name]["version"]) >= number(least), f"{name}: {reason}"
    assert not set(GONE) & set(held)


def test_each_least_version_has_a_reason():
    for least, reason in (
        *PYTHON.values(), *NODE.values(), *(line for lines in DEBIAN.values() for line in lines.values())
    ):  # fmt: skip
        assert number(least) and len(reason) > 15


def test_versions_are_compared_as_numbers():
    assert number("0.49.1") > number("0.9.10")
    assert number("2024.7.4") < number("2026.10.18")
    assert number("1.0+local9") == number("1.0")
    assert re.fullmatch(r"\d+\.\d+\.\d+", read_lock("jupyter")["jupyterhub"])
