"""Start the embedded engine: ``python -I -m vixtract.scheduler.embedded``."""

from __future__ import annotations

import logging
import os
import signal
import sys
from functools import partial

import uvicorn

from vixtract.errors import VixtractError
from vixtract.ledger.database import Database
from vixtract.ledger.mirror import Mirror
from vixtract.scheduler.config import EngineConfig, load_config
from vixtract.scheduler.embedded.app import build_app
from vixtract.scheduler.embedded.engine import EmbeddedEngine
from vixtract.scheduler.notify import Notifier
from vixtract.scheduler.store import find_next_due, set_engine

logger = logging.getLogger("vixtract.scheduler")

# Open requests may take this long to end when the engine is told to stop.
DRAIN_S = 1


def main() -> int:
    """Run the engine until SIGTERM or SIGINT; return the exit code."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # New files are the engine's alone: logs, and a ledger that holds every schedule.
    os.umask(0o077)
    try:
        config = load_config(os.environ)
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = Database(config.data_dir / "ledger.sqlite3")
    except VixtractError as error:
        logger.error("%s", error.message)
        logger.error("%s", error.hint)
        return error.exit_code
    # Cronicle takes the schedule over from here when it runs next, and not its own old one.
    set_engine(database, "embedded")
    _serve(config, database)
    database.close()
    return 0


def _serve(config: EngineConfig, database: Database) -> None:
    engine = EmbeddedEngine(config, database)
    mirror = None
    if config.database_url:
        mirror = Mirror(database, config.database_url, partial(find_next_due, database))
    notifier = Notifier(database, config.notify)
    app = build_app(engine, mirror)
    # uvicorn raises the signal that stopped it once more when it is done; the ledger is still to be
    # closed then, and an orderly stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    logger.info("listening on %s:%d, data in %s", config.host, config.port, config.data_dir)
    server = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        access_log=False,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=DRAIN_S,
    )
    notifier.start()
    uvicorn.Server(server).run()
    notifier.stop()
    logger.info("stopped")


if __name__ == "__main__":
    sys.exit(main())
