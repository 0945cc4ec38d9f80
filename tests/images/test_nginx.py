"""The front door against services of our own making on an own network."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.images.docker_cli import (
    created_container,
    docker,
    handed_on,
    logs,
    put_file,
    unique_name,
)
from tests.own_images import own_image
from tests.waiting import wait_until

IMAGE = own_image("nginx")
# Any image of a service with python3; the front door itself has none.
STUB_IMAGE = own_image("jupyter")
STUB = (Path(__file__).parent / "stub_service.py").read_text(encoding="utf-8")
HARDENED = (
    *handed_on("nginx"),
    "--init",
    "--security-opt=no-new-privileges:true",
    "--cap-drop=ALL",
    "--read-only",
    "--tmpfs=/run/nginx:uid=33,gid=33,mode=0755,size=16m",
)
UP = {
    "jupyter": {"hub": "up", "postgresql": "up"},
    "cronicle": {"code": 0, "engine": "embedded", "runner": "up", "postgresql": "up"},
}
PORTS = {"jupyter": ("8000", "8010"), "cronicle": ("3012",), "postgresql": ("5432",)}
BAD = b"location /x { no_such_directive on; }\n"


@dataclass
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    repeated: list[tuple[str, str]] = field(default_factory=list)

    @property
    def json(self) -> dict:
        """The body as JSON."""
        return json.loads(self.body)


class Door:
    """A running front door on a network of its own."""

    def __init__(self, network: str, container: str) -> None:
        self.network = network
        self.container = container
        self.port = self.published(8080)

    def published(self, port: int) -> int:
        """Return the host's port of a container's port."""
        return int(docker("port", self.container, f"{port}/tcp").stdout.split(":")[1].split()[0])

    def ask(
        self, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> Answer:
        """Send one request; keyword names become headers, with dashes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=40)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=named)
        reply = connection.getresponse()
        pairs = [(name.lower(), value) for name, value in reply.getheaders()]
        answer = Answer(reply.status, dict(pairs), reply.read(), pairs)
        connection.close()
        return answer

    def health(self) -> dict[str, str]:
        """Return the services' states."""
        return self.ask("/healthz").json["services"]

    @contextmanager
    def service(self, name: str, *, state: dict | None = None) -> Iterator[str]:
        """Start a stub under a service's name."""
        options = (
            "--init",
            f"--network={self.network}",
            f"--network-alias={name}",
            "--stop-timeout=1",
            "--entrypoint=/usr/bin/python3",
        )
        words = ("-I", "/stub.py", name, *PORTS[name])
        with created_container(STUB_IMAGE, options, *words) as container:
            put_file(container, "/", "stub.py", STUB.encode())
            if state:
                put_file(container, "/", "state", json.dumps(state).encode())
            docker("start", container)
            wait_until(lambda: "ready" in logs(container), what=f"stub {name}")
            yield container


@contextmanager
def front_door(*options: str, files: dict[str, bytes] | None = None) -> Iterator[Door]:
    """Start a front door; ``files`` are name -> content in /etc/nginx/custom."""
    network = unique_name("front-test")
    docker("network", "create", network)
    try:
        publish = ("-p", "127.0.0.1::8080", "-p", "127.0.0.1::5432", f"--network={network}")
        mounts = ("-v", "/etc/nginx/custom")
        with created_container(IMAGE, (*HARDENED, *publish, *mounts, *options)) as container:
            for name, content in (files or {}).items():
                directory, _, file = f"/etc/nginx/custom/{name}".rpartition("/")
                put_file(container, directory, file, content)
            docker("start", container)
            wait_until(lambda: healthy(container), what="the front door is healthy")
            yield Door(network, container)
    finally:
        docker("network", "rm", network, check=False)


def healthy(container: str) -> bool:
    """True once the image's own check passes."""
    done = docker("exec", container, "front-door", "alive", check=False)
    assert done.returncode == 0, logs(container)[-800:]
    return True


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    """A front door with every service behind it."""
    with (
        front_door() as one,
        one.service("jupyter", state=UP["jupyter"]),
        one.service("cronicle", state=UP["cronicle"]),
        one.service("postgresql"),
    ):
        wait_until(lambda: one.ask("/healthz").status == 200, what="all are up")
        yield one


@pytest.fixture(scope="module")
def lonely() -> Iterator[Door]:
    """A front door with nothing behind it."""
    with front_door() as one:
        yield one


# --- who answers which address ---

JUPYTERS = [
    "/jupyter/",
    "/jupyter/hub/login?next=%2Fjupyter%2F",
    "/jupyter/user/anna/lab/tree/data.io.ipynb",
    "/jupyter/user/anna/api/contents/crm.io/load.ipynb",
    "/jupyter/user/anna/lab/tree/cronicle/api/app/status.ipynb",
    "/jupyter/user/anna/api/contents/healthz",
    "/jupyter/user/anna/lab/tree/portal/nginx-alive",
    "/jupyter/user/anna/files/assets/docs/favicon.ico",
    "/jupyter/user/anna/api/contents/with%20space%2Fslash%3Fquestion.ipynb?type=file",
    "/jupyter/user/a.b/api/kernels",
    "/jupyter/_errors/404",
    "/jupyter/user/anna/files/x.php",
    "/jupyter/user/anna/lab/tree/%D0%BE%D1%82%D1%87%D1%91%D1%82.ipynb",
]


@pytest.mark.parametrize("path", JUPYTERS)
def test_notebooks_addresses_go_to_jupyter_unchanged(door: Door, path: str) -> None:
    seen = door.ask(path).json
    assert (seen["service"], seen["port"], seen["path"]) == ("jupyter", 8000, path)


@pytest.mark.parametrize(
    ("path", "service", "port"),
    [
        ("/portal/", "jupyter", 8010),
        ("/portal/oauth_callback?code=1", "jupyter", 8010),
        ("/portal/runs/cronicle/jupyter/", "jupyter", 8010),
        ("/cronicle/api/app/get_schedule?offset=0&limit=10", "cronicle", 3012),
        ("/cronicle/api/app/ping", "cronicle", 3012),
    ],
)
def test_each_service_gets_its_addresses(door: Door, path: str, service: str, port: int) -> None:
    seen = door.ask(path).json
    assert (seen["service"], seen["port"], seen["path"]) == (service, port, path)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/jupyter", "/jupyter/"),
        ("/jupyter?a=b", "/jupyter/?a=b"),
        ("/portal", "/portal/"),
        ("/docs", "/docs/"),
        ("/cronicle", "/portal/"),
        ("/cronicle/", "/portal/"),
        ("/cronicle/#Schedule", "/portal/"),
        ("/cronicle/data.io", "/portal/"),
    ],
)
def test_redirects_name_no_host_and_no_port(door: Door, path: str, location: str) -> None:
    answer = door.ask(path, Host="etl.example.org:8099")
    assert (answer.status, answer.headers["location"]) == (302, location)


@pytest.mark.parametrize(
    "path",
    [
        "/cronicle/api/app/get_live_job_log?id=j1",
        "/cronicle/api/app/get_live_job_log/../status_x",
        "/cronicle/api/app/",
        "/cronicle/api/app/statusx",
        "/cronicle/api/app/status/x",
        "/cronicle/api/user/login",
        "/cronicle/api/",
        "/jupyter/../cronicle/api/app/get_live_job_log",
        "/cronicle//api//app//get_live_job_log",
        "/cronicle/api/app/%67et_live_job_log",
    ],
)
def test_other_calls_of_the_scheduler_are_not_let_in(door: Door, path: str) -> None:
    answer = door.ask(path)
    assert answer.status == 404
    assert answer.json["code"] == "not_found"


def test_call_is_asked_for_by_its_checked_name(door: Door) -> None:
    seen = door.ask("/cronicle/api/user/../app/get%5Fevent?id=1").json
    assert seen["path"] == "/cronicle/api/app/get_event?id=1"


@pytest.mark.parametrize(
    "path",
    [
        "/api/app/status",
        "/jupyterlab",
        "/portals",
        "/cronicled",
        "/data.io",
        "/socket.io/",
        "/docsx",
        "/_errors/404",
        "/_errors/",
        "/healthz/x",
        "/en/index.html",
        "/docs/none.html",
        "/assets/none.css",
        "/assets/",
        "/docs../nginx.conf",
        "/.git/config",
    ],
)
def test_unknown_addresses_get_our_page(door: Door, path: str) -> None:
    answer = door.ask(path)
    assert answer.status == 404
    assert b"Page not found" in answer.body


# --- what the services are told, and what of theirs is passed on ---


def test_jupyter_is_told_the_browsers_host_and_scheme(door: Door) -> None:
    headers = door.ask("/jupyter/x", Host="etl.example.org:8099").json["headers"]
    assert headers["host"] == "etl.example.org:8099"
    assert headers["x-scheme"] == headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-host"] == "etl.example.org:8099"
    assert re.fullmatch(r"[0-9.]+", headers["x-forwarded-for"])


def test_jupyters_own_policies_stay(door: Door) -> None:
    answer = door.ask("/jupyter/x")
    assert [v for n, v in answer.repeated if n == "content-security-policy"] == [
        "frame-ancestors 'self'"
    ]
    assert "x-frame-options" not in answer.headers
    assert answer.headers["referrer-policy"] == "same-origin"


def test_scheduler_gets_no_cookies_and_opens_no_origin(door: Door) -> None:
    answer = door.ask(
        "/cronicle/api/app/get_schedule", Cookie="jupyterhub-session-id=secret", X_API_Key="k"
    )
    assert "cookie" not in answer.json["headers"]
    assert answer.json["headers"]["x-api-key"] == "k"
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_persons_server_cannot_steer_the_front_door(door: Door) -> None:
    assert door.ask("/jupyter/user/eve/accel").json["service"] == "jupyter"


def test_errors_of_jupyter_itself_are_passed_on(door: Door) -> None:
    answer = door.ask("/jupyter/x", X_Want_Status="404")
    assert (answer.status, answer.json["service"]) == (404, "jupyter")


@pytest.mark.parametrize("status", ["404", "503"])
def test_bare_answers_of_jupyterhubs_proxy_are_asked_again(door: Door, status: str) -> None:
    assert door.ask("/jupyter/hub/bare", X_Want_Status=status).headers["refresh"] == "5"
    assert "refresh" not in door.ask("/jupyter/hub/page", X_Want_Status=status).headers


def test_websocket_passes(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=60) as connection:
        connection.sendall(
            b"GET /jupyter/user/anna/api/kernels/1/channels HTTP/1.1\r\nHost: x\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        head = connection.recv(1000)
        assert head.startswith(b"HTTP/1.1 101 ")
        connection.sendall(b"hello")
        data = head.split(b"\r\n\r\n", 1)[1]
        while b"echo:hello" not in data:
            received = connection.recv(1000)
            assert received, data
            data += received


def test_postgresql_passes_as_bytes(door: Door) -> None:
    assert ask_stream(door).startswith(b"hello from postgresql ")


def ask_stream(door: Door) -> bytes:
    """Send bytes to the PostgreSQL port and return the answer."""
    with socket.create_connection(("127.0.0.1", door.published(5432)), timeout=60) as connection:
        connection.sendall(b"hello")
        return connection.recv(200)


def test_uploads_to_jupyter_may_be_large_and_elsewhere_not(door: Door) -> None:
    large = b"x" * (20 << 20)
    assert (
        door.ask("/jupyter/user/anna/api/contents/x", method="PUT", body=large).json["received"]
        == 20 << 20
    )
    for path, kind in (
        ("/cronicle/api/app/create_event", "application/json"),
        ("/portal/x", "text/html"),
    ):
        try:
            answer = door.ask(path, method="POST", body=large)
        except (BrokenPipeError, ConnectionResetError):
            continue  # refused before the body was through
        assert answer.status == 413
        assert answer.headers["content-type"].startswith(kind)


def test_temporary_directory_holds_no_bodies(door: Door) -> None:
    door.ask("/jupyter/user/anna/api/contents/x", method="PUT", body=b"x" * (20 << 20))
    assert int(docker("exec", door.container, "du", "-sk", "/run/nginx").stdout.split()[0]) < 200


# --- state ---


def test_health_names_each_service(door: Door) -> None:
    answer = door.ask("/healthz")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json == {
        "status": "ok",
        "services": {"nginx": "up", "jupyter": "up", "cronicle": "up", "postgresql": "up"},
    }


def test_health_with_nothing_behind(lonely: Door) -> None:
    answer = lonely.ask("/healthz")
    assert answer.status == 503
    assert answer.json == {
        "status": "degraded",
        "services": {"nginx": "up", "jupyter": "down", "cronicle": "down", "postgresql": "unknown"},
    }


@pytest.mark.parametrize(
    ("jupyter", "cronicle", "expected"),
    [
        ({"hub": "down", "postgresql": "up"}, UP["cronicle"], ("down", "up", "up")),
        (UP["jupyter"], {**UP["cronicle"], "runner": "down"}, ("up", "down", "up")),
        (UP["jupyter"], {"code": "manager"}, ("up", "down", "up")),
        (UP["jupyter"], {"code": 0}, ("up", "up", "up")),
        ({"hub": "up", "postgresql": "down"}, UP["cronicle"], ("up", "up", "down")),
    ],
)
def test_health_tells_what_the_services_say(jupyter: dict, cronicle: dict, expected: tuple) -> None:
    with (
        front_door() as one,
        one.service("jupyter", state=jupyter),
        one.service("cronicle", state=cronicle),
    ):
        names = ("jupyter", "cronicle", "postgresql")
        wait_until(
            lambda: tuple(one.health()[name] for name in names) == expected,
            what=f"states {expected}",
        )


def test_health_answers_in_time_when_a_service_hangs() -> None:
    with (
        front_door() as one,
        one.service("jupyter", state=UP["jupyter"]) as jupyter,
        one.service("cronicle", state=UP["cronicle"]),
    ):
        wait_until(lambda: one.ask("/healthz").status == 200, what="up")
        docker("pause", jupyter)
        time.sleep(1.5)  # the kept answer grows old
        started = time.monotonic()
        assert one.health() == {
            "nginx": "up",
            "jupyter": "down",
            "cronicle": "up",
            "postgresql": "up",
        }
        assert time.monotonic() - started < 4.5
        docker("unpause", jupyter)
        wait_until(lambda: one.ask("/healthz").status == 200, what="up again")


# --- a part is not there ---


@pytest.mark.parametrize("path", ["/jupyter/", "/portal/", "/jupyter/user/anna/lab"])
def test_absent_part_gets_a_page_that_tries_again(lonely: Door, path: str) -> None:
    answer = lonely.ask(path)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "5"
    assert b'http-equiv="refresh" content="5"' in answer.body
    assert b"This part is starting" in answer.body


def test_absent_scheduler_is_told_in_json(lonely: Door) -> None:
    answer = lonely.ask("/cronicle/api/app/get_schedule")
    assert (answer.status, answer.headers["content-type"]) == (503, "application/json")
    assert answer.json["code"] == "unavailable"


def test_home_page_needs_nobody(lonely: Door) -> None:
    assert lonely.ask("/").status == 200


def test_recreated_and_killed_services_are_found_again() -> None:
    with front_door() as one:
        assert one.ask("/jupyter/").status == 503
        for _ in range(2):
            with one.service("jupyter"), one.service("postgresql"):
                wait_until(lambda: one.ask("/jupyter/").status == 200, what="jupyter")
                wait_until(lambda: b"from postgresql" in ask_stream(one), what="stream")
            # Another container takes the address that was freed.
            with one.service("cronicle"):
                wait_until(
                    lambda: one.ask("/jupyter/").status == 503, what="jupyter is gone", timeout_s=20
                )
        with one.service("jupyter") as jupyter:
            wait_until(lambda: one.ask("/jupyter/").status == 200, what="jupyter")
            docker("kill", "--signal=KILL", jupyter)
            assert one.ask("/jupyter/").status in {503, 504}
            docker("start", jupyter)
            wait_until(lambda: one.ask("/jupyter/").status == 200, what="jupyter")
        assert (
            docker("inspect", "-f", "{{.RestartCount}} {{.State.Running}}", one.container).stdout
            == "0 true\n"
        )


# --- our own pages ---


def test_pages_come_in_the_readers_language(door: Door) -> None:
    english = door.ask("/")
    russian = door.ask("/", Accept_Language="ru-RU,ru;q=0.9,en;q=0.8")
    assert b'lang="en"' in english.body and b'lang="ru"' in russian.body
    # Neither is German: of what is there, the browser likes Russian best.
    assert b'lang="ru"' in door.ask("/", Accept_Language="de,ru;q=0.5").body
    assert b'lang="en"' in door.ask("/", Accept_Language="ru;q=0.5,en;q=0.9").body
    chosen = door.ask("/?lang=ru", Accept_Language="en")
    assert b'<html lang="ru"' in chosen.body
    assert (
        b'<html lang="ru"' in door.ask("/", Cookie=chosen.headers["set-cookie"].split(";")[0]).body
    )
    assert "Такой страницы нет".encode() in door.ask("/none", Accept_Language="ru").body


def test_home_page_says_how_to_connect(door: Door) -> None:
    text = door.ask("/", Host="etl.example.org:8099").body.decode()
    assert "<code>etl.example.org</code>" in text
    assert "<code>5432</code>" in text and "<code>bi</code>" in text and "<code>etl</code>" in text
    assert "./vixtract up --bind" in text
    assert "<!--#" not in text and "{{" not in text and "object at 0x" not in text


def test_home_page_with_other_settings() -> None:
    with front_door(
        "-e", "VIXTRACT_BIND=0.0.0.0", "-e", "HTTPS=off", "-e", "POSTGRES_PORT=15432"
    ) as one:
        text = one.ask("/").body.decode()
        assert "<code>15432</code>" in text
        assert "--bind" not in text


def test_host_header_cannot_put_markup_into_the_page(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: <script>alert(1)</script>\r\n\r\n")
        data = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"<script>alert" not in data


@pytest.mark.parametrize("path", ["/", "/docs/", "/none", "/healthz"])
def test_own_pages_carry_security_headers(door: Door, path: str) -> None:
    answer = door.ask(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["server"] == "nginx"


def test_pages_name_no_other_host_and_every_asset_is_there(door: Door) -> None:
    for path in ("/", "/docs/", "/none"):
        text = door.ask(path).body.decode()
        links = re.findall(r'(?:href|src)="([^"]*)"', text)
        assets = [link for link in links if link.startswith("/assets/")]
        assert len(assets) >= 2
        assert not [link for link in links if link.startswith(("http:", "https:", "//"))]
        for asset in assets:
            answer = door.ask(asset, Accept_Encoding="gzip")
            assert answer.status == 200
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert door.ask("/favicon.ico").headers["content-type"] == "image/svg+xml"


def test_links_of_the_documentation_lead_somewhere(door: Door) -> None:
    todo, seen = ["/docs/"], set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = door.ask(path)
        assert answer.status == 200, path
        if answer.headers["content-type"].startswith("text/html"):
            links = re.findall(
                r'href="(?!\w+:)(/docs/[^"#]*|[^":/#][^":#]*|\.\.?/[^"#]*)[^"]*"',
                answer.body.decode(),
            )
            base = path.rpartition("/")[0] + "/"
            todo += [
                os.path.normpath(base + link) + "/" * link.endswith("/")
                if not link.startswith("/")
                else link
                for link in links
            ]
    assert len(seen) > 1


def test_text_is_compressed(door: Door) -> None:
    plain, packed = door.ask("/"), door.ask("/", Accept_Encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) / 2


# --- guessing passwords, logs ---


def test_guessing_passwords_is_slowed_down_and_nothing_else() -> None:
    with front_door() as one, one.service("jupyter"):
        wait_until(lambda: one.ask("/jupyter/").status == 200, what="jupyter")
        codes = [
            one.ask("/jupyter/hub/login?next=x", method="POST", body=b"password=x").status
            for _ in range(40)
        ]
        assert codes[:15] == [200] * 15
        assert codes.count(429) >= 10
        refused = one.ask("/jupyter//hub/%6Cogin", method="POST", body=b"password=x")
        assert refused.status == 429 and b"Too many attempts" in refused.body
        assert refused.headers["retry-after"] == "10"
        assert {one.ask("/jupyter/hub/login").status for _ in range(40)} == {200}
        assert {one.ask("/jupyter/hub/api", method="POST").status for _ in range(40)} == {200}


def test_logs_hold_paths_and_no_tokens() -> None:
    with front_door() as one, one.service("jupyter") as jupyter:
        wait_until(lambda: one.ask("/jupyter/").status == 200, what="jupyter")
        one.ask("/jupyter/user/anna/lab?token=SECRET1", Referer="http://x/?token=SECRET2")
        docker("kill", jupyter)
        one.ask("/jupyter/user/anna/gone?token=SECRET3", Referer="http://x/?token=SECRET4")
        one.ask("/cronicle/api/app/get_event?api_key=SECRET5")
        one.ask("/none?x=SECRET6")
        wait_until(lambda: "/none" in logs(one.container), what="the log")
        text = logs(one.container)
        assert '"GET /jupyter/user/anna/lab" 200' in text
        assert '"GET /jupyter/user/anna/gone" 50' in text
        assert re.search(r"\[error\].*/jupyter/user/anna/gone\?\.\.\.", text), (
            "the reason stays readable"
        )
        assert "SECRET" not in text


# --- the site's own additions ---


def test_additions_are_used() -> None:
    files = {
        "hello.conf": b'location = /hello { return 200 "hi"; }\n',
        "stream.d/more.conf": b"server { listen 5433; return hi; }\n",
    }
    with front_door(files=files) as one:
        assert one.ask("/hello").body == b"hi"


def test_wrong_addition_does_not_stop_the_front_door() -> None:
    files = {"bad.conf": BAD, "good.conf": b'location = /hello { return 200 "hi"; }\n'}
    with front_door(files=files) as one:
        text = logs(one.container)
        assert 'unknown directive "no_such_directive" in /etc/nginx/custom/bad.conf:1' in text
        assert "left out" in text
        assert one.ask("/hello").status == 404
        health = one.ask("/healthz").json
        assert health["status"] == "degraded"
        assert "/etc/nginx/custom" in health["notes"][0]
        put_file(one.container, "/etc/nginx/custom", "bad.conf", b"# better\n")
        docker("exec", one.container, "front-door", "reload")
        wait_until(lambda: one.ask("/hello").status == 200, what="the addition is used")
        time.sleep(1.2)
        assert "notes" not in one.ask("/healthz").json


def test_reload_of_a_wrong_addition_changes_nothing() -> None:
    with front_door(files={"good.conf": b'location = /hello { return 200 "hi"; }\n'}) as one:
        put_file(one.container, "/etc/nginx/custom", "bad.conf", BAD)
        for command in ("check", "reload"):
            done = docker("exec", one.container, "front-door", command, check=False)
            assert done.returncode == 1
            assert "no_such_directive" in done.stderr
        assert one.ask("/hello").status == 200
        docker("kill", "--signal=HUP", one.container)
        time.sleep(1)
        assert one.ask("/hello").status == 200


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("HTTPS=maybe", "is none of off"),
        ("TZ=Europe/Moskva", "Europe/Moscow"),
        ("VIXTRACT_ENGINE=other", "embedded"),
        ("POSTGRES_PORT=1;x", "not a port"),
    ],
)
def test_refuses_wrong_settings(setting: str, words: str) -> None:
    with created_container(IMAGE, (*handed_on("nginx"), "-e", setting)) as container:
        docker("start", container)
        assert docker("wait", container).stdout.strip() == "3"
        assert words in logs(container)


def test_takes_an_old_name_of_a_time_zone() -> None:
    with front_door("-e", "TZ=US/Pacific") as one:
        assert docker("exec", one.container, "date", "+%Z").stdout.strip() in ("PST", "PDT")


# --- the process ---


def test_nothing_runs_as_root_or_with_capabilities(door: Door) -> None:
    text = docker("exec", door.container, "bash", "-c", "cat /proc/[0-9]*/status").stdout
    assert set(re.findall(r"^Uid:\s+(.+)$", text, re.MULTILINE)) == {"33\t33\t33\t33"}
    assert set(re.findall(r"^CapEff:\s+(\w+)$", text, re.MULTILINE)) == {"0" * 16}


def test_ends_soon_when_it_is_told_to() -> None:
    with front_door() as one:
        started = time.monotonic()
        docker("stop", "--time", "20", one.container)
        assert time.monotonic() - started < 5
        assert docker("inspect", "-f", "{{.State.ExitCode}}", one.container).stdout.strip() == "0"


def test_image_has_a_health_check_and_an_unprivileged_user() -> None:
    config = json.loads(docker("image", "inspect", IMAGE).stdout)[0]["Config"]
    assert config["User"] == "33:33"
    assert config["Healthcheck"]["Test"] == ["CMD", "front-door", "alive"]
