"""The version is the same in every place that names it, and the changelog has its heading."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from vixtract import __version__
from vixtract.settings_table import BY_NAME

ROOT = Path(__file__).parents[2]
NUMBER = r"([0-9][0-9A-Za-z.]*[0-9A-Za-z])"
#: How files name a version of ours.
PATTERNS = (
    rf"VIXTRACT_VERSION(?::-|=){NUMBER}",
    rf"\bVIXTRACT_VERSION` \| `{NUMBER}`",
    rf"{re.escape(BY_NAME['IMAGE_PREFIX'].default)}/(?!\S*-offline:|postgresql-)[\w-]+:{NUMBER}",
)
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


def read(name: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def named_versions() -> dict[str, set[str]]:
    """Return the versions of ours that each file outside of tests and lock files names."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    found = {}
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if name.startswith("tests/") or name == "CHANGELOG.md" or not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        versions = {match for pattern in PATTERNS for match in re.findall(pattern, text)}
        if versions:
            found[name] = versions
    return found


def find_problem(version: str, changelog: str) -> str:
    """Return what contradicts a version in a changelog's headings, or an empty text."""
    headings = HEADING.findall(changelog)
    if headings[:1] != ["Unreleased"]:
        return "the first heading must be Unreleased"
    wrong = [h for h in headings[1:] if not re.fullmatch(rf"{NUMBER} - \d{{4}}-\d\d-\d\d", h)]
    if wrong:
        return f"not VERSION - YYYY-MM-DD: {wrong}"
    released = [heading.split(" - ")[0] for heading in headings[1:]]
    if version.endswith(".dev"):
        return f"{version} is released already" if version[:-4] in released else ""
    if released[:1] != [version]:
        return f"the newest release must be {version}, not {released[:1]}"
    return ""


def test_the_packages_have_the_version():
    project = re.search(r'^version = "(.+)"$', read("pyproject.toml"), re.MULTILINE)
    assert project[1] == __version__
    assert json.loads(read("jupyter/labextension/package.json"))["version"] == __version__
    assert BY_NAME["VIXTRACT_VERSION"].default == __version__


def test_every_file_that_names_the_version_names_this_one():
    found = named_versions()
    places = ("docker-compose.yml", "docker-compose.build.yml", "docker-compose.worker.yml")
    assert {*places, ".env.example", "docs/reference/settings.md"} <= set(found)
    assert {name: versions for name, versions in found.items() if versions != {__version__}} == {}


def test_the_changelog_has_the_version():
    assert find_problem(__version__, read("CHANGELOG.md")) == ""


@pytest.mark.parametrize(
    ("version", "headings", "problem"),
    [
        ("1.2.0", ["Unreleased", "1.2.0 - 2026-11-30", "1.1.0 - 2026-01-02"], ""),
        ("1.3.0.dev", ["Unreleased", "1.2.0 - 2026-11-30"], ""),
        ("0.1.0.dev", ["Unreleased"], ""),
        ("1.2.0", ["1.2.0 - 2026-11-30"], "first heading"),
        ("1.2.0", ["Unreleased"], "newest release must be 1.2.0"),
        ("1.2.0", ["Unreleased", "1.1.0 - 2026-01-02", "1.2.0 - 2026-11-30"], "newest release"),
        ("1.2.0", ["Unreleased", "1.2.0"], "not VERSION - YYYY-MM-DD"),
        ("1.2.0.dev", ["Unreleased", "1.2.0 - 2026-11-30"], "released already"),
    ],
)
def test_a_changelog_that_contradicts_is_found(version, headings, problem):
    text = "# Changelog\n\n" + "".join(
        f"## {heading}\n\n### Added\n\n- x\n\n" for heading in headings
    )
    found = find_problem(version, text)
    assert problem in found and bool(found) == bool(problem)
