"""The issuer's part of sign-in against a real issuer: the whole exchange, and what goes wrong."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.certificates import make_authority, write_pair
from tests.issuer import TWISTS, Issuer
from vixtract.hub import oidc
from vixtract.hub.oidc import IssuerDownError, OidcError, Provider, new_attempt
from vixtract.settings import Settings

pytestmark = [
    # The issuer uses authlib's old names.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

REDIRECT = "https://etl.example.org/jupyter/hub/oauth_callback"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("issuer")
    write_pair(folder, "127.0.0.1", make_authority("CA of a test"))
    return folder


@pytest.fixture(scope="module")
def issuer(folder) -> Iterator[Issuer]:
    issuer = Issuer(folder, "127.0.0.1", REDIRECT)
    issuer.add("sub-1", "Anna", "etl-users")
    yield issuer
    issuer.stop()


def provider(issuer, folder, **changes):
    return Provider(Settings.from_environment(issuer.settings(str(folder / "ca.pem"), **changes)))


def sign_in(issuer, provider, request=None):
    request = request or new_attempt()
    back = issuer.agree(provider.build_url(request, REDIRECT), "sub-1")
    return provider.finish(parse_qs(urlsplit(back).query)["code"][0], request, REDIRECT)


def test_whole_exchange_gives_name_subject_and_rights(issuer, folder):
    identity = sign_in(issuer, provider(issuer, folder))
    assert (identity.name, identity.is_admin) == ("anna", False)
    assert identity.subject == f"{issuer.url}|sub-1"
    open_to_all = provider(issuer, folder, OIDC_ALLOWED_GROUP="*", OIDC_ADMIN_GROUP="")
    assert sign_in(issuer, open_to_all).is_admin is None


def test_another_claim_can_carry_the_name(issuer, folder):
    assert sign_in(issuer, provider(issuer, folder, OIDC_NAME_CLAIM="sub")).name == "sub-1"
    with pytest.raises(OidcError, match="no claim 'nickname'"):
        sign_in(issuer, provider(issuer, folder, OIDC_NAME_CLAIM="nickname"))


def test_wrong_secret_says_which_settings(issuer, folder):
    with pytest.raises(OidcError) as caught:
        sign_in(issuer, provider(issuer, folder, OIDC_CLIENT_SECRET="not-the-secret"))
    assert "OIDC_CLIENT_SECRET" in caught.value.hint
    assert "not-the-secret" not in caught.value.message


def test_certificate_of_another_authority_is_refused(issuer, tmp_path):
    write_pair(tmp_path, "127.0.0.1", make_authority("somebody else's CA"))
    with pytest.raises(IssuerDownError, match=r"(?i)certificate"):
        sign_in(issuer, provider(issuer, tmp_path))


def test_issuer_that_calls_itself_otherwise_is_refused(issuer, folder):
    with pytest.raises(IssuerDownError):
        sign_in(issuer, provider(issuer, folder, OIDC_ISSUER=f"{issuer.url}/realms/other"))


def test_issuer_that_never_answers_is_given_up(issuer, folder, monkeypatch):
    monkeypatch.setattr(oidc, "TIMEOUT_S", (1.0, 1.0))
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        url = f"https://127.0.0.1:{hanging.getsockname()[1]}"
        away = provider(issuer, folder, OIDC_ISSUER=url)
        problem = []

        def ask() -> None:
            try:
                away.build_url(new_attempt(), REDIRECT)
            except IssuerDownError as error:
                problem.append(error)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(30)
        assert problem, "still waiting after 30 s"


@pytest.mark.parametrize("twist", TWISTS)
def test_id_tokens_that_are_not_right_are_refused(issuer, folder, twist):
    issuer.twist = TWISTS[twist]
    try:
        with pytest.raises(OidcError, match="The ID token of"):
            sign_in(issuer, provider(issuer, folder))
    finally:
        issuer.twist = None
    assert sign_in(issuer, provider(issuer, folder)).name == "anna"


def test_code_of_another_sign_in_is_refused_by_pkce(issuer, folder):
    own = provider(issuer, folder)
    back = issuer.agree(own.build_url(new_attempt(), REDIRECT), "sub-1")
    with pytest.raises(OidcError, match="PKCE"):
        own.finish(parse_qs(urlsplit(back).query)["code"][0], new_attempt(), REDIRECT)
