"""Logins at Cronicle's page: which there are, and their end.

Cronicle keeps a session until it expires, whatever becomes of the password; it has no call that
ends those of another person. Each is a file of its storage, and is ended by logging it out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vixtract.cronicle_edge import paths
from vixtract.cronicle_edge.upstream import Upstream
from vixtract.files import write_whole

logger = logging.getLogger(__name__)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def find_sessions(username: str, storage: Path = paths.STORAGE) -> list[str]:
    """Return the ids of a person's sessions."""
    found = []
    for path in (storage / "sessions").rglob("*.json"):
        session = read_object(path)
        if session.get("username") == username and session.get("id"):
            found.append(str(session["id"]))
    return found


def end_sessions(upstream: Upstream, username: str, storage: Path = paths.STORAGE) -> int:
    """Log a person out everywhere; return the number of sessions, or raise UpstreamError."""
    found = find_sessions(username, storage)
    for session in found:
        Upstream(session, upstream.path).call("user/logout")
    if found:
        logger.info("%d sessions of %s were ended", len(found), username)
    return len(found)


class Stamps:
    """Remembers, across restarts, with which logins of the Hub each person was last seen."""

    def __init__(self, path: Path = paths.STAMPS) -> None:
        self._path = path

    def read(self) -> dict[str, str]:
        """Return the noted stamps by name."""
        return {name: str(stamp) for name, stamp in read_object(self._path).items()}

    def find_changed(self, present: Mapping[str, str]) -> list[str]:
        """Name those whose logins the Hub has ended, or who are gone, since they were noted."""
        return sorted(name for name, stamp in self.read().items() if present.get(name) != stamp)

    def note(self, present: Mapping[str, str]) -> None:
        """Note the present stamps, where they changed."""
        if self.read() != dict(present):
            write_whole(self._path, json.dumps(dict(present)))
