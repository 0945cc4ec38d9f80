"""Small rules of sign-in: claims, ages, words."""

from __future__ import annotations

import pytest

from vixtract.hub.idle_sessions import EXPIRED, GONE, STAYS, judge_age
from vixtract.hub.oidc import IssuerDownError, Provider, new_request, pick
from vixtract.hub.sources import OIDC, Origin
from vixtract.hub.words import choose_language, texts_of, translate
from vixtract.settings import Settings


@pytest.mark.parametrize(
    ("hours", "verdict"), [(0, STAYS), (12, STAYS), (12.1, EXPIRED), (36, EXPIRED), (36.1, GONE)]
)
def test_sign_in_that_cannot_be_asked_about_runs_out(hours, verdict):
    origin = Origin("anna", OIDC, "x", 1000.0, is_ended=False, is_deleted=False)
    assert judge_age(origin, 1000.0 + hours * 3600, 12) == verdict


def test_claims_are_found_by_name_first_then_by_path():
    claims = {"a.b": 1, "a": {"b": 2, "c": {"d": ["x"]}}, "text": "t"}
    assert pick(claims, "a.b") == 1
    assert pick(claims, "a.c.d") == ["x"]
    assert pick(claims, "a.c.missing") is None
    assert pick(claims, "text.more") is None


def test_every_attempt_is_its_own():
    first, second = new_request(), new_request()
    assert len({first.state, first.nonce, first.verifier, second.state, second.verifier}) == 5
    assert 43 <= len(first.verifier) <= 128, "RFC 7636, 4.1"


def test_issuer_that_is_away_is_an_error_with_a_deadline():
    provider = Provider(
        Settings.from_environment(
            {"OIDC_ISSUER": "https://127.0.0.1:9", "OIDC_CLIENT_ID": "x", "OIDC_ALLOWED_GROUP": "*"}
        )
    )
    with pytest.raises(IssuerDownError):
        provider.build_url(new_request(), "https://etl.example.org/x")


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [
        ("ru", "en", "ru"),
        ("en", "ru", "en"),
        (None, "ru-RU,ru;q=0.9", "ru"),
        (None, "de,ru;q=0.5", "en"),
        ("<x>", "", "en"),
    ],
)
def test_language_is_chosen_as_on_the_home_page(cookie, accepted, language):
    assert choose_language(cookie, accepted) == language


def test_all_words_are_there_in_both_languages():
    assert set(texts_of("en")) <= set(texts_of("ru"))
    assert translate("Too many failed attempts. Try again in 7 min.", "ru").endswith("7 мин.")
    assert translate("Invalid username or password", "ru") != "Invalid username or password"
    assert translate("Something else", "ru") == "Something else"
