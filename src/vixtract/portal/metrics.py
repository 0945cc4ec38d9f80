"""Metrics for Prometheus: the appliance's runs and schedules, and the portal's response times.

They cover all people's runs, so they are for administrators: Prometheus sends the token of one
(`authorization: {type: token, credentials: …}`). They contain no name of a person or a table.
"""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vixtract.portal.errors import AwayError, ForbiddenError
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
    """Layer that measures requests by their route, never by their address.

    Args:
        app: the application inside.
        metrics: where the times go.
    """

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
async def show_metrics(request: Request, access: AccessDep) -> Response:
    """Return all metrics in Prometheus's text format; for administrators only."""
    if not access.person.admin:
        raise ForbiddenError("Only administrators may read the metrics.")
    metrics = request.app.state.metrics
    assert isinstance(metrics, Metrics)
    families = await run_in_threadpool(collect, access)
    text = generate_latest(_Given(families)) + generate_latest(metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


class _Given(CollectorRegistry):
    """A registry of metrics that are collected already."""

    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        super().__init__()
        self.register(_Families(families))


class _Families:
    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> list[GaugeMetricFamily]:
        return self._families


def collect(access: SchedulerAccess) -> list[GaugeMetricFamily]:
    """Return the scheduler's metrics; blocks. While it is away, only that it is.

    Args:
        access: an admin's.
    """
    up = GaugeMetricFamily("vixtract_scheduler_up", "Whether the scheduler answers.")
    try:
        schedules = _count_schedules(access)
        runs = _count_open(access)
        ended = _count_ended(access)
    except AwayError:
        up.add_metric((), 0)
        return [up]
    up.add_metric((), 1)
    return [up, schedules, runs, ended]


def _count_schedules(access: SchedulerAccess) -> GaugeMetricFamily:
    family = GaugeMetricFamily("vixtract_schedules", "Schedules.", labels=("enabled",))
    enabled = [bool(event.get("enabled")) for event in access.own_events.values()]
    family.add_metric(("yes",), enabled.count(True))
    family.add_metric(("no",), enabled.count(False))
    return family


def _count_open(access: SchedulerAccess) -> GaugeMetricFamily:
    family = GaugeMetricFamily("vixtract_runs_open", "Runs not ended.", labels=("state",))
    states = [run.state for run in access.active_runs("")]
    for state in ("queued", "running", "waiting"):
        family.add_metric((state,), states.count(state))
    return family


def _count_ended(access: SchedulerAccess) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "vixtract_runs_ended_last_day", "Runs that ended in the last 24 hours.", labels=("state",)
    )
    since = int(time.time()) - DAY_S
    for state in ENDED_STATES:
        _, total = access.history(0, 1, state=[state], since=since)
        family.add_metric((state,), total)
    return family
