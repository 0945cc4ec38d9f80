"""The gateway over HTTP and websockets; Cronicle is played by a server on a unix socket."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import closing

import pytest
import uvicorn
import websocket
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from tests.waiting import wait_until
from vixtract.cronicle_edge import __main__ as gateway_process
from vixtract.cronicle_edge.calls import Contract
from vixtract.cronicle_edge.gateway import Gateway
from vixtract.cronicle_edge.people import HubUserError
from vixtract.cronicle_edge.upstream import Upstream
from vixtract.ledger.database import Database
from vixtract.scheduler import store
from vixtract.scheduler.config import EngineConfig


async def tell_request(request):
    """Answer with what came, and with headers that a browser must not get."""
    heard = {
        "method": request.method,
        "path": request.scope["raw_path"].decode(),
        "query": request.scope["query_string"].decode(),
        "headers": dict(request.headers),
        "body": (await request.body()).decode(),
    }
    response = JSONResponse(heard, headers={"Access-Control-Allow-Origin": "*", "Server": "x"})
    response.set_cookie("session_id", "1", secure=True)
    response.headers.append("Set-Cookie", "second=2; Path=/")
    return response


async def leave(_):
    """Send a browser on as Cronicle does after the Hub's sign-in."""
    return Response(status_code=302, headers={"Location": "http://hub.invalid/jupyter/hub/x"})


async def echo(client):
    """Say who is connected, then repeat what is said."""
    await client.accept()
    await client.send_json({"origin": client.headers.get("origin"), "query": str(client.url.query)})
    while (message := await client.receive())["type"] == "websocket.receive":
        if message.get("text") == "bye":
            await client.close()
            return
        await client.send(
            {"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")}
        )


CRONICLE = Starlette(
    routes=[
        Route("/cronicle/api/user/oauth", leave),
        Route("/{path:path}", tell_request, methods=["GET", "POST", "HEAD"]),
        WebSocketRoute("/cronicle/socket.io/", echo),
    ]
)


class Server(uvicorn.Server):
    """uvicorn in a thread: signals are the tests'."""

    def install_signal_handlers(self):
        pass


def start(config: uvicorn.Config) -> uvicorn.Server:
    """Serve in a thread until `should_exit`."""
    server = Server(config)
    threading.Thread(target=server.run, daemon=True).start()
    wait_until(lambda: server.started, "the server", interval_s=0.02)
    return server


class People:
    """Admits one token."""

    def admit(self, authorization):
        if authorization != "Bearer good":
            raise HubUserError("No token of the Hub was sent.")
        return "admin"


class Door:
    """The gateway's port, and what stands behind it."""

    def __init__(self, port, gateway):
        self.port, self.gateway = port, gateway
        self.pages: list[websocket.WebSocket] = []

    def send(self, text: bytes) -> tuple[int, dict[str, list[str]], bytes]:
        """Send raw bytes and return status, headers and body of the only answer."""
        with closing(socket.create_connection(("127.0.0.1", self.port), 20)) as connection:
            connection.sendall(text)
            data = connection.makefile("rb").read()
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers.setdefault(name.lower(), []).append(value)
        if "chunked" in headers.get("transfer-encoding", []):
            whole, rest = b"", body
            while (size := int(rest.partition(b"\r\n")[0], 16)) > 0:
                rest = rest.partition(b"\r\n")[2]
                whole, rest = whole + rest[:size], rest[size + 2 :]
            body = whole
        return int(first.split()[1]), headers, body

    def ask(self, line: str, headers: str = "", body: bytes = b""):
        """Send a well-formed request and return the answer's status and JSON."""
        head = f"{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        status, _, content = self.send(head.encode() + body)
        return status, json.loads(content)

    def connect(self) -> websocket.WebSocket:
        """Open the page's websocket."""
        address = f"ws://127.0.0.1:{self.port}/cronicle/socket.io/?EIO=4"
        page = websocket.create_connection(address, timeout=20, origin="http://x")
        self.pages.append(page)
        return page


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge")
    cronicle = start(
        uvicorn.Config(CRONICLE, uds=str(folder / "web.sock"), log_level="warning", lifespan="off")
    )
    database = Database(folder / "ledger.sqlite3")
    config = EngineConfig("the-key", folder)
    contract = Contract(Upstream("s3ssion", folder / "web.sock"), database, config)
    gateway = Gateway(contract, People(), lambda: {"code": 0, "engine": "cronicle"}, lambda: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = start(gateway_process.build_server(gateway, "127.0.0.1", port))
    door = Door(port, gateway)
    yield door
    for page in door.pages:
        page.shutdown()
    server.should_exit = cronicle.should_exit = True
    database.close()


@pytest.mark.parametrize(
    "text",
    [
        "POST /cronicle/api/app/ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /cronicle/api/app/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 5\r\n\r\nxxxxx",
        "POST /cronicle/api/app/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n",
        "POST /cronicle/api/app/ping HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        "GET /cronicle/../api/user/login HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /cronicle/%2e%2e/x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://x/cronicle/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /cronicle/ HTTP/1.1\r\n\r\n",
        "OPTIONS /cronicle/api/app/ping HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /db HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /cronicle/DB HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /cronicle/custom/dashboard.html HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /cronicle/socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /cronicle/ HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        "POST /cronicle/api/app/get_schedule HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{",
        "POST /cronicle/api/user/admin_create HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: x\r\nA: " + "a" * 40000 + "\r\n\r\n",
    ],
)  # fmt: skip
def test_odd_requests_are_refused(door, text):
    status, headers, _ = door.send(text.encode())
    assert 400 <= status < 500 and "path" not in headers


def test_a_page_s_file_is_passed_on_without_query_body_and_foreign_credentials(door):
    status, heard = door.ask(
        "GET /cronicle/js/a.js?x=1", "X-API-Key: k\r\nX-WF-ID: w\r\nCookie: a=b\r\n", b"body"
    )
    assert status == 200
    assert (heard["path"], heard["query"], heard["body"]) == ("/cronicle/js/a.js", "", "")
    names = set(heard["headers"])
    assert not {"x-api-key", "x-wf-id"} & names and heard["headers"]["cookie"] == "a=b"


@pytest.mark.parametrize(("scheme", "is_secure"), [("https", True), ("http", False)])
def test_answers_lose_what_opens_the_page_to_others(door, scheme, is_secure):
    text = f"GET /cronicle/ HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: {scheme}\r\n\r\n"
    status, headers, _ = door.send(text.encode())
    assert status == 200 and "access-control-allow-origin" not in headers
    assert "server" not in headers and headers["x-content-type-options"] == ["nosniff"]
    assert len(headers["set-cookie"]) == 2, "both cookies"
    assert all(("Secure" in cookie) == is_secure for cookie in headers["set-cookie"])


def test_the_way_to_the_hub_is_an_address_of_this_site(door):
    status, headers, _ = door.send(b"GET /cronicle/api/user/oauth HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, headers["location"]) == (302, ["/jupyter/hub/x"])


def test_a_change_from_the_page_is_written_anew(door):
    event = {"title": "a", "plugin": "shellplug", "params": {"script": "x"}, "uid": "root"}
    body = json.dumps({**event, "session_id": "s1", "timing": False}).encode()
    status, heard = door.ask("POST /cronicle/api/app/create_event?a=1&a=2", "", body)
    assert status == 200 and heard["query"] == "" and heard["headers"]["x-session-id"] == "s1"
    del event["uid"]
    assert json.loads(heard["body"]) == {**event, "timing": False}


def test_the_page_changes_no_schedule_of_before_a_switch_of_engines(door):
    database = door.gateway._contract.database
    body = json.dumps({"id": "e1", "session_id": "s1"}).encode()
    store.set_engine(database, "embedded")
    for call in ("create_event", "toggle_event", "delete_event"):
        answer = door.ask(f"POST /cronicle/api/app/{call}", "", body)
        assert answer[1]["code"] == "manager" and "taking" in answer[1]["description"]
    assert door.ask("POST /cronicle/api/app/get_schedule", "", body)[1]["method"] == "POST"
    store.set_engine(database, "cronicle")
    assert door.ask("POST /cronicle/api/app/delete_event", "", body)[1]["method"] == "POST"


def test_open_calls_and_refusals_are_answered_here(door):
    assert door.ask("GET /api/app/ping") == (200, {"code": 0})
    assert door.ask("GET /cronicle/api/app/status")[1]["engine"] == "cronicle"
    assert door.ask("GET /api/app/get_schedule")[1]["code"] == "session"
    assert door.ask("GET /api/app/get_schedule", "X-API-Key: no\r\n")[1]["code"] == "api"
    hub = "GET /internal/hub-user"
    assert door.ask(hub, "Authorization: Bearer good\r\n") == (200, {"name": "admin"})
    assert door.ask(hub, "Authorization: Bearer bad\r\n")[0] == 403


def test_a_websocket_is_joined_and_each_end_may_close_it(door):
    page = door.connect()
    assert json.loads(page.recv()) == {"origin": "http://x", "query": "EIO=4"}
    page.send("42 text")
    assert page.recv() == "42 text"
    page.send_binary(b"\x00\xff")
    assert page.recv() == b"\x00\xff"
    page.send("x" * 2_000_000)
    assert len(page.recv()) == 2_000_000
    page.send("bye")
    assert page.recv_data()[0] == websocket.ABNF.OPCODE_CLOSE
    other = door.connect()
    other.close()
    wait_until(lambda: not door.gateway._forwarder._websockets, "the end", interval_s=0.05)


def test_all_websockets_can_be_cut(door):
    pages = [door.connect() for _ in range(3)]
    for page in pages:
        page.recv()
    door.gateway.cut_websockets()
    for page in pages:
        assert page.recv_data()[0] == websocket.ABNF.OPCODE_CLOSE


def test_no_other_websocket_is_let_in(door):
    with pytest.raises(websocket.WebSocketBadStatusException):
        websocket.create_connection(f"ws://127.0.0.1:{door.port}/cronicle/x", timeout=20)


def test_a_connection_that_says_nothing_is_ended(door, monkeypatch):
    monkeypatch.setattr(gateway_process, "READ_S", 0.3)
    with closing(socket.create_connection(("127.0.0.1", door.port), 20)) as silent:
        assert silent.recv(1) == b""
    with closing(socket.create_connection(("127.0.0.1", door.port), 20)) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHo")
        assert slow.recv(1) == b""


def test_cronicle_being_away_is_said(tmp_path):
    database = Database(tmp_path / "ledger.sqlite3")
    config = EngineConfig("the-key", tmp_path)
    contract = Contract(Upstream("s", tmp_path / "none.sock"), database, config)
    gateway = Gateway(contract, People(), lambda: {"code": 0}, lambda: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = start(gateway_process.build_server(gateway, "127.0.0.1", port))
    away = Door(port, gateway)
    assert away.ask("GET /cronicle/")[0] == 503
    with pytest.raises(websocket.WebSocketBadStatusException):
        away.connect()
    server.should_exit = True
    database.close()
