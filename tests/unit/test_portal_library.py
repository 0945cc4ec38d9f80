"""Why a notebook cannot be read, in the person's language: by codes, never by English words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vixtract.errors import Failure
from vixtract.language import load_languages
from vixtract.portal.library import EXPLANATIONS, LibraryError, explain

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "vixtract"
LOCALE = ROOT / "web" / "locale"


def codes_of_homes() -> set[str]:
    """Return the codes that the homes server may answer a question about a notebook with."""
    files = ("processes/notebook_files.py", "homes/notebooks.py", "notebooks/inspection.py")
    text = "".join((SOURCE / name).read_text(encoding="utf-8") for name in files)
    return set(re.findall(r'Failure\("([\w.]+)"', text))


def test_each_code_of_the_homes_server_has_an_explanation_and_each_of_these_a_code():
    assert codes_of_homes() == set(EXPLANATIONS)


@pytest.mark.parametrize("code", sorted(EXPLANATIONS))
def test_a_known_code_is_explained_in_both_languages_whatever_the_message(code):
    error = LibraryError("changed words", "and their hint", Failure(code))
    languages = load_languages(LOCALE)
    assert explain(error, languages["en"]) == EXPLANATIONS[code]
    assert re.search("[а-я]", explain(error, languages["ru"]))


def test_what_has_no_code_keeps_its_words():
    languages = load_languages(LOCALE)
    error = LibraryError("There is no person 'x'.", "Try again.")
    assert explain(error, languages["en"]) == "There is no person 'x'. Try again."
    assert explain(error, languages["ru"]) == "There is no person 'x'. Попробуйте ещё раз."
