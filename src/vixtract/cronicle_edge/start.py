"""Start Cronicle: prepare its storage, then become it. Runs under the engine's account."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from vixtract.cronicle_edge import paths
from vixtract.cronicle_edge.config import (
    GROUP_FIELDS,
    WORKERS_GROUP,
    build_plugins,
    build_session,
    build_user,
    is_password,
)
from vixtract.cronicle_edge.sessions import find_sessions
from vixtract.errors import VixtractError
from vixtract.files import write_whole
from vixtract.ledger.database import Database
from vixtract.scheduler import store
from vixtract.scheduler.events import Event
from vixtract.scheduler.settling import find_due
from vixtract.settings import Settings, list_read
from vixtract.settings_table import BY_NAME

log = logging.getLogger("vixtract.cronicle_edge")

STEP_S = 60.0


class StorageError(VixtractError):
    """Cronicle's storage cannot be prepared."""


def build_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Build Cronicle's environment, which every plugin inherits; it contains no secret."""
    passed = (*list_read("cronicle-plugin"), "RUNNER_SOCKET")
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(paths.HOME),
        # Cronicle asks the environment before the system, so the container may have any name.
        "HOSTNAME": paths.HOSTNAME,
        "CRONICLE_foreground": "1",
        "CRONICLE_echo": "0",
        "CRONICLE_color": "0",
        **{name: environment[name] for name in passed if environment.get(name)},
    }


def run_storage(environment: Mapping[str, str], *words: str, text: str = "") -> str:
    """Run a command of Cronicle's storage tool; return its output, or raise StorageError."""
    done = subprocess.run(
        [paths.NODE, str(paths.STORAGE_CLI), *words],
        env=dict(environment),
        input=text,
        capture_output=True,
        text=True,
        timeout=STEP_S,
        check=False,
    )
    # `reset` of a storage that needs no change ends with 1.
    if done.returncode and words[0] != "reset":
        said = (done.stderr or done.stdout).strip().splitlines()
        raise StorageError(
            f"Cronicle's storage tool failed at {words[0]}: {said[-1] if said else 'no output'}",
            "See whether the volume cronicle-data is full or damaged.",
        )
    return done.stdout


def prepare(environment: Mapping[str, str], session: str) -> None:
    """Set an empty storage up, and repair what a restore may have changed."""
    for folder in (paths.EDGE, paths.STORAGE, paths.LOGS, paths.QUEUE, paths.JOB_LOCKS):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Left by an engine that was killed; the next one would think that another is running.
    paths.PID_FILE.unlink(missing_ok=True)
    paths.STOPPING.unlink(missing_ok=True)
    # Cronicle runs what lies in its queue as commands of its own; the appliance puts nothing there.
    for leftover in paths.QUEUE.iterdir():
        leftover.unlink()
    run_storage(environment, "setup")
    run_storage(environment, "reset")
    refresh_lists(environment)
    run_storage(environment, "put", f"sessions/{session}", text=json.dumps(build_session(session)))


def refresh_lists(environment: Mapping[str, str]) -> None:
    """Bring plugins and groups of the storage to this version; they cannot be changed here."""
    wanted = json.dumps([WORKERS_GROUP, build_plugins()])
    # Each look starts Node, so what was written last is kept in a file.
    if paths.LISTS.is_file() and paths.LISTS.read_text("utf-8") == wanted:
        return
    groups = _read_list(environment, "global/server_groups")
    if all(group.get("id") != WORKERS_GROUP[0] for group in groups):
        groups.append(dict(zip(GROUP_FIELDS, WORKERS_GROUP)))
        _write_list(environment, "global/server_groups", groups)
    if _read_list(environment, "global/plugins") != build_plugins():
        _write_list(environment, "global/plugins", build_plugins())
    write_whole(paths.LISTS, wanted)


def _read_list(environment: Mapping[str, str], name: str) -> list[dict[str, Any]]:
    # Each list has one page, which holds fifty items.
    items: list[dict[str, Any]] = json.loads(run_storage(environment, "get", f"{name}/0"))["items"]
    return items


def _write_list(
    environment: Mapping[str, str], name: str, items: Sequence[Mapping[str, Any]]
) -> None:
    page = {"type": "list_page", "items": list(items)}
    # The page first: after a crash between the two, the next start writes the length.
    run_storage(environment, "put", f"{name}/0", text=json.dumps(page))
    head = json.loads(run_storage(environment, "get", name))
    run_storage(environment, "put", name, text=json.dumps({**head, "length": len(items)}))


def apply_password(environment: Mapping[str, str], password: str) -> None:
    """Give `admin` the password of the settings.

    It is replaced where it is the documented one, or the setting changed since the last start; a
    password that was changed on the page stays. An appliance on a loopback address may be made
    public later, with a generated password.
    """
    default = BY_NAME["CRONICLE_ADMIN_PASSWORD"].default
    if password in ("", default):
        return
    is_changed = remember(paths.APPLIED, password)
    user = json.loads(run_storage(environment, "get", f"users/{paths.ADMIN_USER}"))
    if is_changed or is_password(user, default):
        fresh = build_user(paths.ADMIN_USER, password)
        user.update({name: fresh[name] for name in ("password", "salt")})
        run_storage(environment, "put", f"users/{paths.ADMIN_USER}", text=json.dumps(user))
        for session in find_sessions(paths.ADMIN_USER, paths.STORAGE):
            run_storage(environment, "delete", f"sessions/{session}")
        log.info("Cronicle's account admin has the password of CRONICLE_ADMIN_PASSWORD now")


def remember(path: Path, secret: str) -> bool:
    """Store a secret's digest; return whether the file had that of another secret."""
    before = path.read_text("ascii") if path.is_file() else ""
    if before and hmac.compare_digest(_digest(secret, before[:32]), before):
        return False
    write_whole(path, _digest(secret, secrets.token_hex(16)))
    return bool(before)


def _digest(secret: str, salt: str) -> str:
    return salt + hashlib.scrypt(secret.encode(), salt=salt.encode(), n=2**14, r=8, p=1).hex()


def end_old_session(environment: Mapping[str, str], session: str) -> None:
    """Remove the appliance's session with the secret before the present one."""
    before = paths.SESSION.read_text("ascii") if paths.SESSION.is_file() else ""
    if before == session:
        return
    if before:
        try:
            run_storage(environment, "delete", f"sessions/{before}")
        except StorageError as error:
            log.warning("%s", error.message)
    write_whole(paths.SESSION, session)


def limit_catch_up(
    environment: Mapping[str, str], ledger: Path = paths.LEDGER, now: float | None = None
) -> None:
    """Give every catch-up event a cursor from which Cronicle makes up for CATCH_UP_CAP slots.

    Without a cursor it never starts the event again, and it keeps a new one in memory alone until
    the next minute. From an old one it starts a job for each slot, all at once where an event has
    no limit: a week of an event of every minute is ten thousand processes. The reconciler records
    slots before the cursor; those before the ledger's cursor are settled.
    """
    if not ledger.is_file():
        return
    cap, moment = max(1, int(environment["CATCH_UP_CAP"])), int(now or time.time())
    database = Database(ledger)
    try:
        events = store.list_events(database)
    finally:
        database.close()
    waiting = [stored for stored in events if stored.event.catch_up and stored.event.enabled]
    if not waiting:
        return
    state = _read_state(environment)
    cursors = state["cursors"]
    wanted = {}
    for stored in waiting:
        cursor = max(int(cursors.get(stored.event.id) or 0), stored.cursor)
        cursor = min(cursor, moment) // 60 * 60
        wanted[stored.event.id] = find_cursor(stored.event, cursor, moment, cap)
    if any(cursors.get(name) != cursor for name, cursor in wanted.items()):
        cursors.update(wanted)
        run_storage(environment, "put", "global/state", text=json.dumps(state))


def _read_state(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the scheduler's state; a fresh one where Cronicle has not written any yet."""
    fresh = {"enabled": True, "cursors": {}, "stats": {}, "flagged_jobs": {}}
    try:
        state: dict[str, Any] = json.loads(run_storage(environment, "get", "global/state"))
    except StorageError:
        return fresh
    return {**fresh, **state}


def find_cursor(event: Event, cursor: int, now: int, cap: int) -> int:
    """Return the first cursor from the present one on with at most `cap` due slots after it."""
    span = 3600
    while True:
        since = max(cursor, now - span)
        due = find_due(event, since, now)
        if len(due) > cap:
            return due[-cap] - 60
        if since == cursor:
            return cursor
        span *= 24


def become_cronicle(environment: Mapping[str, str]) -> NoReturn:
    """Replace this process by Cronicle."""
    os.chdir(paths.HOME)
    command = [paths.NODE, "--require", str(paths.SOCKET_SCRIPT), str(paths.CRONICLE)]
    command += ["--foreground", "--manager", "--color", "0", "--debug", "0"]
    everything = {**environment, "CRONICLE_SOCKET": str(paths.SOCKET)}
    os.execve(paths.NODE, command, everything)  # noqa: S606 - a constant program, no shell


def _try_to_limit(environment: Mapping[str, str]) -> None:
    """Limit what is made up for; Cronicle starts even if that fails."""
    try:
        limit_catch_up(environment)
    except (VixtractError, ValueError) as error:
        log.warning(
            "The number of slots that Cronicle makes up for could not be limited: %s", error
        )


def main() -> int:
    """Prepare and become Cronicle; returns only when that fails."""
    logging.basicConfig(level=logging.INFO, format="cronicle: %(levelname)s: %(message)s")
    os.umask(0o077)
    environment = build_environment(os.environ)
    try:
        settings = Settings.for_process("cronicle-edge", os.environ)
        prepare(environment, os.environ["CRONICLE_SESSION"])
        end_old_session(environment, os.environ["CRONICLE_SESSION"])
        apply_password(environment, settings["CRONICLE_ADMIN_PASSWORD"])
        _try_to_limit(environment)
    except (VixtractError, OSError, subprocess.TimeoutExpired) as error:
        log.error("%s", getattr(error, "message", error))
        log.error("%s", getattr(error, "hint", "See the volume cronicle-data."))
        return getattr(error, "exit_code", 1)
    become_cronicle(environment)


if __name__ == "__main__":
    sys.exit(main())
