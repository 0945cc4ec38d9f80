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

from vixtract.errors import PreconditionError, SettingsError, VixtractError
from vixtract.notebooks.config import PASSED_ON, RunnerConfig
from vixtract.people.accounts import recreate_accounts
from vixtract.people.roles import role_password
from vixtract.people.secretfiles import ensure_secret
from vixtract.settings import Settings

log = logging.getLogger("vixtract.entry")

ENGINE_HOME = Path("/opt/cronicle")
DATA = ENGINE_HOME / "data"
_PYTHON = ("/opt/vixtract/bin/python", "-I", "-m")
RUNNER_COMMAND = (*_PYTHON, "vixtract.notebooks.runner")
# Real Cronicle takes the embedded engine's place here: the same account, environment and plugins.
ENGINE_COMMANDS: Mapping[str, tuple[str, ...]] = {"embedded": (*_PYTHON, "vixtract.scheduler")}

ENGINE_STOP_S = 18.0
RUNNER_STOP_S = 8.0
"""Together under the container's stop grace of 30 seconds."""
LONGEST_BACK_OFF_S = 30.0
STABLE_S = 60.0

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
        settings = Settings.from_environment(os.environ)
        settings.check_exposure("CRONICLE_ADMIN_PASSWORD")
        services = build_services(settings, prepare(RunnerConfig()), os.environ)
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
    secrets = {name: ensure_secret(config.secrets_dir, name) for name in ("role_key", "api_key")}
    config.secrets_dir.chmod(0o700)
    for directory in (config.runs_root, config.tmp_root):
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        os.chown(directory, 0, 0)
        # Owners reach their own directory in it, and list nobody's.
        directory.chmod(0o711)
    give_to_engine(data, config.engine_uid, config.engine_gid)
    names = recreate_accounts(config.home_root)
    log.info("%d accounts from %s", len(names), config.home_root)
    return secrets


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
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    user: int | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    started: float = field(default=0.0, init=False)
    back_off_s: float = field(default=0.5, init=False)
    next_start: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Start the process."""
        self.process = subprocess.Popen(
            self.command,
            env=dict(self.environment),
            cwd="/",
            stdin=subprocess.DEVNULL,
            extra_groups=[],
            umask=0o077,
            # Signals to the container are this process's to hand on.
            start_new_session=True,
            user=self.user,
            group=self.user,
        )
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
        services: runner first; stopped in the opposite order, so that the engine's jobs can still
            reach the runner when they are aborted.
    """

    def __init__(self, services: tuple[Service, Service]) -> None:
        self._runner, self._engine = services
        self._wants_stop = False

    def run(self) -> int:
        """Supervise; returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        while not self._wants_stop:
            self._runner.keep()
            self._engine.keep()
            time.sleep(0.2)
        log.info("Stopping")
        self._engine.stop(ENGINE_STOP_S)
        self._runner.stop(RUNNER_STOP_S)
        return 0

    def _ask_to_stop(self, *_: object) -> None:
        self._wants_stop = True


def build_services(
    settings: Settings, secrets: Mapping[str, str], environment: Mapping[str, str]
) -> tuple[Service, Service]:
    """Put together the two processes and what each of them sees.

    Args:
        settings: checked settings.
        secrets: from `prepare`.
        environment: the container's; only what is named here is passed on.
    Returns: runner and engine.
    Raises:
        SettingsError: the engine that is set is not in this image.
    """
    engine = settings["VIXTRACT_ENGINE"]
    if engine not in ENGINE_COMMANDS:
        raise SettingsError(
            f"VIXTRACT_ENGINE={engine}, but this image has only: {', '.join(ENGINE_COMMANDS)}.",
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
        **{name: settings[name] for name in ("TZ", "JOB_MEMORY_MB", "JOB_TIMEOUT_S")},
    }
    return (
        Service("runner", RUNNER_COMMAND, runner_environment),
        Service("engine", ENGINE_COMMANDS[engine], engine_environment, config.engine_uid),
    )


if __name__ == "__main__":
    sys.exit(main())
