"""The one client of the Hub's API, with the token of its service `operator`."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from vixtract.errors import PreconditionError, VixtractError

HUB_API = "http://127.0.0.1:8081/jupyter/hub"
TOKEN_FILE = Path("/srv/secrets/hub_token")
# Seconds. Handing over a home with a million files takes minutes.
TIMEOUT_S = 600.0


class HubError(VixtractError):
    """The Hub refused."""


def call_hub(method: str, path: str, body: object = None, *, base_url: str = HUB_API) -> Any:
    """Send one request to the Hub as the operator.

    Args:
        path: below the Hub's prefix, beginning with a slash.
        body: sent as JSON where it is not None.
    Returns: the answer's JSON, or None where it has no body.
    Raises:
        HubError: the Hub refused; the message is the Hub's.
        PreconditionError: the Hub is not running, or its token cannot be read.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"token {_read_token()}", "Content-Type": "application/json"}
    request = urllib.request.Request(base_url + path, data, headers, method=method)  # noqa: S310
    # The Hub is in this container: no proxy must be used.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as response:
            content = response.read()
    except urllib.error.HTTPError as error:
        raise HubError(_error_message(error)) from error
    except OSError as error:
        raise PreconditionError(
            f"The Hub does not answer: {error}.",
            "Look at ./vixtract status and ./vixtract logs jupyter.",
        ) from error
    return json.loads(content) if content else None


def list_users() -> list[dict[str, Any]]:
    """Return all users as the Hub's API describes them, sorted by name."""
    users: list[dict[str, Any]] = []
    while True:
        page = call_hub("GET", f"/api/users?offset={len(users)}&limit=100")
        users += page
        if len(page) < 100:
            return sorted(users, key=lambda user: str(user["name"]))


def _read_token() -> str:
    try:
        return TOKEN_FILE.read_text(encoding="ascii").strip()
    except OSError as error:
        raise PreconditionError(
            f"Cannot read the operator's token: {error.strerror}.",
            "Run this as root inside the jupyter container.",
        ) from error


def _error_message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["message"])
    except (ValueError, KeyError, TypeError):
        return f"The Hub answered {error.code} {error.reason}."
