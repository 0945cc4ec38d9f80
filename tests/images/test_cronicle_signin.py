"""Who gets into Cronicle: the real Hub, the real Cronicle, and the front door between them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.images.docker_cli import docker, handed_on, unique_name
from tests.images.edge_box import IMAGE, EdgeBox, has_image
from tests.images.hub import Hub, xsrf_of
from tests.own_images import own_image
from tests.waiting import free_port, wait_until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not has_image(), reason=f"Cronicle's image is absent: {IMAGE}"),
]
NGINX = own_image("nginx")
PASSWORD = "aPasswordOfTheTests7"


class Place:
    """The three containers on one network, with Cronicle's page at `url`.

    Args:
        has_own_port: whether CRONICLE_PORT is set.
    """

    def __init__(self, hub: Hub, box: EdgeBox, *, has_own_port: bool) -> None:
        self.hub, self.box = hub, box
        self.name = unique_name("signin-nginx")
        main, own = free_port(), free_port()
        self.main = f"http://127.0.0.1:{main}"
        self.url = f"http://127.0.0.1:{own if has_own_port else main}"
        docker(
            "run", "--detach", "--name", self.name, "--network", hub.name, *handed_on("nginx"),
            "--env", "VIXTRACT_ENGINE=cronicle",
            "--env", f"CRONICLE_PORT={own if has_own_port else ''}",
            "--publish", f"127.0.0.1:{main}:8080", "--publish", f"127.0.0.1:{own}:8012", NGINX,
        )  # fmt: skip

    def close(self) -> None:
        """Remove the front door."""
        docker("rm", "--force", "--volumes", self.name, check=False)

    def sign_in(self, name: str) -> httpx.Response:
        """Press SSO on Cronicle's login page as a person in a new browser; returns the last answer."""
        with httpx.Client(base_url=self.url, timeout=60, follow_redirects=True) as browser:
            page = browser.get("/cronicle/api/user/oauth")
            assert page.url.path == "/jupyter/hub/login", page.url
            form = {"username": name, "password": PASSWORD, "_xsrf": xsrf_of(page)}
            answer = browser.post(str(page.url.raw_path, "ascii"), data=form)
            assert str(answer.url).startswith(self.url), answer.url
            return answer

    def session_of(self, answer: httpx.Response) -> str:
        """Return the session that a login led to, empty for none."""
        cookies = [
            c for r in (*answer.history, answer) for c in r.cookies.jar if c.name == "session_id"
        ]
        return str(cookies[-1].value) if cookies else ""

    def schedule(self, session: str) -> object:
        """Read the schedule as the page does; returns the answer's code."""
        return httpx.post(
            f"{self.url}/cronicle/api/app/get_schedule", json={}, headers={"X-Session-ID": session}
        ).json()["code"]


@pytest.fixture(scope="module")
def parts() -> Iterator[tuple[Hub, EdgeBox]]:
    """The Hub with people in it, and Cronicle on the same network, homes and secrets."""
    hub = Hub()
    box = EdgeBox(unique_name("signin"))
    box.volumes[0], box.volumes[2] = f"{hub.name}-home", f"{hub.name}-secrets"
    try:
        hub.start_postgres()
        hub.start(VIXTRACT_ENGINE="cronicle")
        for name, options in (("boss", ["--admin"]), ("anna", []), ("ad.min", ["--admin"])):
            hub.add(name, PASSWORD, *options)
        box.start("--network", hub.name, "--network-alias", "cronicle")
        yield hub, box
    finally:
        box.delete()
        hub.close()


@pytest.fixture(params=[False, True], ids=["same-origin", "own-port"])
def place(request, parts) -> Iterator[Place]:
    """The front door, with Cronicle's page on the same origin and on its own."""
    place = Place(*parts, has_own_port=request.param)
    try:
        wait_until(
            lambda: httpx.get(f"{place.url}/cronicle/", timeout=5).status_code == 200,
            "Cronicle's page",
        )  # fmt: skip
        yield place
    finally:
        place.close()


def accounts(box: EdgeBox) -> dict[str, int]:
    """Return Cronicle's accounts, name to whether it is active."""
    code = (
        "import json\nfrom vixtract.cronicle_edge.upstream import Upstream\n"
        "rows = Upstream(open('/srv/secrets/cronicle_session').read().strip())"
        ".call('user/admin_get_users', {'offset': 0, 'limit': 100})['rows']\n"
        "print(json.dumps({row['username']: row['active'] for row in rows}))"
    )
    return json.loads(box.execute("/opt/vixtract/bin/python", "-I", "-c", code))


def test_a_hub_administrator_gets_in_with_one_login(place):
    answer = place.sign_in("boss")
    assert answer.status_code == 200 and answer.url.path.startswith("/cronicle/"), answer.text[:300]
    session = place.session_of(answer)
    assert session and place.schedule(session) == 0


@pytest.mark.parametrize("name", ["anna", "ad.min"])
def test_nobody_else_gets_in_nor_an_account(place, name):
    """anna is no administrator; ad.min is one whose name would be another's to Cronicle."""
    answer = place.sign_in(name)
    session = place.session_of(answer)
    assert not session or place.schedule(session) != 0, answer.text[:300]
    found = accounts(place.box)
    assert "anna" not in found and set(found) <= {"admin", "vixtract", "boss"}


def test_who_is_no_administrator_any_more_is_out(place):
    session = place.session_of(place.sign_in("boss"))
    assert place.schedule(session) == 0
    hub = place.hub.browser("admin", "vixtract")
    try:
        assert hub.call("PATCH", "/users/boss", {"admin": False}).status_code == 200
        wait_until(
            lambda: not accounts(place.box)["boss"],
            "the account is off",
            timeout_s=60,
            interval_s=1,
        )
        assert place.schedule(session) != 0
        again = place.session_of(place.sign_in("boss"))
        assert not again or place.schedule(again) != 0
    finally:
        assert hub.call("PATCH", "/users/boss", {"admin": True}).status_code == 200
    wait_until(lambda: accounts(place.box)["boss"], "the account is on again", interval_s=1)
    assert place.schedule(session) != 0, "a session of before comes back with the account"


def test_a_new_password_ends_ones_sessions_and_open_connections(place):
    session = place.session_of(place.sign_in("boss"))
    another = place.box.log_in()["X-Session-ID"]
    assert place.schedule(session) == place.schedule(another) == 0
    with connect_page(place.box) as connection:
        place.hub.operate("user", "passwd", "boss", "--password-stdin", text=f"{PASSWORD}\n")
        wait_until(
            lambda: place.schedule(session) != 0, "the session's end", timeout_s=60, interval_s=1
        )
        connection.settimeout(30)
        while connection.recv(4096):
            pass
    assert place.schedule(another) == 0, "of somebody else"
    again = place.session_of(place.sign_in("boss"))
    assert again and place.schedule(again) == 0


def connect_page(box: EdgeBox) -> socket.socket:
    """Open the websocket that Cronicle's page gets its news by."""
    connection = socket.create_connection(("127.0.0.1", box.port), 10)
    lines = (
        "GET /cronicle/socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: 127.0.0.1:{box.port}", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )  # fmt: skip
    connection.sendall("\r\n".join((*lines, "", "")).encode())
    assert b" 101 " in connection.recv(4096)
    return connection
