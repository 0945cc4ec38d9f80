"""OpenID Connect: discovery, the exchange of a code, and the check of what comes back.

Authorization code flow with PKCE, state and nonce. Every ID token is checked against the issuer's
keys, also though it comes straight from there. All calls block: the Hub runs them in threads.
Source: https://openid.net/specs/openid-connect-core-1_0.html, RFC 7636, RFC 9700
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import jwt
import requests

from vixtract.errors import VixtractError
from vixtract.settings import EVERYBODY, Settings, is_secure_url

TIMEOUT_S = (5.0, 10.0)
"""Seconds to connect, and for each answer."""
METADATA_KEEP_S = 3600.0
KEYS_PAUSE_S = 10.0
"""Unknown key ids make the keys be fetched again, but not more often than this."""
LEEWAY_S = 60.0
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Of public keys alone: neither `none` nor HMAC, whose key would be the client's secret."""


class OidcError(VixtractError):
    """The sign-in is refused; message is for the person."""


class IssuerDownError(OidcError):
    """The issuer cannot be asked."""


@dataclass(frozen=True)
class Request:
    """One attempt to sign in; kept in the person's browser until the answer comes.

    Args:
        state: ties the answer to this browser.
        nonce: ties the ID token to this attempt.
        verifier: PKCE's secret.
    """

    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True)
class Identity:
    """A person whom the issuer vouches for, allowed to sign in.

    Args:
        name: name claim, in lower case, not yet checked by the rules of names.
        subject: issuer and `sub`, the account's lasting identifier.
        is_admin: in the group of administrators; None where no such group is set.
    """

    name: str
    subject: str
    is_admin: bool | None


def new_request() -> Request:
    """Return a fresh attempt."""
    return Request(*(secrets.token_urlsafe(32) for _ in range(3)))


class Provider:
    """The issuer that the settings name.

    Args:
        settings: checked settings with OIDC_ISSUER set.
    """

    def __init__(self, settings: Settings) -> None:
        self.label = settings["OIDC_LABEL"]
        self._settings = settings
        self._issuer = settings["OIDC_ISSUER"].rstrip("/")
        self._lock = threading.Lock()
        self._metadata: dict[str, Any] = {}
        self._metadata_at = 0.0
        self._keys: dict[str, Any] = {}
        self._keys_at = 0.0

    def build_url(self, request: Request, redirect_uri: str) -> str:
        """Return the address at the issuer where the person signs in.

        Args:
            request: this attempt.
            redirect_uri: where the issuer sends the browser back to.
        Raises:
            IssuerDownError: the issuer's metadata cannot be had.
        """
        digest = hashlib.sha256(request.verifier.encode()).digest()
        endpoint = self._endpoint("authorization_endpoint")
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self._settings["OIDC_CLIENT_ID"],
                "redirect_uri": redirect_uri,
                "scope": self._settings["OIDC_SCOPE"],
                "state": request.state,
                "nonce": request.nonce,
                "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
                "code_challenge_method": "S256",
            }
        )
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    def finish(self, code: str, request: Request, redirect_uri: str) -> Identity:
        """Turn the code that the browser brought into a person.

        Args:
            code: as the issuer gave it to the browser.
            request: the attempt that it belongs to.
            redirect_uri: the one of `build_url`.
        Raises:
            OidcError: the issuer or a check refuses; the message says what.
            IssuerDownError: the issuer cannot be asked.
        """
        tokens = self._exchange(code, request, redirect_uri)
        claims = self._check_id_token(str(tokens.get("id_token", "")), request.nonce)
        name_claim, groups_claim = (
            self._settings["OIDC_NAME_CLAIM"],
            self._settings["OIDC_GROUPS_CLAIM"],
        )
        missing = [c for c in (name_claim, groups_claim) if pick(claims, c) is None]
        if missing and tokens.get("access_token") and self._find_metadata("userinfo_endpoint"):
            claims = {**self._read_userinfo(str(tokens["access_token"]), claims["sub"]), **claims}
        return self._judge(claims)

    def _judge(self, claims: Mapping[str, Any]) -> Identity:
        settings = self._settings
        name = pick(claims, settings["OIDC_NAME_CLAIM"])
        if not isinstance(name, str) or not name.strip():
            raise OidcError(
                f"{self.label} sends no claim {settings['OIDC_NAME_CLAIM']!r} with a name.",
                "Correct OIDC_NAME_CLAIM, or let the issuer send it.",
            )
        groups = pick(claims, settings["OIDC_GROUPS_CLAIM"])
        member_of = {groups} if isinstance(groups, str) else {str(g) for g in groups or ()}
        admins, allowed = settings["OIDC_ADMIN_GROUP"], settings["OIDC_ALLOWED_GROUP"]
        is_admin = admins in member_of if admins else None
        if not (is_admin or allowed == EVERYBODY or allowed in member_of):
            raise OidcError("This account is not in the group that may sign in here.")
        return Identity(name.strip().lower(), f"{claims['iss']}|{claims['sub']}", is_admin)

    # --- tokens ---

    def _exchange(self, code: str, request: Request, redirect_uri: str) -> dict[str, Any]:
        client, secret = self._settings["OIDC_CLIENT_ID"], self._settings["OIDC_CLIENT_SECRET"]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": request.verifier,
        }
        methods = self._find_metadata("token_endpoint_auth_methods_supported")
        auth = None
        if not secret:
            form["client_id"] = client
        elif not methods or "client_secret_basic" in methods:
            # RFC 6749, 2.3.1: both are form-encoded before they are joined.
            auth = (quote(client, safe=""), quote(secret, safe=""))
        else:
            form |= {"client_id": client, "client_secret": secret}
        answer = self._send("POST", self._endpoint("token_endpoint"), data=form, auth=auth)
        if "error" in answer:
            raise OidcError(
                f"{self.label} refuses the sign-in: "
                f"{answer['error']} {answer.get('error_description', '')}".strip()
                + ".",
                "Correct OIDC_CLIENT_ID and OIDC_CLIENT_SECRET if it stays so.",
            )
        return answer

    def _check_id_token(self, token: str, nonce: str) -> dict[str, Any]:
        client = self._settings["OIDC_CLIENT_ID"]
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise jwt.InvalidAlgorithmError(f"algorithm {header.get('alg')}")
            claims = jwt.decode(
                token,
                self._find_key(header),
                algorithms=[header["alg"]],
                audience=client,
                issuer=self._find_metadata("issuer"),
                leeway=LEEWAY_S,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except jwt.PyJWTError as error:
            raise OidcError(f"The ID token of {self.label} is not valid: {error}.") from error
        if not hmac.compare_digest(str(claims.get("nonce", "")), nonce):
            raise OidcError(f"The ID token of {self.label} belongs to another sign-in.")
        if claims.get("azp", client) != client:
            raise OidcError(f"The ID token of {self.label} was made for another client.")
        return dict(claims)

    def _find_key(self, header: Mapping[str, Any]) -> Any:
        key_id = header.get("kid")
        for attempt in range(2):
            with self._lock:
                keys, age = self._keys, time.monotonic() - self._keys_at
            if key_id is None and len(keys) == 1:
                return next(iter(keys.values()))
            if key_id in keys:
                return keys[key_id]
            if attempt or (keys and age < KEYS_PAUSE_S):
                break
            self._load_keys()
        raise jwt.InvalidKeyError("it is signed with a key that the issuer does not publish")

    def _load_keys(self) -> None:
        content = self._send("GET", self._endpoint("jwks_uri"))
        keys = jwt.PyJWKSet.from_dict(content).keys
        signing = [key for key in keys if key.public_key_use in (None, "sig")]
        with self._lock:
            self._keys = {key.key_id or "": key for key in signing}
            self._keys_at = time.monotonic()

    def _read_userinfo(self, access_token: str, subject: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {access_token}"}
        claims = self._send("GET", self._endpoint("userinfo_endpoint"), headers=headers)
        if claims.get("sub") != subject:
            raise OidcError(f"{self.label} answered about another person.")
        return claims

    # --- the issuer ---

    def _find_metadata(self, name: str) -> Any:
        with self._lock:
            fresh = self._metadata and time.monotonic() - self._metadata_at < METADATA_KEEP_S
            metadata = self._metadata
        if not fresh:
            metadata = self._send("GET", f"{self._issuer}/.well-known/openid-configuration")
            if str(metadata.get("issuer", "")).rstrip("/") != self._issuer:
                raise IssuerDownError(
                    f"OIDC_ISSUER is {self._issuer}, but the issuer there calls itself "
                    f"{metadata.get('issuer')!r}.",
                    "Set OIDC_ISSUER to exactly that address, if it is yours.",
                )
            with self._lock:
                self._metadata, self._metadata_at = metadata, time.monotonic()
        return metadata.get(name)

    def _endpoint(self, name: str) -> str:
        url = str(self._find_metadata(name) or "")
        if not is_secure_url(url):
            raise IssuerDownError(f"{self.label} names no https:// address as its {name}.")
        return url

    def _send(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        """Send one request; JSON of an error is an answer too, OAuth puts the reason there."""
        try:
            answer = requests.request(
                method, url, timeout=TIMEOUT_S, allow_redirects=False,
                verify=self._settings["OIDC_CA_FILE"] or True, **options,
            )  # fmt: skip
            content = answer.json()
        except (requests.RequestException, ValueError, OSError) as error:
            raise IssuerDownError(f"{self.label} cannot be asked at {url}: {error}") from error
        is_refusal = answer.status_code in (400, 401) and "error" in content
        if not isinstance(content, dict) or not (answer.ok or is_refusal):
            raise IssuerDownError(f"{self.label} answers {answer.status_code} at {url}.")
        return content


def pick(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim; where there is none of that name, dots lead into objects.

    Args:
        claims: of the ID token or of userinfo.
        path: such as `groups` or `realm_access.roles`.
    """
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value
