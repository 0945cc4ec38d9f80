"""Main process of a worker: the job container without a scheduler, for runs of another machine.

Its runner keeps the appliance's rules: runs as their owners, homes read-only, limits. It has one
secret of the appliance: the key that the appliance shows to the worker.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

from vixtract.containers.services import Service, ServiceKeeper
from vixtract.errors import PreconditionError, SettingsError
from vixtract.files import read_secret
from vixtract.people.accounts import recreate_accounts
from vixtract.runner.config import INTERPRETER, RunnerConfig
from vixtract.runner.workers import server as worker_server
from vixtract.runner.workers.connection import KEY_NAME
from vixtract.settings import Settings, build_environment

log = logging.getLogger("vixtract.containers.worker")

RUNNER_COMMAND = (*INTERPRETER, "vixtract.runner.daemon")
SERVER_COMMAND = (*INTERPRETER, "vixtract.runner.workers.server")

RUNNER_STOP_S = 8.0
SERVER_STOP_S = 3.0


def prepare(config: RunnerConfig) -> str:
    """Check that the key and the homes are there, make accounts, and return the worker's key.

    Raises:
        PreconditionError: no key, or no homes.
    """
    path = config.secrets_dir / KEY_NAME
    if not path.is_file():
        raise PreconditionError(
            f"{path} is missing: the worker has no key.",
            "Copy the appliance's: docker exec vixtract_cronicle cat /srv/secrets/worker_key",
        )
    key = read_secret(path)
    if not any(config.home_root.iterdir()):
        raise PreconditionError(
            f"{config.home_root} is empty: the worker does not see the appliance's homes.",
            "Check WORKER_HOME in .env: it must be the appliance's volume jupyter-home.",
        )
    for directory in (config.runs_root, config.tmp_root):
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    names = recreate_accounts(config.home_root)
    log.info("%d accounts from %s", len(names), config.home_root)
    return key


def build_runner(environment: Mapping[str, str]) -> Service:
    """Return the service of a runner daemon."""
    return Service("runner", RUNNER_COMMAND, environment, stop_s=RUNNER_STOP_S)


def build() -> ServiceKeeper:
    """Prepare a worker's container, and return the keeper of its runner and server.

    Raises:
        SettingsError: a setting is missing or wrong.
        PreconditionError: something else that a worker needs is missing.
    """
    settings = Settings.for_process("worker", os.environ)
    if not settings["POSTGRES_HOST"]:
        raise SettingsError(
            "POSTGRES_HOST is empty: the worker does not know where PostgreSQL is.",
            "Set it in the worker's .env to the appliance's address, POSTGRES_PORT to its port.",
        )
    config = RunnerConfig()
    key = prepare(config)
    runner = build_environment("worker-runner", os.environ, RUNNER_IS_WORKER="1")
    server = build_environment("worker-server", os.environ, WORKER_KEY=key)
    return ServiceKeeper(
        (
            build_runner(runner),
            Service("server", SERVER_COMMAND, server, config.engine_uid, SERVER_STOP_S),
        )
    )


def main() -> int:
    """Be the health check: print the worker's problem, if any; return the exit code, 0 or 1."""
    problem = worker_server.is_well(read_secret(RunnerConfig.secrets_dir / KEY_NAME))
    if problem:
        sys.stdout.write(problem + "\n")
    return 1 if problem else 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
