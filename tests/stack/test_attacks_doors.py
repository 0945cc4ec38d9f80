"""What strangers and other people try at the doors of the running appliance."""

from __future__ import annotations

import re
import uuid
from http.cookies import SimpleCookie

import httpx
import psycopg
import pytest
import websocket

from tests.stack.appliance import Person, self_path_matches
from tests.stack.routes import HUB, LAB, list_routes

EVIL = "https://evil.example"
# Pairs that lists of guesses begin with; the documented ones work on this machine alone.
# Few enough for the front door's limit and the accounts' locks, which other tests share.
KNOWN = {
    "hub": [("admin", "admin"), ("admin", ""), ("root", "root"), ("jupyter", "jupyter"), ("anna", "anna")],
    "postgresql": [("postgres", "postgres"), ("postgres", ""), ("vixtract", "vixtract"), ("bi", "bi"),
                   ("admin", "admin"), ("anna", "anna")],
}  # fmt: skip
PAGES = ("/", "/docs/", "/none", "/portal/", "/jupyter/hub/login", "/jupyter/user/{}/lab")


@pytest.fixture(scope="module")
def bob(appliance, passwords) -> Person:
    """Return an analyst who is signed in to the Hub and the portal."""
    person = Person(appliance, "bob", passwords["bob"])
    person.http.get("/portal/")
    return person


@pytest.fixture
def stranger(appliance):
    """Return a browser without a login."""
    with httpx.Client(base_url=appliance.url, timeout=60) as client:
        yield client


def try_login(client: httpx.Client, name: str, password: str) -> httpx.Response:
    """Send the Hub's login form once."""
    page = client.get("/jupyter/hub/login")
    token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
    form = {"username": name, "password": password, "_xsrf": token[1] if token else ""}
    return client.post("/jupyter/hub/login", data=form)


# --- passwords and keys ---


def test_no_usual_pair_opens_the_hub(appliance, passwords, stranger):
    for name, password in KNOWN["hub"]:
        answer = try_login(stranger, name, password)
        # 429: the account is locked already.
        assert answer.status_code in {403, 429}, (name, answer.status_code, answer.text[:200])
        assert "jupyterhub-hub-login" not in answer.headers.get("set-cookie", "")
    # The Hub's other door for passwords.
    auth = {"auth": {"username": "admin", "password": "admin"}}
    answer = stranger.post("/jupyter/hub/api/users/admin/tokens", json=auth)
    assert (answer.status_code, "token" in answer.json()) == (403, False)


def test_no_usual_pair_opens_postgresql(appliance, passwords):
    for name, password in KNOWN["postgresql"]:
        with pytest.raises(psycopg.OperationalError, match=r"password|pg_hba"):
            appliance.query("SELECT 1", user=name, password=password)


def test_no_usual_key_opens_the_scheduler(stranger):
    for key in ("", "admin", "vixtract", "api_key", "null", "0", "undefined", "' OR '1'='1"):
        answer = stranger.post(
            "/cronicle/api/app/get_schedule", headers={"X-API-Key": key}, json={}
        )
        assert answer.json()["code"] in {"api", "session"}, key
        assert "rows" not in answer.json()


def test_postgresql_answers_a_wrong_password_late(appliance):
    assert appliance.query("SHOW auth_delay.milliseconds") == [("500ms",)]


# --- other people's servers and calls ---

# What anybody may read: the version of the server, its pictures and styles.
PUBLIC = re.compile(
    r"/jupyter/user/anna/(api|static/.*|favicon\.ico|robots\.txt|victim|api/spec\.yaml)|"
    r"/jupyter/hub/(|api|api/|(api/)?health|static/.*|logo|robots\.txt|login|oauth_login|logout|error/.*|"
    r"vixtract/health|security/csp-report|accept-share|home|token|spawn|user/?|user-redirect/.*|api/user|"
    r"api/oauth2/.*|change-password|api/authorizations/.*)"
)


@pytest.mark.parametrize("who", ["bob", "nobody"])
def test_nobody_else_opens_a_person_s_server(appliance, anna, bob, stranger, who):
    appliance.write("anna", "keep.txt", "anna-secret")
    routes = list_routes(appliance, LAB, "anna", ("get", "post", "put", "patch", "delete"))
    assert len(routes) > 60
    client = bob.http if who == "bob" else stranger
    client.follow_redirects = False
    opened = []
    for method, path in routes:
        if method == "websocket" or PUBLIC.fullmatch(path):
            continue
        answer = client.request(method, path)
        leads_away = answer.headers.get("location", "").startswith("/jupyter/hub/")
        moved = answer.status_code in {301, 302} and re.fullmatch(
            "/jupyter/user/anna(/x/|/api/notebooksvictim)?", path
        )
        if not (answer.status_code in {403, 404, 405} or leads_away or moved):
            opened.append(f"{method} {path}: {answer.status_code} {answer.text[:120]}")
        assert "anna-secret" not in answer.text
    client.follow_redirects = True
    assert not opened, "\n".join(opened)


def test_an_analyst_gets_nothing_of_others_from_the_hub(appliance, anna, bob):
    routes = list_routes(appliance, HUB, methods=("get",))
    opened = []
    token = re.search(r'xsrf_token: "([^"]+)"', bob.http.get("/jupyter/hub/home").text)
    headers = {"X-XSRFToken": token[1], "Referer": f"{appliance.url}/jupyter/hub/home"}
    for method, listed in routes:
        path = listed.replace("/victim", "/anna", 1)
        if method == "websocket" or PUBLIC.fullmatch(path):
            continue
        answer = bob.http.get(path, headers=headers, follow_redirects=False)
        if answer.status_code == 200 or "/user/anna" in answer.headers.get("location", ""):
            opened.append(f"{path}: {answer.status_code} {answer.headers.get('location')}")
    assert not opened, "\n".join(opened)
    for method, path in (
        ("POST", "/users/anna/tokens"), ("DELETE", "/users/anna/server"), ("POST", "/users/anna/server"),
        ("PATCH", "/users/bob"), ("POST", "/users/mallory"), ("POST", "/shutdown"), ("POST", "/groups/x"),
        ("POST", "/proxy"), ("PATCH", "/proxy"),
    ):  # fmt: skip
        answer = bob.http.request(
            method, f"/jupyter/hub/api{path}", headers=headers, json={"admin": True, "name": "bob"}
        )
        assert answer.status_code in {403, 404}, (path, answer.text[:200])


def test_no_websocket_opens_from_another_origin(appliance, anna):
    opened = []
    sockets = [path for kind, path in list_routes(appliance, LAB, "anna") if kind == "websocket"]
    assert len(sockets) >= 4, sockets
    for path in sockets:
        cookies = "; ".join(
            f"{c.name}={c.value}" for c in anna.http.cookies.jar if self_path_matches(c.path, path)
        )
        for origin in (EVIL, "null", f"http://evil.{appliance.http_port}.example"):
            try:
                websocket.create_connection(
                    f"ws://127.0.0.1:{appliance.http_port}{path}",
                    cookie=cookies, origin=origin, timeout=20,
                ).close()  # fmt: skip
                opened.append((path, origin))
            except websocket.WebSocketBadStatusException as error:
                assert error.status_code in {403, 404}, (path, origin, error)
    assert opened == []


# --- pages and cookies ---


def test_no_page_of_ours_can_be_framed_by_another_site(appliance, anna):
    anna.http.get("/portal/")
    for page in PAGES:
        answer = anna.http.get(page.format("anna"))
        policy = answer.headers.get("content-security-policy", "")
        assert "frame-ancestors 'none'" in policy, page


def test_a_person_s_html_has_no_origin_and_no_cookies(appliance, anna):
    """A file that somebody gave them: opened in Lab's `files`, it must not act as them."""
    appliance.write("anna", "given.html", "<script>fetch('/jupyter/hub/token')</script>")
    appliance.write_notebook("anna", "given.ipynb", "print(1)")
    for path in ("files/given.html", "nbconvert/html/given.ipynb"):
        answer = anna.http.get(f"/jupyter/user/anna/{path}")
        assert answer.status_code == 200, (path, answer.text[:200])
        sandbox = re.search(r"sandbox([^;]*)", answer.headers["content-security-policy"])
        assert sandbox and "allow-same-origin" not in sandbox[1], path


def test_cookies_are_closed_to_scripts_and_kept_to_their_service(appliance, passwords):
    person = Person(appliance, "anna", passwords["anna"])
    person.http.cookies.clear()
    cookies = SimpleCookie()
    client = httpx.Client(base_url=appliance.url, timeout=60)
    with client:
        answers = [try_login(client, "anna", passwords["anna"])]
        client.follow_redirects = True
        for path in ("/jupyter/user/anna/lab", "/portal/"):
            last = client.get(path)
            answers += [*last.history, last]
        for answer in answers:
            for line in answer.headers.get_list("set-cookie"):
                cookies.load(line)
    login = {"jupyterhub-hub-login", "jupyterhub-user-anna", "vixtract-portal"}
    assert login <= set(cookies)
    for name, cookie in cookies.items():
        assert cookie["httponly"] or name in {"_xsrf"}, name
        assert cookie["domain"] == "", name
        if name in login:
            assert cookie["samesite"].lower() == "lax", name
            assert cookie["path"].rstrip("/") in {"/jupyter/hub", "/jupyter/user/anna", "/portal"}


AWAY = [
    "https://evil.example/", "//evil.example/", "///evil.example", "/\\evil.example", "\\\\evil.example",
    "/%09/evil.example", "/%5cevil.example", "javascript:alert(1)", "/jupyter/hub/..//evil.example",
    "http:evil.example", "/jupyter/\r\nLocation: https://evil.example", "https:/evil.example", "////evil.example",
]  # fmt: skip


def leads_away(location: str) -> bool:
    """Say whether a browser would leave the appliance for this address."""
    plain = re.sub(r"[\t\r\n]", "", location).strip().replace("\\", "/")
    return bool(re.match(r"[a-z][a-z0-9+.-]*:|//", plain, re.IGNORECASE))


@pytest.mark.parametrize("target", AWAY)
def test_no_address_of_ours_leads_to_another_site(appliance, bob, stranger, target):
    for client in (bob.http, stranger):
        for path in ("/jupyter/hub/login", "/jupyter/hub/spawn", "/jupyter/hub/logout", "/portal/login",
                     "/jupyter/hub/oauth_login", "/jupyter/hub/home", "/jupyter/hub/user-redirect/x"):  # fmt: skip
            if path.endswith("logout") and client is bob.http:
                continue
            answer = client.get(
                path, params={"next": target, "url": target}, follow_redirects=False
            )
            assert not leads_away(answer.headers.get("location", "")), (path, answer.headers)
    for path in (
        f"/jupyter/{target}",
        f"/portal{target}",
        f"/cronicle/{target}",
        f"/docs/{target}",
    ):
        if target.isprintable() and "\\" not in target:
            answer = stranger.get(path)
            assert not leads_away(answer.headers.get("location", "")), path


def test_the_hub_gives_no_code_to_another_address(appliance, bob):
    for client_id in ("service-portal", "jupyterhub-user-bob"):
        for target in (
            EVIL,
            "//evil.example/x",
            "/portal/oauth_callback/../../evil",
            "/jupyter/user/anna/",
        ):
            answer = bob.http.get(
                "/jupyter/hub/api/oauth2/authorize",
                params={"client_id": client_id, "redirect_uri": target, "response_type": "code", "state": "x"},
                follow_redirects=False,
            )  # fmt: skip
            assert answer.status_code in {400, 403}, (
                client_id,
                target,
                answer.headers.get("location"),
            )


def test_a_forged_host_moves_no_link_and_no_cookie(appliance, stranger):
    for path in (
        "/jupyter",
        "/jupyter/",
        "/jupyter/hub/",
        "/jupyter/hub/login",
        "/portal/",
        "/docs",
        "/cronicle/",
    ):
        for headers in ({"Host": "evil.example"}, {"X-Forwarded-Host": "evil.example"}):
            answer = stranger.get(path, headers={**headers, "X-Forwarded-Proto": "https"})
            assert not leads_away(answer.headers.get("location", "")), path
            assert "domain=" not in answer.headers.get("set-cookie", "").lower()
            assert "evil.example" not in answer.text


# --- logs ---


def test_no_log_holds_what_came_in_an_address(appliance, anna, stranger):
    secret = f"tok{uuid.uuid4().hex}"
    for path in (
        "/",
        "/none",
        "/portal/",
        "/jupyter/hub/login",
        "/jupyter/user/anna/lab",
        "/cronicle/api/app/ping",
    ):
        for name in ("token", "api_key", "session_id", "code", "state", "_xsrf", "password"):
            stranger.get(f"{path}?{name}={secret}")
    stranger.get("/portal/oauth_callback", params={"code": secret, "state": secret})
    stranger.get("/jupyter/hub/oauth_callback", params={"code": secret, "state": secret})
    session = [c.value for c in anna.http.cookies.jar if c.name != "_xsrf" and len(c.value) > 16]
    for service in ("nginx", "jupyter", "cronicle", "postgresql"):
        text = appliance.docker("logs", appliance.container(service)) if service else ""
        found = [line[:300] for line in text.splitlines() if secret in line]
        assert not found, (service, found[:3])
        assert not [value[:6] for value in session if value in text], service
