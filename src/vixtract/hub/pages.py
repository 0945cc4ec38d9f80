"""Pages and calls for passwords: of people themselves, of administrators, of the operator.

All changes are POSTs; the Hub's base handler checks the XSRF token of each.
"""

from __future__ import annotations

from typing import Any

from jupyterhub import orm
from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from vixtract.hub import sources
from vixtract.hub.passwords import PasswordError, check_new_password
from vixtract.hub.sessions import end_sessions
from vixtract.hub.signin import Translated
from vixtract.language import mark


class _PasswordMixin:
    """Setting a password, for all three handlers."""

    async def set_password(self: Any, user: Any, password: str, *, is_first: bool = False) -> None:
        """Store a new password and end all sessions of the person.

        Args:
            is_first: the person has to choose another one at the next login.
        Raises:
            PasswordError: the rules refuse it, or the person has no local password.
        """
        source = await self.authenticator.run_blocking(self.authenticator.sources.find, user.name)
        if source in (sources.LDAP, sources.OIDC):
            raise PasswordError(
                mark("%s signs in with %s; the password is kept there."),
                user.name,
                sources.WORDS[source],
            )
        check_new_password(password, name=user.name)
        await self.authenticator.run_blocking(
            self.authenticator.store.set_password, user.name, password, is_first=is_first
        )
        end_sessions(self.db, user, keep_server=True)
        self.log.info("Password of %s set by %s", user.name, self.current_user.name)

    def find_person(self: Any, name: str) -> Any:
        """Return a user whose password the caller may set.

        Raises:
            HTTPError: 404 for an unknown user, 403 for an administrator's password.
        """
        user = self.find_user(name)
        if user is None:
            raise web.HTTPError(404, f"No such user: {name}")
        if user.admin and not self.current_user.admin:
            raise web.HTTPError(403, "Only admins can set an admin's password")
        return user


class OwnPasswordPage(Translated, _PasswordMixin, BaseHandler):
    """Change one's own password."""

    @web.authenticated
    async def get(self) -> None:
        """Show the form."""
        await self._show()

    @web.authenticated
    async def post(self) -> None:
        """Check the current password, then set the new one."""
        user = self.current_user
        new = self.get_body_argument("new_password", "", strip=False)
        present = self.get_body_argument("password", "", strip=False)
        if new != self.get_body_argument("repeated_password", "", strip=False):
            await self._show(self.language.say("The two passwords differ."))
        elif not await self.authenticator.check_password(self, user.name, present):
            await self._show(self.language.say("The current password is wrong."))
        else:
            try:
                await self.set_password(user, new)
            except PasswordError as error:
                await self._show(error.explain(self.language))
                return
            self.set_login_cookie(user)
            await self._show(done=True)

    async def _show(self, problem: str = "", *, done: bool = False) -> None:
        user = self.current_user
        is_local = await self.authenticator.run_blocking(
            self.authenticator.store.has_password, user.name
        )
        source = await self.authenticator.run_blocking(self.authenticator.sources.find, user.name)
        settings = self.authenticator.external.settings
        labels = {
            sources.LDAP: self.language.say("your organisation's directory"),
            sources.OIDC: settings["OIDC_LABEL"],
        }
        is_outside = source in labels
        await self.show_page(
            "change-password.html",
            problem,
            done=done,
            is_local=is_local,
            source=source,
            source_label=labels.get(source, ""),
            password_url=settings[f"{source.upper()}_PASSWORD_URL"] if is_outside else "",
        )


class PasswordsPage(Translated, _PasswordMixin, BaseHandler):
    """Set any person's password; people added in the Control Panel have none yet."""

    @needs_scope("admin:users")
    async def get(self) -> None:
        """Show all people, with a form for each."""
        await self._show()

    @needs_scope("admin:users")
    async def post(self) -> None:
        """Set one person's password."""
        user = self.find_person(self.get_body_argument("name", ""))
        password = self.get_body_argument("new_password", "", strip=False)
        is_other = user.name != self.current_user.name
        try:
            await self.set_password(user, password, is_first=is_other)
        except PasswordError as error:
            await self._show(f"{user.name}: {error.explain(self.language)}")
            return
        if user.name == self.current_user.name:
            self.set_login_cookie(user)
        await self._show(done=user.name)

    async def _show(self, problem: str = "", *, done: str = "") -> None:
        local = await self.authenticator.run_blocking(self.authenticator.store.names)
        origins = await self.authenticator.run_blocking(self.authenticator.sources.origins)
        outside = {origin.name: sources.WORDS[origin.source] for origin in origins}
        people = [
            (u.name, u.admin, u.name in local, outside.get(u.name, ""))
            for u in self.db.query(orm.User).order_by(orm.User.name)
        ]
        await self.show_page("passwords.html", problem, done=done, people=people)


class PasswordCall(_PasswordMixin, APIHandler):
    """The operator's call: POST {"password": "…", "first": true} with a token."""

    @needs_scope("admin:users")
    async def post(self, name: str) -> None:
        """Set the password; 204, or 400 with the rule that it breaks."""
        user = self.find_person(name)
        body = self.get_json_body()
        if not isinstance(body, dict) or not isinstance(body.get("password"), str):
            raise web.HTTPError(400, 'The body must be {"password": "…"}')
        try:
            await self.set_password(user, body["password"], is_first=bool(body.get("first")))
        except PasswordError as error:
            raise web.HTTPError(400, error.message) from error
        self.set_status(204)


HANDLERS = [
    ("/change-password", OwnPasswordPage),
    ("/passwords", PasswordsPage),
    ("/vixtract/users/([^/]+)/password", PasswordCall),
]
