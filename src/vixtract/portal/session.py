"""Signing in and out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from vixtract.portal.config import PREFIX
from vixtract.portal.errors import ForbiddenError
from vixtract.portal.identity import CALLBACK, SESSION_COOKIE, STATE_S, name_state_cookie
from vixtract.portal.web import ChangerDep, get_hub, get_pages

router = APIRouter(include_in_schema=False)
SESSION_S = 14 * 86400


@router.get("/login")
def log_in(request: Request, next_path: Annotated[str, Query(alias="next")] = "") -> Response:
    """Send the browser to the Hub's login."""
    return start_login(request, next_path)


def start_login(request: Request, next_path: str) -> RedirectResponse:
    """Send the browser to the Hub's login, to come back to a page of the portal."""
    location, name, value = get_hub(request).start_login(next_path)
    answer = RedirectResponse(location, 302, {"Cache-Control": "no-store"})
    _set_cookie(answer, request, name, value, path=CALLBACK, max_age=STATE_S)
    return answer


def _set_cookie(answer: Response, request: Request, name: str, value: str, **options: Any) -> None:
    """Set a cookie that no script sees, for HTTPS alone where the browser uses it."""
    # nginx says what the browser uses. Lax, not Strict: links from Lab and from mails lead here.
    https = request.headers.get("x-scheme", request.url.scheme) == "https"
    answer.set_cookie(name, value, httponly=True, samesite="lax", secure=https, **options)


@router.get("/oauth_callback")
async def finish_login(
    request: Request, code: str = "", state: str = "", error: str = ""
) -> Response:
    """Take the Hub's answer."""
    if error or not code:
        raise ForbiddenError("The Hub did not let you in.", "Start the login again.")
    name = name_state_cookie(state)
    token, next_path = await get_hub(request).finish_login(
        code, state, request.cookies.get(name, "")
    )
    answer = RedirectResponse(next_path, 302, {"Cache-Control": "no-store"})
    answer.delete_cookie(name, path=CALLBACK)
    _set_cookie(answer, request, SESSION_COOKIE, token, path=PREFIX, max_age=SESSION_S)
    return answer


@router.post("/logout")
def log_out(request: Request, person: ChangerDep) -> Response:
    """Sign out here and at the Hub, which forgets the tokens of this login."""
    answer = RedirectResponse(get_pages(request).config.hub_prefix + "logout", 303)
    answer.delete_cookie(SESSION_COOKIE, path=PREFIX)
    return answer
