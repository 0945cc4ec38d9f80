"""HTTP services: a session that knows the address and sends the token there, and nowhere else."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urljoin, urlsplit

from vixtract.vault.ready import CONNECT_S, Ready

if TYPE_CHECKING:
    import requests

READ_S = 300.0
_PORTS = {"http": 80, "https": 443}


class Http(Ready):
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
