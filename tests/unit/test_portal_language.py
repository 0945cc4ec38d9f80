"""Texts, dates and durations in both languages; the catalog keeps up with the code."""

from __future__ import annotations

import ast
import re
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from vixtract.portal.language import choose_language, load_languages

ROOT = Path(__file__).parents[2]
FILES = ROOT / "web" / "portal"
LANGUAGES = load_languages(FILES / "locale")
MOMENT = datetime(2026, 1, 5, 6, 30, tzinfo=ZoneInfo("Europe/Moscow"))
# Said by processes to their logs, never by a page.
UNSEEN = {"config.py", "__main__.py"}


def texts_of_code() -> set[str]:
    """Return every text that the code gives to a person."""
    found = set()
    for path in (ROOT / "src" / "vixtract" / "portal").glob("*.py"):
        if path.name in UNSEEN:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                found |= texts_of_call(node)
    return found | texts_of_connections()


def texts_of_connections() -> set[str]:
    """Return every text of the kinds of connections: what the vault marks with `mark`."""
    calls = [
        node
        for path in (ROOT / "src" / "vixtract" / "vault").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "mark"
    ]
    assert len(calls) > 50
    return {ast.literal_eval(call.args[0]) for call in calls}


def texts_of_call(call: ast.Call) -> set[str]:
    """Return the texts of one call: of `say` or `mark`, of the form's `add`, of an error."""
    name = getattr(call.func, "attr", "") or getattr(call.func, "id", "")
    texts = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if name in {"say", "say_many", "mark"}:
        return set(texts[:1])
    if name == "add" and len(call.args) > 1:
        return set(texts[1:])
    return {text for text in texts if text} if name.endswith("Error") else set()


def texts_of_templates() -> set[str]:
    """Return every text that a template translates."""
    environment = Environment(extensions=["jinja2.ext.i18n"])
    found = set()
    for path in (FILES / "templates").glob("*.html"):
        for _, _, text in environment.extract_translations(path.read_text(encoding="utf-8")):
            # Of a text with a plural the catalog is asked for the first.
            found |= {text} if isinstance(text, str) else set((text or ())[:1])
    return {text for text in found if text}


def test_every_text_has_a_russian_one():
    wanted = texts_of_code() | texts_of_templates()
    assert len(wanted) > 120
    have = {}
    for path in (FILES / "locale" / "ru").glob("*.po"):
        with path.open("rb") as file:
            messages = [message for message in read_po(file, locale="ru") if message.id]
        # A text with a plural counts under both.
        names = {n: m for m in messages for n in ([m.id] if isinstance(m.id, str) else m.id)}
        # A text in two files would be translated by whichever is read last.
        assert not set(have) & set(names), path
        have |= names
    assert sorted(wanted - set(have)) == []
    for text, message in have.items():
        strings = [message.string] if isinstance(message.string, str) else list(message.string)
        places = set(
            re.findall(
                r"%\(\w+\)s",
                " ".join([message.id, ""] if isinstance(message.id, str) else message.id),
            )
        )
        assert all(strings), text
        assert all(set(re.findall(r"%\(\w+\)s", string)) == places for string in strings), text


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"),
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("en-US,ru;q=0.9", "en"),
        ("de,fr;q=0.9,ru;q=0.2,en;q=0.1", "ru"),
        ("de", "en"),
        ("ru;q=0,en", "en"),
        ("ru;q=x", "en"),
    ],
)
def test_the_browser_chooses_the_language(header, code):
    assert choose_language(header, LANGUAGES).code == code


@given(st.text())
def test_any_header_gives_a_language(header):
    assert choose_language(header, LANGUAGES).code in {"en", "ru"}


def test_moments_are_written_in_their_own_zone():
    assert LANGUAGES["en"].moment(MOMENT) == "Mon 5 Jan 2026, 06:30"
    assert LANGUAGES["ru"].moment(MOMENT) == "пн 5 янв. 2026, 06:30"
    assert LANGUAGES["en"].moment(None) == ""


@pytest.mark.parametrize(
    ("seconds", "english", "russian"),
    [
        (None, "", ""),
        (0.4, "0 s", "0 с"),
        (59.9, "59 s", "59 с"),
        (3600, "1 h", "1 ч"),
        (7501, "2 h 5 min", "2 ч 5 мин"),
        (90061, "1 d 1 h", "1 д 1 ч"),
    ],
)
def test_durations_have_two_units(seconds, english, russian):
    assert LANGUAGES["en"].duration(seconds) == english
    assert LANGUAGES["ru"].duration(seconds) == russian
