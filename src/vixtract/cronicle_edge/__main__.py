"""Start the gateway with the reconciler and the mirror: ``python -I -m vixtract.cronicle_edge``."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vixtract.cronicle_edge import paths
from vixtract.cronicle_edge.calls import Contract
from vixtract.cronicle_edge.forwarding import READ_S
from vixtract.cronicle_edge.gateway import Gateway
from vixtract.cronicle_edge.people import People
from vixtract.cronicle_edge.reconcile import Reconciler
from vixtract.cronicle_edge.upstream import Upstream, UpstreamError
from vixtract.ledger.database import Database
from vixtract.scheduler.api import ApiError
from vixtract.scheduler.config import EngineConfig
from vixtract.scheduler.probes import CachedProbe, is_postgresql_up, is_runner_up
from vixtract.scheduler.service import DRAIN_S, run_service

logger = logging.getLogger("vixtract.cronicle_edge")

MAX_HEAD = 32 * 1024


class Status:
    """Shows the state of engine and neighbours, in the contract's shape."""

    def __init__(self, config: EngineConfig, contract: Contract) -> None:
        self._contract = contract
        self._runner = CachedProbe(lambda: is_runner_up(config.runner_socket))
        self._postgresql = CachedProbe(lambda: is_postgresql_up(config.database_url))
        self._engine = CachedProbe(self._is_manager)

    def _is_manager(self) -> bool:
        # Cronicle's own `status` says 0 although it manages nothing; this call does not.
        try:
            self._contract.require_schedule()
            self._contract.upstream.call("app/get_active_jobs")
        except (ApiError, UpstreamError):
            return False
        return True

    def __call__(self) -> dict[str, object]:
        """Return the answer of the call `status`."""
        state = {"engine": "cronicle", "runner": self._runner(), "postgresql": self._postgresql()}
        if self._engine() == "up":
            return {"code": 0, **state}
        return {"code": "manager", "description": "Cronicle is starting or away.", **state}


class _Protocol(H11Protocol):
    """HTTP with a deadline for the first request: uvicorn waits for it for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and look after a while whether a request has come."""
        super().connection_made(transport)
        self.loop.call_later(READ_S, self._end_silent)

    def _end_silent(self) -> None:
        # A connection that became a websocket has another protocol.
        if self.cycle is None and self.transport.get_protocol() is self:
            self.transport.close()


def build_server(gateway: Gateway, host: str, port: int) -> uvicorn.Config:
    """Return uvicorn's configuration for the gateway."""
    return uvicorn.Config(
        gateway.app,
        host=host,
        port=port,
        http=_Protocol,
        proxy_headers=False,
        server_header=False,
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=DRAIN_S,
        h11_max_incomplete_event_size=MAX_HEAD,
    )


def serve(config: EngineConfig, database: Database) -> None:
    """Run the gateway and the reconciler until SIGTERM or SIGINT."""
    paths.EDGE.mkdir(mode=0o700, parents=True, exist_ok=True)
    upstream = Upstream(os.environ["CRONICLE_SESSION"])
    contract = Contract(upstream, database, config)
    people = People(upstream)
    reconciler = Reconciler(contract, people, config)
    gateway = Gateway(contract, people, Status(config, contract), reconciler.look)
    people.on_end = gateway.cut_websockets
    reconciler.start()
    try:
        logger.info("listening on %s:%d for Cronicle", config.host, config.port)
        uvicorn.Server(build_server(gateway, config.host, config.port)).run()
    finally:
        reconciler.stop()


if __name__ == "__main__":
    sys.exit(run_service(serve))
