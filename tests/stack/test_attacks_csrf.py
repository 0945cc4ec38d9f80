"""Requests that another site's page makes with a person's cookies: no address may change anything.

The addresses are asked of the programs themselves, so that a new one is attacked too.
"""

from __future__ import annotations

import json
import re
import uuid

import httpx
import pytest

from tests.stack.appliance import Person
from vixtract.scheduler.app import CALLS

UNSAFE = ("post", "put", "patch", "delete")
LIST_ROUTES = """
import json, sys
from tornado.web import RequestHandler
found = []
def note(pattern, handler):
    changing = [m for m in {unsafe!r} if getattr(handler, m, None) is not getattr(RequestHandler, m)]
    found.append((pattern, changing))
{walk}
print("ROUTES" + json.dumps(found))
"""
HUB_ROUTES = """
from pathlib import Path
from jupyterhub import apihandlers, handlers
from vixtract.people.hub.authenticator import PeopleAuthenticator
own = PeopleAuthenticator(database="/tmp/routes.sqlite").get_handlers(None)
Path("/tmp/routes.sqlite").unlink(missing_ok=True)
for rule in [*handlers.default_handlers, *apihandlers.default_handlers, *own]:
    note("/jupyter/hub" + rule[0] + "$", rule[1])
"""
LAB_ROUTES = """
from jupyterlab.labapp import LabApp
arguments = ["--port=0", "--ServerApp.base_url=/jupyter/user/boss/"]
server = LabApp.initialize_server(argv=arguments, load_other_extensions=True)
def walk(router):
    for rule in router.rules:
        if hasattr(rule.target, "rules"):
            walk(rule.target)
        elif isinstance(rule.target, type):
            note(rule.matcher.regex.pattern, rule.target)
walk(server.web_app.wildcard_router)
"""
# What stands for a group of a pattern, by its name or by what it admits.
SAMPLES = {
    "user_name": "victim", "user_path": "/api/kernels", "path": "/keep.txt", "kernel_name": "python3",
    "action": "restart", "mode": "lab", "schema_name": "@jupyterlab/apputils-extension:themes",
    "checkpoint_id": "checkpoint", "section_name": "notebook", "format": "html", "space_name": "default",
}  # fmt: skip
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


def sample_path(pattern: str) -> str:
    """Return an address that a pattern of tornado's matches."""
    path, depth, begun = "", 0, 0
    for position, letter in enumerate(pattern):
        if letter == "(" and pattern[position - 1] != "\\":
            begun = position if depth == 0 else begun
            depth += 1
        elif letter == ")" and pattern[position - 1] != "\\":
            depth -= 1
            if depth == 0:
                group = pattern[begun : position + 1]
                name = re.match(r"\(\?P<(\w+)>", group)
                kind = str(uuid.UUID(int=1)) if r"\w+-\w+" in group else "victim"
                path += SAMPLES.get(name[1], kind) if name else kind
        elif depth == 0:
            path += letter
    path = path.rstrip("$").replace("/?", "").replace(".*", "x").replace("victim?", "victim")
    path = path.replace("/api/kernels?", "/api/kernels")
    assert re.fullmatch(pattern.rstrip("$"), path), (pattern, path)
    return path


def list_routes(appliance, walk: str, user: str) -> list[tuple[str, str]]:
    """Return each changing method with an address, as the program in the container lists them."""
    script = LIST_ROUTES.format(unsafe=UNSAFE, walk=walk)
    output = appliance.execute(
        "jupyter", "/opt/jupyterhub/bin/python", "-I", "-c", script, user=user, check=False
    )
    assert "ROUTES" in output, output
    listed = json.loads(output.partition("ROUTES")[2].splitlines()[0])
    return [(method, sample_path(pattern)) for pattern, changing in listed for method in changing]


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
    routes = list_routes(appliance, HUB_ROUTES, "")
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
    routes = list_routes(appliance, LAB_ROUTES, "boss")
    assert len(routes) > 20
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
