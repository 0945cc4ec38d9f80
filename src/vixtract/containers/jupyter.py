"""Main process of the jupyter container: prepares accounts and secrets, then keeps the Hub running.

A Hub that dies is started again inside the container, so people's servers and kernels live on.
"""

from __future__ import annotations

import logging
import os
import pwd
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

from vixtract.errors import PreconditionError, SettingsError, VixtractError
from vixtract.files import ensure_secret
from vixtract.hub.passwords import KNOWN_DEFAULTS, PasswordStore
from vixtract.people.accounts import DATABASE, HUB, RUNTIME, SECRETS, STATE, recreate_accounts
from vixtract.people.directory import clear_spawner_state, forget_service_tokens, read_people
from vixtract.people.limits import close_shared_directories
from vixtract.people.names import FIRST_UID, check_name
from vixtract.people.roles import SOCKETS
from vixtract.people.teams import ensure_teams
from vixtract.secret_settings import FILE_NAMES, with_secrets
from vixtract.settings import BY_NAME, Settings

log = logging.getLogger("vixtract.entry")

PORTAL_USER = "portal"

HUB_STOP_S = 8.0
PEOPLE_STOP_S = 4.0
"""Together under the container's stop grace of 20 seconds."""
LONGEST_BACK_OFF_S = 30.0
STABLE_S = 60.0


def main() -> int:
    """Prepare, then supervise until SIGTERM. Returns the container's exit code."""
    logging.basicConfig(
        level=logging.INFO, format="[%(levelname).1s %(asctime)s %(name)s] %(message)s"
    )
    os.umask(0o022)
    try:
        settings = Settings.from_environment(with_secrets(os.environ))
        settings.check_exposure("HUB_ADMIN_PASSWORD", "BI_PASSWORD")
        check_name(settings["HUB_ADMIN"])
        check_files(settings)
        prepare(settings)
    except VixtractError as error:
        sys.stderr.write(f"{error.message}\n{error.hint}\n")
        return max(error.exit_code, PreconditionError.exit_code)
    return Supervisor(build_hub_environment(os.environ)).run()


def check_files(settings: Settings) -> None:
    """Refuse CA files that are not there; unlike other settings they are checked in the container.

    Args:
        settings: checked settings.
    Raises:
        SettingsError: names the file and says how to bring it.
    """
    for name in ("LDAP_CA_FILE", "OIDC_CA_FILE"):
        if settings[name] and not Path(settings[name]).is_file():
            raise SettingsError(
                f"{name}={settings[name]!r} is not there in the jupyter container.",
                "Bring it: docker cp ca.pem vixtract_jupyter:/etc/jupyterhub/conf.d/ "
                "(the folder is kept).",
            )


def prepare(settings: Settings) -> None:
    """Make what the Hub needs; every step may be cut off and run again.

    Args:
        settings: checked settings.
    """
    # Root alone gets to the socket below SOCKETS.parent: PostgreSQL goes by numbers of accounts,
    # and its own may be another program's here.
    closed = (STATE, SECRETS, SOCKETS.parent)
    for directory, mode in (*((path, 0o700) for path in closed), (RUNTIME, 0o755)):
        directory.mkdir(mode=mode, parents=True, exist_ok=True)
        directory.chmod(mode)
    for name in ("role_key", "api_key", "hub_token"):
        ensure_secret(SECRETS, name)
    close_shared_directories()
    clear_spawner_state(DATABASE)
    names = recreate_accounts(preferred={person.name for person in read_people(DATABASE)})
    log.info("%d accounts from /home, %d teams", len(names), len(ensure_teams()))
    prepare_passwords(PasswordStore(DATABASE), settings, is_first_boot=not read_people(DATABASE))


def prepare_passwords(store: PasswordStore, settings: Settings, *, is_first_boot: bool) -> None:
    """Give the first administrator their password, once; never leave a documented one exposed.

    Args:
        store: password table.
        settings: checked settings; a documented password is in them on loopback alone.
        is_first_boot: whether the Hub has no user yet.
    """
    name, password = settings["HUB_ADMIN"], settings["HUB_ADMIN_PASSWORD"]
    if is_first_boot:
        if not store.has_password(name):
            store.set_password(name, password)
        return
    if settings.default_passwords("HUB_ADMIN_PASSWORD"):
        return
    # The table may be older than the operator's own password in .env.
    default = BY_NAME["HUB_ADMIN_PASSWORD"].default
    if default in KNOWN_DEFAULTS and store.has_hash_of(name, default):
        store.set_password(name, password)
        log.warning("%s had the documented password; it is HUB_ADMIN_PASSWORD now.", name)


def build_hub_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the Hub's environment: no /usr/local on PATH, and nothing that it has no use for.

    Args:
        environment: the container's.
    """
    wanted = set(BY_NAME)
    wanted -= {"HUB_ADMIN_PASSWORD", "CRONICLE_ADMIN_PASSWORD", "POSTGRES_PASSWORD"}
    wanted |= {
        *(name for name in FILE_NAMES if name.removesuffix("_FILE") in wanted),
        "LANG",
        "PIP_CERT",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "HOSTNAME",
        "VIXTRACT_PROJECT",
    }
    kept = {name: environment[name] for name in sorted(wanted) if environment.get(name)}
    return {**kept, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


class Supervisor:
    """Starts the Hub, starts it again when it dies, and ends with SIGTERM or SIGINT.

    Args:
        environment: the Hub's.
        command: the Hub's.
    """

    def __init__(self, environment: Mapping[str, str], command: tuple[str, ...] = HUB) -> None:
        self._environment = dict(environment)
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopping = False

    def run(self) -> int:
        """Return 0 after an orderly stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGALRM, self._on_alarm)
        back_off = 0.0
        while not self._is_stopping:
            started = time.monotonic()
            code = self._run_hub()
            if self._is_stopping:
                break
            is_stable = time.monotonic() - started > STABLE_S
            back_off = 1.0 if is_stable else min(max(back_off * 2, 1.0), LONGEST_BACK_OFF_S)
            log.error(
                "The Hub ended with %s; starting it again in %.0f s.", describe_exit(code), back_off
            )
            end_processes(lambda uid: uid == _portal_uid(), 2.0)
            self._pause(back_off)
        end_processes(lambda uid: FIRST_UID <= uid < 60000, PEOPLE_STOP_S)
        return 0

    def _run_hub(self) -> int:
        try:
            forget_service_tokens(DATABASE)
        except sqlite3.Error as error:
            # The Hub must come up all the same; it says what is wrong with its database.
            log.warning("Old tokens of services stay for now: %s", error)
        self._process = subprocess.Popen(
            self._command, env=self._environment, cwd=STATE, stdin=subprocess.DEVNULL
        )
        if self._is_stopping:  # the signal came while the process was being made
            self._process.terminate()
        return self._process.wait()

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._is_stopping and time.monotonic() < end:
            time.sleep(0.1)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._is_stopping = True
        if self._process and self._process.returncode is None:
            self._process.terminate()
            signal.alarm(int(HUB_STOP_S))

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        if self._process and self._process.returncode is None:
            log.warning("The Hub did not stop within %.0f s; killing it.", HUB_STOP_S)
            self._process.kill()


def describe_exit(code: int) -> str:
    """Put a return code of subprocess into words."""
    return f"code {code}" if code >= 0 else signal.Signals(-code).name


def end_processes(is_meant: Callable[[int], bool], timeout_s: float) -> None:
    """End all processes of certain accounts: SIGTERM, then SIGKILL.

    Args:
        is_meant: function of a uid.
        timeout_s: seconds between the two.
    """
    end = time.monotonic() + timeout_s
    found = _signal_processes(is_meant, signal.SIGTERM)
    while found and time.monotonic() < end:
        time.sleep(0.1)
        found = [pid for pid in found if Path(f"/proc/{pid}").exists()]
    if found:
        _signal_processes(is_meant, signal.SIGKILL)


def _signal_processes(is_meant: Callable[[int], bool], number: signal.Signals) -> list[int]:
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and is_meant(path.stat().st_uid):
                os.kill(int(path.name), number)
                found.append(int(path.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended by itself
    return found


def _portal_uid() -> int:
    try:
        return pwd.getpwnam(PORTAL_USER).pw_uid
    except KeyError:
        return -1


if __name__ == "__main__":
    sys.exit(main())
