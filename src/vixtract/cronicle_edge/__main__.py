"""Start the gateway with the reconciler and the mirror: ``python -I -m vixtract.cronicle_edge``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from functools import partial

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vixtract.cronicle_edge import paths
from vixtract.cronicle_edge.calls import Contract
from vixtract.cronicle_edge.forwarding import READ_S
from vixtract.cronicle_edge.gateway import Gateway
from vixtract.cronicle_edge.people import People
from vixtract.cronicle_edge.reconcile import Reconciler
from vixtract.cronicle_edge.upstream import Upstream, UpstreamError
from vixtract.errors import VixtractError
from vixtract.ledger.database import Database
from vixtract.ledger.mirror import Mirror
from vixtract.scheduler.api import ApiError
from vixtract.scheduler.config import EngineConfig, load_config
from vixtract.scheduler.notify import Notifier
from vixtract.scheduler.probes import CachedProbe, is_postgresql_up, is_runner_up
from vixtract.scheduler.store import find_next_due

logger = logging.getLogger("vixtract.cronicle_edge")

MAX_HEAD = 32 * 1024
# Seconds that open requests get at the end.
DRAIN_S = 1


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


def _serve(gateway: Gateway, config: EngineConfig) -> None:
    # uvicorn raises the signal that stopped it once more when it is done; the ledger is still to be
    # closed then, and an orderly stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    logger.info("listening on %s:%d for Cronicle", config.host, config.port)
    uvicorn.Server(build_server(gateway, config.host, config.port)).run()


def main() -> int:
    """Run until SIGTERM; returns the exit code."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    os.umask(0o077)
    try:
        config = load_config(os.environ)
        paths.EDGE.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = Database(paths.LEDGER)
    except VixtractError as error:
        logger.error("%s", error.message)
        logger.error("%s", error.hint)
        return error.exit_code
    upstream = Upstream(os.environ["CRONICLE_SESSION"])
    contract = Contract(upstream, database, config)
    people = People(upstream)
    reconciler = Reconciler(contract, people, config)
    mirror = None
    if config.database_url:
        mirror = Mirror(database, config.database_url, partial(find_next_due, database))
    gateway = Gateway(contract, people, Status(config, contract), reconciler.look)
    people.on_end = gateway.cut_websockets
    notifier = Notifier(database, config.notify)
    notifier.start()
    reconciler.start()
    if mirror is not None:
        mirror.start()
    try:
        _serve(gateway, config)
    finally:
        reconciler.stop()
        notifier.stop()
        if mirror is not None:
            mirror.stop()
        database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
