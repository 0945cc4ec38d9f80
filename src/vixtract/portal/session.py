"""Signing in and out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from vixtract.portal.config import PREFIX
from vixtract.portal.errors import ForbiddenError
from vixtract.portal.identity import (
    CALLBACK,
    SESSION_COOKIE,
    STATE_S,
    HubLogin,
    User,
    name_state_cookie,
)
from vixtract.portal.web import get_changer, get_hub, get_pages

router = APIRouter(include_in_schema=False)
SESSION_S = 14 * 86400
HubDep = Annotated[HubLogin, Depends(get_hub)]


def is_https(request: Request) -> bool:
    """Return whether the browser uses HTTPS, as nginx says."""
    return request.headers.get("x-scheme", request.url.scheme) == "https"


@router.get("/login")
async def log_in(
    request: Request, hub: HubDep, next_path: Annotated[str, Query(alias="next")] = ""
) -> Response:
    """Send the browser to the Hub's login."""
    return start_login(request, next_path)


def start_login(request: Request, next_path: str) -> RedirectResponse:
    """Send the browser to the Hub's login, to come back to a page of the portal.

    Args:
        request: decides whether cookies are for HTTPS alone.
        next_path: page to come back to.
    """
    start = get_hub(request).start_login(next_path)
    answer = RedirectResponse(start.location, 302, {"Cache-Control": "no-store"})
    set_cookie(answer, request, start.cookie_name, start.cookie, path=CALLBACK, max_age=STATE_S)
    return answer


def set_cookie(answer: Response, request: Request, name: str, value: str, **options: Any) -> None:
    """Set a cookie that no script sees.

    Args:
        answer: that sets it.
        request: decides whether it is for HTTPS alone.
        name: of the cookie.
        value: of the cookie.
        options: `path` and `max_age` in seconds.
    """
    # Lax, not Strict: links from Lab and from mails lead here.
    https = is_https(request)
    answer.set_cookie(name, value, httponly=True, samesite="lax", secure=https, **options)


@router.get("/oauth_callback")
async def finish_login(
    request: Request, hub: HubDep, code: str = "", state: str = "", error: str = ""
) -> Response:
    """Take the Hub's answer."""
    if error or not code:
        raise ForbiddenError("The Hub did not let you in.", "Start the login again.")
    name = name_state_cookie(state)
    token, next_path = await hub.finish_login(code, state, request.cookies.get(name, ""))
    answer = RedirectResponse(next_path, 302, {"Cache-Control": "no-store"})
    answer.delete_cookie(name, path=CALLBACK)
    set_cookie(answer, request, SESSION_COOKIE, token, path=PREFIX, max_age=SESSION_S)
    return answer


@router.post("/logout")
async def log_out(request: Request, person: Annotated[User, Depends(get_changer)]) -> Response:
    """Sign out here and at the Hub, which forgets the tokens of this login."""
    answer = RedirectResponse(get_pages(request).config.hub_prefix + "logout", 303)
    answer.delete_cookie(SESSION_COOKIE, path=PREFIX)
    return answer
