"""Start the portal: ``python -I -m vixtract.portal``, as the Hub does."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from contextlib import closing

import uvicorn

from vixtract.errors import PreconditionError, VixtractError
from vixtract.portal.app import create_app
from vixtract.portal.config import PortalConfig
from vixtract.processes.spawn import end_with_parent

log = logging.getLogger("vixtract.portal")

HOST = "0.0.0.0"  # noqa: S104 - reached by nginx on the compose network
PORT = 8010
BIND_S = 20.0
DRAIN_S = 3


def main() -> int:
    """Run the portal until SIGTERM or SIGINT, or until the Hub that started it is gone.

    Returns: exit code of the error that kept it from starting, which is logged on two lines. A
        portal that was told to stop ends by that signal, after its open requests.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # The Hub's library logs each plugin of a database tool that the portal never uses.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    parent = os.getppid()
    try:
        config = PortalConfig.from_environment(os.environ)
        # A Hub that was killed starts a new portal with a new token: this one would keep the port
        # and could not ask the new Hub anything.
        end_with_parent(parent)
        app = create_app(config)
        listener = _open_listener(int(os.environ.get("VIXTRACT_PORTAL_PORT") or PORT))
    except VixtractError as error:
        log.error("%s", error.message)
        log.error("%s", error.hint)
        return error.exit_code
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            # nginx is the only client: forwarded addresses are not needed.
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_S,
        )
    )
    log.info(
        "listening on port %d, scheduler at %s", listener.getsockname()[1], config.scheduler_url
    )
    with closing(listener):
        server.run(sockets=[listener])
    return 0


def _open_listener(port: int) -> socket.socket:
    """Take the port, waiting for a predecessor that is just ending; 0 takes any free port."""
    deadline = time.monotonic() + BIND_S
    while True:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            return listener
        except OSError as error:
            listener.close()
            if time.monotonic() > deadline:
                raise PreconditionError(
                    f"Port {port} was not free within {BIND_S:g} s: {error.strerror}.",
                    "See which other process listens on it.",
                ) from error
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
