"""Start the gateway with the reconciler and the mirror: ``python -I -m vixtract.cronicle_edge``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from functools import partial

from vixtract.cronicle_edge import paths
from vixtract.cronicle_edge.calls import Contract
from vixtract.cronicle_edge.gateway import Gateway
from vixtract.cronicle_edge.people import People
from vixtract.cronicle_edge.reconcile import Reconciler
from vixtract.cronicle_edge.upstream import Upstream, UpstreamError
from vixtract.errors import VixtractError
from vixtract.ledger.database import Database
from vixtract.ledger.mirror import Mirror
from vixtract.scheduler.config import EngineConfig, load_config
from vixtract.scheduler.notify import Notifier
from vixtract.scheduler.probes import CachedProbe, is_postgresql_up, is_runner_up
from vixtract.scheduler.store import find_next_due

logger = logging.getLogger("vixtract.cronicle_edge")


class Status:
    """Shows the state of engine and neighbours, in the contract's shape.

    Args:
        config: where they are.
        upstream: Cronicle.
    """

    def __init__(self, config: EngineConfig, upstream: Upstream) -> None:
        self._upstream = upstream
        self._runner = CachedProbe(lambda: is_runner_up(config.runner_socket))
        self._postgresql = CachedProbe(lambda: is_postgresql_up(config.database_url))
        self._engine = CachedProbe(self._is_manager)

    def _is_manager(self) -> bool:
        # Cronicle's own `status` says 0 although it manages nothing; this call does not.
        try:
            self._upstream.call("app/get_active_jobs")
        except UpstreamError:
            return False
        return True

    def __call__(self) -> dict[str, object]:
        """Return the answer of the call `status`."""
        state = {"engine": "cronicle", "runner": self._runner(), "postgresql": self._postgresql()}
        if self._engine() == "up":
            return {"code": 0, **state}
        return {"code": "manager", "description": "Cronicle is starting or away.", **state}


async def _serve(gateway: Gateway, config: EngineConfig) -> None:
    task = asyncio.create_task(gateway.serve(config.host, config.port))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    logger.info("listening on %s:%d for Cronicle", config.host, config.port)
    with contextlib.suppress(asyncio.CancelledError):
        await task


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
    contract = Contract(upstream, database, config.api_key, config.timezone)
    people = People(upstream)
    reconciler = Reconciler(contract, people, config)
    mirror = None
    if config.database_url:
        mirror = Mirror(database, config.database_url, partial(find_next_due, database))
    gateway = Gateway(contract, people, Status(config, upstream), reconciler.look)
    people.on_end = gateway.cut_sockets
    notifier = Notifier(database, config.notify)
    notifier.start()
    reconciler.start()
    if mirror is not None:
        mirror.start()
    try:
        asyncio.run(_serve(gateway, config))
    finally:
        reconciler.stop()
        notifier.stop()
        if mirror is not None:
            mirror.stop()
        database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
