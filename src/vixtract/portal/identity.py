"""Who is signed in: the Hub's tokens and its OAuth login.

A browser holds the Hub's OAuth token in a cookie for `/portal` alone, so that people's own servers
under `/jupyter` never receive it. Nothing is kept here, so a restart signs no one out.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from tornado.web import HTTPError

from vixtract.portal.config import PREFIX, PortalConfig
from vixtract.portal.errors import AwayError, ForbiddenError

log = logging.getLogger(__name__)

SESSION_COOKIE = "vixtract-portal"
STATE_COOKIE = "vixtract-portal-login"
CALLBACK = f"{PREFIX}/oauth_callback"
HUB_TIMEOUT_S = 10.0
# After a change of the password a session is good for no longer than this.
CACHE_S = 10
STATE_S = 600
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class User:
    """A person who is signed in.

    Args:
        name: account name, the same in the Hub, the OS and PostgreSQL.
        admin: whether the Hub counts them among its admins.
        token: the Hub token that the request came with.
        by_cookie: whether it came in the browser's cookie; then changes need a form token.
    """

    name: str
    admin: bool = False
    token: str = field(default="", repr=False)
    by_cookie: bool = True

    @property
    def form_token(self) -> str:
        """The token that every form carries; other sites cannot know it."""
        return hmac.new(self.token.encode(), b"vixtract portal form", hashlib.sha256).hexdigest()

    def check_form_token(self, given: str) -> None:
        """Raise ForbiddenError for a change that does not come from a page of this session."""
        if self.by_cookie and not hmac.compare_digest(self.form_token.encode(), given.encode()):
            raise ForbiddenError(
                "This form belongs to another session.", "Go back, reload the page and try again."
            )


def name_state_cookie(state: str) -> str:
    """Return the name of the cookie that belongs to a login's state."""
    return f"{STATE_COOKIE}-{hashlib.sha256(state.encode()).hexdigest()[:12]}"


def make_safe_next(path: str) -> str:
    """Return where to go after the login: a page of the portal, never another site."""
    parts = urlsplit(path) if path.isascii() and path.isprintable() else None
    unsafe = parts is None or parts.scheme or parts.netloc or "\\" in path or "//" in path
    inside = path == PREFIX or path.startswith(f"{PREFIX}/")
    if unsafe or not inside or ".." in path or path.startswith(CALLBACK):
        return f"{PREFIX}/"
    return path


class HubLogin:
    """The Hub as the portal uses it."""

    def __init__(self, config: PortalConfig) -> None:
        # The Hub's helper takes a second to import; commands that only need settings skip it.
        from jupyterhub.services.auth import HubOAuth

        self._config = config
        self._hub = HubOAuth(
            api_url=config.hub_api_url,
            api_token=config.hub_token,
            hub_prefix=config.hub_prefix,
            base_url=f"{PREFIX}/",
            oauth_client_id=config.hub_client_id,
            # Without a route of its own behind the Hub's proxy the helper cannot guess this.
            oauth_redirect_uri=CALLBACK,
            cache_max_age=CACHE_S,
            access_scopes=set(config.hub_scopes),
        )

    async def find_person(self, token: str, *, by_cookie: bool) -> User | None:
        """Return whose token this is, or None where it is unknown, expired or a service's.

        Args:
            by_cookie: whether the token came in the browser's cookie.
        Raises:
            AwayError: the Hub does not answer.
            ForbiddenError: the Hub does not let this person use the portal.
        """
        if not (0 < len(token) <= 512 and token.isascii() and token.isprintable()):
            return None
        answer = await self._ask(self._hub.user_for_token(token, use_cache=True, sync=False))
        if not isinstance(answer, Mapping) or answer.get("kind", "user") != "user":
            return None
        if not self._hub.check_scopes(self._hub.access_scopes, answer):
            raise ForbiddenError(
                "This account or token may not use the portal.",
                "Ask an admin of the Hub for access.",
            )
        return User(str(answer["name"]), bool(answer.get("admin")), token, by_cookie)

    def start_login(self, next_path: str) -> tuple[str, str, str]:
        """Return what a browser needs to sign in at the Hub and come back to a page.

        Returns: where to send the browser; name and value of a cookie of this login alone, which
            proves at the callback that this browser asked. Several tabs may sign in at once.
        """
        verifier, challenge, method = self._hub.generate_pkce_code_challenge()
        state = {"id": secrets.token_urlsafe(24), "next": make_safe_next(next_path)}
        query = {
            "client_id": self._config.hub_client_id,
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "state": state["id"],
            "code_challenge": challenge,
            "code_challenge_method": method,
        }
        location = f"{self._hub.oauth_authorization_url}?{urlencode(query)}"
        kept = json.dumps({**state, "verifier": verifier}).encode()
        return location, name_state_cookie(state["id"]), urlsafe_b64encode(kept).decode()

    async def finish_login(self, code: str, state: str, cookie: str) -> tuple[str, str]:
        """Turn the Hub's code into a token.

        Args:
            cookie: value of the login's cookie, empty where there is none.
        Returns: token, and the page to go to.
        Raises:
            ForbiddenError: this browser did not ask for this login, or the Hub refuses the code.
            AwayError: the Hub does not answer.
        """
        kept = _unpack(cookie)
        if not hmac.compare_digest(str(kept.get("id", "")).encode() or b"-", state.encode()):
            raise ForbiddenError(
                "This login was not started here, or took too long.", "Start it again."
            )
        verifier = str(kept.get("verifier", ""))
        try:
            token = await self._ask(
                self._hub.token_for_code(code, code_verifier=verifier, sync=False)
            )
        except AwayError as error:
            # The helper answers 500 for a code that was used before as for a Hub that is away.
            log.warning("login not finished: %s", error.message)
            raise ForbiddenError("The Hub did not accept this login.", "Start it again.") from error
        return str(token), make_safe_next(str(kept.get("next", "")))

    async def _ask(self, question: Awaitable[Answer]) -> Answer:
        try:
            return await asyncio.wait_for(question, HUB_TIMEOUT_S)
        except (HTTPError, OSError, asyncio.TimeoutError) as error:
            raise AwayError(
                "The login service does not answer.", "It may be starting: try again in a moment."
            ) from error


def read_authorization(header: str) -> str:
    """Return the token of a header such as `token …` or `Bearer …`, or an empty text."""
    kind, _, token = header.strip().partition(" ")
    return token.strip() if kind.lower() in {"token", "bearer"} else ""


def _unpack(text: str) -> dict[str, Any]:
    try:
        values = json.loads(urlsafe_b64decode(text.encode()))
    except ValueError:  # also what base64 and UTF-8 raise
        return {}
    return values if isinstance(values, dict) else {}
