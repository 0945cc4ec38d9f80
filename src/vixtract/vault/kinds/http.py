"""HTTP services: a session that knows the address and sends the token there, and nowhere else."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urljoin, urlsplit

from vixtract.addresses import is_address
from vixtract.vault.connection import CONNECT_S, Connection
from vixtract.vault.fields import Field, mark
from vixtract.vault.kind import REACH_S, Kind, find_server_of_url
from vixtract.vault.probe_results import ProbeResult

if TYPE_CHECKING:
    import requests

READ_S = 300.0
_PORTS = {"http": 80, "https": 443}


class Http(Connection):
    """An HTTP service with a token."""

    kind: ClassVar[str] = "http"

    @property
    def url(self) -> str:
        """The service's address."""
        return self.address

    @property
    def headers(self) -> dict[str, str]:
        """The headers with the token, for what makes requests of its own (`pandas.read_csv`)."""
        if self.auth == "bearer":
            return {"Authorization": f"Bearer {self.token}"}
        if self.auth == "header":
            return {self.header: self.token}
        if self.auth == "basic":
            login = base64.b64encode(f"{self.user}:{self.token}".encode()).decode()
            return {"Authorization": f"Basic {login}"}
        return {}

    def client(self) -> requests.Session:
        """Return a session; `session.get("v1/items")` goes to the service's address."""
        return _make_session(self.address, self.headers)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _make_session(address: str, headers: dict[str, str]) -> requests.Session:
    import requests

    base = address if address.endswith("/") else address + "/"

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token where the request goes to the service itself."""
        for name, value in headers.items():
            if _origin(request.url or "") == _origin(base):
                request.headers[name] = value
            else:
                request.headers.pop(name, None)
        return request

    class Session(requests.Session):
        """A session of one service."""

        def request(self, method: Any, url: Any, *args: Any, **options: Any) -> Any:
            """Send a request; a path is one below the service's address."""
            options.setdefault("timeout", (CONNECT_S, READ_S))
            return super().request(method, urljoin(base, str(url).lstrip("/")), *args, **options)

        def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
            """Keep the token from another server that the service leads to."""
            sign(prepared_request)

    session = Session()
    # As its login, not as headers: a file .netrc in the home would take the token's place.
    session.auth = sign
    return session


class HttpKind(Kind):
    """The kind for HTTP services."""

    title = "HTTP"
    connection = Http
    fields = (
        Field(
            "address",
            mark("Address"),
            mark("For example https://api.example.com/v1"),
            rule="url",
            required=True,
            destination=True,
            longest=1000,
        ),
        Field(
            "auth",
            mark("Signs in with"),
            rule="choice",
            default="bearer",
            choices={
                "bearer": mark("a bearer token"),
                "header": mark("a custom header"),
                "basic": mark("user and password"),
                "none": mark("nothing"),
            },
            destination=True,
        ),
        Field("token", mark("Token or password"), secret=True, longest=8000),
        Field(
            "header",
            mark("Name of the header"),
            mark("For “a custom header”."),
            rule="header",
            default="X-API-Key",
            destination=True,
            longest=100,
        ),
        Field("user", mark("User"), mark("For “user and password”."), longest=128),
        Field(
            "test_path",
            mark("Path for the test"),
            mark("What the test asks for; if empty, the address itself."),
            longest=1000,
        ),
    )
    meanings: ClassVar[Mapping[str, str]] = {
        r"SSLError|certificate": "tls",
        r"Timeout|timed out": "late",
        r"ConnectionError|refused": "unreachable",
    }
    results: ClassVar[Mapping[str, str]] = {
        "wrong_token": mark("The service rejects this token or login."),
        "no_page": mark("The service answers, but does not have this path."),
        "server_error": mark("The service answers with an error."),
    }

    def find_missing(self, values: Mapping[str, str], kept: Collection[str]) -> Collection[str]:
        """Return what the way of signing in needs."""
        if values["auth"] == "none":
            return []
        missing = [] if values.get("token") or "token" in kept else ["token"]
        if values["auth"] == "basic" and not values["user"]:
            missing.append("user")
        return missing

    def find_server(self, values: Mapping[str, str]) -> tuple[str, int]:
        """Return the host and the port of the address."""
        return find_server_of_url(values["address"])

    def uses_proxy(self, values: Mapping[str, str]) -> bool:
        """Tell whether the proxy of the environment serves this address."""
        from urllib.request import getproxies, proxy_bypass

        parts = urlsplit(values["address"])
        host = parts.hostname or ""
        return parts.scheme in getproxies() and not (is_address(host) or proxy_bypass(host))

    def test(self, connection: Any) -> None:
        """Ask for the test's path; a redirect is not followed."""
        with connection.client() as session:
            answer = session.get(
                connection.test_path, timeout=(REACH_S, 10), allow_redirects=False, stream=True
            )
            status = int(answer.status_code)
        if status in {401, 403, 407}:
            raise ProbeResult("wrong_token", f"HTTP {status}")
        if status == 404:
            raise ProbeResult("no_page", f"HTTP {status}")
        if 300 <= status < 400:
            raise ProbeResult("moved", answer.headers.get("Location", "")[:300])
        if status >= 400:
            raise ProbeResult("server_error", f"HTTP {status}")


KIND = HttpKind()
