"""Start the embedded engine: ``python -I -m vixtract.scheduler.embedded``."""

from __future__ import annotations

import logging
import sys

import uvicorn

from vixtract.ledger.database import Database
from vixtract.scheduler.config import EngineConfig
from vixtract.scheduler.embedded.app import build_app
from vixtract.scheduler.embedded.engine import EmbeddedEngine
from vixtract.scheduler.service import DRAIN_S, run_service
from vixtract.scheduler.store import set_engine

logger = logging.getLogger("vixtract.scheduler")


def serve(config: EngineConfig, database: Database) -> None:
    """Run the engine until SIGTERM or SIGINT."""
    # Cronicle takes the schedule over from here when it runs next, and not its own old one.
    set_engine(database, "embedded")
    logger.info("listening on %s:%d, data in %s", config.host, config.port, config.data_dir)
    server = uvicorn.Config(
        build_app(EmbeddedEngine(config, database)),
        host=config.host,
        port=config.port,
        access_log=False,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=DRAIN_S,
    )
    uvicorn.Server(server).run()
    logger.info("stopped")


if __name__ == "__main__":
    sys.exit(run_service(serve))
