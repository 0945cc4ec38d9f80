"""Sessions of people: cookies of the Hub, and how they end with all tokens, codes and servers."""

from __future__ import annotations

import asyncio
from typing import Any

from jupyterhub import orm
from jupyterhub.utils import get_browser_protocol, new_token

STOP_S = 40.0


def set_cookie(handler: Any, name: str, value: str, days: float) -> None:
    """Set a signed cookie of the Hub's pages, which no script can read."""
    handler.set_secure_cookie(
        name,
        value,
        expires_days=days,
        path=handler.hub.base_url,
        httponly=True,
        # Not Strict: the browser comes back from the issuer's site.
        samesite="Lax",
        secure=get_browser_protocol(handler.request) == "https",
    )


def end_sessions(db: Any, user: Any, *, keep_server: bool = False) -> int:
    """End all cookies and tokens of a person; return the number of tokens.

    Servers and the portal notice within 10 seconds. `keep_server` keeps the token that a running
    server needs to ask the Hub.
    """
    row = user.orm_user
    kept = {_find_own_token(user, spawner) for spawner in user.spawners.values()}
    kept = {token.id for token in kept if token is not None} if keep_server else set()
    doomed = [token for token in row.api_tokens if token.id not in kept]
    for token in doomed:
        db.delete(token)
    for code in db.query(orm.OAuthCode).filter(orm.OAuthCode.user_id == row.id):
        db.delete(code)
    # The login cookie holds the cookie id.
    row.cookie_id = new_token()
    db.commit()
    return len(doomed)


def _find_own_token(user: Any, spawner: Any) -> Any:
    """Return the token that a running server got: the last of its note from before its start."""
    started = spawner.orm_spawner.started
    if not spawner.active or started is None:
        return None
    found = [
        token
        for token in user.orm_user.api_tokens
        if (token.note or "").startswith("Server at ") and token.created <= started
    ]
    return max(found, key=lambda token: token.created, default=None)


async def stop_servers(handler: Any, user: Any) -> int:
    """Stop a person's servers, with all kernels in them; return how many ran."""
    stopped = 0
    for name, spawner in list(user.spawners.items()):
        for _ in range(int(STOP_S / 0.5)):
            if not spawner.pending:
                break
            await asyncio.sleep(0.5)
        if spawner.active and not spawner.pending:
            done = await handler.stop_single_user(user, name)
            if asyncio.isfuture(done):
                await asyncio.wait_for(done, STOP_S)
            stopped += 1
    return stopped
