"""The web application: addresses, API keys, JSON in and out. All work is done in threads."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from vixtract import __version__
from vixtract.errors import VixtractError
from vixtract.scheduler.api import Answer, ApiError, find_caller, get_id
from vixtract.scheduler.config import ENGINE_VERSION
from vixtract.scheduler.embedded.calls import CALLS, find_log, show_config
from vixtract.scheduler.embedded.engine import EmbeddedEngine
from vixtract.scheduler.probes import CachedProbe, is_postgresql_up, is_runner_up
from vixtract.scheduler.store import Caller

logger = logging.getLogger(__name__)

MAX_BODY = 4 * 1024 * 1024
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class ApiEndpoint:
    """Turns requests into calls."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self.engine = engine
        config = engine.config
        self._runner = CachedProbe(lambda: is_runner_up(config.runner_socket))
        self._postgresql = CachedProbe(lambda: is_postgresql_up(config.database_url))

    async def answer(self, request: Request) -> Response:
        """Answer one call; errors of the API are JSON with HTTP status 200, as in Cronicle."""
        name = request.path_params["call"]
        try:
            params = {**request.query_params, **await _read_body(request)}
            key = request.headers.get("x-api-key") or params.get("api_key") or ""
            params.pop("api_key", None)
            if name == "get_job_log":
                accepts_gzip = "gzip" in request.headers.get("accept-encoding", "")
                return await run_in_threadpool(self._log, str(key), params, accepts_gzip)
            answer = await run_in_threadpool(self._call, name, str(key), params)
        except ApiError as error:
            return _json({"code": error.code, "description": error.message})
        except VixtractError as error:
            text = f"{error.message} {error.hint}".strip()
            return _json({"code": "api", "description": text})
        except Exception:
            logger.exception("call %s failed", name)
            return _json({"code": "internal", "description": "The scheduler's log says more."})
        return _json({"code": 0, **answer})

    def _call(self, name: str, key: str, params: Mapping[str, Any]) -> Answer:
        if name == "ping":
            return {}
        if name == "status":
            return {
                "engine": ENGINE_VERSION,
                "version": __version__,
                "runner": self._runner(),
                "postgresql": self._postgresql(),
            }
        if name == "config":
            return show_config(self.engine)
        call = CALLS.get(name)
        if call is None:
            raise ApiError("api", f"There is no call {name!r}")
        return call(self.engine, self._find_caller(key), params)

    def _find_caller(self, key: str) -> Caller:
        return find_caller(self.engine.database, self.engine.config.api_key, key)

    def _log(self, key: str, params: Mapping[str, Any], accepts_gzip: bool) -> Response:
        path = find_log(self.engine, self._find_caller(key), get_id(params))
        if path is None:
            return PlainTextResponse("(No log file found.)\n", 404, HEADERS)
        text = path.read_bytes()
        headers = dict(HEADERS)
        if accepts_gzip:
            text, headers["Content-Encoding"] = gzip.compress(text, 3), "gzip"
        return PlainTextResponse(text, headers=headers)


def _json(content: Mapping[str, Any]) -> Response:
    return JSONResponse(dict(content), headers=HEADERS)


async def _read_body(request: Request) -> dict[str, Any]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise ApiError("api", f"The request has more than {MAX_BODY} bytes")
    if not body:
        return {}
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError("api", "The request's body is no JSON") from error
    if not isinstance(values, dict):
        raise ApiError("api", "The request's body must be a JSON object")
    return values


def build_app(engine: EmbeddedEngine) -> Starlette:
    """Make the web application, which starts and stops the engine with itself."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(engine.start)
        try:
            yield
        finally:
            await run_in_threadpool(engine.stop)

    answer = ApiEndpoint(engine).answer
    routes = [
        Route(prefix + "/api/app/{call}", answer, methods=["GET", "POST"])
        for prefix in ("/cronicle", "")
    ]
    return Starlette(routes=routes, lifespan=lifespan)
