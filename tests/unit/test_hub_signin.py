"""Small rules of sign-in: claims, ages, words."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import pytest
from jinja2 import ChainableUndefined, ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from jupyterhub._data import DATA_FILES_PATH
from tornado import web

from vixtract.hub.oidc import IssuerDownError, Provider, find_claim, new_attempt
from vixtract.hub.passwords import TOO_MANY_FAILURES, PasswordError, check_new_password
from vixtract.hub.session_checks import EXPIRED, GONE, STAYS, judge_age
from vixtract.hub.signin import FROM_JUPYTERHUB, explain
from vixtract.hub.sources import OIDC, Origin
from vixtract.language import load_languages
from vixtract.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("hours", "verdict"), [(0, STAYS), (12, STAYS), (12.1, EXPIRED), (36, EXPIRED), (36.1, GONE)]
)
def test_sign_in_that_cannot_be_asked_about_runs_out(hours, verdict):
    origin = Origin("anna", OIDC, "x", 1000.0, is_ended=False, is_deleted=False)
    assert judge_age(origin, 1000.0 + hours * 3600, 12) == verdict


def test_claims_are_found_by_name_first_then_by_path():
    claims = {"a.b": 1, "a": {"b": 2, "c": {"d": ["x"]}}, "text": "t"}
    assert find_claim(claims, "a.b") == 1
    assert find_claim(claims, "a.c.d") == ["x"]
    assert find_claim(claims, "a.c.missing") is None
    assert find_claim(claims, "text.more") is None


def test_every_attempt_is_its_own():
    first, second = new_attempt(), new_attempt()
    assert len({first.state, first.nonce, first.verifier, second.state, second.verifier}) == 5
    assert 43 <= len(first.verifier) <= 128, "RFC 7636, 4.1"


def test_issuer_that_is_away_is_an_error_with_a_deadline():
    provider = Provider(
        Settings.from_environment(
            {"OIDC_ISSUER": "https://127.0.0.1:9", "OIDC_CLIENT_ID": "x", "OIDC_ALLOWED_GROUP": "*"}
        )
    )
    with pytest.raises(IssuerDownError):
        provider.build_url(new_attempt(), "https://etl.example.org/x")


def test_refusals_of_the_login_page_are_said_in_the_persons_language():
    languages = load_languages(ROOT / "web" / "locale")
    locked = web.HTTPError(429, TOO_MANY_FAILURES, 7)
    said = "Too many failed attempts. Try again in 7 min."
    assert explain(languages["en"], said, locked) == said
    assert explain(languages["ru"], said, locked) == (
        "Слишком много неудачных попыток. Повторите через 7 мин."
    )
    wrong = FROM_JUPYTERHUB[0]
    assert explain(languages["ru"], wrong, None) == "Неверное имя пользователя или пароль"
    other = web.HTTPError(403, "100% new")
    assert explain(languages["ru"], "100% new", other) == "100% new"


def render_page(name, code, **values):
    """Return one of our pages of the Hub, with the Hub's own templates around it."""
    own = FileSystemLoader(ROOT / "jupyter" / "templates")
    hubs = FileSystemLoader(Path(DATA_FILES_PATH) / "templates")
    loader = ChoiceLoader([PrefixLoader({"templates": hubs}), own, hubs])
    language = load_languages(ROOT / "web" / "locale")[code]
    common = {"language": language, "_": language.say, "base_url": "/jupyter/hub/", "xsrf": "x"}
    environment = Environment(loader=loader, autoescape=True, undefined=ChainableUndefined)
    environment.globals["static_url"] = lambda path, **_: path
    return environment.get_template(name).render(**common, **values)


@pytest.mark.parametrize("code", ["en", "ru"])
def test_the_login_page_is_complete_in_every_language(code):
    page = render_page("login.html", code, issuer_label="Acme & Co")
    assert f'lang="{code}"' in page
    assert "Acme &amp; Co" in page and "%(" not in page
    hide = json.loads(re.search(r"isHidden . (.*) : ", page)[1])
    assert hide == {"en": "Hide password", "ru": "Скрыть пароль"}[code]


@pytest.mark.parametrize(
    ("name", "values", "english", "russian"),
    [
        ("change-password.html", {"source": "local", "is_local": True, "user": {"name": "anna"}}, "Current password", "Текущий пароль"),
        ("change-password.html", {"source": "oidc", "source_label": "<i>Acme</i>"},
         "You sign in with &lt;i&gt;Acme&lt;/i&gt;", "Вы входите через &lt;i&gt;Acme&lt;/i&gt;"),
        ("change-password.html", {"done": True}, "Your password is changed", "Пароль изменён"),
        ("first-password.html", {"person": "anna"}, "Choose a password", "Выберите пароль"),
        ("passwords.html", {"people": [("anna", True, False, "")]}, "not set", "не задан"),
    ],
)  # fmt: skip
def test_pages_of_passwords_speak_both_languages(name, values, english, russian):
    assert english in render_page(name, "en", **values)
    page = render_page(name, "ru", **values)
    assert russian in page and english not in page


def test_a_refused_password_is_explained_in_the_persons_language():
    languages = load_languages(ROOT / "web" / "locale")
    with pytest.raises(PasswordError) as caught:
        check_new_password("short", name="anna")
    assert caught.value.message == "A password has 8 to 256 characters."
    assert caught.value.explain(languages["ru"]) == "В пароле от 8 до 256 знаков."
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.explain(languages["en"]) == caught.value.message
