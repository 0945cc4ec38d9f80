"""The portal as a real process, over the real embedded engine; only the Hub's edge is played.

`FakeHub` answers the three addresses that the portal needs of a Hub: whose token is this, the
login page (which lets `next_user` in at once), and code for token, with PKCE checked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from tests.contract.embedded import API_KEY, EmbeddedEngine
from tests.waiting import free_port, wait_until
from vixtract.settings import list_defaults

ROOT = Path(__file__).parents[2]
ACCESS = "access:services!service=portal"
HUB_TOKEN = "tokenOfTheServicePortal"
# Isolated as in the image, where the package lies in the interpreter's own folders.
LAUNCH = (
    f"import sys, runpy; sys.path.insert(0, {str(ROOT / 'src')!r});"
    "runpy.run_module('vixtract.portal', run_name='__main__', alter_sys=True)"
)


class FakeHub:
    """The Hub's API as the portal sees it.

    `tokens` maps a token to the user model that the Hub would answer; changes count at once.
    """

    def __init__(self) -> None:
        self.tokens: dict[str, dict] = {}
        self.codes: dict[str, tuple[str, str]] = {}
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                hub.answer_get(self)

            def do_POST(self):
                hub.answer_post(self)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def add_token(self, name: str, *, admin: bool = False, scopes=(ACCESS,), kind="user") -> str:
        """Return a new token of this user."""
        token = secrets.token_hex(16)
        self.tokens[token] = {"kind": kind, "name": name, "admin": admin, "scopes": list(scopes)}
        return token

    def let_in(self, location: str, token: str) -> str:
        """Do what the Hub's login does with a browser; return where it sends it."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        assert query["client_id"] == "service-portal"
        assert query["redirect_uri"] == "/portal/oauth_callback"
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_hex(8)
        self.codes[code] = (token, query["code_challenge"])
        return query["redirect_uri"] + "?" + urlencode({"code": code, "state": query["state"]})

    def answer_get(self, request) -> None:
        self.asked.append(request.path)
        token = request.headers.get("Authorization", "").removeprefix("token ")
        if request.path == "/jupyter/hub/api/user" and token in self.tokens:
            self.send(request, 200, self.tokens[token])
        else:
            self.send(request, 403, {"status": 403, "message": "Forbidden"})

    def answer_post(self, request) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        token, challenge = self.codes.pop(form.get("code", ""), ("", ""))
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proven = base64.urlsafe_b64encode(digest).decode().rstrip("=") == challenge
        known = form["client_id"] == "service-portal" and form["client_secret"] == HUB_TOKEN
        if token and proven and known and form["redirect_uri"] == "/portal/oauth_callback":
            self.send(request, 200, {"access_token": token, "token_type": "Bearer"})
        else:
            self.send(request, 400, {"error": "invalid_grant"})

    @staticmethod
    def send(request, status: int, content: dict) -> None:
        body = json.dumps(content).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


class Browser(httpx.Client):
    """A person's browser: keeps cookies, follows redirects within the portal, sends forms."""

    def __init__(self, port: int, language: str = "en") -> None:
        super().__init__(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Accept-Language": language, "Accept": "text/html"},
            timeout=60,
            # Reading the machine's certificates takes longer than most requests.
            verify=False,
        )

    def __enter__(self) -> Browser:
        # It may have been used before: a person's browser comes signed in.
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sign_in(self, hub: FakeHub, token: str, page: str = "/portal/") -> httpx.Response:
        """Ask for a page and go through the login; return the page."""
        start = self.get(page)
        assert start.status_code == 302, start.text
        callback = hub.let_in(start.headers["location"], token)
        return self.get(callback, follow_redirects=True)

    def form_token(self) -> str:
        """Return what the portal's forms carry."""
        match = re.search(
            r'name="form_token" value="([0-9a-f]+)"', self.get("/portal/schedules/new").text
        )
        assert match, "no form on the page"
        return match[1]

    def submit(self, path: str, follow: bool = True, **fields) -> httpx.Response:
        """Send a form of the portal."""
        data = {"form_token": self.form_token(), **fields}
        return self.post(path, data=data, follow_redirects=follow)


class Portal:
    """A portal process.

    Args:
        directory: scratch folder.
        hub: played Hub.
        scheduler_url: where the engine is.
        settings: further environment variables.
    """

    def __init__(self, directory: Path, hub: FakeHub, scheduler_url: str, **settings: str) -> None:
        self.hub = hub
        self.port = free_port()
        self._log = directory / "portal.log"
        self.environment = {
            **list_defaults("portal"),
            "PATH": os.environ["PATH"],
            "JUPYTERHUB_API_URL": f"http://127.0.0.1:{hub.port}/jupyter/hub/api",
            "JUPYTERHUB_API_TOKEN": HUB_TOKEN,
            "JUPYTERHUB_BASE_URL": "/jupyter/",
            "JUPYTERHUB_CLIENT_ID": "service-portal",
            "JUPYTERHUB_SERVICE_NAME": "portal",
            "SCHEDULER_URL": scheduler_url,
            "SCHEDULER_API_KEY": API_KEY,
            "TZ": "Europe/Moscow",
            "VIXTRACT_PORTAL_FILES": str(ROOT / "web" / "portal"),
            "VIXTRACT_PORTAL_PORT": str(self.port),
            **settings,
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", LAUNCH],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers_or_ended, "portal's answer", interval_s=0.1)
        assert self.process.poll() is None, self.log

    @property
    def log(self) -> str:
        """Everything the process wrote."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _answers_or_ended(self) -> bool:
        if self.process.poll() is not None:
            return True
        return self.is_up()

    def is_up(self) -> bool:
        """Say whether something answers at the portal's port."""
        try:
            with Browser(self.port) as browser:
                return browser.get("/portal/health").status_code == 200
        except httpx.ConnectError:
            return False

    def browser(self, language: str = "en") -> Browser:
        """Return a browser that nobody is signed in with."""
        return Browser(self.port, language)

    def person(self, name: str, *, admin: bool = False, language: str = "en") -> Browser:
        """Return a browser that this person is signed in with."""
        browser = self.browser(language)
        page = browser.sign_in(self.hub, self.hub.add_token(name, admin=admin))
        assert page.status_code == 200, page.text
        return browser

    def stop(self) -> int:
        """End the process; return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=120)


def start_engine(directory: Path) -> EmbeddedEngine:
    """Return a running engine with an empty schedule."""
    return EmbeddedEngine(directory, TZ="Europe/Moscow").start()
