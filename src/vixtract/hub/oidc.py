"""OpenID Connect: the way to the issuer and back, by authlib, and what its claims mean here.

Authorization code flow with PKCE, state and nonce. Every ID token is checked against the issuer's
keys, although it comes straight from there. All calls block: the Hub runs them in threads.
Source: https://openid.net/specs/openid-connect-core-1_0.html, RFC 7636, RFC 9700
"""

from __future__ import annotations

import secrets
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from authlib.integrations.base_client import BaseApp, OAuth2Mixin, OAuthError, OpenIDMixin
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc.errors import JoseError

from vixtract.errors import VixtractError
from vixtract.hub.sources import Identity
from vixtract.settings import EVERYBODY, Settings, is_secure_url

TIMEOUT_S = (5.0, 10.0)
"""Seconds to connect, and for each answer."""
METADATA_KEEP_S = 3600.0
LEEWAY_S = 60
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Of public keys alone: neither `none` nor HMAC, whose key would be the client's secret."""
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")


class OidcError(VixtractError):
    """The sign-in is refused; message is for the person."""


class IssuerDownError(OidcError):
    """The issuer cannot be asked."""


@dataclass(frozen=True)
class Attempt:
    """One attempt to sign in; kept in the person's browser until the answer comes.

    Args:
        state: ties the answer to this browser.
        nonce: ties the ID token to this attempt.
        verifier: PKCE's secret.
    """

    state: str
    nonce: str
    verifier: str


def new_attempt() -> Attempt:
    """Return a fresh attempt."""
    return Attempt(*(secrets.token_urlsafe(32) for _ in range(3)))


class _Session(OAuth2Session):
    """Follows no redirect, and takes the authority that is set before REQUESTS_CA_BUNDLE."""

    def request(self, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        options = {"allow_redirects": False, "verify": self.verify, **options}
        answer = super().request(method, url, *arguments, **options)
        if answer.is_redirect:
            raise ValueError(f"{url} sends to another address")
        return answer


class Provider(OAuth2Mixin, OpenIDMixin, BaseApp):
    """The issuer that OIDC_ISSUER names."""

    client_cls = _Session
    server_metadata: dict[str, Any]

    def __init__(self, settings: Settings) -> None:
        self.label = settings["OIDC_LABEL"]
        self._settings = settings
        self._loaded_at = 0.0
        super().__init__(
            None,
            client_id=settings["OIDC_CLIENT_ID"],
            client_secret=settings["OIDC_CLIENT_SECRET"],
            client_kwargs={
                "scope": settings["OIDC_SCOPE"],
                "code_challenge_method": "S256",
                "verify": settings["OIDC_CA_FILE"] or True,
                "default_timeout": TIMEOUT_S,
                # Userinfo is asked at once, also with a token that is valid for a minute only.
                "leeway": 0,
            },
        )

    def build_url(self, attempt: Attempt, redirect_uri: str) -> str:
        """Return the address at the issuer where the person signs in.

        Raises:
            IssuerDownError: the issuer's metadata cannot be had.
        """
        with self._name_errors():
            made = self.create_authorization_url(
                redirect_uri,
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
            return str(made["url"])

    def finish(self, code: str, attempt: Attempt, redirect_uri: str) -> Identity:
        """Turn the code that the browser brought into a person.

        Raises:
            OidcError: the issuer or a check refuses; the message says what.
            IssuerDownError: the issuer cannot be asked.
        """
        with self._name_errors():
            token = self.fetch_access_token(redirect_uri, code=code, code_verifier=attempt.verifier)
            # By itself authlib checks the issuer, and of the audience only `azp`.
            options = {
                "iss": {"essential": True, "value": self.load_server_metadata()["issuer"]},
                "aud": {"essential": True, "value": self.client_id},
            }
            token.setdefault("id_token", "")
            claims = self.parse_id_token(token, attempt.nonce, options, CodeIDToken, LEEWAY_S)
            wanted = (self._settings["OIDC_NAME_CLAIM"], self._settings["OIDC_GROUPS_CLAIM"])
            is_short = any(find_claim(claims, claim) is None for claim in wanted)
            if is_short and "access_token" in token and "userinfo_endpoint" in self.server_metadata:
                more = self.userinfo(token=token)
                if more.get("sub") != claims["sub"]:
                    raise OidcError(f"{self.label} answered about another person.")
                claims = {**more, **claims}
        return self._judge(claims)

    def _judge(self, claims: Mapping[str, Any]) -> Identity:
        settings = self._settings
        name = find_claim(claims, settings["OIDC_NAME_CLAIM"])
        if not isinstance(name, str) or not name.strip():
            raise OidcError(
                f"{self.label} sends no claim {settings['OIDC_NAME_CLAIM']!r} with a name.",
                "Correct OIDC_NAME_CLAIM, or let the issuer send it.",
            )
        groups = find_claim(claims, settings["OIDC_GROUPS_CLAIM"])
        member_of = {groups} if isinstance(groups, str) else {str(g) for g in groups or ()}
        admins, allowed = settings["OIDC_ADMIN_GROUP"], settings["OIDC_ALLOWED_GROUP"]
        is_admin = admins in member_of if admins else None
        if not (is_admin or allowed == EVERYBODY or allowed in member_of):
            raise OidcError("This account is not in the group that may sign in here.")
        return Identity(name.strip().lower(), f"{claims['iss']}|{claims['sub']}", is_admin)

    def load_server_metadata(self) -> dict[str, Any]:
        """Return what the issuer says of itself, checked, and not older than an hour.

        Raises:
            IssuerDownError: it is another issuer, or an address is missing or not https://.
        """
        if (
            "issuer" in self.server_metadata
            and time.monotonic() - self._loaded_at < METADATA_KEEP_S
        ):
            return self.server_metadata
        issuer = self._settings["OIDC_ISSUER"].rstrip("/")
        with self._get_session() as session:
            url = f"{issuer}/.well-known/openid-configuration"
            answer = session.request("GET", url, withhold_token=True)
            answer.raise_for_status()
            content = answer.json()
        if str(content.get("issuer", "")).rstrip("/") != issuer:
            raise IssuerDownError(
                f"OIDC_ISSUER is {issuer}, but the issuer there calls itself "
                f"{content.get('issuer')!r}.",
                "Set OIDC_ISSUER to exactly that address, if it is yours.",
            )
        for name in ENDPOINTS:
            is_needed = name != "userinfo_endpoint" or name in content
            if is_needed and not is_secure_url(str(content.get(name, ""))):
                raise IssuerDownError(f"{self.label} names no https:// address as its {name}.")
        methods = content.get("token_endpoint_auth_methods_supported")
        in_header = not methods or "client_secret_basic" in methods
        with_secret: Any = _encode_basic if in_header else "client_secret_post"
        # authlib takes options of requests from here, too: no other part of the answer gets in.
        self.server_metadata = {
            **{name: content[name] for name in ("issuer", *ENDPOINTS) if name in content},
            "id_token_signing_alg_values_supported": sorted(ALGORITHMS),
            "token_endpoint_auth_method": with_secret if self.client_secret else "none",
        }
        self._loaded_at = time.monotonic()
        return self.server_metadata

    @contextmanager
    def _name_errors(self) -> Iterator[None]:
        """Turn errors of the libraries into ours."""
        try:
            yield
        except OAuthError as error:
            raise OidcError(
                f"{self.label} refuses the sign-in: {error}.",
                "Correct OIDC_CLIENT_ID and OIDC_CLIENT_SECRET if it stays so.",
            ) from error
        except JoseError as error:
            self.server_metadata = {}
            raise OidcError(f"The ID token of {self.label} is not valid: {error}.") from error
        # Errors of requests are OSErrors. The others come from answers of another shape.
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
            # authlib keeps whatever came as the issuer's keys: ask again next time.
            self.server_metadata = {}
            raise IssuerDownError(f"{self.label} cannot be asked: {error}") from error


def _encode_basic(
    client: Any, method: str, uri: str, headers: dict[str, str], body: str
) -> tuple[str, dict[str, str], str]:
    """Add client and secret to a request, each form-encoded first (RFC 6749, 2.3.1).

    authlib's own `client_secret_basic` joins them as they are.
    """
    words = (quote(word, safe="") for word in (client.client_id, client.client_secret))
    headers["Authorization"] = f"Basic {b64encode(':'.join(words).encode()).decode()}"
    return uri, headers, body


def find_claim(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim; where there is none of that name, dots lead into objects: `access.roles`."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value
