"""Requests that another site's page makes with a person's cookies: no address may change anything.

The addresses are asked of the programs themselves, so that a new one is attacked too.
"""

from __future__ import annotations

import re

import httpx
import pytest

from tests.stack.appliance import Person
from tests.stack.routes import HUB, LAB, UNSAFE, list_routes
from vixtract.scheduler.embedded.calls import CALLS

# What these answer besides 403, and why it changes nothing; everything else is refused.
HARMLESS = {
    # Removed calls of JupyterHub 1.
    "/jupyter/hub/api/authorizations/token/victim": {404, 500},
    "/jupyter/hub/api/authorizations/token": {404},
    # Redirects to the same address without the slash.
    "/jupyter/user/boss/x/": {302},
    # Reports of a browser about a page.
    "/jupyter/hub/security/csp-report": {403, 413, 200, 204},
    "/jupyter/user/boss/api/security/csp-report": {204, 403},
    # 400: the body is read first, for it may bring a password instead of a cookie.
    "/jupyter/hub/api/users/victim/tokens": {400, 403},
    # OAuth's own secret, not a cookie, opens these.
    "/jupyter/hub/api/oauth2/token": {400, 401, 403},
}


# Without Sec-Fetch-Site, as older browsers send it: nothing may hang on that header alone.
FOREIGN = {"Origin": "https://evil.example", "Referer": "https://evil.example/page.html"}
BODIES = (
    ({"Content-Type": "application/x-www-form-urlencoded"}, "name=victim&password=x&_xsrf="),
    ({"Content-Type": "application/x-www-form-urlencoded"}, '{"name": "victim", "admin": true}'),
    ({"Content-Type": "text/plain"}, '{"name": "victim", "admin": true}'),
)


def forge(http: httpx.Client, method: str, path: str) -> list[tuple[int, str]]:
    """Send what a foreign page can make a browser send; return the answers."""
    return [
        (answer.status_code, answer.text[:200])
        for kind, body in BODIES
        for answer in [http.request(method, path, headers={**FOREIGN, **kind}, content=body)]
    ]


@pytest.fixture(scope="module", autouse=True)
def _victim(appliance, passwords):
    appliance.add_person("victim")


def list_changing(appliance, walk: str, user: str = "") -> list[tuple[str, str]]:
    """Return the addresses with the methods that change something."""
    return [route for route in list_routes(appliance, walk, user) if route[0] in UNSAFE]


def find_accepted(http: httpx.Client, routes: list[tuple[str, str]]) -> list[str]:
    """Return the forged requests that were not refused."""
    accepted = []
    http.follow_redirects = False
    for method, path in routes:
        for status, text in forge(http, method, path):
            if status not in HARMLESS.get(path, {403}):
                accepted.append(f"{method} {path}: {status} {text}")
    http.follow_redirects = True
    return accepted


def test_no_page_of_another_site_changes_anything_in_the_hub(appliance, boss):
    routes = list_changing(appliance, HUB)
    assert len(routes) > 40
    assert ("post", "/jupyter/hub/change-password") in routes
    accepted = find_accepted(boss.http, routes)
    assert not accepted, "\n".join(accepted)
    assert "victim" in boss.http.get("/jupyter/hub/api/users/victim", headers=hub_token(boss)).text


def hub_token(person: Person) -> dict[str, str]:
    """Return what the Hub's own pages send with a call."""
    token = re.search(r'xsrf_token: "([^"]+)"', person.http.get("/jupyter/hub/home").text)
    assert token
    return {"X-XSRFToken": token[1], "Referer": f"{person.appliance.url}/jupyter/hub/home"}


def test_no_page_of_another_site_changes_anything_in_lab(appliance, boss):
    appliance.write("boss", "keep.txt", "kept")
    routes = list_changing(appliance, LAB, "boss")
    assert len(routes) > 30
    assert ("post", "/jupyter/user/boss/api/kernels") in routes
    accepted = find_accepted(boss.http, routes)
    assert not accepted, "\n".join(accepted)
    assert appliance.execute("jupyter", "cat", "/home/boss/keep.txt") == "kept"


def test_cookies_open_no_call_of_the_scheduler(appliance, boss):
    """All its rights come by a key in a header or the body, which no foreign page knows."""
    boss.http.get("/portal/")
    before = appliance.schedule("get_schedule", limit=500)["list"]["length"]
    for call in CALLS:
        for kind, body in (BODIES[2], ({"Content-Type": "application/json"}, '{"id": "x"}')):
            answer = boss.http.post(
                f"/cronicle/api/app/{call}", headers={**FOREIGN, **kind}, content=body
            )
            refused = answer.status_code in {403, 404} or answer.json()["code"] == "session"
            assert refused, f"{call}: {answer.text[:200]}"
            assert "access-control-allow-origin" not in answer.headers
    assert appliance.schedule("get_schedule", limit=500)["list"]["length"] == before
