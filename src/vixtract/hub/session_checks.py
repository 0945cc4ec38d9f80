"""Ends the sessions of people of LDAP and OpenID Connect who may no longer sign in.

Where the directory can be asked without a password (search bind), each person is looked up every
SIGNIN_CHECK_S, and their groups decide whether they are an administrator. Where it cannot be
(template bind, OpenID Connect), a sign-in is valid for SIGNIN_HOURS; the person's server ends a day
later, unless they have signed in again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from jupyterhub import orm, roles
from tornado.ioloop import PeriodicCallback

from vixtract.hub import sources
from vixtract.hub.ldap import DirectoryDownError, NotAllowedError
from vixtract.hub.sessions import end_sessions
from vixtract.hub.sources import Identity, Origin

log = logging.getLogger(__name__)

SERVER_GRACE_H = 24
STOP_S = 60.0

STAYS, EXPIRED, GONE = "stays", "expired", "gone"


def start_checks(app: Any, authenticator: Any) -> SessionCheck:
    """Start the periodic check; called once, from the Hub's event loop."""
    check = SessionCheck(app, authenticator)
    period_s = authenticator.external.settings.integer("SIGNIN_CHECK_S")
    check.timer = PeriodicCallback(check.check_all, period_s * 1000, jitter=0.1)
    check.timer.start()
    return check


def judge_age(origin: Origin, now: float, hours: int) -> str:
    """Return STAYS, EXPIRED (sessions end) or GONE (the server ends too), by a sign-in's age."""
    age_h = (now - origin.signed_in_at) / 3600
    if age_h <= hours:
        return STAYS
    return EXPIRED if age_h <= hours + SERVER_GRACE_H else GONE


class SessionCheck:
    """Checks all people of LDAP and OpenID Connect, again and again."""

    def __init__(self, app: Any, authenticator: Any) -> None:
        self._app = app
        self._authenticator = authenticator
        self._store = authenticator.sources
        self._stopping: set[asyncio.Task[None]] = set()
        self.timer: PeriodicCallback | None = None

    async def check_all(self) -> None:
        """Check every person once; a directory that is down changes nothing."""
        origins = await self._authenticator.run_blocking(self._store.origins)
        for origin in origins:
            person = self._app.db.query(orm.User).filter_by(name=origin.name).first()
            if person is None or origin.is_deleted:
                continue
            try:
                await self._apply(origin, person, await self._judge(origin, person))
            except DirectoryDownError as error:
                log.warning("LDAP: memberships could not be checked: %s", error.message)
                return

    async def _judge(self, origin: Origin, person: Any) -> str:
        outside, directory = self._authenticator.external, self._authenticator.directory
        is_ldap = origin.source == sources.LDAP
        if (directory if is_ldap else outside.provider) is None:
            return GONE  # this way of signing in was switched off
        if not is_ldap or not directory.can_look_up:
            return judge_age(origin, time.time(), outside.settings.integer("SIGNIN_HOURS"))
        try:
            found: Identity | None = await outside.ask_directory(directory.look_up, origin.name)
        except NotAllowedError:
            return GONE
        if found is None or (origin.subject and found.subject not in ("", origin.subject)):
            return GONE
        if found.is_admin is not None and found.is_admin != person.admin:
            person.admin = found.is_admin
            roles.assign_default_roles(self._app.db, entity=person)
            self._app.db.commit()
            log.info("LDAP: %s is %s", origin.name, "admin" if found.is_admin else "no admin now")
        return STAYS

    async def _apply(self, origin: Origin, person: Any, verdict: str) -> None:
        if verdict == STAYS:
            return
        if not origin.is_ended:
            end_sessions(self._app.db, self._app.users[person], keep_server=True)
            await self._authenticator.run_blocking(self._store.mark_ended, origin.name)
            log.info("%s: sessions of %s ended", sources.WORDS[origin.source], origin.name)
        if verdict == GONE:
            # Tokens that the person made for programs go too: one of them could start a server.
            for token in list(person.api_tokens):
                self._app.db.delete(token)
            self._app.db.commit()
            self._stop_servers(person)

    def _stop_servers(self, person: Any) -> None:
        user = self._app.users[person]
        for name, spawner in user.spawners.items():
            if spawner.active and not spawner.pending:
                task = asyncio.ensure_future(self._stop(user, name))
                self._stopping.add(task)
                task.add_done_callback(self._stopping.discard)

    async def _stop(self, user: Any, server: str) -> None:
        try:
            async with asyncio.timeout(STOP_S):
                await self._app.proxy.delete_user(user, server)
                await user.stop(server)
        except Exception:
            log.exception("The server of %s could not be stopped; the next round tries", user.name)
