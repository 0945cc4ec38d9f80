"""Changes what is in /srv/secrets: delivers secret settings, and exchanges the keys.

    python -I -m vixtract.hub.rotation deliver < {"POSTGRES_PASSWORD": "..."}
    python -I -m vixtract.hub.rotation

The first is run as root in a container of its own. It makes the volume hold the given settings and
no others, and prints the names that changed, one a line.

The second exchanges the keys, and makes PostgreSQL and the Hub know the new ones. It is run as root
in the jupyter container by `./vixtract secrets rotate`, while no job runs. A rotation that was
interrupted at any step goes on with the same new keys when it is run again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from vixtract.errors import VixtractError
from vixtract.files import generate_secret, sync_directory, write_whole
from vixtract.hub import ENVIRONMENT
from vixtract.hub.provisioner import DatabaseServer
from vixtract.hub.state import PeopleState
from vixtract.people import directory, roles
from vixtract.people.accounts import DATABASE, HUB, RUNTIME, SECRETS, STATE
from vixtract.people.names import FIRST_UID
from vixtract.secret_settings import DELIVERED, SECRET_NAMES, with_secrets
from vixtract.settings import Settings
from vixtract.vault import owners

#: Keys that can be exchanged. Others, such as one that data are encrypted with, stay.
KEYS = ("role_key", "api_key", "hub_token", "cronicle_key", "cronicle_session", "cronicle_oauth")
NEXT = "next"
HUB_STOP_S = 20.0


class KeyRotationError(VixtractError):
    """The keys could not be exchanged."""


def stage(secrets: Path) -> Path:
    """Make the new keys, or find those of an interrupted rotation; return their directory."""
    ready = secrets / NEXT
    if not ready.is_dir():
        making = secrets / f".{NEXT}"
        making.mkdir(mode=0o700, exist_ok=True)
        for name in KEYS:
            write_whole(making / name, generate_secret(name) + "\n")
        making.rename(ready)
        sync_directory(secrets)
    return ready


def swap(secrets: Path) -> list[str]:
    """Replace the old keys by the staged ones; return the names of the keys that changed."""
    ready = secrets / NEXT
    changed = []
    for name in KEYS:
        if (ready / name).is_file():
            (ready / name).replace(secrets / name)
            changed.append(name)
    sync_directory(secrets)
    for leftover in ready.iterdir():
        leftover.unlink()
    ready.rmdir()
    return changed


def change_roles(server: DatabaseServer, names: Iterable[str], runtime: Path = RUNTIME) -> int:
    """Give every role the password that its new key makes, and tell people's running servers.

    Roles of people who are not named stay locked out. Returns: number of people.
    """
    server.ensure_databases()
    count = 0
    for name in names:
        server.ensure_role(name)
        variables = server.person_environment(name)
        tell_server(runtime / name, variables)
        count += 1
    return count


def tell_server(folder: Path, variables: Mapping[str, str]) -> None:
    """Write new variables for a person's running server: kernels started from now on get them.

    Nothing happens where the person's runtime directory is missing.
    """
    if not folder.is_dir():
        return
    owner = folder.lstat()
    path = folder / ENVIRONMENT
    try:
        write_whole(path, json.dumps(dict(variables)), owner=(owner.st_uid, owner.st_gid))
    except OSError as error:
        # The person has put a directory there, for example.
        sys.stderr.write(f"{path}: {error.strerror}\n")


def find_hub() -> int:
    """Return the process id of the Hub, or 0 where it does not run."""
    wanted = b"\0".join(word.encode() for word in HUB) + b"\0"
    for entry in Path("/proc").iterdir():
        try:
            is_hub = entry.name.isdigit() and (entry / "cmdline").read_bytes() == wanted
            if is_hub and entry.stat().st_uid == 0:
                return int(entry.name)
        except OSError:
            continue
    return 0


def restart_hub(state: Path = STATE) -> None:
    """Restart the Hub with new keys and a new cookie secret; people's servers go on running.

    Raises:
        KeyRotationError: it does not stop.
    """
    (state / "cookie_secret").unlink(missing_ok=True)
    hub = find_hub()
    if not hub:
        return  # its supervisor is about to start one
    os.kill(hub, signal.SIGTERM)
    limit = time.monotonic() + HUB_STOP_S
    while Path(f"/proc/{hub}").exists():
        if time.monotonic() > limit:
            raise KeyRotationError("The Hub did not stop.", "Run: ./vixtract secrets rotate")
        time.sleep(0.2)


def list_servers() -> list[str]:
    """Return the names of people who have processes here: they hold the old database password."""
    owners = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit():
                owners.add(entry.stat().st_uid)
        except OSError:
            continue
    homes = [home for home in Path("/home").iterdir() if home.lstat().st_uid >= FIRST_UID]
    return sorted(home.name for home in homes if home.lstat().st_uid in owners)


def deliver(values: Mapping[str, str], directory: Path = DELIVERED) -> list[str]:
    """Make a directory hold the given settings and no others; return the names that changed.

    Raises:
        ValueError: a name is not that of a secret setting, or a value is empty or has a line break.
    """
    for name, value in values.items():
        if name not in SECRET_NAMES or not value or "\n" in value:
            raise ValueError(f"{name} cannot be delivered")
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.parent.chmod(0o700)
    directory.mkdir(mode=0o700, exist_ok=True)
    changed = []
    for path in directory.iterdir():
        if path.name not in values:
            path.unlink()
            changed.append(path.name)
    for name, value in values.items():
        path = directory / name
        if not (path.is_file() and path.read_text("utf-8") == value):
            write_whole(path, value)
            changed.append(name)
    return sorted(name for name in changed if not name.startswith("."))


def main() -> int:
    """Deliver what stands on standard input as JSON, or rotate and print what was done as JSON."""
    if sys.argv[1:] == ["deliver"]:
        sys.stdout.write("\n".join(deliver(json.load(sys.stdin))) + "\n")
        return 0
    try:
        settings = Settings.for_process("hub", with_secrets(os.environ))
        ready = stage(SECRETS)
        key = ready / "role_key" if (ready / "role_key").is_file() else SECRETS / "role_key"
        server = DatabaseServer(
            roles.superuser_conninfo(),
            bi_password=settings["BI_PASSWORD"],
            role_key=key.read_text("ascii").strip(),
        )
        servers = list_servers()
        # Disabled people, and those who are being removed, stay locked out.
        blocked = PeopleState(DATABASE).blocked()
        people = directory.read_people(DATABASE)
        names = [person.name for person in people if person.name not in blocked]
        count = change_roles(server, names)
        connections = owners.rotate(SECRETS)
        changed = swap(SECRETS)
        restart_hub()
    except VixtractError as error:
        sys.stderr.write(f"{error.message} {error.hint}\n")
        return error.exit_code
    done = {"people": count, "keys": changed, "servers": servers, "connections": connections}
    json.dump(done, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
