"""Main process of the job container: prepares volumes and accounts, keeps runner and engine alive.

The engine runs unprivileged with an environment of its own; the runner is root's. Every step of the
preparation may be cut off and run again.
"""

from __future__ import annotations

import logging
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from vixtract.containers import worker
from vixtract.errors import PreconditionError, SettingsError, VixtractError
from vixtract.files import ensure_secret, write_whole
from vixtract.people.accounts import recreate_accounts
from vixtract.people.limits import close_shared_directories
from vixtract.people.roles import role_password
from vixtract.processes.spawn import start_service
from vixtract.runner.config import PASSED_ON, RunnerConfig
from vixtract.secret_settings import with_secrets
from vixtract.settings import Settings

log = logging.getLogger("vixtract.entry")

ENGINE_HOME = Path("/opt/cronicle")
DATA = ENGINE_HOME / "data"
_PYTHON = ("/opt/vixtract/bin/python", "-I", "-m")
RUNNER_COMMAND = (*_PYTHON, "vixtract.runner.daemon")
VAULT_COMMAND = (*_PYTHON, "vixtract.vault.server")
# Cronicle takes the embedded engine's place with a gateway in front of it, both under its account.
ENGINE_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "embedded": (*_PYTHON, "vixtract.scheduler.embedded"),
    "cronicle": (*_PYTHON, "vixtract.cronicle_edge.start"),
}
GATEWAY_COMMAND = (*_PYTHON, "vixtract.cronicle_edge")
CONFIGURE_COMMAND = (*_PYTHON, "vixtract.cronicle_edge.config")
CRONICLE = ENGINE_HOME / "bin" / "cronicle.js"
EDGE = DATA / "edge"
SECRETS = (
    "role_key", "api_key", "cronicle_key", "cronicle_session", "cronicle_oauth", "worker_key",
)  # fmt: skip

ENGINE_STOP_S = 17.0
GATEWAY_STOP_S = 3.0
VAULT_STOP_S = 1.0
RUNNER_STOP_S = 8.0
"""Together under the container's stop grace of 30 seconds."""
CONFIGURE_S = 30.0
ADMINS_S = 3.0
LONGEST_BACK_OFF_S = 30.0
STABLE_S = 20.0

_VAULT_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}
RUNNER_SETTINGS = (
    "JOB_MEMORY_MB", "JOB_TIMEOUT_S", "JOB_PROCESSES", "DISK_FLOOR_MB", "JOB_WARM", "WORKERS",
)  # fmt: skip
_ENGINE_SETTINGS = (
    "TZ", "MAX_JOBS", "JOB_MEMORY_MB", "JOB_TIMEOUT_S", "CATCH_UP_CAP", "RUNS_KEEP_DAYS",
    "RUNS_KEEP_COUNT",
    "PUBLIC_URL", "SMTP_HOST", "SMTP_PORT", "SMTP_SECURITY", "SMTP_USER",
    "SMTP_PASSWORD", "SMTP_FROM",
)  # fmt: skip


def main() -> int:
    """Prepare, then supervise until SIGTERM. Returns the container's exit code."""
    logging.basicConfig(
        level=logging.INFO, format="[%(levelname).1s %(asctime)s %(name)s] %(message)s"
    )
    os.umask(0o022)
    try:
        settings = Settings.from_environment(with_secrets(os.environ))
        if sys.argv[1:] == ["worker"]:
            return Supervisor(build_worker(settings, os.environ)).run()
        settings.check_exposure("CRONICLE_ADMIN_PASSWORD")
        config = RunnerConfig()
        secrets = prepare(config)
        services = build_services(settings, secrets, os.environ)
        if settings["VIXTRACT_ENGINE"] == "cronicle":
            configure_cronicle(settings, secrets, config.engine_gid)
    except VixtractError as error:
        sys.stderr.write(f"{error.message}\n{error.hint}\n")
        return max(error.exit_code, PreconditionError.exit_code)
    return Supervisor(services).run()


def prepare(config: RunnerConfig, data: Path = DATA) -> dict[str, str]:
    """Make secrets, directories and accounts.

    Args:
        config: the runner's places.
        data: the engine's directory.
    Returns: the secrets, name to value.
    """
    secrets = {name: ensure_secret(config.secrets_dir, name) for name in SECRETS}
    config.secrets_dir.chmod(0o700)
    for directory in (config.runs_root, config.tmp_root):
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        os.chown(directory, 0, 0)
        # Owners reach their own directory in it, and list nobody's.
        directory.chmod(0o711)
    close_shared_directories()
    give_to_engine(data, config.engine_uid, config.engine_gid)
    names = recreate_accounts(config.home_root)
    log.info("%d accounts from %s", len(names), config.home_root)
    return secrets


def configure_cronicle(settings: Settings, secrets: Mapping[str, str], engine_gid: int) -> None:
    """Write Cronicle's configuration, which only it and root may read.

    Args:
        settings: checked settings.
        secrets: from `prepare`.
        engine_gid: Cronicle's group.
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
    """Show the engine who administers the Hub; it cannot read the secrets' directory itself.

    Args:
        secrets_dir: where the Hub writes `people.json`.
        folder: the engine's; nothing is done before it is there.
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

    Args:
        data: directory; its own owner changes last and so marks the work as done.
        uid: the engine's.
        gid: the engine's.
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


@dataclass
class Service:
    """A process that is kept running.

    Args:
        name: for the log.
        command: absolute argument list.
        environment: the whole environment.
        user: uid and gid; None stays root.
        stop_s: seconds that it gets to end.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    user: int | None = None
    stop_s: float = ENGINE_STOP_S
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    started: float = field(default=0.0, init=False)
    back_off_s: float = field(default=0.5, init=False)
    next_start: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Start the process."""
        self.process = start_service(self.command, self.environment, self.user)
        self.started = time.monotonic()

    def keep(self) -> None:
        """Start the process again if it ended, later each time it ends early."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.next_start:
                self.start()
            return
        code = self.process.poll()
        if code is None:
            return
        stable = now - self.started > STABLE_S
        self.back_off_s = 0.5 if stable else min(self.back_off_s * 2, LONGEST_BACK_OFF_S)
        log.error("The %s ended with code %s; again in %.0f s", self.name, code, self.back_off_s)
        self.process = None
        self.next_start = now + self.back_off_s

    def stop(self, deadline_s: float) -> None:
        """End the process: politely, then for good.

        Args:
            deadline_s: seconds that it gets.
        """
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            log.error("The %s did not end in %.0f s and is killed", self.name, deadline_s)
            self.process.kill()
            self.process.wait(5.0)


class Supervisor:
    """Keeps services running until it is told to stop.

    Args:
        services: vault and runner first, engine last; stopped in the opposite order, so that the
            engine's jobs can still reach the runner when they are aborted.
    """

    def __init__(self, services: tuple[Service, ...]) -> None:
        self._services = services
        self._wants_stop = False
        self._admins_at = 0.0
        self._has_gateway = any(service.name == "gateway" for service in services)

    def run(self) -> int:
        """Supervise; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        while not self._wants_stop:
            for service in self._services:
                service.keep()
            self._copy_admins()
            time.sleep(0.2)
        log.info("Stopping")
        if self._has_gateway and EDGE.is_dir():
            # Tells jobs that they end with the engine, not by a person's will.
            write_whole(EDGE / "stopping", "", mode=0o644)
        for service in reversed(self._services):
            service.stop(service.stop_s)
        return 0

    def _copy_admins(self) -> None:
        if self._has_gateway and time.monotonic() - self._admins_at > ADMINS_S:
            self._admins_at = time.monotonic()
            copy_admins(RunnerConfig().secrets_dir)

    def _ask_to_stop(self, *_: object) -> None:
        self._wants_stop = True


def build_services(
    settings: Settings, secrets: Mapping[str, str], environment: Mapping[str, str]
) -> tuple[Service, ...]:
    """Put together the processes and what each of them sees.

    Args:
        settings: checked settings.
        secrets: from `prepare`.
        environment: the container's; only what is named here is passed on.
    Returns: vault, runner, gateway where there is one, engine.
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
    engine_environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(ENGINE_HOME),
        **{name: settings[name] for name in _ENGINE_SETTINGS},
        "SCHEDULER_API_KEY": secrets["api_key"],
        "SCHEDULER_DATABASE_URL": f"postgresql://vixtract:{password}@{host}:{port}/vixtract",
    }
    runner_environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/nonexistent",
        **{name: environment[name] for name in PASSED_ON if environment.get(name)},
        **{name: settings[name] for name in ("TZ", *RUNNER_SETTINGS)},
    }
    vault = Service("vault", VAULT_COMMAND, _VAULT_ENVIRONMENT, stop_s=VAULT_STOP_S)
    runner = Service("runner", RUNNER_COMMAND, runner_environment, stop_s=RUNNER_STOP_S)
    main_one = Service("engine", ENGINE_COMMANDS[engine], engine_environment, config.engine_uid)
    if engine == "embedded":
        return (vault, runner, main_one)
    session = {"CRONICLE_SESSION": secrets["cronicle_session"]}
    gateway = Service(
        "gateway",
        GATEWAY_COMMAND,
        {**engine_environment, **session},
        config.engine_uid,
        GATEWAY_STOP_S,
    )
    # Cronicle itself needs neither the key nor the database.
    own = {k: v for k, v in engine_environment.items() if not k.startswith("SCHEDULER_")}
    admin = {"CRONICLE_ADMIN_PASSWORD": settings["CRONICLE_ADMIN_PASSWORD"]}
    main_one.environment = {**own, **session, **admin}
    return (vault, runner, gateway, main_one)


def build_worker(settings: Settings, environment: Mapping[str, str]) -> tuple[Service, ...]:
    """Put together a worker's processes.

    Args:
        settings: checked settings.
        environment: the container's.
    Returns: runner and door.
    Raises:
        PreconditionError: something that a worker needs is missing.
    """
    config = RunnerConfig()
    runner, door = worker.build_environments(settings, worker.prepare(config), environment)
    return (
        Service("runner", RUNNER_COMMAND, runner, stop_s=RUNNER_STOP_S),
        Service("door", worker.DOOR_COMMAND, door, config.engine_uid, GATEWAY_STOP_S),
    )


if __name__ == "__main__":
    sys.exit(main())
