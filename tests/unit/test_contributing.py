"""The pages for contributors: every path that they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs/contributing").glob("*.md"))]
TOPS = "benchmarks|cronicle|docker|docs|jupyter|nginx|src|tests|web"
PATH = re.compile(rf"`((?:{TOPS})/[\w./-]*|[\w-]+/[\w/]*\w+\.py)`")


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_path_that_is_named_exists(page):
    named = set(PATH.findall(page.read_text(encoding="utf-8")))
    # A path in a package may leave out `src/vixtract/`; NAME stands for a new file.
    missing = {
        name
        for name in named
        if "NAME" not in name
        and not (ROOT / name).exists()
        and not (ROOT / "src/vixtract" / name).exists()
    }
    assert missing == set()


def test_the_pages_are_read():
    named = [PATH.findall(page.read_text(encoding="utf-8")) for page in PAGES]
    assert len({name for names in named for name in names}) > 40
