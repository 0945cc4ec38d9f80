"""The one client of the scheduler's REST calls, for either engine.

It needs the standard library alone and runs on Python 3.9: the operator's command on the host uses
it too.
"""

from __future__ import annotations

import gzip
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode

from vixtract.errors import VixtractError

MAX_ANSWER = 64 * 1024 * 1024


class SchedulerError(VixtractError):
    """The scheduler refused a call, or did not answer.

    The code is Cronicle's (api, event, job, session, ...), an HTTP status, "answer" for one that is
    not understood, or "unreachable".
    """

    def __init__(self, message: str, code: str = "unreachable", hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code

    def __reduce__(self) -> tuple[type[SchedulerError], tuple[str, str, str]]:
        """Pickle with the code."""
        return type(self), (self.message, self.code, self.hint)


@dataclass(frozen=True)
class Page:
    """Part of a list, newest first, and the length of the whole list."""

    rows: list[dict[str, Any]]
    length: int


@dataclass(frozen=True)
class LogPage:
    """Part of a job's log.

    Args:
        data: text from the asked offset on.
        next: offset to ask for next, bytes.
        complete: whether the job has ended and this is the end of its log.
    """

    data: str
    next: int
    complete: bool


class SchedulerClient:
    """Calls one scheduler.

    Args:
        base_url: address up to and without `/api`, such as http://cronicle:3012/cronicle.
        api_key: sent as X-API-Key; never part of an error or of a log.
        timeout_s: seconds one call may take.
        context: certificates to trust where the address is https; None for the system's.

    Every method raises SchedulerError when the scheduler refuses or does not answer.
    Source: Cronicle's API reference, https://github.com/jhuckaby/Cronicle/blob/master/docs/APIReference.md
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        timeout_s: float = 10.0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout_s = timeout_s
        self._api_key = api_key
        # No proxy: the scheduler is on the same machine or network, and the key is for it alone.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def __repr__(self) -> str:
        return f"SchedulerClient({self.base_url!r})"

    def call(self, name: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make any call, such as get_schedule, and return the whole answer."""
        body = self._open(name, json.dumps(params or {}).encode())
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise SchedulerError(f"{name}: the answer is no JSON", "answer") from error
        if not isinstance(answer, dict):
            raise SchedulerError(f"{name}: the answer is no JSON object", "answer")
        # Cronicle's get_live_console answers without a code.
        if answer.get("code", 0) != 0:
            raise SchedulerError(str(answer.get("description", "")), str(answer["code"]))
        return cast("dict[str, Any]", answer)

    def _open(self, path: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(  # noqa: S310 - the address is the appliance's own
            f"{self.base_url}/api/app/{path}",
            data=body,
            headers={"X-API-Key": self._api_key, "Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=self.timeout_s) as response:
                data: bytes = response.read(MAX_ANSWER)
                packed = response.headers.get("Content-Encoding") == "gzip"
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(1000).decode(errors="replace").strip()
            raise SchedulerError(text or f"HTTP status {error.code}", str(error.code)) from error
        except OSError as error:
            raise SchedulerError(
                f"The scheduler at {self.base_url} does not answer: {error}",
                hint="See whether its container is running: ./vixtract doctor",
            ) from error
        return gzip.decompress(data) if packed else data

    def _page(self, name: str, params: Mapping[str, Any]) -> Page:
        answer = self.call(name, params)
        rows = answer.get("rows") or []
        return Page(rows, int((answer.get("list") or {}).get("length", len(rows))))

    def get_schedule(self, offset: int = 0, limit: int = 0) -> Page:
        """List events; a limit of 0 means all."""
        return self._page("get_schedule", {"offset": offset, "limit": limit})

    def create_event(self, event: Mapping[str, Any]) -> str:
        """Create an event; return its id."""
        # Cronicle insists on these; the embedded engine has the same defaults.
        defaults = {"enabled": 1, "category": "general", "target": "allgrp"}
        return str(self.call("create_event", {**defaults, **event})["id"])

    def update_event(self, event: str, changes: Mapping[str, Any]) -> None:
        """Change some fields of an event."""
        self.call("update_event", {**changes, "id": event})

    def get_job_status(self, job: str) -> dict[str, Any]:
        """Return one job, running or done."""
        return cast("dict[str, Any]", self.call("get_job_status", {"id": job})["job"])

    def get_live_console(self, job: str, offset: int = 0) -> LogPage:
        """Return the log of a job from an offset on."""
        answer = self.call("get_live_console", {"id": job, "offset": offset})
        return LogPage(
            str(answer.get("data") or ""),
            int(answer.get("next", offset)),
            bool(answer.get("complete")),
        )

    def get_job_log(self, job: str) -> str:
        """Return the whole log of a finished job."""
        return self._open(f"get_job_log?{urlencode({'id': job})}", None).decode(errors="replace")

    def get_event_history(self, event: str, offset: int = 0, limit: int = 100) -> Page:
        """List an event's finished jobs."""
        return self._page("get_event_history", {"id": event, "offset": offset, "limit": limit})

    def get_active_jobs(self) -> dict[str, dict[str, Any]]:
        """Return running jobs by id."""
        return cast("dict[str, dict[str, Any]]", self.call("get_active_jobs").get("jobs") or {})
