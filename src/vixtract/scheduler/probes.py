"""Whether the engine's neighbours answer: the runner daemon and PostgreSQL."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from vixtract.processes.questions import UnansweredError, connect

PROBE_S = 2.0
CACHE_S = 2.0
# GSSENCRequest: length 8, then the magic number; a PostgreSQL server answers G or N.
# After SSLRequest its log would name each question.
# Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
GSS_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x30"


def is_runner_up(path: Path) -> bool:
    """Say whether the runner's socket accepts a connection."""
    try:
        connect(path, timeout_s=PROBE_S).close()
    except UnansweredError:
        return False
    return True


def is_postgresql_up(database_url: str) -> bool:
    """Return whether the server of an address answers; no login is made."""
    try:
        parts = urlsplit(database_url)
        address = (parts.hostname or "postgresql", parts.port or 5432)
        with socket.create_connection(address, timeout=PROBE_S) as probe:
            probe.settimeout(PROBE_S)
            probe.sendall(GSS_REQUEST)
            return probe.recv(1) in (b"G", b"N")
    except (OSError, ValueError):
        return False


class CachedProbe:
    """A probe whose answer is kept for CACHE_S, so that callers cannot multiply its cost."""

    def __init__(self, probe: Callable[[], bool]) -> None:
        self._probe = probe
        self._answer = False
        self._until = 0.0

    def __call__(self) -> str:
        """Return up or down."""
        if time.monotonic() >= self._until:
            self._answer = self._probe()
            self._until = time.monotonic() + CACHE_S
        return "up" if self._answer else "down"
