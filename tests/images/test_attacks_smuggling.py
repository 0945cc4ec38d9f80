"""Raw bytes at the front door: what nginx and a service could read differently ends at nginx."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.images.test_nginx import UP, Door, front_door
from tests.waiting import wait_until

HIDDEN = b"GET /jupyter/hidden HTTP/1.1\r\nHost: hidden\r\n\r\n"
CHUNKED = b"0\r\n\r\n" + HIDDEN
REFUSED = {400, 405, 413, 414, 501}


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    """A front door with services that tell what reached them."""
    with front_door() as one, one.service("jupyter", state=UP["jupyter"]), one.service("cronicle"):
        wait_until(lambda: one.ask("/jupyter/").status == 200, what="jupyter")
        yield one


def send(door: Door, data: bytes, wait_s: float = 5.0) -> bytes:
    """Send bytes on one connection and return all that comes back until it is closed or silent."""
    received = b""
    with socket.create_connection(("127.0.0.1", door.port), timeout=wait_s) as connection:
        try:
            connection.sendall(data)
            while part := connection.recv(65536):
                received += part
                if received.endswith(b"}"):
                    connection.settimeout(0.5)
        except (TimeoutError, ConnectionError):
            pass
    return received


def post(*headers: bytes, body: bytes = CHUNKED, path: bytes = b"/jupyter/seen") -> bytes:
    """Build a request from lines of its head as they stand."""
    return b"\r\n".join([b"POST " + path + b" HTTP/1.1", b"Host: x", *headers, b"", body])


def statuses(answer: bytes) -> list[int]:
    """Return the status of each answer of a connection."""
    return [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


AMBIGUOUS = {
    "length and chunked": post(b"Content-Length: 6", b"Transfer-Encoding: chunked"),
    "chunked and length": post(b"Transfer-Encoding: chunked", b"Content-Length: 6"),
    "chunked twice": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "unknown coding": post(b"Transfer-Encoding: xchunked", b"Content-Length: 5"),
    "two codings": post(b"Transfer-Encoding: chunked, identity", b"Content-Length: 5"),
    "vertical tab": post(b"Transfer-Encoding:\x0bchunked", b"Content-Length: 5"),
    "space before the colon": post(b"Transfer-Encoding : chunked", b"Content-Length: 5"),
    "folded line": post(b"Transfer-Encoding:", b" chunked", b"Content-Length: 5"),
    "two lengths": post(b"Content-Length: 0", b"Content-Length: 47", body=HIDDEN),
    "list of lengths": post(b"Content-Length: 5, 5"),
    "signed length": post(b"Content-Length: +5"),
    "negative length": post(b"Content-Length: -5"),
    "hexadecimal length": post(b"Content-Length: 0x5"),
    "enormous length": post(b"Content-Length: 99999999999999999999"),
    "chunked in 1.0": post(b"Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "bare LF in a chunk": post(b"Transfer-Encoding: chunked", body=b"1;a\nb\r\nx\r\n" + CHUNKED),
    "chunk of odd size": post(b"Transfer-Encoding: chunked", body=b"0x1\r\nx\r\n" + CHUNKED),
    "NUL in a header": post(b"X: a\x00b"),
    "CR in a header": post(b"X: a\rTransfer-Encoding: chunked", b"Content-Length: 5"),
    "two hosts": post(b"Host: y"),
    "no host": b"GET /jupyter/seen HTTP/1.1\r\n\r\n" + HIDDEN,
    "control letter in the address": b"GET /jupyter/se\x01en HTTP/1.1\r\nHost: x\r\n\r\n",
    "space in the address": b"GET /jupyter/seen x HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL in the address": b"GET /jupyter/%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2 by itself": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT postgresql:5432 HTTP/1.1\r\nHost: postgresql:5432\r\n\r\n",
    "TRACE": b"TRACE /jupyter/ HTTP/1.1\r\nHost: x\r\nCookie: a=SECRET\r\n\r\n",
    "header of 40 KB": post(b"X: " + b"a" * 40_000),
    "5000 headers": post(*(b"X%d: a" % number for number in range(5000))),
    "address of 40 KB": b"GET /jupyter/" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_an_ambiguous_request_ends_at_the_front_door(door: Door, name: str) -> None:
    answer = send(door, AMBIGUOUS[name])
    assert answer, "silence"
    assert statuses(answer)[0] in REFUSED, answer[:300]
    assert len(statuses(answer)) == 1, "what follows is not read as another request"
    assert b'"service"' not in answer, "nothing reached the service"
    assert b"SECRET" not in answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /jupyter/seen HTTP/1.1\nHost: x\nContent-Length: %d\n\n%s" % (len(HIDDEN), HIDDEN),
        post(b"Content-Length: %d" % len(HIDDEN), body=HIDDEN),
        post(
            b"Transfer-Encoding: chunked",
            body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN),
        ),
    ],
    ids=["bare LF", "length", "chunked"],
)
def test_a_request_in_a_body_stays_a_body(door: Door, request_bytes: bytes) -> None:
    answer = send(door, request_bytes)
    assert statuses(answer) == [200], answer[:300]
    seen = json.loads(answer[answer.index(b"{") :])
    assert seen["path"] == "/jupyter/seen"
    framing = {"content-length", "transfer-encoding"} & set(seen["headers"])
    assert len(framing) == 1, seen
    # A connection to a service carries one request: nobody's answer can go to another.
    assert seen["headers"]["connection"] == "close"


@pytest.mark.parametrize("path", ["/jupyter/hub/api", "/portal/", "/cronicle/api/app/ping"])
@pytest.mark.parametrize("protocol", [b"h2c", b"HTTP/2.0", b"TLS/1.2", b"websocket, h2c"])
def test_only_a_websocket_becomes_a_tunnel(door: Door, path: str, protocol: bytes) -> None:
    head = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\n"
    settings = b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    answer = send(door, head % (path.encode(), protocol) + settings, 2.0)
    assert statuses(answer) == [200], answer[:300]
    headers = json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])["headers"]
    assert "upgrade" not in headers
    assert headers["connection"] == "close"


@pytest.mark.parametrize(
    "name",
    ["X-Scheme", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto"],
)
def test_nobody_forges_what_the_front_door_tells_the_services(door: Door, name: str) -> None:
    told = door.ask("/jupyter/x", **{name: "forged"}).json["headers"]
    assert told[name.lower()] != "forged"
    assert "forged" not in door.ask("/portal/x", **{name: "forged"}).json["headers"].values()


def test_half_requests_hold_nobody_up(door: Door) -> None:
    with ExitStack() as stack:
        for _ in range(150):
            connection = socket.create_connection(("127.0.0.1", door.port), timeout=5)
            stack.enter_context(connection).sendall(b"POST /jupyter/x HTTP/1.1\r\nHost: x\r\nA: ")
        assert door.ask("/jupyter/").status == 200
        assert door.ask("/").status == 200


def test_every_address_that_takes_a_password_is_slowed_down(door: Door) -> None:
    """The Hub's call for tokens takes name and password in its body: many names, few guesses each."""
    answers = [
        door.ask(f"/jupyter/hub/api/users/spray{n}/tokens", method="POST", body=b"{}").status
        for n in range(40)
    ]
    assert answers[:15] == [200] * 15
    assert answers.count(429) >= 10
