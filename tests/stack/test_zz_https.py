"""The whole appliance over HTTPS; the last module, for it starts the front door anew."""

from __future__ import annotations

import json
import ssl

import httpx
import pytest
import websocket

from tests.stack.appliance import Appliance, Person


@pytest.fixture(scope="module")
def secured(appliance, passwords):
    """The session's appliance, with HTTPS switched on by one option."""
    appliance.operate("up", "--yes", "--https", "self-signed", timeout_s=600)
    yield appliance
    appliance.operate("up", "--yes", "--https", "off", timeout_s=600)


@pytest.fixture(scope="module")
def trust(secured, tmp_path_factory) -> ssl.SSLContext:
    """Trust in the served certificate alone."""
    path = tmp_path_factory.mktemp("https") / "served.pem"
    path.write_text(secured.execute("nginx", "cat", "/run/nginx/tls/current/chain.pem"))
    return ssl.create_default_context(cafile=str(path))


def address(appliance: Appliance) -> str:
    """Return the address of the web pages over HTTPS."""
    return f"https://localhost:{appliance.https_port}"


def test_operator_is_told(secured):
    status = json.loads(secured.operate("status", "--json").stdout)
    assert status["certificate"]["mode"] == "self-signed"
    assert status["certificate"]["days_left"] > 300
    assert status["addresses"]["home"] == address(secured) + "/"
    assert "days left" in secured.operate("certs").stdout
    findings = {
        f["check"]: f for f in json.loads(secured.operate("doctor", "--json", check=False).stdout)
    }
    assert findings["https"]["level"] == findings["database"]["level"] == "ok"


def test_person_signs_in_and_runs_a_cell(secured, trust, passwords, monkeypatch):
    anna = Person.__new__(Person)
    anna.appliance, anna.name = secured, "anna"
    anna.http = httpx.Client(
        base_url=address(secured), follow_redirects=True, timeout=60, verify=trust
    )
    secured.visitors.append(anna.http)
    anna.login(passwords["anna"])
    # From the portal's first page through the Hub and back: each redirect keeps scheme and port.
    page = anna.http.get("/portal/")
    assert page.status_code == 200 and str(page.url).startswith(f"{address(secured)}/portal/")
    assert anna.http.cookies.jar
    assert all(cookie.secure for cookie in anna.http.cookies.jar)
    anna.start_server()

    def connect(url: str, **options: object) -> websocket.WebSocket:
        path = url.split("/", 3)[3]
        secure = f"wss://localhost:{secured.https_port}/{path}"
        options = {**options, "origin": address(secured), "sslopt": {"context": trust}}
        return plain(secure, **options)

    plain = websocket.create_connection
    monkeypatch.setattr(websocket, "create_connection", connect)
    assert anna.run_cell("print(6 * 7)").strip() == "42"


def test_http_leads_to_https(secured):
    answer = httpx.post(f"{secured.url}/portal/x?y=1")
    expected = f"https://127.0.0.1:{secured.https_port}/portal/x?y=1"
    assert (answer.status_code, answer.headers["location"]) == (308, expected)
    assert httpx.get(f"{secured.url}/healthz").json()["status"] == "ok"


def test_wrong_certificate_is_refused_by_the_command(secured, tmp_path):
    (tmp_path / "cert.pem").write_text("nonsense")
    (tmp_path / "key.pem").write_text("nonsense")
    words = ("certs", "install", str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    done = secured.operate(*words, check=False)
    assert done.returncode == 1
    assert "no certificate that can be read" in done.stderr
