"""Libraries whose private parts we use: the known releases are those of the lock files."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

import vixtract
from vixtract import known_libraries
from vixtract.known_libraries import RELEASES, find_unknown
from vixtract.loading.petl_groups import stock
from vixtract.notebooks import page
from vixtract.notebooks.warm import suitability

ROOT = Path(__file__).parents[2]
LOCKS = [*ROOT.glob("*/requirements.txt"), *ROOT.glob("docker/*/requirements.txt")]


@pytest.fixture
def other_release(monkeypatch):
    """Have a library be of another release than ours are known for."""

    def change(name):
        monkeypatch.setitem(known_libraries.RELEASES, name, "0.0")

    return change


def test_the_known_releases_are_those_of_the_lock_files():
    seen = set()
    for lock in LOCKS:
        for name, version in re.findall(r"^([a-z0-9-]+)==([\w.]+)", lock.read_text(), re.MULTILINE):
            module = name.replace("-", "_")
            if module in RELEASES:
                seen.add(module)
                assert f"{version}.".startswith(f"{RELEASES[module]}."), (lock, name, version)
    assert seen == set(RELEASES)


def test_what_an_override_leaves_out_is_in_no_lock_file():
    overrides = [*ROOT.glob("*/overrides.txt"), *ROOT.glob("docker/*/overrides.txt")]
    assert len(overrides) >= 3
    for override in overrides:
        left_out = re.findall(r"^([\w-]+) ;", override.read_text("utf-8"), re.MULTILINE)
        lock = override.with_name("requirements.txt").read_text("utf-8")
        there = [name for name in left_out if re.search(rf"^{name}==", lock, re.MULTILINE)]
        assert left_out and not there, f"{there}: lock with --override {override}"


def test_contributing_names_every_one_of_them():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for module, release in RELEASES.items():
        assert f"{module.replace('_', '-')} {release}" in text, module


@pytest.mark.parametrize(
    ("version", "is_known"),
    [("1.7", True), ("1.7.30", True), ("1.70.1", False), ("1.8", False), ("", False)],
)
def test_a_release_is_known_by_its_first_numbers(monkeypatch, version, is_known):
    library = types.ModuleType("some_library")
    library.__version__ = version
    monkeypatch.setitem(sys.modules, "some_library", library)
    monkeypatch.setitem(RELEASES, "some_library", "1.7")
    assert find_unknown("some_library") == ("" if is_known else f"some_library {version}".rstrip())


def test_another_petl_is_left_as_it_is(other_release):
    from petl.transform.sorts import SortView

    own = SortView._iternocache
    other_release("petl")
    told = pytest.warns(UserWarning, match=r"petl_fast leaves petl 1\.7.* as it is")
    with told, vixtract.petl_fast():
        assert SortView._iternocache is own and not stock


@pytest.mark.parametrize("name", ["ipykernel", "jupyter_client", "nbclient", "papermill"])
def test_another_kernel_is_started_and_not_forked(other_release, tmp_path, name):
    other_release(name)
    job = {"cwd": str(tmp_path), "input": "", "kernel": ""}
    hooks = len(sys.meta_path) + len(sys.path_hooks)
    assert suitability.find_obstacle(job, (), hooks).startswith(f"{name} ")


@pytest.mark.slow
def test_another_nbconvert_makes_the_page_its_own_way(other_release, monkeypatch):
    import nbformat

    cell = nbformat.v4.new_code_cell("x = 1")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    usual = page.export(notebook, "a")
    other_release("nbconvert")
    monkeypatch.setattr(page, "_highlighter", lambda notebook: pytest.fail("not its own way"))
    page.prepare.cache_clear()
    try:
        shown = page.export(notebook, "a")
    finally:
        page.prepare.cache_clear()
    for text in (usual, shown):
        assert "jp-CodeCell" in text and '<span class="mi">1</span>' in text
