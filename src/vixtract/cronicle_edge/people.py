"""Accounts in Cronicle: they exist for the Hub's administrators, and go with the Hub's flag.

Whoever may create events in Cronicle can do what its own account can, so no one else gets one. The
entrypoint, which is root's, copies the list that the Hub writes.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vixtract.cronicle_edge import paths, sessions
from vixtract.cronicle_edge.upstream import Upstream, UpstreamError
from vixtract.errors import VixtractError

logger = logging.getLogger(__name__)

HUB_S = 10.0
# Cronicle drops every other character of a name, so that `ad.min` would be `admin` to it.
_PLAIN = re.compile(r"[a-z0-9_]{1,32}")
_RESERVED = frozenset((paths.SERVICE_USER, "internal", "null", "constructor", "__proto__"))
_MARK = "ViXtract: Hub administrator"


class HubUserError(VixtractError):
    """A person is signed in at the Hub, but gets no account in Cronicle."""


class People:
    """Keeps the accounts.

    Args:
        admins: file that names the Hub's administrators.
        storage: Cronicle's directory, where sessions are found.
    """

    def __init__(
        self,
        upstream: Upstream,
        admins: Path = paths.ADMINS,
        hub_api: str = paths.HUB_API,
        storage: Path = paths.STORAGE,
    ) -> None:
        self._upstream = upstream
        self._admins = admins
        self._hub_api = hub_api
        self._storage = storage
        self._stamps = sessions.Stamps(admins.with_name(paths.STAMPS.name))
        #: Called after sessions were ended: who was connected has to show a session again.
        self.on_end: Callable[[], None] = lambda: None

    def list_admins(self) -> list[str]:
        """Return the Hub's administrators whose names Cronicle takes as they are."""
        named = sessions.read_object(self._admins).get("admins", [])
        return [name for name in named if isinstance(name, str) and is_plain(name)]

    def admit(self, authorization: str) -> str:
        """Ask the Hub who holds a token, make their account, and return its name.

        Args:
            authorization: header that Cronicle sent, with the person's token.
        Raises:
            HubUserError: the Hub does not know the token, or the person gets no account.
        """
        name = self._ask_hub(authorization)
        if not is_plain(name):
            raise HubUserError(
                f"{name!r} has characters that Cronicle drops: it would be another's account.",
                "Use the portal, or another name.",
            )
        if name not in self.list_admins():
            raise HubUserError(f"{name!r} is no administrator of the Hub.", "Use the portal.")
        try:
            self._ensure(name)
        except UpstreamError as error:
            raise HubUserError(f"The account {name} could not be made: {error.message}") from error
        return name

    def _ask_hub(self, authorization: str) -> str:
        if not re.fullmatch(r"(?i:bearer|token) [\w.~+/=-]{8,500}", authorization):
            raise HubUserError("No token of the Hub was sent.")
        request = urllib.request.Request(  # noqa: S310 - a constant http address of the appliance
            f"{self._hub_api}/user", headers={"Authorization": authorization}
        )
        try:
            with urllib.request.urlopen(request, timeout=HUB_S) as response:  # noqa: S310 - as above
                found = json.loads(response.read(1 << 20))
        except (OSError, ValueError, urllib.error.URLError) as error:
            raise HubUserError(f"The Hub does not vouch for the token: {error}") from error
        if not isinstance(found, dict) or found.get("kind") != "user":
            raise HubUserError("The token belongs to no person.")
        return str(found.get("name") or "")

    def sync(self) -> None:
        """Make missing accounts, and disable those of people who are no administrators any more."""
        admins = set(self.list_admins())
        present = self._list_accounts()
        for name in sorted(admins - set(present)):
            self._ensure(name)
        for name, user in present.items():
            is_ours = user.get("full_name") == _MARK
            wanted = int(name in admins)
            if is_ours and int(user.get("active") or 0) != wanted:
                self._upstream.call("user/admin_update", {"username": name, "active": wanted})
                logger.info("Cronicle's account %s is %s", name, "on" if wanted else "off")
                if not wanted:
                    self._end(name)
        self._end_stale()

    def _end_stale(self) -> None:
        """End the sessions of those whose logins the Hub has ended, as after a new password."""
        stamps = sessions.read_object(self._admins).get("stamps")
        # The Hub of an older version writes none.
        if not isinstance(stamps, dict):
            return
        present = {name: str(stamp) for name, stamp in stamps.items() if is_plain(name)}
        for name in self._stamps.find_changed(present):
            self._end(name)
        self._stamps.note(present)

    def _end(self, name: str) -> None:
        if sessions.end_sessions(self._upstream, name, self._storage):
            self.on_end()

    def _list_accounts(self) -> dict[str, dict[str, Any]]:
        answer = self._upstream.call("user/admin_get_users", {"offset": 0, "limit": 1000})
        return {str(row.get("username")): row for row in answer.get("rows") or []}

    def _ensure(self, name: str) -> None:
        user = self._list_accounts().get(name)
        if user is not None:
            if not user.get("active"):
                self._upstream.call("user/admin_update", {"username": name, "active": 1})
            return
        account = {
            "username": name,
            # Random and kept nowhere: the Hub signs the person in.
            "password": secrets.token_hex(24),
            "full_name": _MARK,
            "email": f"{name}@localhost",
            "active": 1,
            "privileges": {"admin": 1},
        }
        self._upstream.call("user/admin_create", account)
        logger.info("Cronicle's account %s was made", name)


def is_plain(name: str) -> bool:
    """Return whether Cronicle stores a name unchanged, and the name is not reserved."""
    return bool(_PLAIN.fullmatch(name)) and name not in _RESERVED
