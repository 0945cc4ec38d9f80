"""The page by which the front door learns whether the Hub and PostgreSQL answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from jupyterhub.handlers.base import BaseHandler

# GSSENCRequest: PostgreSQL answers G or N to it before any login, so asking needs no password.
# After SSLRequest its log would name each question.
GSS_REQUEST = bytes.fromhex("0000000804d21630")
DEADLINE_S = 2.0
CACHE_S = 1.0


async def probe_postgresql(host: str, port: int, *, deadline_s: float = DEADLINE_S) -> bool:
    """Return whether PostgreSQL answers the question for GSSAPI encryption, with yes or no.

    Source: https://www.postgresql.org/docs/current/protocol-flow.html
    """
    writer = None
    try:
        async with asyncio.timeout(deadline_s):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(GSS_REQUEST)
            await writer.drain()
            return await reader.readexactly(1) in (b"G", b"N")
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    finally:
        if writer is not None:
            writer.close()


class HealthHandler(BaseHandler):
    """GET: {"hub": "up", "postgresql": "up" or "down"}; no login, always 200."""

    # Shared by all requests: anybody may ask, and each question would open a connection.
    _cache: tuple[float, bool] = (0.0, False)

    def initialize(self, host: str, port: int) -> None:
        """Take the options of the route."""
        self._address = (host, port)

    async def prepare(self) -> None:
        """Skip the Hub's session: a probe has no cookie and must not touch the database."""

    async def get(self) -> None:
        """Answer."""
        asked_at, is_up = HealthHandler._cache
        if time.monotonic() - asked_at > CACHE_S or not asked_at:
            is_up = await probe_postgresql(*self._address)
            HealthHandler._cache = (time.monotonic(), is_up)
        answer: dict[str, Any] = {"hub": "up", "postgresql": "up" if is_up else "down"}
        self.set_header("Cache-Control", "no-store")
        self.finish(answer)
