"""What the processes of both engines do alike: open the ledger, serve, and stop in order."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from functools import partial

from vixtract.errors import VixtractError
from vixtract.ledger.database import Database
from vixtract.ledger.mirror import Mirror
from vixtract.scheduler.config import EngineConfig, load_config
from vixtract.scheduler.notify import Notifier
from vixtract.scheduler.store import find_next_due

logger = logging.getLogger("vixtract.scheduler")

# Open requests may take this long to end when the engine is told to stop, seconds.
DRAIN_S = 1


def run_service(serve: Callable[[EngineConfig, Database], None]) -> int:
    """Open the ledger and serve, with notifier and mirror beside; return the exit code.

    An error of the configuration or of the ledger is logged on two lines.
    """
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
    # uvicorn raises the signal that stopped it once more when it is done; the ledger is still to be
    # closed then, and an orderly stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    beside: list[Notifier | Mirror] = [Notifier(database, config.notify)]
    if config.database_url:
        beside.append(Mirror(database, config.database_url, partial(find_next_due, database)))
    for service in beside:
        service.start()
    try:
        serve(config, database)
    finally:
        for service in beside:
            service.stop()
        database.close()
    return 0
