"""The web application put together: routes, headers, and how errors look."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import StringConstraints
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vixtract import __version__
from vixtract.language import mark
from vixtract.portal import (
    api,
    connections,
    metrics,
    overview,
    run_files,
    runs,
    schedule_form,
    schedules,
    session,
    tables,
)
from vixtract.portal.config import PREFIX, PortalConfig
from vixtract.portal.errors import FormError, LoginError, PortalError
from vixtract.portal.identity import HubLogin
from vixtract.portal.web import LanguageDep, Pages, make_page
from vixtract.scheduler.client import SchedulerClient

log = logging.getLogger(__name__)

Text = Annotated[str, StringConstraints(max_length=200)]
PARTS = (
    session,
    overview,
    schedules,
    schedule_form,
    runs,
    run_files,
    tables,
    connections,
    metrics,
    api,
)
MAX_BODY = 256 * 1024
RETRY_S = 5
SCHEDULER_TIMEOUT_S = 10.0
SECURITY_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        b"object-src 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)


class Guard:
    """Outermost layer: adds headers to every answer, and refuses bodies that are too large."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY:
                raise HTTPException(413, mark("The request is too large."))
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", [])
                own = {name.lower() for name, _ in given}
                # What a run wrote is sent with stricter ones.
                missing = [header for header in SECURITY_HEADERS if header[0] not in own]
                message["headers"] = [*given, *missing]
            await send(message)

        await self._app(scope, limited, guarded)


def create_app(config: PortalConfig) -> FastAPI:
    """Make the portal."""
    app = FastAPI(
        title="ViXtract portal",
        version=__version__,
        openapi_url=f"{PREFIX}/api/openapi.json",
        # The documentation pages of FastAPI load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.pages = Pages(config)
    app.state.hub = HubLogin(config)
    app.state.client = SchedulerClient(config.scheduler_url, config.api_key, SCHEDULER_TIMEOUT_S)
    for part in PARTS:
        app.include_router(part.router, prefix=PREFIX)
    app.add_api_route(f"{PREFIX}/health", show_health, methods=["GET"], tags=["health"])
    app.add_api_route(f"{PREFIX}/texts", translate_texts, methods=["GET"], include_in_schema=False)
    for name, folder in (("static", config.files / "static"), ("assets", config.assets)):
        app.mount(f"{PREFIX}/{name}", StaticFiles(directory=folder), name=name)
    for kind in (PortalError, StarletteHTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, show_error)
    app.add_middleware(Guard)
    app.state.metrics = metrics.Metrics()
    app.add_middleware(metrics.Stopwatch, metrics=app.state.metrics)
    return app


async def show_health() -> dict[str, str]:
    """Return that the portal answers; needs no login and no other service."""
    return {"status": "ok", "version": __version__}


async def translate_texts(
    language: LanguageDep, text: Annotated[list[Text], Query(max_length=50)]
) -> dict[str, str]:
    """Return texts of Lab's extension by their English ones, translated; needs no login."""
    return {each: language.say(each) for each in text}


async def show_error(request: Request, error: Exception) -> Response:
    """Answer an error with a page, or with JSON below `/portal/api`."""
    status, problem = _describe(error)
    is_page = not request.url.path.startswith((f"{PREFIX}/api/", f"{PREFIX}/metrics"))
    if isinstance(error, LoginError) and is_page and request.method in {"GET", "HEAD"}:
        query = f"?{request.url.query}" if request.url.query else ""
        return session.start_login(request, request.url.path + query)
    headers = {"Cache-Control": "no-store"}
    if status == 503:
        headers["Retry-After"] = str(RETRY_S)
    if not is_page:
        return JSONResponse(problem, status, headers)
    again = request.url.path if request.method == "GET" else ""
    values = {**problem, "status": status, "again": again}
    page = make_page(request, "error.html", None, values, status)
    page.headers.update(headers)
    return page


def _describe(error: Exception) -> tuple[int, dict[str, Any]]:
    """Return the status, and error, hint and problems by name."""
    hint, problems = "", {}
    if isinstance(error, PortalError):
        status, text, hint = error.status, error.message, error.hint
        problems = error.problems if isinstance(error, FormError) else {}
    elif isinstance(error, RequestValidationError):
        status, text = 422, mark("A field is wrong.")
        problems = {str(e["loc"][-1]): str(e["msg"]) for e in error.errors()}
    elif isinstance(error, StarletteHTTPException):
        texts = {
            404: mark("Page not found."),
            405: mark("This address does not support this method."),
        }
        status = error.status_code
        text = texts.get(status, str(error.detail))
    else:
        log.error("unexpected error", exc_info=error)
        status, text = 500, mark("Something went wrong in the portal.")
        hint = mark("The Hub's log says more.")
    return status, {"error": text, "hint": hint, "problems": problems}
