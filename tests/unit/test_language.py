"""Texts, dates and durations in both languages; the catalogs keep up with what uses them."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from babel.messages.extract import extract_javascript
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from tests.scratch import open_folder
from vixtract.language import choose_language, load_languages

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "vixtract"
LOCALE = ROOT / "web" / "locale"
LANGUAGES = load_languages(LOCALE)
MOMENT = datetime(2026, 1, 5, 6, 30, tzinfo=ZoneInfo("Europe/Moscow"))
# Said by processes to their logs, never by a page.
UNSEEN = {"config.py", "__main__.py"}
# Errors of the Hub that the login page shows as they are.
HUB_ERRORS = {"NotAllowedError", "OidcError"}
TEMPLATES = ("web", "web/portal/templates", "jupyter/templates")
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?s")


def list_calls(package: str):
    """Yield every call in a package's modules."""
    for path in (SOURCE / package).rglob("*.py"):
        if path.name not in UNSEEN:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def texts_of_call(call: ast.Call, is_shown) -> set[str]:
    """Return the texts of one call: of `say` and `mark`, of the form's `add`, of an error.

    Args:
        call: any.
        is_shown: says of an error's class whether its texts are shown to people.
    """
    name = getattr(call.func, "attr", "") or getattr(call.func, "id", "")
    texts = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if name in {"say", "mark"}:
        return set(texts[:1])
    if name == "say_many":
        return set(texts[:2])
    if name == "add":
        return {a.value for a in call.args[1:2] if isinstance(a, ast.Constant)} - {None}
    return {text for text in texts if text} if is_shown(name) else set()


def texts_of_code() -> set[str]:
    """Return every text that the code gives to a person."""
    found = set()
    for call in list_calls("portal"):
        found |= texts_of_call(call, lambda name: name.endswith("Error"))
    for call in list_calls("hub"):
        # Their hints are the operator's, and go to the log.
        message = ast.Call(call.func, call.args[:1], [])
        found |= texts_of_call(message, HUB_ERRORS.__contains__)
    for call in list_calls("vault"):
        found |= texts_of_call(call, lambda _: False)
    own = ast.parse((SOURCE / "language.py").read_text(encoding="utf-8"))
    for call in ast.walk(own):
        found |= (
            texts_of_call(call, HUB_ERRORS.__contains__) if isinstance(call, ast.Call) else set()
        )
    return found


def texts_of_templates() -> set[str]:
    """Return every text that a template translates."""
    environment = Environment(extensions=["jinja2.ext.i18n"])
    found = set()
    for path in (path for folder in TEMPLATES for path in (ROOT / folder).glob("*.html")):
        for _, _, text in environment.extract_translations(path.read_text(encoding="utf-8")):
            found |= {text} if isinstance(text, str) else set(text or ())
    return {text for text in found if text}


def texts_of_scripts() -> set[str]:
    """Return every text that Lab's extension translates."""
    found = set()
    for path in (ROOT / "jupyter" / "labextension").rglob("*.js"):
        with path.open("rb") as file:
            found |= {text for _, _, text, _ in extract_javascript(file, ("mark",), (), {}) if text}
    return found


def read_catalog(code: str) -> dict:
    """Return text to message; a text with a plural counts under both forms."""
    have = {}
    for path in (LOCALE / code).glob("*.po"):
        with path.open("rb") as file:
            messages = [message for message in read_po(file, locale=code) if message.id]
        names = {n: m for m in messages for n in ([m.id] if isinstance(m.id, str) else m.id)}
        # A text in two files would be translated by whichever is read last.
        assert not set(have) & set(names), path
        have |= names
    return have


@pytest.mark.parametrize("code", sorted(set(LANGUAGES) - {"en"}))
def test_every_text_is_translated_and_every_translation_is_used(code):
    used = {"code": texts_of_code(), "templates": texts_of_templates(), "lab": texts_of_scripts()}
    assert all(len(texts) > 5 for texts in used.values())
    wanted, have = set().union(*used.values()), read_catalog(code)
    assert sorted(wanted - set(have)) == [], "not translated"
    assert sorted(set(have) - wanted) == [], "not used"


@pytest.mark.parametrize("code", sorted(set(LANGUAGES) - {"en"}))
def test_translations_keep_the_placeholders(code):
    for text, message in read_catalog(code).items():
        strings = [message.string] if isinstance(message.string, str) else list(message.string)
        ids = [message.id] if isinstance(message.id, str) else list(message.id)
        places = set(PLACEHOLDER.findall(" ".join(ids)))
        assert all(strings), text
        assert all(set(PLACEHOLDER.findall(string)) == places for string in strings), text


CHOICES = [
    (None, "", "en"),
    (None, "ru", "ru"),
    (None, "ru-RU,ru;q=0.9,en;q=0.8", "ru"),
    (None, "en-US,ru;q=0.9", "en"),
    (None, "de,fr;q=0.9,ru;q=0.2,en;q=0.1", "ru"),
    (None, "en;q=0.2, RU ; q=0.7", "ru"),
    (None, "de,ru;q=0.5", "ru"),
    (None, "de", "en"),
    (None, "ru;q=0,en", "en"),
    (None, "ru;q=x", "en"),
    (None, "ru;q=", "en"),
    (None, "de," * 200 + "ru", "en"),
    ("ru", "en", "ru"),
    ("en", "ru", "en"),
    ("<x>", "", "en"),
    ("", "ru", "ru"),
]


@pytest.mark.parametrize(("cookie", "accepted", "code"), CHOICES)
def test_the_cookie_chooses_the_language_else_the_browser(cookie, accepted, code):
    assert choose_language(cookie, accepted, LANGUAGES).code == code


needs_node = pytest.mark.skipif(
    not shutil.which("node"), reason="Node is not installed: ./vixtract test lint --yes installs it"
)


def run_script(expression: str):
    """Evaluate JavaScript beside nginx's module `language`; return its value."""
    with open_folder() as folder:
        module = ROOT / "nginx" / "front" / "language.js"
        (folder / "language.mjs").write_text(module.read_text(encoding="utf-8"), encoding="utf-8")
        (folder / "main.mjs").write_text(
            f"import language from './language.mjs';\nconsole.log(JSON.stringify({expression}));\n",
            encoding="utf-8",
        )
        command = ["node", str(folder / "main.mjs")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)


@needs_node
def test_nginx_chooses_the_language_by_the_same_rule():
    requests = [
        {"variables": {"cookie_vixtract_lang": cookie or ""}, "headersIn": {"Accept-Language": accepted}}
        for cookie, accepted, _ in CHOICES
    ]  # fmt: skip
    chosen = run_script(f"{json.dumps(requests)}.map(language.choose)")
    assert chosen == [code for _, _, code in CHOICES]
    known = re.search(r"KNOWN = (\[.*\])", (ROOT / "nginx/front/language.js").read_text())
    assert ast.literal_eval(known[1]) == list(LANGUAGES)


@needs_node
def test_nginx_shows_the_language_of_the_link():
    asks = [
        {"variables": {"arg_lang": lang, "cookie_vixtract_lang": "en"}, "headersIn": {}}
        for lang in ("ru", "en", "xx; Domain=evil", "")
    ]
    assert run_script(f"{json.dumps(asks)}.map(language.choose)") == ["ru", "en", "en", "en"]


def test_nginx_keeps_the_language_of_the_link_and_nothing_else_of_it():
    text = (ROOT / "nginx/nginx.conf").read_text(encoding="utf-8")
    found = re.search(r"map \$arg_lang \$language_cookie \{\n(.*?)\}", text, re.DOTALL)
    kept = dict(
        line.strip().rstrip(";").split(None, 1) for line in found[1].splitlines() if line.strip()
    )
    cookie = '"vixtract_lang={}; Path=/; Max-Age=31536000; SameSite=Lax$only_over_https"'
    assert kept == {"default": '""', **{code: cookie.format(code) for code in LANGUAGES}}


@given(st.text())
def test_any_header_gives_a_language(header):
    assert choose_language(None, header, LANGUAGES).code in LANGUAGES
    assert choose_language(header, header, LANGUAGES).code in LANGUAGES


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
