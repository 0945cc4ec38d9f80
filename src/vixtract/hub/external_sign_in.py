"""What the authenticator asks of LDAP and OpenID Connect, with deadlines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tornado import web

from vixtract.hub.ldap import Directory, DirectoryDownError, NotAllowedError
from vixtract.hub.oidc import IssuerDownError, OidcError, Provider
from vixtract.hub.sources import Identity
from vixtract.language import mark
from vixtract.settings import Settings

log = logging.getLogger(__name__)

Result = TypeVar("Result")

OIDC_DEADLINE_S = 25.0
DOWN = mark(
    "The directory (LDAP) cannot be reached at the moment. Local accounts can sign in; "
    "all others: try again in some minutes."
)


class ExternalSignIn:
    """Directory and issuer, each with its own threads: one that hangs does not stop the other."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directory = Directory(settings) if settings["LDAP_URL"] else None
        self.provider = Provider(settings) if settings["OIDC_ISSUER"] else None
        self._ldap_threads = ThreadPoolExecutor(4, thread_name_prefix="ldap")
        self._oidc_threads = ThreadPoolExecutor(4, thread_name_prefix="oidc")
        # Open, encrypt, bind, find, check the password, groups: several answers in turn.
        self._ldap_deadline_s = 3.0 * settings.integer("LDAP_TIMEOUT_S")
        if self.directory and self.directory.describe_risk():
            log.warning(self.directory.describe_risk())

    async def ask_directory(
        self, function: Callable[..., Identity | None], *words: str
    ) -> Identity | None:
        """Call a method of `Directory` outside the event loop.

        Raises:
            DirectoryDownError: also when no answer came in time.
            NotAllowedError: as the method.
        """
        try:
            return await self._run(self._ldap_threads, self._ldap_deadline_s, function, *words)
        except TimeoutError:
            raise DirectoryDownError(
                f"No answer of LDAP within {self._ldap_deadline_s:.0f} s."
            ) from None

    async def check_password(self, name: str, password: str) -> Identity | None:
        """Check a password of LDAP for the login form.

        Raises:
            HTTPError: 403 or 503 with words for the person; details are in the log.
        """
        assert self.directory
        try:
            return await self.ask_directory(self.directory.sign_in, name, password)
        except NotAllowedError as error:
            log.warning("LDAP: %s refused: %s %s", name, error.message, error.hint)
            raise web.HTTPError(403, error.message) from error
        except DirectoryDownError as error:
            log.error("LDAP: %s %s", error.message, error.hint)
            raise web.HTTPError(503, DOWN) from error

    async def ask_issuer(self, function: Callable[..., Result], *words: Any) -> Result:
        """Call a method of `Provider` outside the event loop.

        Raises:
            HTTPError: 403 or 503 with words for the person.
        """
        try:
            return await self._run(self._oidc_threads, OIDC_DEADLINE_S, function, *words)
        except OidcError as error:
            log.warning("OIDC: %s %s", error.message, error.hint)
            if isinstance(error, IssuerDownError):
                raise web.HTTPError(503, self._issuer_down()) from error
            raise web.HTTPError(403, error.message) from error
        except TimeoutError:
            log.error("OIDC: no answer within %.0f s", OIDC_DEADLINE_S)
            raise web.HTTPError(503, self._issuer_down()) from None

    def _issuer_down(self) -> str:
        label = self.settings["OIDC_LABEL"]
        return f"{label} cannot be reached at the moment. Try again in some minutes."

    async def _run(
        self,
        threads: ThreadPoolExecutor,
        deadline_s: float,
        function: Callable[..., Result],
        *words: Any,
    ) -> Result:
        future = asyncio.get_running_loop().run_in_executor(threads, function, *words)
        return await asyncio.wait_for(future, deadline_s)
