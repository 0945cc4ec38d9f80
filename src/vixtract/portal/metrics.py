"""Metrics for Prometheus: the appliance's runs and schedules, and the portal's response times.

They cover all people's runs, so they are for administrators: Prometheus sends the token of one
(`authorization: {type: token, credentials: …}`). They contain no name of a person or a table.
"""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vixtract.portal.errors import AwayError, ForbiddenError
from vixtract.portal.models import OPEN_STATES
from vixtract.portal.scheduler_access import ENDED_STATES, SchedulerAccess
from vixtract.portal.web import AccessDep

router = APIRouter(tags=["metrics"])

DAY_S = 86400
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The portal's own metrics, of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Histogram(
            "vixtract_portal_request_seconds",
            "Time that the portal took for a request.",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=self.registry,
        )


class Stopwatch:
    """Layer that measures requests by their route, never by their address."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            # Only the methods of our routes: a client may send any word.
            method = scope["method"] if route != "none" else "none"
            took = time.perf_counter() - begun
            self._metrics.seconds.labels(method, route, str(status)).observe(took)


@router.get("/metrics", response_class=PlainTextResponse)
def show_metrics(request: Request, access: AccessDep) -> Response:
    """Return all metrics in Prometheus's text format; for administrators only."""
    if not access.person.admin:
        raise ForbiddenError("Only administrators may read the metrics.")
    text = generate_latest(collect(access)) + generate_latest(request.app.state.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


def collect(access: SchedulerAccess) -> CollectorRegistry:
    """Return the scheduler's metrics; blocks. While it is away, only that it is."""
    registry = CollectorRegistry()
    up = Gauge("vixtract_scheduler_up", "Whether the scheduler answers.", registry=registry)
    since = int(time.time()) - DAY_S
    try:
        enabled = [bool(event.get("enabled")) for event in access.own_events.values()]
        states = [run.state for run in access.active_runs()]
        ended = {
            state: access.history(0, 1, state=[state], since=since)[1] for state in ENDED_STATES
        }
    except AwayError:
        return registry
    up.set(1)
    schedules = Gauge("vixtract_schedules", "Schedules.", ("enabled",), registry=registry)
    schedules.labels("yes").set(enabled.count(True))
    schedules.labels("no").set(enabled.count(False))
    runs = Gauge("vixtract_runs_open", "Runs not ended.", ("state",), registry=registry)
    for state in OPEN_STATES:
        runs.labels(state).set(states.count(state))
    last_day = Gauge(
        "vixtract_runs_ended_last_day",
        "Runs that ended in the last 24 hours.",
        ("state",),
        registry=registry,
    )
    for state, total in ended.items():
        last_day.labels(state).set(total)
    return registry
