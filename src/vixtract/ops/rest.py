"""The scheduler's REST calls, as far as this package needs them: standard library only."""

from __future__ import annotations

import gzip
import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from vixtract.errors import VixtractError

CALL_S = 30.0


class SchedulerError(VixtractError):
    """The scheduler refused a call or did not answer."""


class Scheduler:
    """A client of `/cronicle/api/app/`.

    Args:
        base_url: address of the web pages, without a slash at its end.
        api_key: sent as header alone: addresses end up in logs.
        context: whom to trust; None where the address is no https.
    """

    def __init__(self, base_url: str, api_key: str, context: ssl.SSLContext | None = None) -> None:
        self._base = f"{base_url}/cronicle/api/app"
        self._key = api_key
        # The appliance is on this machine: a proxy set for the outside must not be asked.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def _send(self, call: str, body: dict[str, Any]) -> bytes:
        request = urllib.request.Request(  # noqa: S310 - the address is the appliance's own
            f"{self._base}/{call}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "X-API-Key": self._key},
        )
        try:
            with self._opener.open(request, timeout=CALL_S) as response:
                content: bytes = response.read()
                packed = response.headers.get("Content-Encoding") == "gzip"
        except (OSError, urllib.error.HTTPError) as error:
            raise SchedulerError(
                f"The scheduler did not answer {call}: {error}.", "Run: ./vixtract doctor"
            ) from error
        return gzip.decompress(content) if packed else content

    def call(self, name: str, **body: Any) -> dict[str, Any]:
        """Make one call.

        Args:
            name: such as `create_event`.
            **body: its parameters.
        Returns: the answer.
        Raises:
            SchedulerError: no answer, or a code other than 0; the message is the scheduler's.
        """
        content = self._send(name, body)
        try:
            answer: dict[str, Any] = json.loads(content)
        except ValueError as error:
            shown = content[:100].decode("utf-8", "replace")
            raise SchedulerError(
                f"The scheduler answered {name} with no JSON: {shown}", "Run: ./vixtract doctor"
            ) from error
        if answer.get("code") != 0:
            raise SchedulerError(
                f"The scheduler refused {name}: {answer.get('description', answer.get('code'))}",
                "Look at: ./vixtract logs cronicle",
            )
        return answer

    def log(self, job: str) -> str:
        """Return the log of a finished job; empty where there is none.

        Args:
            job: its number.
        """
        try:
            return self._send("get_job_log", {"id": job}).decode("utf-8", "replace")
        except SchedulerError:
            return ""
