"""What the client of OpenID Connect sends, and what it makes of an issuer's answers."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from vixtract.hub.oidc import IssuerDownError, OidcError, Provider, new_attempt
from vixtract.settings import Settings

REDIRECT = "https://etl.example.org/jupyter/hub/oauth_callback"
KEYS = [RSAKey.generate_key(2048, {"kid": name, "use": "sig"}) for name in ("first", "second")]


class Issuer(BaseHTTPRequestHandler):
    """Answers what the test has put into `server.answers`, and remembers what came."""

    def do_GET(self):
        self.answer("")

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def answer(self, body):
        path = self.path
        self.server.seen.append((path, self.headers.get("Authorization"), parse_qs(body)))
        status, content = self.server.answers.get(path, (404, {}))
        data = json.dumps(content).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.url + "/elsewhere")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        """Keep quiet."""


@pytest.fixture
def issuer():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.seen, server.answers = [], {}
    metadata = {
        "issuer": server.url,
        "authorization_endpoint": f"{server.url}/authorize?tenant=1",
        "token_endpoint": f"{server.url}/token",
        "jwks_uri": f"{server.url}/keys",
        "userinfo_endpoint": f"{server.url}/userinfo",
        # authlib hands unknown names on to requests.
        "verify": False,
        "proxies": {"http": "http://127.0.0.1:9"},
        "leeway": 10**9,
    }
    server.answers["/.well-known/openid-configuration"] = (200, metadata)
    publish(server, KEYS[0])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def publish(issuer, *keys):
    published = [key.as_dict(private=False) for key in keys]
    # What is of no use here must not be in the way.
    published += [{"kty": "AKP", "kid": "new", "alg": "ML-DSA-44", "pub": "AAAA"}]
    issuer.answers["/keys"] = (200, {"keys": published})


def grant(issuer, request, key=KEYS[0], **changes):
    """Let the issuer answer the next code with a token."""
    now = int(time.time())
    claims = {
        "iss": issuer.url, "sub": "s1", "aud": "client", "iat": now, "exp": now + 60,
        "nonce": request.nonce, "preferred_username": "Anna", "groups": ["users"], **changes,
    }  # fmt: skip
    claims = {name: value for name, value in claims.items() if value is not None}
    token = jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)
    # Its time is over at once, as a clock that differs would make it.
    content = {"id_token": token, "access_token": "at", "token_type": "Bearer", "expires_in": 1}
    issuer.answers["/token"] = (200, content)


def make_provider(issuer, **changes):
    values = {
        "OIDC_ISSUER": issuer.url, "OIDC_CLIENT_ID": "client", "OIDC_CLIENT_SECRET": "a:b%c d+é",
        "OIDC_ALLOWED_GROUP": "users", **changes,
    }  # fmt: skip
    return Provider(Settings.from_environment(values))


def sent_to(issuer, path):
    return [(header, form) for seen, header, form in issuer.seen if seen == path]


def test_client_and_secret_are_form_encoded_in_the_header(issuer):
    provider, request = make_provider(issuer), new_attempt()
    url = provider.build_url(request, REDIRECT)
    assert url.startswith(f"{issuer.url}/authorize?tenant=1&")
    grant(issuer, request)
    assert provider.finish("the-code", request, REDIRECT).name == "anna"
    ((header, form),) = sent_to(issuer, "/token")
    assert base64.b64decode(header.removeprefix("Basic ")) == b"client:a%3Ab%25c%20d%2B%C3%A9"
    assert form == {
        "grant_type": ["authorization_code"],
        "code": ["the-code"],
        "redirect_uri": [REDIRECT],
        "code_verifier": [request.verifier],
    }


@pytest.mark.parametrize(
    ("secret", "methods", "sent"),
    [
        ("word", ["client_secret_post"], {"client_id": ["client"], "client_secret": ["word"]}),
        ("", ["none"], {"client_id": ["client"]}),
        ("", None, {"client_id": ["client"]}),
    ],
)
def test_client_proves_itself_as_the_issuer_takes_it(issuer, secret, methods, sent):
    metadata = issuer.answers["/.well-known/openid-configuration"][1]
    metadata["token_endpoint_auth_methods_supported"] = methods
    provider, request = make_provider(issuer, OIDC_CLIENT_SECRET=secret), new_attempt()
    grant(issuer, request)
    provider.finish("c", request, REDIRECT)
    ((header, form),) = sent_to(issuer, "/token")
    assert header is None
    assert {name: form[name] for name in form if name.startswith("client_")} == sent


def test_a_new_key_of_the_issuer_is_fetched_and_an_old_one_is_not_asked_for_again(issuer):
    provider = make_provider(issuer)
    for _ in range(2):
        request = new_attempt()
        grant(issuer, request)
        provider.finish("c", request, REDIRECT)
    assert len(sent_to(issuer, "/keys")) == 1
    publish(issuer, *KEYS)
    request = new_attempt()
    grant(issuer, request, KEYS[1])
    assert provider.finish("c", request, REDIRECT).name == "anna"
    assert len(sent_to(issuer, "/keys")) == 2
    assert len(sent_to(issuer, "/.well-known/openid-configuration")) == 1


def test_claims_that_the_token_lacks_come_from_userinfo_of_the_same_person(issuer):
    provider, request = make_provider(issuer), new_attempt()
    grant(issuer, request, groups=None)
    issuer.answers["/userinfo"] = (200, {"sub": "s1", "groups": ["users"]})
    assert provider.finish("c", request, REDIRECT).name == "anna"
    assert sent_to(issuer, "/userinfo") == [("Bearer at", {})]
    issuer.answers["/userinfo"] = (200, {"sub": "s2", "groups": ["users"]})
    with pytest.raises(OidcError, match="another person"):
        provider.finish("c", request, REDIRECT)
    issuer.answers["/userinfo"] = (500, {})
    with pytest.raises(IssuerDownError):
        provider.finish("c", request, REDIRECT)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other", "azp": "client"},
        {"aud": ["other"]},
        {"aud": None},
        {"sub": None},
        {"iat": None},
        {"nonce": None},
        {"exp": 1},
        {"exp": "soon"},
        {"iss": "http://127.0.0.1"},
        {"iat": int(time.time()) + 3600},
        {"nbf": int(time.time()) + 3600},
    ],
)
def test_claims_that_are_not_right_are_refused(issuer, changes):
    provider, request = make_provider(issuer), new_attempt()
    grant(issuer, request, **changes)
    with pytest.raises(OidcError, match="The ID token of") as caught:
        provider.finish("c", request, REDIRECT)
    assert not isinstance(caught.value, IssuerDownError)


@pytest.mark.parametrize("token", ["", None, "a.b.c", "x", 5])
def test_an_answer_without_a_token_is_refused(issuer, token):
    provider = make_provider(issuer)
    issuer.answers["/token"] = (200, {"access_token": "at", "id_token": token})
    with pytest.raises(OidcError):
        provider.finish("c", new_attempt(), REDIRECT)


@pytest.mark.parametrize(
    "name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"]
)
@pytest.mark.parametrize("url", ["http://issuer.example.org/x", "", None, 7])
def test_addresses_without_https_are_not_asked(issuer, name, url):
    issuer.answers["/.well-known/openid-configuration"][1][name] = url
    with pytest.raises(IssuerDownError, match=f"no https:// address as its {name}"):
        make_provider(issuer).build_url(new_attempt(), REDIRECT)


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
@pytest.mark.parametrize("answer", [(302, {}), (500, {}), (200, []), (429, {"message": "slow"})])
def test_redirects_and_answers_of_another_shape_mean_that_the_issuer_is_away(issuer, path, answer):
    provider, request = make_provider(issuer), new_attempt()
    grant(issuer, request)
    issuer.answers[path] = answer
    with pytest.raises(OidcError):
        provider.finish("c", request, REDIRECT)
    assert not sent_to(issuer, "/elsewhere")


def test_a_wrong_answer_is_forgotten(issuer):
    provider, request = make_provider(issuer), new_attempt()
    grant(issuer, request)
    for wrong in ({"error": "later"}, [], {"keys": 5}, {"keys": []}):
        issuer.answers["/keys"] = (200, wrong)
        with pytest.raises(OidcError):
            provider.finish("c", request, REDIRECT)
        publish(issuer, KEYS[0])
        assert provider.finish("c", request, REDIRECT).name == "anna"
        provider.server_metadata = {}
