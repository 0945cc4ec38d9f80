"""A real issuer of OpenID Connect (oidc-provider-mock: RS256, codes, userinfo) over HTTPS.

What it lacks is added here: PKCE as RFC 7636 asks for it, and ways to answer wrongly on purpose.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import flask
import httpx
import jwt
import oidc_provider_mock
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from cryptography.hazmat.primitives.asymmetric import rsa
from oidc_provider_mock import _app as mock
from werkzeug.serving import make_server

from tests.certificates import tls_context
from tests.waiting import free_port

# What is done to the claims of the next ID token, and the key that signs it; None for the issuer's.
Twist = Callable[[dict[str, Any]], "tuple[dict[str, Any], Any, str]"]


class Issuer:
    """One issuer with one registered client; `stop` ends it.

    Args:
        folder: with ca.pem, server.pem and server.key.
        address: IP address to listen on.
        redirect_uri: of the client.
    """

    def __init__(self, folder: Path, address: str, redirect_uri: str) -> None:
        self.url = f"https://{address}:{(port := free_port())}"
        self.twist: Twist | None = None
        self.challenges: dict[str, str] = {}
        app = oidc_provider_mock.app(require_client_registration=True, require_nonce=True)
        app.before_request(self._check_verifier)
        app.after_request(self._after)
        pair = (str(folder / "server.pem"), str(folder / "server.key"))
        self._server = make_server(address, port, app, threaded=True, ssl_context=pair)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.http = httpx.Client(base_url=self.url, verify=tls_context(folder), timeout=60)
        body = {
            "redirect_uris": [redirect_uri],
            "token_endpoint_auth_method": "client_secret_basic",
        }
        client = self.http.post("/oauth2/clients", json=body).raise_for_status().json()
        self.client_id, self.client_secret = client["client_id"], client["client_secret"]

    def stop(self) -> None:
        """End the server."""
        self.http.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)

    def settings(self, ca_file: str, **changes: str) -> dict[str, str]:
        """Return the appliance's settings for this issuer."""
        return {
            "OIDC_ISSUER": self.url,
            "OIDC_CLIENT_ID": self.client_id,
            "OIDC_CLIENT_SECRET": self.client_secret,
            "OIDC_CA_FILE": ca_file,
            "OIDC_ALLOWED_GROUP": "etl-users",
            "OIDC_ADMIN_GROUP": "etl-admins",
            **changes,
        }

    def add(self, subject: str, name: str, *groups: str) -> None:
        """Add an account."""
        claims = {"preferred_username": name, "groups": list(groups)}
        self.http.put(f"/users/{subject}", json=claims).raise_for_status()

    def agree(self, url: str, subject: str) -> str:
        """Sign in at the issuer as its page does; returns where it sends the browser back to."""
        answer = self.http.post(url, data={"sub": subject})
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def _check_verifier(self) -> Any:
        """RFC 7636, 4.6: the verifier must lead to the challenge of the same code."""
        request = flask.request
        if request.path != "/oauth2/token":
            return None
        challenge = self.challenges.get(request.form.get("code", ""))
        verifier = request.form.get("code_verifier", "")
        if challenge is None or create_s256_code_challenge(verifier) != challenge:
            return flask.jsonify(error="invalid_grant", error_description="PKCE"), 400
        return None

    def _after(self, response: flask.Response) -> flask.Response:
        request = flask.request
        if request.path == "/oauth2/authorize" and response.status_code == 302:
            assert request.args["code_challenge_method"] == "S256"
            code = parse_qs(urlsplit(response.headers["Location"]).query)["code"][0]
            self.challenges[code] = request.args["code_challenge"]
        if request.path == "/oauth2/token" and response.status_code == 200 and self.twist:
            content = response.get_json()
            claims = jwt.decode(content["id_token"], options={"verify_signature": False})
            own = mock.storage.jwk
            claims, key, algorithm = self.twist(claims)
            if key is None:
                key = jwt.PyJWK(own.as_dict(is_private=True), algorithm="RS256").key
            content["id_token"] = jwt.encode(claims, key, algorithm)
            response.set_data(json.dumps(content))
        return response


def foreign_key() -> rsa.RSAPrivateKey:
    """Return a key that the issuer does not publish."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


TWISTS = {
    "expired": lambda c: ({**c, "exp": int(time.time()) - 600}, None, "RS256"),
    "no end": lambda c: ({k: v for k, v in c.items() if k != "exp"}, None, "RS256"),
    "another client's": lambda c: ({**c, "aud": "somebody-else"}, None, "RS256"),
    "another issuer's": lambda c: ({**c, "iss": "https://evil.example"}, None, "RS256"),
    "another sign-in's": lambda c: ({**c, "nonce": "other"}, None, "RS256"),
    "another party's": lambda c: ({**c, "azp": "somebody-else"}, None, "RS256"),
    "foreign key": lambda c: (c, foreign_key(), "RS256"),
    "unsigned": lambda c: (c, "", "none"),
    "signed with a shared secret": lambda c: (c, "s" * 32, "HS256"),
}
