"""Who signs in how (local, LDAP, OpenID Connect), and what happens to people added or deleted."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from jupyterhub.auth import Authenticator
from tornado import web
from traitlets import Any as AnyTrait
from traitlets import Unicode

from vixtract.hub import first_sign_in, pages, people_calls, session_checks, signin, sources
from vixtract.hub.external_sign_in import ExternalSignIn
from vixtract.hub.passwords import TOO_MANY_FAILURES, LockedError, PasswordStore
from vixtract.hub.sessions import end_sessions, set_cookie
from vixtract.hub.state import Plan
from vixtract.language import mark
from vixtract.people import accounts
from vixtract.people.names import InvalidNameError, check_name
from vixtract.settings import Settings

Result = TypeVar("Result")

BROWSER_DAYS = 180


class PeopleAuthenticator(Authenticator):
    """Local accounts, which administrators add, beside people of LDAP and OpenID Connect.

    Each name belongs to one source (`vixtract.hub.sources`); no other source is asked for it.
    """

    database = Unicode(help="SQLite file with the table of passwords.").tag(config=True)
    home_root = Unicode("/home", help="Directory of the homes.").tag(config=True)
    signin = AnyTrait(None, allow_none=True, help="Checked settings of sign-in.").tag(config=True)
    person_added = AnyTrait(None, allow_none=True, help="Called with a name.").tag(config=True)
    get_lifecycle = AnyTrait(None, allow_none=True, help="Gives the `Lifecycle`.").tag(config=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.store = PasswordStore(Path(self.database))
        self.sources = sources.SourceStore(Path(self.database), Path(self.home_root))
        self.external = ExternalSignIn(self.signin or Settings.from_environment({}))
        self.directory, self.provider = self.external.directory, self.external.provider
        # Two: hashing takes 32 MiB and a fifth of a second, and must never stop the Hub's loop.
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="passwords")

    async def run_blocking(
        self, function: Callable[..., Result], *arguments: Any, **options: Any
    ) -> Result:
        """Run a blocking function outside the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(function, *arguments, **options))

    def validate_username(self, username: str) -> bool:
        """Refuse names that no person may have, with the reason (400 in the Control Panel)."""
        try:
            check_name(username)
        except InvalidNameError as error:
            raise web.HTTPError(400, f"{error.message} {error.hint}") from error
        return bool(super().validate_username(username))

    async def authenticate(self, handler: Any, data: dict[str, Any]) -> dict[str, Any] | None:
        """Check what the login form or the issuer brought.

        Raises:
            HTTPError: 403, 429 or 503 with words for the person.
        """
        if isinstance(data.get("identity"), sources.Identity):
            return await self._admit(sources.OIDC, data["identity"])
        username, password = data.get("username", ""), data.get("password", "")
        # The Hub's API takes a sign-in as JSON, too, with values of any type.
        if not (isinstance(username, str) and isinstance(password, str)):
            return None
        name = self.normalize_username(username)
        if self.directory and await self._find_source(name) in ("", sources.LDAP):
            return await self._sign_in_by_ldap(handler, name, password)
        if await self.check_password(handler, name, password):
            if name in await self.run_blocking(self.store.first_names):
                first_sign_in.ask_for_password(handler, name, self.store.fingerprint(name))
            self._remember_browser(handler, name)
            return {"name": name}
        if self.directory:
            shown = name if len(name) <= 32 else f"{name[:32]}…"
            self.log.warning("%r is a local name here, so LDAP was not asked.", shown)
        return None

    def check_blocked_users(self, username: str, authentication: Any = None) -> bool:
        """Refuse disabled people and those who are being removed, wherever they sign in.

        Raises:
            HTTPError: 403, with the reason: the password was right.
        """
        if self.get_lifecycle and username in self.get_lifecycle().state.blocked():
            raise web.HTTPError(403, mark("This account is disabled. Ask an administrator."))
        return bool(super().check_blocked_users(username, authentication))

    async def check_allowed(
        self, username: str, authentication: dict[str, Any] | None = None
    ) -> bool:
        """Allow people of LDAP and the issuer: their groups were checked when they signed in."""
        if authentication and authentication.get("vixtract_source"):
            return True
        return bool(super().check_allowed(username, authentication))

    async def check_password(self, handler: Any, name: str, password: str) -> bool:
        """Check a password and count failures.

        Raises:
            HTTPError: 429 while this name is locked for this client.
        """
        try:
            check_name(name)
            return await self.run_blocking(
                self.store.verify, name, password, client=self._identify_client(handler, name)
            )
        except InvalidNameError:
            return False
        except LockedError as error:
            raise web.HTTPError(429, TOO_MANY_FAILURES, error.minutes) from error

    async def _find_source(self, name: str) -> str:
        """Return a name's source; an unusable name counts as local, and fails there."""
        try:
            check_name(name)
        except InvalidNameError:
            return sources.LOCAL
        return await self.run_blocking(self.sources.find, name)

    async def _sign_in_by_ldap(
        self, handler: Any, name: str, password: str
    ) -> dict[str, Any] | None:
        client = self._identify_client(handler, name)
        try:
            await self.run_blocking(self.store.check_lock, name, client)
        except LockedError as error:
            raise web.HTTPError(429, TOO_MANY_FAILURES, error.minutes) from error
        found = await self.external.check_password(name, password)
        if found is None:
            await self.run_blocking(self.store.record_failure, name, client)
            return None
        await self.run_blocking(self.store.clear_failures, name, client)
        model = await self._admit(sources.LDAP, found)
        self._remember_browser(handler, name)
        return model

    async def _admit(self, source: str, identity: sources.Identity) -> dict[str, Any]:
        """Return the Hub's model of a person from LDAP or the issuer.

        Raises:
            HTTPError: 403 where the name is unusable, or belongs to another person here.
        """
        name = identity.name
        try:
            check_name(name)
            await self.run_blocking(self.sources.claim, name, source, identity.subject)
        except (InvalidNameError, sources.TakenError) as error:
            self.log.warning("%s: sign-in refused: %s", sources.WORDS[source], error.message)
            raise web.HTTPError(403, f"{error.message} {error.hint}") from error
        return {"name": name, "admin": identity.is_admin, "vixtract_source": source}

    async def add_user(self, user: Any) -> None:
        """Make account and home; called for a new person, and for everybody when the Hub starts."""
        super().add_user(user)
        name = user.name
        # A removal that was cut off is not undone by a start of the Hub.
        if self.get_lifecycle and self.get_lifecycle().state.plan(name):
            return
        await self.run_blocking(
            accounts.ensure_account, name, Path(self.home_root), create_home=True
        )
        await self.run_blocking(accounts.set_admin, name, bool(user.admin))
        await self.run_blocking(self.sources.note_added, name)
        if self.person_added:
            self.person_added(name)

    async def delete_user(self, user: Any) -> None:
        """Archive or hand over all that a person owns; the Hub deletes them afterwards.

        Raises:
            HTTPError: 503 where a part of the appliance is away. The person is locked out already
                and stays in the list; deleting them again goes on from there.
        """
        if self.get_lifecycle:
            life = self.get_lifecycle()
            life.state.set_plan(user.name, life.state.plan(user.name) or Plan())
            end_sessions(user.db, user)
            report = await asyncio.to_thread(life.leave, user.name, Plan())
            for line in (*report.lines, *report.problems):
                self.log.info("Removing %s: %s", user.name, line)
            if report.problems:
                problems = "; ".join(report.problems)
                raise web.HTTPError(
                    503,
                    f"{user.name} is locked out, but not all is done yet: {problems} "
                    "Delete the user again to go on.",
                )
        super().delete_user(user)
        await self.run_blocking(self.store.delete, user.name)
        await self.run_blocking(self.sources.note_deleted, user.name)

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """Add the pages of passwords, sign-in and people; start the checks of external people."""
        session_checks.start_checks(app, self)
        # Not the Hub's own: its login page comes with `signin`.
        return [*signin.HANDLERS, *pages.HANDLERS, *first_sign_in.HANDLERS, *people_calls.HANDLERS]

    def _identify_client(self, handler: Any, name: str) -> str:
        """Return which client tries: a browser that this person has used before, or an address."""
        known = handler.get_secure_cookie(_cookie_name(name), max_age_days=BROWSER_DAYS)
        if known:
            return "browser:" + hashlib.sha256(known).hexdigest()[:32]
        return f"address:{handler.request.remote_ip}"

    def _remember_browser(self, handler: Any, name: str) -> None:
        if not handler.get_secure_cookie(_cookie_name(name), max_age_days=BROWSER_DAYS):
            set_cookie(handler, _cookie_name(name), secrets.token_hex(16), BROWSER_DAYS)


def _cookie_name(name: str) -> str:
    # Signed together with its name by tornado: one person's cookie is no use for another's name.
    return "vixtract-browser-" + hashlib.sha256(name.encode()).hexdigest()[:16]
