"""Calls to Cronicle itself, over its unix socket, with the appliance's own session."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vixtract.cronicle_edge import paths
from vixtract.cronicle_edge.checks import find_method
from vixtract.errors import VixtractError

TIMEOUT_S = 20.0


class UpstreamError(VixtractError):
    """Cronicle refused a call; the code is its own, or `unavailable`."""

    def __init__(self, message: str, code: str = "unavailable") -> None:
        super().__init__(message, "See the log of the container `cronicle`.")
        self.code = code


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Upstream:
    """Cronicle's REST interface, under the appliance's session."""

    def __init__(self, session: str, path: Path = paths.SOCKET) -> None:
        self.session = session
        self.path = path

    def call(self, name: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make one call, such as `app/get_schedule`, and return the answer.

        Raises:
            UpstreamError: Cronicle is away, or answered with a code other than 0.
        """
        method = find_method(params)
        if method:
            raise UpstreamError(f"{method} is no name that Cronicle survives.", "api")
        connection = _Connection(self.path, TIMEOUT_S)
        headers = {
            "Content-Type": "application/json",
            "X-Session-ID": self.session,
            "Connection": "close",
        }
        try:
            address = f"{paths.BASE_PATH}/api/{name}"
            connection.request("POST", address, json.dumps(dict(params or {})), headers)
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UpstreamError(f"Cronicle does not answer: {error}") from error
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise UpstreamError("Cronicle answered with no object.")
        # Cronicle's get_live_console answers without a code.
        if answer.get("code", 0) != 0:
            raise UpstreamError(
                str(answer.get("description") or "Cronicle refused."), str(answer.get("code"))
            )
        return answer

    def list_events(self) -> list[dict[str, Any]]:
        """Return the whole schedule."""
        return list(self.call("app/get_schedule", {"offset": 0, "limit": 0}).get("rows") or [])
