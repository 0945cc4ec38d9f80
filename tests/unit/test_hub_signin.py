"""Small rules of sign-in: claims, ages, words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader, PrefixLoader
from tornado import web

from vixtract.hub.oidc import IssuerDownError, Provider, find_claim, new_attempt
from vixtract.hub.passwords import TOO_MANY_FAILURES
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


def test_the_login_page_is_complete_in_every_language():
    folder = ROOT / "jupyter" / "templates"
    loader = ChoiceLoader(
        [
            PrefixLoader(
                {
                    "templates": DictLoader(
                        {
                            "login.html": "{% block title %}{% endblock %}{% block login_container %}{% endblock %}"
                        }
                    )
                }
            ),
            FileSystemLoader(folder),
        ]
    )
    page = Environment(loader=loader, autoescape=True).get_template("login.html")
    for code, language in load_languages(ROOT / "web" / "locale").items():
        text = page.render(language=language, _=language.say, issuer_label="Acme & Co", xsrf="x")
        assert f'lang="{code}"' in text
        assert "Acme &amp; Co" in text and "%(" not in text
        assert language.say("Hide password") in json.loads(
            f"[{re.search(r'isHidden . (.*) : ', text)[1]}]"
        )
