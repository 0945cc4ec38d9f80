"""HTTP/1.1 as the gateway needs it: one request a connection, read whole, then passed on.

Every head is parsed and written anew, and connections are never used twice, so that no request can
hide inside another.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from vixtract.cronicle_edge.checks import find_method
from vixtract.errors import VixtractError

MAX_HEAD = 32 * 1024
MAX_BODY = 4 * 1024 * 1024
READ_S = 30.0
UPSTREAM_S = 120.0
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# Belong to one connection, or say who asks: written anew or left out.
_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
     "upgrade", "expect", "content-length", "host")
)  # fmt: skip
# Cronicle takes these as credentials of a workflow, of GitHub or of GitLab.
_FOREIGN = frozenset(
    ("x-wf-id", "x-wf-signature", "x-hub-signature", "x-gitlab-token", "x-api-key")
)


class HttpError(VixtractError):
    """A request that is answered with an HTTP error.

    Args:
        status: such as `404 Not Found`.
        message: one line for people.
    """

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Request:
    """One request.

    Args:
        method: capital letters.
        path: without the query.
        query: as it was sent.
        headers: names in small letters; the last of equal names counts.
        body: whole.
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
        """Return query and JSON body as one object.

        Raises:
            HttpError: the body is no JSON object.
        """
        return {**self._read_query(), **self._read_body()}

    def settle(self) -> dict[str, Any]:
        """Write query and body anew from what is read of them, so that Cronicle reads the same.

        Returns: both as one object.
        Raises:
            HttpError: the body is no JSON object, or has a name that ends Cronicle.
        """
        query = self._read_query()
        body = self._read_body() if self.method == "POST" else {}
        method = find_method([query, body])
        if method:
            raise HttpError("400 Bad Request", f"{method} is no name of a parameter.")
        self.query, self.body = urlencode(query), b""
        self.headers.pop("content-type", None)
        if self.method == "POST":
            self.body = json.dumps(body).encode()
            self.headers["content-type"] = "application/json"
        return {**query, **body}

    def _read_query(self) -> dict[str, Any]:
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def _read_body(self) -> dict[str, Any]:
        if not self.body.strip():
            return {}
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            raise HttpError("400 Bad Request", "The request's body is no JSON.") from None
        if not isinstance(content, dict):
            raise HttpError("400 Bad Request", "The request's body is no JSON object.")
        return content

    def encode(self, *, upgrade: bool = False) -> bytes:
        """Write the request for Cronicle."""
        lines = [f"{self.method} {self.path}{'?' + self.query if self.query else ''} HTTP/1.1"]
        host = self.headers.get("x-forwarded-host") or self.headers.get("host") or "cronicle"
        lines.append(f"Host: {host}")
        for name, value in {**self.headers, **self.added}.items():
            if name not in _HOP and name not in _FOREIGN:
                lines.append(f"{name}: {value}")
        if upgrade:
            lines += ["Connection: Upgrade", f"Upgrade: {self.headers['upgrade']}"]
        else:
            lines += ["Connection: close", f"Content-Length: {len(self.body)}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + self.body


async def read_request(reader: asyncio.StreamReader, peer: str) -> Request | None:
    """Read a request.

    Args:
        reader: of the client.
        peer: its address.
    Returns: None where the client said nothing.
    Raises:
        HttpError: it is malformed, too long or too slow.
    """
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), READ_S)
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise HttpError("400 Bad Request", "The request was cut off.") from None
    except asyncio.LimitOverrunError:
        raise HttpError("431 Request Header Fields Too Large", "Too many headers.") from None
    except asyncio.TimeoutError:
        raise HttpError("408 Request Timeout", "The request did not come in time.") from None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    match = re.fullmatch(r"([A-Z]{3,10}) (/[\x21-\x7e]*) HTTP/1\.[01]", first)
    if match is None:
        raise HttpError("400 Bad Request", "The request line is malformed.")
    headers = _parse_headers(lines)
    path, _, query = match.group(2).partition("?")
    request = Request(match.group(1), path, query, headers, peer=peer)
    if "transfer-encoding" in headers:
        raise HttpError("411 Length Required", "Send the length of the body.")
    length = headers.get("content-length", "0")
    if not re.fullmatch(r"\d{1,10}", length) or int(length) > MAX_BODY:
        raise HttpError("413 Content Too Large", f"The body has more than {MAX_BODY} bytes.")
    try:
        request.body = await asyncio.wait_for(reader.readexactly(int(length)), READ_S)
    except (asyncio.IncompleteReadError, asyncio.TimeoutError):
        raise HttpError("400 Bad Request", "The body was cut off.") from None
    return request


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise HttpError("400 Bad Request", "A header is malformed.")
        if name.lower() in headers and name.lower() in ("content-length", "host"):
            raise HttpError("400 Bad Request", "A header came twice.")
        headers[name.lower()] = value.strip()
    return headers


def answer(status: str, body: bytes, content_type: str, more: Mapping[str, str]) -> bytes:
    """Write a whole answer."""
    headers = {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **more,
        "Connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body


def json_answer(content: Mapping[str, Any], status: str = "200 OK") -> bytes:
    """Write a JSON object as an answer."""
    return answer(status, json.dumps(content).encode(), "application/json", {})


async def forward(request: Request, socket_path: Path, writer: asyncio.StreamWriter) -> None:
    """Pass a request on and stream the answer back, some of its headers left out or changed.

    Args:
        request: checked.
        socket_path: Cronicle's.
        writer: of the client.
    Raises:
        HttpError: Cronicle is away.
    """
    try:
        source, sink = await asyncio.open_unix_connection(str(socket_path), limit=MAX_HEAD)
    except OSError:
        raise HttpError("503 Service Unavailable", "Cronicle is starting or away.") from None
    try:
        sink.write(request.encode())
        await sink.drain()
        head = await asyncio.wait_for(source.readuntil(b"\r\n\r\n"), UPSTREAM_S)
        is_https = request.headers.get("x-forwarded-proto") == "https"
        writer.write(_rewrite(head, is_https=is_https))
        while data := await asyncio.wait_for(source.read(65536), UPSTREAM_S):
            writer.write(data)
            await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.TimeoutError, asyncio.LimitOverrunError):
        raise HttpError("503 Service Unavailable", "Cronicle gave no answer.") from None
    finally:
        sink.close()


def _rewrite(head: bytes, *, is_https: bool) -> bytes:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    kept = [first]
    for line in lines:
        name, _, value = line.partition(":")
        low = name.lower()
        if low in ("access-control-allow-origin", "connection", "keep-alive", "server"):
            continue
        kept.append(f"{name}: {_rewrite_value(low, value.strip(), is_https=is_https)}")
    kept += ["X-Content-Type-Options: nosniff", "Connection: close"]
    return ("\r\n".join(kept) + "\r\n\r\n").encode("latin-1")


def _rewrite_value(name: str, value: str, *, is_https: bool) -> str:
    if name == "location":
        # Addresses within the appliance, by whatever name it was reached.
        return re.sub(r"^https?://hub\.invalid/", "/", value)
    if name == "set-cookie":
        # Read once by the page that follows; over plain HTTP a Secure cookie would be dropped.
        return re.sub(r";\s*Secure(=True)?", "", value) + ("; Secure" if is_https else "")
    return value


async def splice(
    request: Request,
    socket_path: Path,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Join a websocket's two ends until either closes.

    Args:
        request: the upgrade.
        socket_path: Cronicle's.
        reader: of the client.
        writer: of the client.
    """
    try:
        source, sink = await asyncio.open_unix_connection(str(socket_path))
    except OSError:
        raise HttpError("503 Service Unavailable", "Cronicle is starting or away.") from None
    sink.write(request.encode(upgrade=True))
    ends = {
        asyncio.create_task(_copy(reader, sink)),
        asyncio.create_task(_copy(source, writer)),
    }
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
        sink.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return
