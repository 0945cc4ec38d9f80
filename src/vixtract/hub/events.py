"""Listeners of the Hub's database: publish changed administrators, refuse new names of people."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from jupyterhub import orm
from sqlalchemy import event
from sqlalchemy.orm import Session
from tornado import web

log = logging.getLogger(__name__)

_TOUCHED = "vixtract_people_changed"


def install(publish: Callable[[], None]) -> None:
    """Install the listeners; once per process.

    `publish` is called after each commit that wrote a user. It must be fast where nothing changed.
    """

    def mark(mapper: Any, connection: Any, user: Any) -> None:
        session = Session.object_session(user)
        if session is not None:
            session.info[_TOUCHED] = True

    def after_commit(session: Session) -> None:
        if session.info.pop(_TOUCHED, False):
            try:
                publish()
            except Exception:
                # The commit is done; the next one, or the next spawn, publishes again.
                log.exception("The list of administrators could not be written")

    for moment in ("after_insert", "after_update", "after_delete"):
        event.listen(orm.User, moment, mark)
    event.listen(Session, "after_commit", after_commit)
    event.listen(orm.User.name, "set", _keep_name, retval=True)


def _keep_name(user: Any, value: Any, old: Any, initiator: Any) -> Any:
    """Refuse a new name: home, files, role and schedules go by the old one."""
    if not isinstance(old, str) or old == value:
        return value
    if value is None:
        # JupyterHub 6.1 sets the name to None when the Control Panel sends it unchanged.
        return old
    raise web.HTTPError(400, "People cannot be renamed. Add the new name, then move the files.")
