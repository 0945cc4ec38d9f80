"""Main process of the job container: prepares volumes and accounts, keeps runner and engine alive.

The engine runs unprivileged with an environment of its own; the runner is root's. Every step of the
preparation may be cut off and run again.
"""

from __future__ import annotations

import functools
import logging
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from vixtract.containers import worker
from vixtract.containers.services import Service, ServiceKeeper, run_container
from vixtract.errors import PreconditionError, SettingsError
from vixtract.files import ensure_secret, write_whole
from vixtract.people.accounts import recreate_accounts
from vixtract.people.roles import role_password
from vixtract.processes.limits import close_shared_directories
from vixtract.runner.config import INTERPRETER, RunnerConfig
from vixtract.secret_settings import with_secrets
from vixtract.settings import Settings, build_environment

log = logging.getLogger("vixtract.containers.cronicle")

ENGINE_HOME = Path("/opt/cronicle")
DATA = ENGINE_HOME / "data"
VAULT_COMMAND = (*INTERPRETER, "vixtract.vault.server")
# Cronicle takes the embedded engine's place with a gateway in front of it, both under its account.
ENGINE_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "embedded": (*INTERPRETER, "vixtract.scheduler.embedded"),
    "cronicle": (*INTERPRETER, "vixtract.cronicle_edge.start"),
}
GATEWAY_COMMAND = (*INTERPRETER, "vixtract.cronicle_edge")
CONFIGURE_COMMAND = (*INTERPRETER, "vixtract.cronicle_edge.config")
CRONICLE = ENGINE_HOME / "bin" / "cronicle.js"
EDGE = DATA / "edge"
SECRETS = (
    "role_key",
    "api_key",
    "cronicle_key",
    "cronicle_session",
    "cronicle_oauth",
    "worker_key",
)

# Together with the runner's under the container's stop grace of 30 seconds.
ENGINE_STOP_S = 17.0
GATEWAY_STOP_S = 3.0
VAULT_STOP_S = 1.0
CONFIGURE_S = 30.0
ADMINS_S = 3.0


def main() -> int:
    """Prepare, then keep the services running until SIGTERM; return the container's exit code."""
    os.umask(0o022)
    return run_container(worker.build if sys.argv[1:] == ["worker"] else build)


def build() -> ServiceKeeper:
    """Prepare the container.

    Returns: the keeper of its services: vault and runner first, engine last. They are stopped in
        the opposite order, because the engine's jobs need the runner while they are aborted.
    Raises:
        SettingsError: a setting is missing or wrong.
        PreconditionError: Cronicle could not be configured.
    """
    environment = with_secrets(os.environ)
    settings = Settings.for_process("cronicle", environment)
    settings.check_exposure("CRONICLE_ADMIN_PASSWORD")
    config = RunnerConfig()
    secrets = prepare(config)
    services = build_services(settings, secrets, environment)
    if settings["VIXTRACT_ENGINE"] != "cronicle":
        return ServiceKeeper(services)
    configure_cronicle(settings, secrets, config.engine_gid)
    copy = functools.partial(copy_admins, config.secrets_dir)
    return ServiceKeeper(services, on_period=limit_rate(copy, ADMINS_S), before_stop=mark_stopping)


def limit_rate(step: Callable[[], None], period_s: float) -> Callable[[], None]:
    """Return a function that carries a step out once in a period, however often it is called."""
    last = -period_s

    def call() -> None:
        nonlocal last
        if time.monotonic() - last > period_s:
            last = time.monotonic()
            step()

    return call


def mark_stopping() -> None:
    """Tell Cronicle's jobs that they end with the engine, and that no person has aborted them."""
    try:
        if EDGE.is_dir():
            write_whole(EDGE / "stopping", "", mode=0o644)
    except OSError as error:
        # On a full disk too, the services are stopped in order.
        log.warning("Jobs are not told that their engine stops: %s", error)


def prepare(config: RunnerConfig, data: Path = DATA) -> dict[str, str]:
    """Make secrets, directories and accounts; return the secrets, name to value."""
    secrets = {name: ensure_secret(config.secrets_dir, name) for name in SECRETS}
    config.secrets_dir.chmod(0o700)
    for directory in (config.runs_root, config.tmp_root):
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        os.chown(directory, 0, 0)
        # Owners reach their own directory in it, and cannot list the others.
        directory.chmod(0o711)
    close_shared_directories()
    give_to_engine(data, config.engine_uid, config.engine_gid)
    names = recreate_accounts(config.home_root)
    log.info("%d accounts from %s", len(names), config.home_root)
    return secrets


def configure_cronicle(settings: Settings, secrets: Mapping[str, str], engine_gid: int) -> None:
    """Write Cronicle's configuration, which only it and root may read.

    Raises:
        PreconditionError: it could not be written.
    """
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "CRONICLE_KEY": secrets["cronicle_key"],
        "CRONICLE_OAUTH": secrets["cronicle_oauth"],
        "CRONICLE_ADMIN_PASSWORD": settings["CRONICLE_ADMIN_PASSWORD"],
        "ENGINE_GID": str(engine_gid),
    }
    done = subprocess.run(
        CONFIGURE_COMMAND,
        env=environment,
        timeout=CONFIGURE_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise PreconditionError(
            "Cronicle's configuration could not be written.", "See the lines above."
        )


def copy_admins(secrets_dir: Path, folder: Path = EDGE) -> None:
    """Copy the list of administrators to the engine's folder, once it exists.

    The engine cannot read the secrets' directory, where the Hub writes the list.
    """
    source, target = secrets_dir / "people.json", folder / "people.json"
    try:
        text = source.read_text(encoding="utf-8")
        if folder.is_dir() and not (target.is_file() and target.read_text("utf-8") == text):
            write_whole(target, text, mode=0o644)
    except (OSError, ValueError) as error:
        log.debug("The list of administrators is not there yet: %s", error)


def give_to_engine(data: Path, uid: int, gid: int) -> None:
    """Make the engine's directory its own, also after a restore as another user.

    The directory's own owner changes last and so marks the work as done.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = data.lstat()
    if (status.st_uid, status.st_gid) != (uid, gid):
        for folder, folders, files in os.walk(data):
            for name in (*folders, *files):
                os.chown(Path(folder, name), uid, gid, follow_symlinks=False)
        os.chown(data, uid, gid)
    if stat.S_IMODE(status.st_mode) != 0o700:
        data.chmod(0o700)


def build_services(
    settings: Settings, secrets: Mapping[str, str], environment: Mapping[str, str]
) -> tuple[Service, ...]:
    """Return vault, runner, gateway where there is one, and engine, with what each of them sees.

    Raises:
        SettingsError: the engine that is set is not in this image.
    """
    engine = settings["VIXTRACT_ENGINE"]
    if engine == "cronicle" and not CRONICLE.is_file():
        raise SettingsError(
            f"VIXTRACT_ENGINE={engine}, but this image has only: embedded.",
            "Set VIXTRACT_ENGINE=embedded in .env, or run `./vixtract up --engine auto`.",
        )
    config = RunnerConfig()
    host, port = config.postgresql
    password = quote(role_password(secrets["role_key"], "vixtract"), safe="")
    home, session = str(ENGINE_HOME), secrets["cronicle_session"]
    contract = build_environment(
        "engine",
        environment,
        HOME=home,
        SCHEDULER_API_KEY=secrets["api_key"],
        SCHEDULER_DATABASE_URL=f"postgresql://vixtract:{password}@{host}:{port}/vixtract",
    )
    command, uid = ENGINE_COMMANDS[engine], config.engine_uid
    first = (
        Service(
            "vault",
            VAULT_COMMAND,
            build_environment("vault", environment),
            stop_s=VAULT_STOP_S,
        ),
        worker.build_runner(build_environment("appliance-runner", environment)),
    )
    if engine == "embedded":
        return (*first, Service("engine", command, contract, uid, ENGINE_STOP_S))
    gateway = {**contract, "CRONICLE_SESSION": session}
    # Cronicle itself needs neither the key nor the database.
    own = build_environment("cronicle-edge", environment, HOME=home, CRONICLE_SESSION=session)
    return (
        *first,
        Service("gateway", GATEWAY_COMMAND, gateway, uid, GATEWAY_STOP_S),
        Service("engine", command, own, uid, ENGINE_STOP_S),
    )


if __name__ == "__main__":
    sys.exit(main())
