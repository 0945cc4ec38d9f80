"""The shelf: lets the portal look at people's notebooks, which it may not read itself.

A small root process in the Hub's container. It listens on a unix socket that only the portal's
account may open, forks for each question, and the child becomes the notebook's owner for good
before it looks at anything. Questions are lines of JSON: `{"do": "inspect" | "pin" | "list",
"person": …, "notebook": …}`; answers are one line: the object asked for, or `error` and `hint`.
Of runs it shows `{"do": "files" | "cells" | "open", "person": …, "record": …, "path": …}`; `open`
hands an open descriptor over. `{"do": "login", "person": …}` tells a PostgreSQL password.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import pwd
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vixtract.errors import PreconditionError, RequestError, VixtractError
from vixtract.homes import notebooks as shelf_work
from vixtract.homes import runs as shelf_runs
from vixtract.people.archive import generation
from vixtract.people.roles import role_password
from vixtract.processes.person import Person, find_person
from vixtract.runner.daemon import peer_uid
from vixtract.runner.protocol import encode, is_name

log = logging.getLogger(__name__)

SHELF_SOCKET = Path("/run/vixtract/shelf.sock")
PORTAL_USER = "portal"
MAX_QUESTION = 8192
MAX_ANSWER = 1024 * 1024
MAX_CHILDREN = 16
# Seconds: a child that takes longer is killed, also one that its owner has stopped.
CHILD_S = 10.0
CPU_S = 8
MEMORY_BYTES = 1024 * 1024 * 1024
FILE_BYTES = 64 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True)
class ShelfConfig:
    """Places and accounts of one shelf.

    Args:
        socket_path: where the portal connects.
        home_root: homes, `<home_root>/<name>`.
        portal_uid: the only uid, besides root's, whose questions are answered.
        portal_gid: group that may reach the socket.
        runs_root: records of runs, `<runs_root>/<name>/<job>`.
        secrets_dir: holds `role_key`.
    """

    socket_path: Path
    home_root: Path
    portal_uid: int
    portal_gid: int
    runs_root: Path = Path("/runs")
    secrets_dir: Path = Path("/srv/secrets")


class Shelf:
    """Answers questions until it is told to stop.

    Args:
        config: places and accounts.
    """

    def __init__(self, config: ShelfConfig) -> None:
        self._config = config
        self._children: dict[int, float] = {}
        self._wants_stop = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        listener = open_listener(self._config)
        log.info("Listening on %s", self._config.socket_path)
        with listener:
            while not self._wants_stop:
                self._collect()
                # Soon again while there is a child to be collected.
                ready, _, _ = select.select([listener], [], [], 0.2 if self._children else 1.0)
                if ready:
                    self._accept(listener)
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)

    def _ask_to_stop(self, *_: object) -> None:
        self._wants_stop = True

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            log.warning("A connection could not be accepted: %s", error)
            time.sleep(0.05)
            return
        with connection:
            if peer_uid(connection) not in (self._config.portal_uid, 0):
                return
            if len(self._children) >= MAX_CHILDREN:
                connection.setblocking(False)
                connection.send(
                    encode({"error": "Too many questions at once.", "hint": "Try later."})
                )
                return
            pid = os.fork()
            if pid:
                self._children[pid] = time.monotonic() + CHILD_S
                return
            listener.close()
            _serve_child(connection, self._config)

    def _collect(self) -> None:
        now = time.monotonic()
        for pid, deadline in list(self._children.items()):
            if now > deadline:
                os.kill(pid, signal.SIGKILL)
            done, _ = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._children[pid]


def _serve_child(connection: socket.socket, config: ShelfConfig) -> None:
    """Answer one question and end; never returns."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        connection.settimeout(CHILD_S)
        answer, descriptors = _answer(_receive(connection), config)
        text = encode(answer)
        if len(text) > MAX_ANSWER:
            text = encode({"error": "The answer is too large.", "hint": ""})
        if descriptors:
            socket.send_fds(connection, [text], descriptors)
        else:
            connection.sendall(text)
    except BaseException:
        log.exception("A question was not answered")
        os._exit(1)
    finally:
        os._exit(0)


def _answer(
    question: Mapping[str, Any], config: ShelfConfig
) -> tuple[dict[str, Any], Sequence[int]]:
    """Return the answer, and descriptors that go with it."""
    try:
        person, notebook = question.get("person"), question.get("notebook", "")
        if not isinstance(person, str) or not is_name(person):
            raise RequestError("There is no such person.")
        if not isinstance(notebook, str) or "\0" in notebook or len(notebook) > 4096:
            raise RequestError("This is no path of a notebook.")
        owner = find_person(person, config.home_root)
        if question.get("do") == "login":
            return _tell_login(owner, config), ()
        become(owner)
        if question.get("do") in ("files", "cells", "open"):
            return _answer_run(question, owner, config)
        return _answer_notebook(str(question.get("do")), owner, notebook), ()
    except MemoryError:
        return {"error": "The notebook is too large to be read.", "hint": "Clear its outputs."}, ()
    except VixtractError as error:
        return {"error": error.message, "hint": error.hint}, ()


def _answer_notebook(task: str, owner: Person, notebook: str) -> dict[str, Any]:
    """Answer what is asked of a home; this process is the owner's already."""
    if task == "inspect":
        return shelf_work.inspect(owner, notebook)
    if task == "pin":
        return shelf_work.pin(owner, notebook)
    if task == "list":
        return shelf_work.list_shelf(owner)
    raise RequestError("There is no such question.")


def _answer_run(
    question: Mapping[str, Any], owner: Person, config: ShelfConfig
) -> tuple[dict[str, Any], Sequence[int]]:
    """Answer what is asked of a run's record; this process is the owner's already."""
    record, path = str(question.get("record")), str(question.get("path", ""))
    folder = shelf_runs.open_record(owner, config.runs_root, record)
    if question["do"] == "files":
        return shelf_runs.list_files(folder), ()
    if question["do"] == "cells":
        return shelf_runs.read_cells(folder, path), ()
    about, descriptor = shelf_runs.open_file(folder, path)
    return about, (descriptor,)


def _tell_login(owner: Person, config: ShelfConfig) -> dict[str, Any]:
    """Tell a person's PostgreSQL password, so that the portal never holds everybody's key."""
    try:
        key = (config.secrets_dir / "role_key").read_text(encoding="ascii").strip()
    except OSError:
        raise RequestError("PostgreSQL's passwords are not made yet.", "Try again.") from None
    number = generation(owner.name, config.home_root)
    return {"password": role_password(key, owner.name, number)}


def become(person: Person) -> None:
    """Turn this process into the person's, for good, with little memory and time.

    Args:
        person: to become; nothing changes where this process is not root's (unit tests).
    """
    os.environ.clear()
    os.umask(0o077)
    for what, limit in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))
    signal.alarm(int(CHILD_S))
    if os.getuid() != 0:
        return
    os.setgroups(person.groups)
    os.setresgid(person.gid, person.gid, person.gid)
    os.setresuid(person.uid, person.uid, person.uid)
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getresuid() != (person.uid,) * 3 or os.getresgid() != (person.gid,) * 3:
        raise RequestError("The owner's rights could not be taken.")
    os.chdir("/")


def _receive(connection: socket.socket) -> dict[str, Any]:
    received = b""
    while not received.endswith(b"\n") and len(received) <= MAX_QUESTION:
        part = connection.recv(MAX_QUESTION)
        if not part:
            break
        received += part
    try:
        question = json.loads(received)
    except (ValueError, RecursionError):
        return {}
    return question if isinstance(question, dict) else {}


def open_listener(config: ShelfConfig) -> socket.socket:
    """Open the socket, in place of one that an earlier shelf left.

    Args:
        config: places and accounts.
    """
    path = config.socket_path
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old_mask = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(old_mask)
    if os.geteuid() == 0:
        os.chown(path, 0, config.portal_gid)
    listener.listen(64)
    return listener


def main() -> int:
    """Run the shelf until the Hub, which starts it, ends."""
    logging.basicConfig(level=logging.INFO, format="shelf: %(levelname)s: %(message)s")
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        if os.getppid() != parent:
            raise PreconditionError(
                "The Hub ended while the shelf started.", "It starts a new one."
            )
        account = pwd.getpwnam(PORTAL_USER)
        config = ShelfConfig(SHELF_SOCKET, Path("/home"), account.pw_uid, account.pw_gid)
        Shelf(config).run()
    except VixtractError as error:
        log.error("%s %s", error.message, error.hint)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
