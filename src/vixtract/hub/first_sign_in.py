"""The first login: a password that an administrator knows must be replaced before anything else.

The page has no session yet. A signed cookie proves that the first password was right; it is valid
for ten minutes, and only until that password changes.
"""

from __future__ import annotations

import hmac
import json
from typing import Any
from urllib.parse import urlencode

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.utils import url_path_join
from tornado import web

from vixtract.hub.passwords import PasswordError, check_new_password
from vixtract.hub.sessions import set_cookie
from vixtract.hub.signin import Translated

COOKIE = "vixtract-first-password"
MINUTES = 10


def ask_for_password(handler: Any, name: str, fingerprint: str) -> None:
    """Send a browser with the right first password to the page instead of logging it in.

    Raises:
        Finish: always; the answer is sent.
    """
    set_cookie(handler, COOKIE, json.dumps([name, fingerprint]), MINUTES / 1440)
    next_page = handler.get_argument("next", "")
    query = f"?{urlencode({'next': next_page})}" if next_page else ""
    handler.redirect(url_path_join(handler.hub.base_url, "first-password") + query)
    raise web.Finish


class FirstPasswordPage(Translated, BaseHandler):
    """The page on which a person replaces the first password."""

    async def get(self) -> None:
        """Show the form."""
        name = await self._find_name()
        if not name:
            self.redirect(self.settings["login_url"])
            return
        await self._show(name)

    async def post(self) -> None:
        """Set the password and log in with it."""
        name = await self._find_name()
        if not name:
            self.redirect(self.settings["login_url"])
            return
        password = self.get_body_argument("new_password", "", strip=False)
        store, run = self.authenticator.store, self.authenticator.run_blocking
        if password != self.get_body_argument("repeated_password", "", strip=False):
            await self._show(name, self.language.say("The two passwords differ."))
        elif await run(store.has_hash_of, name, password):
            await self._show(name, self.language.say("This is the password that you were given."))
        else:
            try:
                check_new_password(password, name=name)
            except PasswordError as error:
                await self._show(name, error.explain(self.language))
                return
            await run(store.set_password, name, password)
            self.clear_cookie(COOKIE, path=self.hub.base_url)
            user = await self.login_user({"username": name, "password": password})
            if user is None:
                raise web.HTTPError(403, "This account may not log in.")
            self.redirect(self.get_next_url(user))

    async def _find_name(self) -> str:
        """Return the person of the cookie; empty where it is old or the password has changed."""
        value = self.get_secure_cookie(COOKIE, max_age_days=MINUTES / 1440)
        try:
            name, fingerprint = json.loads(value or b"")
        except ValueError:
            return ""
        store, run = self.authenticator.store, self.authenticator.run_blocking
        now = await run(store.fingerprint, name)
        is_first = name in await run(store.first_names)
        is_same = bool(now) and hmac.compare_digest(now, str(fingerprint))
        return str(name) if is_first and is_same else ""

    async def _show(self, name: str, problem: str = "") -> None:
        next_page = self.get_argument("next", "")
        await self.show_page("first-password.html", problem, person=name, next_page=next_page)


HANDLERS = [("/first-password", FirstPasswordPage)]
