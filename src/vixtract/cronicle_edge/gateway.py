"""What stands on port 3012: the contract for keys, Cronicle's page for administrators.

Every container of the compose network and every job of this one can reach it, so the list of what
is let through is here as well as in nginx.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as IncomingRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from vixtract.cronicle_edge import paths
from vixtract.cronicle_edge.calls import Contract
from vixtract.cronicle_edge.checks import PARAMETERS, check_names
from vixtract.cronicle_edge.forwarding import Forwarder, PageRequest, read_request
from vixtract.cronicle_edge.people import HubUserError, People
from vixtract.cronicle_edge.plugins import show_title
from vixtract.cronicle_edge.shapes import MESSAGES
from vixtract.errors import VixtractError
from vixtract.scheduler.api import ApiError, check_values, get_id
from vixtract.scheduler.events import FIELDS, PLUGINS

logger = logging.getLogger(__name__)

#: Calls of Cronicle's page that need a session; all others are refused, above all those which
#: change plugins, accounts, servers and configuration.
PAGE_CALLS = frozenset(
    (
        "get_schedule",
        "get_event",
        "create_event",
        "update_event",
        "delete_event",
        "run_event",
        "toggle_event",
        "get_job_status",
        "get_job_details",
        "get_job_log",
        "get_live_console",
        "get_event_history",
        "get_history",
        "get_active_jobs",
        "abort_job",
        "abort_jobs",
        "flush_event_queue",
        "get_plugins",
        "get_categories",
        "get_activity",
        "get_errors",
        "get_manager_state",
        "update_manager_state",
        "get_log_watch_auth",
        "whoami",
    )
)
USER_CALLS = frozenset(("login", "logout", "resume_session", "oauth", "callback"))
CHANGES = frozenset(("create_event", "update_event", "run_event"))
# What an administrator may type into Cronicle's form and has no meaning here; dropped without a
# word it would be missed at night.
_NOT_HERE: Mapping[str, str] = {
    **dict.fromkeys(("interval", "repeat", "ticks"), "Use the lists of hours and minutes."),
    **dict.fromkeys(("start_time", "end_time"), "Enable and disable the event instead."),
    **dict.fromkeys(("chain", "chain_error"), "Start the next one from the notebook's last cell."),
    **dict.fromkeys((*MESSAGES, "web_hook_start"), "Messages are set in the portal."),
    **dict.fromkeys(
        ("memory_limit", "cpu_limit", "log_max_size"), "Jobs have the runner's limits."
    ),
    **dict.fromkeys(("args", "secret_value", "detached"), "It is not available here."),
}
_NOTHING = "There is nothing here."
_STATIC = re.compile(r"/cronicle/(?:[\w.-]+/)*(?:[\w.-]+)?", re.ASCII)
# A dashboard whose scripts would come from four other sites, and the websocket's other transport.
_NO_PAGE = re.compile(r"/cronicle/(db$|custom/dashboard|socket\.io)", re.IGNORECASE)
_API = re.compile(r"(?:/cronicle)?/api/(app|user)/([a-z_]{1,40})", re.ASCII)
# Guesses of a password from one address: so many at once, then so many a second.
LOGIN_BURST = 60
LOGIN_RATE = 1.0
_HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = {"Content-Security-Policy": "default-src 'none'; sandbox"}


class Throttle:
    """Counts logins by address: `burst` at once, then `rate` a second."""

    def __init__(self, burst: int = LOGIN_BURST, rate: float = LOGIN_RATE) -> None:
        self._burst, self._rate = burst, rate
        self._left: dict[str, tuple[float, float]] = {}

    def admits(self, peer: str) -> bool:
        """Say whether one more may come from an address."""
        now = time.monotonic()
        left, since = self._left.get(peer, (float(self._burst), now))
        left = min(self._burst, left + (now - since) * self._rate)
        if len(self._left) > 10000:
            self._left.clear()
        self._left[peer] = (max(0.0, left - 1), now)
        return left >= 1


class Gateway:
    """The web application on port 3012; `on_change` is called after the page changed an event."""

    def __init__(
        self,
        contract: Contract,
        people: People,
        status: Callable[[], Mapping[str, Any]],
        on_change: Callable[[], None],
    ) -> None:
        self._contract = contract
        self._people = people
        self._status = status
        self._on_change = on_change
        self._throttle = Throttle()
        self._forwarder = Forwarder(contract.upstream.path)
        self.cut_websockets = self._forwarder.cut_websockets
        self.app = Starlette(
            routes=[
                WebSocketRoute("/cronicle/socket.io/", self._forwarder.join),
                Route("/{path:path}", self._answer, methods=["GET", "HEAD", "POST"]),
            ],
            exception_handlers={HTTPException: _show_error, Exception: _show_crash},
        )

    async def _answer(self, incoming: IncomingRequest) -> Response:
        request = await read_request(incoming)
        api = _API.fullmatch(request.path)
        if request.path == "/internal/hub-user":
            response = await run_in_threadpool(self._hub_user, request)
        elif api and request.method in ("GET", "POST"):
            kind, name = api.groups()
            request.path = f"{paths.BASE_PATH}/api/{kind}/{name}"
            response = await (self._user if kind == "user" else self._api)(name, request)
        elif request.method in ("GET", "HEAD") and _STATIC.fullmatch(request.path):
            if ".." in request.path or _NO_PAGE.match(request.path):
                raise HTTPException(404, _NOTHING)
            request.query, request.body = "", b""
            response = await self._forwarder.forward(request)
        else:
            raise HTTPException(404, _NOTHING)
        return response

    async def _api(self, name: str, request: PageRequest) -> Response:
        if name in ("ping", "status", "config"):
            return await self._open_call(name, request)
        params = request.params()
        key = str(request.headers.get("x-api-key") or "")
        try:
            if not key and has_session(request, params):
                return await self._page(name, request)
            key = key or str(params.get("api_key") or "")
            params.pop("api_key", None)
            if name == "get_job_log":
                return await self._log(key, request, params)
            done = await run_in_threadpool(self._contract.answer, name, key, params)
        except ApiError as error:
            return _json({"code": error.code, "description": error.message})
        except VixtractError as error:
            return _json({"code": "api", "description": error.message})
        return _json({"code": 0, **done})

    async def _open_call(self, name: str, request: PageRequest) -> Response:
        """Answer a call that needs neither key nor session."""
        if name == "config":
            request.settle()
            return await self._forwarder.forward(request)
        return _json({"code": 0} if name == "ping" else await run_in_threadpool(self._status))

    async def _log(self, key: str, request: PageRequest, params: Mapping[str, Any]) -> Response:
        """Pass a finished job's log on, under the appliance's own session."""
        identifier = get_id(params)
        caller = self._contract.find_caller(key)
        try:
            await run_in_threadpool(self._contract.check_job, caller, identifier)
        except ApiError:
            return PlainTextResponse("(No log file found.)\n", 404, {**_HEADERS, **_POLICY})
        await run_in_threadpool(self._contract.wait_for_log, identifier)
        session = self._contract.upstream.session
        headers = {"x-session-id": session, "accept-encoding": "gzip"}
        own = PageRequest("GET", request.path, f"id={identifier}", headers)
        return await self._forwarder.forward(own)

    async def _user(self, name: str, request: PageRequest) -> Response:
        if name not in USER_CALLS:
            raise HTTPException(403, "Accounts are kept in the Hub.")
        if name == "login":
            request.query = ""
            # Only the appliance uses this account.
            named = str(request.settle().get("username") or "")
            if re.sub(r"\W+", "", named.lower()) == paths.SERVICE_USER:
                raise HTTPException(403, "This account has no login.")
        if name in ("login", "callback") and not self._throttle.admits(request.peer):
            raise HTTPException(429, "Too many logins. Try again in a minute.")
        request.settle()
        return await self._forwarder.forward(request)

    async def _page(self, name: str, request: PageRequest) -> Response:
        """Pass a call of Cronicle's page on; what it changes is checked as with a key."""
        params = request.settle()
        if name not in PAGE_CALLS:
            raise HTTPException(403, "This is not done on Cronicle's page here.")
        is_change = name in CHANGES or name in ("delete_event", "toggle_event")
        if is_change:
            await run_in_threadpool(self._contract.require_schedule)
        if name in CHANGES:
            body = clean_change(name, params)
            session = params.get("session_id")
            if session and "x-session-id" not in request.headers:
                request.added["x-session-id"] = str(session)
            request.method, request.query = "POST", ""
            request.headers["content-type"] = "application/json"
            request.body = json.dumps(body).encode()
        response = await self._forwarder.forward(request)
        if is_change:
            await run_in_threadpool(self._on_change)
        return response

    def _hub_user(self, request: PageRequest) -> Response:
        """Answer Cronicle, which asks who has just signed in at the Hub."""
        try:
            name = self._people.admit(request.headers.get("authorization", ""))
        except HubUserError as error:
            logger.warning("a login by the Hub was refused: %s", error.message)
            return _json({"description": error.message}, 403, _POLICY)
        return _json({"name": name})


def _json(
    content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return JSONResponse(dict(content), status, {**_HEADERS, **(headers or {})})


def _show_error(_: IncomingRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"code": "http", "description": error.detail}, error.status_code)


def _show_crash(_: IncomingRequest, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    return _json({"code": "internal", "description": "The scheduler's log says more."}, 500)


def has_session(request: PageRequest, params: Mapping[str, Any]) -> bool:
    """Say whether a request comes from Cronicle's page, signed in."""
    cookie = re.search(r"(?:^|;\s*)session_id=\w", request.headers.get("cookie", ""))
    return bool(request.headers.get("x-session-id") or params.get("session_id") or cookie)


def clean_change(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a change from Cronicle's page that mean something here.

    The page sends whole records. What is left out would choose another account, directory,
    environment or command: uid, gid, cwd, env, debug_sudo, log_file and future ones.

    Raises:
        ApiError: the event is malformed.
    """
    kept = {k: v for k, v in params.items() if k in FIELDS and k not in MESSAGES and v is not None}
    if isinstance(kept.get("title"), str):
        kept["title"] = show_title(kept["title"])
    if name == "run_event":
        kept = {k: kept[k] for k in ("id", "title", "params") if k in kept}
        plugin = str(params.get("plugin") or "")
    else:
        lost = next((k for k in _NOT_HERE if params.get(k)), None)
        if lost:
            raise ApiError("api", f"{lost} cannot be set on this page. {_NOT_HERE[lost]}")
        plugin = str(kept.get("plugin") or "")
        kept.update({k: params[k] for k in ("reset_cursor", "abort_jobs") if params.get(k)})
        kept.pop("created", None)
        kept.pop("modified", None)
    if isinstance(kept.get("params"), Mapping):
        kept["params"] = _clean_params(plugin, kept["params"])
    if kept.get("timing", False) is None:
        kept["timing"] = False
    checked = {k: v for k, v in kept.items() if not (name == "run_event" and k in ("id", "title"))}
    check_values(checked, partial=name != "create_event")
    return kept


def _clean_params(plugin: str, params: Mapping[str, Any]) -> dict[str, Any]:
    known = PARAMETERS.get(plugin)
    if known is None:
        known = frozenset().union(*(PARAMETERS[name] for name in PLUGINS))
    kept = {k: v for k, v in params.items() if k in known}
    memory = kept.get("memory_mb")
    if isinstance(memory, str):
        kept["memory_mb"] = int(memory) if memory.strip().isdecimal() else 0
    if plugin:
        check_names(plugin, kept)
    return kept
