"""Main process of a worker: the job container without a scheduler, for runs of another machine.

Its runner keeps the rules of the appliance's: runs as their owners, homes read-only, limits. It has
no secret of the appliance but the key of its own door.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from vixtract.errors import PreconditionError, SettingsError
from vixtract.files import read_secret
from vixtract.people.accounts import recreate_accounts
from vixtract.runner.config import PASSED_ON, RunnerConfig
from vixtract.runner.workers.link import KEY_NAME
from vixtract.settings import BY_NAME, Settings, check_value

log = logging.getLogger("vixtract.worker")

DOOR_COMMAND = ("/opt/vixtract/bin/python", "-I", "-m", "vixtract.runner.workers.server")


def prepare(config: RunnerConfig) -> str:
    """Look at what must be there, and make accounts.

    Args:
        config: the runner's places.
    Returns: the worker's key.
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


def read_postgresql(environment: Mapping[str, str]) -> dict[str, str]:
    """Check the address under which this machine reaches PostgreSQL.

    Args:
        environment: the container's.
    Raises:
        SettingsError: it is missing or wrong.
    """
    host, port = environment.get("POSTGRES_HOST", ""), environment.get("POSTGRES_PORT") or "5432"
    problem = check_value(BY_NAME["POSTGRES_PORT"], port)
    if not host or problem:
        raise SettingsError(
            f"POSTGRES_HOST={host!r} and POSTGRES_PORT={port!r} name no PostgreSQL.",
            "Set them in the worker's .env to the appliance's address and port.",
        )
    return {"POSTGRES_HOST": host, "POSTGRES_PORT": port}


def build_environments(
    settings: Settings, key: str, environment: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Put together what runner and door see.

    Args:
        settings: checked settings.
        key: of the door.
        environment: the container's; only what is named here is passed on.
    """
    usual = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}
    runner = {
        **usual,
        **{name: environment[name] for name in PASSED_ON if environment.get(name)},
        **{name: settings[name] for name in ("TZ", "JOB_MEMORY_MB", "JOB_TIMEOUT_S", "JOB_WARM")},
        **read_postgresql(environment),
        "RUNNER_IS_WORKER": "1",
    }
    return runner, {**usual, "WORKER_KEY": key, "MAX_JOBS": settings["MAX_JOBS"]}


def is_well(secrets_dir: Path = RunnerConfig.secrets_dir) -> str:
    """Say what is wrong with the worker of this container, or nothing; for its health check."""
    from vixtract.runner.workers.server import is_well as ask

    return ask(read_secret(secrets_dir / KEY_NAME))


def main() -> int:
    """Health check: print what is wrong, if anything; the exit code is 0 or 1."""
    problem = is_well()
    if problem:
        sys.stdout.write(problem + "\n")
    return 1 if problem else 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
