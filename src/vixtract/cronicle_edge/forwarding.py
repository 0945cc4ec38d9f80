"""Passing requests on to Cronicle, which listens on a unix socket alone.

A request is read whole and written anew, so that Cronicle reads what was checked here and nothing
else. HTTP is parsed and written by uvicorn, httpx and websockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from vixtract.cronicle_edge.checks import find_method

MAX_BODY = 4 * 1024 * 1024
MAX_MESSAGE = 16 * 1024 * 1024
READ_S = 30.0
UPSTREAM_S = 120.0
# These belong to one connection, or are written anew.
_HOP = frozenset(
    ["connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te"]
) | {"trailer", "transfer-encoding", "upgrade"}
# Cronicle takes these as credentials of a workflow, of GitHub or of GitLab.
_FOREIGN = frozenset(
    ["x-api-key", "x-gitlab-token", "x-hub-signature", "x-wf-id", "x-wf-signature"]
)
_AWAY = "Cronicle is starting or away."


@dataclass
class PageRequest:
    """One request for Cronicle.

    Args:
        path: as it was sent, not decoded, without the query.
        headers: names in lower case; of equal names the last one counts.
        peer: address of the client.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""
    peer: str = ""
    added: dict[str, str] = field(default_factory=dict)

    def params(self) -> dict[str, Any]:
        """Return query and JSON body as one object, or raise HTTPException."""
        return {**self._read_query(), **self._read_body()}

    def settle(self) -> dict[str, Any]:
        """Write query and body anew from what was read, so that Cronicle reads the same.

        Returns: both as one object.
        Raises:
            HTTPException: the body is no JSON object, or has a name that crashes Cronicle.
        """
        query = self._read_query()
        body = self._read_body() if self.method == "POST" else {}
        method = find_method([query, body])
        if method:
            raise HTTPException(400, f"{method} cannot be the name of a parameter.")
        self.query, self.body = urlencode(query), b""
        self.headers.pop("content-type", None)
        if self.method == "POST":
            self.body = json.dumps(body).encode()
            self.headers["content-type"] = "application/json"
        return {**query, **body}

    def outgoing_headers(self) -> dict[str, str]:
        """Return the headers for Cronicle, credentials that it must not take left out."""
        host = self.headers.get("x-forwarded-host") or self.headers.get("host") or "cronicle"
        given = {**self.headers, **self.added}
        kept = {k: v for k, v in given.items() if k not in _HOP and k not in _FOREIGN}
        return {"host": host, **kept}

    def _read_query(self) -> dict[str, Any]:
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def _read_body(self) -> dict[str, Any]:
        if not self.body.strip():
            return {}
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            raise HTTPException(400, "The request's body is no JSON.") from None
        if not isinstance(content, dict):
            raise HTTPException(400, "The request's body is no JSON object.")
        return content


def _read_head(connection: HTTPConnection) -> PageRequest:
    scope = connection.scope
    # Starlette's own path is decoded: %2e would be a dot.
    path = scope["raw_path"].decode("latin-1")
    headers = {name.lower(): value for name, value in connection.headers.items()}
    peer = connection.client.host if connection.client else ""
    query = scope["query_string"].decode("latin-1")
    return PageRequest(str(scope.get("method", "GET")), path, query, headers, peer=peer)


async def read_request(request: Request) -> PageRequest:
    """Read a whole request; HTTPException when it is too long, too slow or has no length."""
    read = _read_head(request)
    if "transfer-encoding" in read.headers:
        raise HTTPException(411, "Send the length of the body.")
    if int(read.headers.get("content-length") or 0) > MAX_BODY:
        raise HTTPException(413, f"The body has more than {MAX_BODY} bytes.")
    try:
        read.body = await asyncio.wait_for(request.body(), READ_S)
    except asyncio.TimeoutError:
        raise HTTPException(408, "The body did not come in time.") from None
    return read


class Forwarder:
    """Passes requests and websockets on to Cronicle's unix socket."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        # The transport without a client: no cookie is kept, no redirect followed, no proxy asked.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._transport = httpx.AsyncHTTPTransport(uds=str(socket_path), limits=limits)
        self._websockets: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def forward(self, request: PageRequest) -> Response:
        """Pass a request on and stream the answer, or raise HTTPException when Cronicle is away."""
        target = request.path + (f"?{request.query}" if request.query else "")
        outgoing = httpx.Request(
            request.method,
            httpx.URL(scheme="http", host="cronicle", raw_path=target.encode("latin-1")),
            headers=[*request.outgoing_headers().items(), ("connection", "close")],
            content=request.body,
            extensions={"timeout": httpx.Timeout(UPSTREAM_S).as_dict()},
        )
        try:
            answer = await self._transport.handle_async_request(outgoing)
        except httpx.TransportError:
            raise HTTPException(503, _AWAY) from None
        is_https = request.headers.get("x-forwarded-proto") == "https"
        response = StreamingResponse(
            answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose)
        )
        response.raw_headers = rewrite_headers(answer.headers.raw, is_https=is_https)
        return response

    async def join(self, client: WebSocket) -> None:
        """Join a browser's websocket with one to Cronicle until either closes."""
        self._loop = asyncio.get_running_loop()
        request = _read_head(client)
        headers = {
            name: value
            for name, value in request.outgoing_headers().items()
            if not name.startswith("sec-websocket-")
        }
        host = headers.pop("host")
        try:
            upstream = await unix_connect(
                str(self._socket_path),
                f"ws://{host}{request.path}?{request.query}",
                additional_headers=headers,
                user_agent_header=None,
                compression=None,
                max_size=MAX_MESSAGE,
                open_timeout=READ_S,
                close_timeout=1.0,
            )
        except (OSError, WebSocketException, asyncio.TimeoutError):
            await client.close()  # refuses the handshake: Cronicle is starting or away
            return
        async with upstream:
            await client.accept()
            copies = {
                asyncio.create_task(_copy_to_cronicle(client, upstream)),
                asyncio.create_task(_copy_to_client(upstream, client)),
            }
            self._websockets |= copies
            try:
                await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._websockets -= copies
                for copy in copies:
                    copy.cancel()
                with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it closed it
                    await client.close(1012)

    def cut_websockets(self) -> None:
        """Close all websockets; the pages connect again, those with a session that is good.

        Cronicle asks for the session at the connection alone. May be called from any thread.
        """

        def cut() -> None:
            for copy in tuple(self._websockets):
                copy.cancel()

        if self._loop is not None:
            self._loop.call_soon_threadsafe(cut)


async def _copy_to_cronicle(client: WebSocket, upstream: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        while (message := await client.receive())["type"] == "websocket.receive":
            text = message.get("text")
            await upstream.send(message["bytes"] if text is None else text)


async def _copy_to_client(upstream: ClientConnection, client: WebSocket) -> None:
    # The client may close in the middle of a message to it.
    with contextlib.suppress(RuntimeError, OSError, WebSocketDisconnect):
        async for message in upstream:
            if isinstance(message, str):
                await client.send_text(message)
            else:
                await client.send_bytes(message)


def rewrite_headers(
    headers: Iterable[tuple[bytes, bytes]], *, is_https: bool
) -> list[tuple[bytes, bytes]]:
    """Return the headers of Cronicle's answer as the browser gets them."""
    dropped = (b"access-control-allow-origin", b"connection", b"keep-alive", b"server")
    kept = [
        (name.lower(), _rewrite_value(name.lower(), value, is_https=is_https))
        for name, value in headers
        if name.lower() not in dropped
    ]
    return [*kept, (b"x-content-type-options", b"nosniff"), (b"connection", b"close")]


def _rewrite_value(name: bytes, value: bytes, *, is_https: bool) -> bytes:
    if name == b"location":
        # Addresses within the appliance, by whatever name it was reached.
        return re.sub(rb"^https?://hub\.invalid/", b"/", value)
    if name == b"set-cookie":
        # Read once by the page that follows; over plain HTTP a Secure cookie would be dropped.
        return re.sub(rb";\s*Secure(=True)?", b"", value) + (b"; Secure" if is_https else b"")
    return value
