"""The login page, and the way to the issuer of OpenID Connect and back."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.login import LoginHandler
from jupyterhub.utils import get_browser_protocol, url_path_join
from tornado import web
from tornado.httputil import url_concat

from vixtract.hub.oidc import Attempt, new_attempt
from vixtract.hub.sessions import set_cookie
from vixtract.language import COOKIE as LANGUAGE_COOKIE
from vixtract.language import Language, choose_language, load_languages, mark

ATTEMPT_S = 600
"""Seconds that a person has for signing in at the issuer."""
COOKIE = "vixtract-oidc"
FROM_JUPYTERHUB = (
    mark("Invalid username or password"),
    mark("Login form invalid or expired. Try again."),
)
"""What JupyterHub itself tells a person on this page."""


class Translated:
    """A page of the Hub in the person's language; mixed into the Hub's handlers."""

    @property
    def language(self: Any) -> Language:
        """The language of the person who asks."""
        accepted = self.request.headers.get("Accept-Language", "")
        return choose_language(self.get_cookie(LANGUAGE_COOKIE), accepted, load_languages())

    @property
    def template_namespace(self: Any) -> dict[str, Any]:
        """What all templates use: the Hub's, `language`, and `_` for its texts."""
        common = super().template_namespace  # type: ignore[misc]  # of the Hub's handler
        return {**common, "language": self.language, "_": self.language.say}

    async def show_page(self: Any, template: str, problem: str, **values: Any) -> None:
        """Send a page with a form; its status is 400 where there is a problem."""
        if problem:
            self.set_status(400)
        values |= {"problem": problem, "xsrf": self.xsrf_token.decode("ascii")}
        self.finish(await self.render_template(template, **values))


def explain(language: Language, message: str, error: Exception | None) -> str:
    """Return why a sign-in failed, in the person's language where the catalogs know the text.

    Args:
        error: the Hub's HTTPError behind it, whose text and values come apart; None where none is.
    """
    if isinstance(error, web.HTTPError) and error.log_message and error.args:
        return language.say(error.log_message) % error.args
    return language.say(message)


class LoginPage(Translated, LoginHandler):
    """The Hub's login page with our words, and a button for the issuer beside the form."""

    def _render(self, login_error: str | None = None, **options: Any) -> Any:
        provider = self.authenticator.provider
        issuer_url = url_concat(
            url_path_join(self.hub.base_url, "oauth_login"),
            {"next": self.get_argument("next", "")},
        )
        return super()._render(
            login_error=explain(self.language, login_error or "", options.get("exception")),
            issuer_label=provider.label if provider else "",
            issuer_url=issuer_url,
            has_directory=self.authenticator.directory is not None,
            **options,
        )


class _IssuerHandler(BaseHandler):
    """What both ways share."""

    @property
    def provider(self) -> Any:
        """The issuer; 404 where none is set."""
        if self.authenticator.provider is None:
            raise web.HTTPError(404)
        return self.authenticator.provider

    @property
    def redirect_uri(self) -> str:
        """Where the issuer sends browsers: PUBLIC_URL, or the address that this one used."""
        public = self.authenticator.external.settings["PUBLIC_URL"].rstrip("/")
        origin = public or f"{get_browser_protocol(self.request)}://{self.request.host}"
        return str(origin + url_path_join(self.hub.base_url, "oauth_callback"))


class ToIssuer(_IssuerHandler):
    """GET: send the browser to the issuer."""

    async def get(self) -> None:
        """Begin an attempt."""
        attempt = new_attempt()
        ask = self.authenticator.external.ask_issuer
        url = await ask(self.provider.build_url, attempt, self.redirect_uri)
        kept = {**asdict(attempt), "next": self.get_argument("next", ""), "at": time.time()}
        set_cookie(self, COOKIE, json.dumps(kept), ATTEMPT_S / 86400)
        self.redirect(url)


class FromIssuer(_IssuerHandler):
    """GET: the browser is back, with a code or a refusal."""

    # Attempts that were brought back, with their time: no answer counts twice.
    _used: dict[str, float] = {}  # noqa: RUF012  one for the process

    async def get(self) -> None:
        """Finish the attempt: sign the person in, or say why not."""
        provider = self.provider
        kept = self._take_attempt()
        if self.get_argument("error", ""):
            reason = self.get_argument("error_description", "") or self.get_argument("error")
            raise web.HTTPError(403, f"{provider.label} did not sign you in: {reason[:200]}")
        attempt = Attempt(kept["state"], kept["nonce"], kept["verifier"])
        identity = await self.authenticator.external.ask_issuer(
            provider.finish, self.get_argument("code", ""), attempt, self.redirect_uri
        )
        user = await self.login_user({"username": identity.name, "identity": identity})
        if user is None:
            raise web.HTTPError(403, "This account may not sign in here.")
        self._jupyterhub_user = user
        self.redirect(self._next_url(user, kept["next"]))

    def _take_attempt(self) -> dict[str, Any]:
        """Return this browser's attempt, once, and only with the state that belongs to it."""
        stored = self.get_secure_cookie(COOKIE, max_age_days=1)
        self.clear_cookie(COOKIE, path=self.hub.base_url)
        attempt: dict[str, Any] = json.loads(stored) if stored else {}
        now = time.time()
        state = attempt.get("state", "")
        is_own = state and self.get_argument("state", "") == state
        if not is_own or now - attempt["at"] > ATTEMPT_S or state in self._used:
            raise web.HTTPError(
                403, "This sign-in was not begun in this browser, or is over. Sign in again."
            )
        for old in [s for s, at in self._used.items() if now - at > ATTEMPT_S]:
            del self._used[old]
        self._used[state] = now
        return attempt

    def _next_url(self, user: Any, wanted: str) -> str:
        # Not the Hub's get_next_url: it would carry the code on to the next page.
        own = user.url if user.spawner.active else url_path_join(self.hub.base_url, "spawn")
        return str(self._validate_next_url(wanted) or own)


HANDLERS = [("/login", LoginPage), ("/oauth_login", ToIssuer), ("/oauth_callback", FromIssuer)]
