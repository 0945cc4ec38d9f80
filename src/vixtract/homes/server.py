"""The homes server: reads people's files for the portal, which may not read them itself.

A small root process in the Hub's container. The portal's account alone may ask; the process that
answers becomes the files' owner for good before it reads anything. Questions:

- `{"do": "inspect" | "pin" | "list", "person", "notebook"}` about a home
- `{"do": "files" | "cells" | "open", "person", "record", "path"}` about the record of a run; `open`
  hands over an open file
- `{"do": "login", "person"}` for the password of a PostgreSQL role

Answers are the object asked for, or `error` and `hint` for people and `failure` for programs.
"""

from __future__ import annotations

import gc
import logging
import os
import pwd
import resource
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vixtract.errors import RequestError, VixtractError
from vixtract.homes import notebooks, runs
from vixtract.homes.client import SOCKET
from vixtract.people.archive import generation
from vixtract.people.names import is_name
from vixtract.people.roles import role_password
from vixtract.processes import notebook_files
from vixtract.processes.person import Person, find_person
from vixtract.processes.server import Answer, Peer, QuestionServer, ServerConfig
from vixtract.processes.spawn import drop_to, end_with_parent

log = logging.getLogger(__name__)

PORTAL_USER = "portal"
MAX_QUESTION = 8192
MAX_ANSWER = 1024 * 1024
MAX_CHILDREN = 16
# Of these, only root may have the last ones.
SPARE_CHILDREN = 2
ANSWER_S = 10.0
CPU_S = 8
MEMORY_BYTES = 1024 * 1024 * 1024
FILE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class HomesConfig:
    """Paths and accounts of one homes server.

    Args:
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


class Homes(QuestionServer):
    """Answers questions until it is told to stop."""

    def __init__(self, config: HomesConfig) -> None:
        super().__init__(
            ServerConfig(
                config.socket_path,
                gid=config.portal_gid,
                uids=frozenset({config.portal_uid, 0}),
                max_children=MAX_CHILDREN,
                max_of_account=MAX_CHILDREN - SPARE_CHILDREN,
                answer_s=ANSWER_S,
                max_question=MAX_QUESTION,
                max_answer=MAX_ANSWER,
            )
        )
        self._config = config

    def reply(self, question: dict[str, Any], peer: Peer) -> Answer:
        """Return the answer to a question, as the owner of the files."""
        config = self._config
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
            return _refuse(notebook_files.too_large("The notebook is too large to be read.")), ()
        except VixtractError as error:
            return _refuse(error), ()


def _refuse(error: VixtractError) -> dict[str, Any]:
    failure = error.failure.to_json() if error.failure else None
    return {"error": error.message, "hint": error.hint, "failure": failure}


def _answer_notebook(task: str, owner: Person, notebook: str) -> dict[str, Any]:
    """Answer what is asked of a home; this process is the owner's already."""
    if task == "inspect":
        return notebooks.inspect(owner, notebook)
    if task == "pin":
        return notebooks.pin(owner, notebook)
    if task == "list":
        return notebooks.list_home(owner)
    raise RequestError("There is no such question.")


def _answer_run(question: Mapping[str, Any], owner: Person, config: HomesConfig) -> Answer:
    """Answer what is asked of a run's record; this process is the owner's already."""
    record, path = str(question.get("record")), str(question.get("path", ""))
    folder = runs.open_record(owner, config.runs_root, record)
    if question["do"] == "files":
        return runs.list_files(folder), ()
    if question["do"] == "cells":
        return runs.read_cells(folder, path), ()
    about, descriptor = runs.open_file(folder, path)
    return about, (descriptor,)


def _tell_login(owner: Person, config: HomesConfig) -> dict[str, Any]:
    """Return a person's PostgreSQL password: the portal never holds the key of all of them."""
    try:
        key = (config.secrets_dir / "role_key").read_text(encoding="ascii").strip()
    except OSError:
        raise RequestError("PostgreSQL's passwords are not made yet.", "Try again.") from None
    number = generation(owner.name, config.home_root)
    return {"password": role_password(key, owner.name, number)}


def become(person: Person) -> None:
    """Turn this process into the person's, for good, with little memory and time.

    It stays as it is where it is not root's (unit tests).
    """
    os.environ.clear()
    os.umask(0o077)
    # Halves the time for a large notebook; this process ends with its answer.
    gc.disable()
    for what, limit in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))
    signal.alarm(int(ANSWER_S))
    if os.getuid() == 0:
        drop_to(person)
        os.chdir("/")


def main() -> int:
    """Run the server until the Hub, which starts it, ends."""
    parent = os.getppid()
    logging.basicConfig(level=logging.INFO, format="homes: %(levelname)s: %(message)s")
    try:
        end_with_parent(parent)
        account = pwd.getpwnam(PORTAL_USER)
        Homes(HomesConfig(SOCKET, Path("/home"), account.pw_uid, account.pw_gid)).run()
    except VixtractError as error:
        log.error("%s %s", error.message, error.hint)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
