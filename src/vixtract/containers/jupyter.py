"""Main process of the jupyter container: prepares accounts and secrets, then keeps the Hub running.

A Hub that dies is started again inside the container, so people's servers and kernels live on.
"""

from __future__ import annotations

import logging
import os
import pwd
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path

from vixtract.containers.services import Service, ServiceKeeper, run_container
from vixtract.errors import SettingsError
from vixtract.files import ensure_secret
from vixtract.hub.passwords import KNOWN_DEFAULTS, PasswordStore
from vixtract.people.accounts import (
    DATABASE,
    HUB,
    RUNTIME,
    SECRETS,
    STATE,
    end_processes,
    recreate_accounts,
)
from vixtract.people.directory import clear_spawner_state, forget_service_tokens, read_people
from vixtract.people.names import FIRST_UID, check_name
from vixtract.people.roles import SOCKETS
from vixtract.people.teams import ensure_teams
from vixtract.processes.limits import close_shared_directories
from vixtract.secret_settings import with_secrets
from vixtract.settings import Settings, build_environment
from vixtract.settings_table import BY_NAME

log = logging.getLogger("vixtract.containers.jupyter")

PORTAL_USER = "portal"

# Together under the container's stop grace of 20 seconds.
HUB_STOP_S = 8.0
PEOPLE_STOP_S = 4.0
PORTAL_STOP_S = 2.0
STABLE_S = 60.0


def main() -> int:
    """Prepare, then keep the Hub running until SIGTERM; return the container's exit code."""
    os.umask(0o022)
    return run_container(build)


def build() -> ServiceKeeper:
    """Prepare the container; return the keeper of the Hub.

    Raises:
        SettingsError: a setting is missing or wrong.
        InvalidNameError: HUB_ADMIN cannot be a person's name.
    """
    settings = Settings.for_process("jupyter", with_secrets(os.environ))
    settings.check_exposure("HUB_ADMIN_PASSWORD", "BI_PASSWORD")
    check_name(settings["HUB_ADMIN"])
    check_files(settings)
    prepare(settings)
    return keep_hub(build_environment("hub", os.environ, HOME="/root"))


def keep_hub(environment: Mapping[str, str], command: tuple[str, ...] = HUB) -> ServiceKeeper:
    """Return what keeps the Hub running, and ends people's processes after it.

    Its environment has no /usr/local on PATH, and no password that the Hub has no use for.
    """
    hub = Service(
        "Hub",
        command,
        environment,
        stop_s=HUB_STOP_S,
        stable_s=STABLE_S,
        cwd=STATE,
        # People's servers inherit it.
        umask=0o022,
        before_start=forget_tokens,
        # The Hub starts a portal of its own.
        after_end=lambda: end_processes(lambda uid: uid == _portal_uid(), PORTAL_STOP_S),
    )
    return ServiceKeeper(
        (hub,),
        after_stop=lambda: end_processes(lambda uid: FIRST_UID <= uid < 60000, PEOPLE_STOP_S),
    )


def forget_tokens() -> None:
    """Remove the tokens of the Hub's services from its database: it makes new ones."""
    try:
        forget_service_tokens(DATABASE)
    except sqlite3.Error as error:
        # The Hub must come up all the same; it reports the problem with its database.
        log.warning("Old tokens of services stay for now: %s", error)


def check_files(settings: Settings) -> None:
    """Refuse CA files that are not there; unlike other settings they are checked in the container.

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
    """Make what the Hub needs; every step may be cut off and run again."""
    # Only root reaches the socket below SOCKETS.parent: PostgreSQL trusts the number of an account,
    # and the number of its own may belong to another program here.
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

    The checked settings hold a documented password on loopback alone.
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


def _portal_uid() -> int:
    try:
        return pwd.getpwnam(PORTAL_USER).pw_uid
    except KeyError:
        return -1


if __name__ == "__main__":
    sys.exit(main())
