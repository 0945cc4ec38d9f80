"""The homes server as a real root process: who may ask, what it opens, what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.scratch import open_folder
from tests.waiting import wait_until
from vixtract.processes.tree import read_stat
from vixtract.processes.usage import read_processes

ROOT = Path(__file__).parents[2]
# Beyond any account of the machine that runs the tests.
PORTAL, ANNA, BOB = 48123, 48200, 48201
LAUNCH = """
import sys
import threading
sys.path.insert(0, {source!r})
from pathlib import Path
from vixtract.homes.server import Homes, HomesConfig
Homes(HomesConfig(Path({socket!r}), Path({homes!r}), {portal}, {portal})).run()
"""
ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(20)
    s.connect(sys.argv[1])
    s.sendall(sys.argv[2].encode() + b"\\n")
    answer = b""
    while part := s.recv(65536):
        answer += part
sys.stdout.buffer.write(answer)
"""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming people needs root")


@pytest.fixture(scope="module")
def place():
    """A folder with homes of two people, reachable for every account."""
    with open_folder() as place:
        for name, uid in (("anna", ANNA), ("bob", BOB)):
            home = place / "home" / name
            home.mkdir(parents=True, mode=0o700)
            write(home / "etl/load.ipynb", "year = 2026  # which year")
            own(home, uid)
        yield place


@pytest.fixture(scope="module")
def ask(place):
    """Ask the homes server as the portal (or as another uid)."""
    path = place / "homes.sock"
    code = LAUNCH.format(
        source=str(ROOT / "src"), socket=str(path), homes=str(place / "home"), portal=PORTAL
    )
    process = subprocess.Popen([sys.executable, "-I", "-c", code])
    wait_until(path.is_socket, "the homes server's socket", interval_s=0.05)

    def ask(uid: int = PORTAL, **question) -> dict:
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", ASK, str(path), json.dumps(question)],
            user=uid, group=uid, extra_groups=[], capture_output=True, timeout=60,
        )  # fmt: skip
        if done.returncode:
            raise PermissionError(done.stderr.decode())
        return json.loads(done.stdout) if done.stdout else {}

    ask.process = process
    yield ask
    process.terminate()
    assert process.wait(timeout=120) == 0


def write(path: Path, source: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source}
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4}))


def own(folder: Path, uid: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)


def test_the_portal_reads_the_parameters_of_a_private_notebook(ask):
    found = ask(do="inspect", person="anna", notebook="etl/load.ipynb")
    assert [(p["name"], p["default"], p["help"]) for p in found["parameters"]] == [
        ("year", 2026, "which year")
    ]


@pytest.mark.parametrize("uid", [ANNA, BOB, 33])
def test_nobody_else_gets_an_answer(ask, uid):
    with pytest.raises(PermissionError):
        ask(uid, do="inspect", person="anna", notebook="etl/load.ipynb")


def test_another_account_of_the_group_gets_no_answer(ask, place):
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", ASK, str(place / "homes.sock"), '{"do":"list","person":"anna"}'],
        user=BOB, group=PORTAL, extra_groups=[], capture_output=True, timeout=60,
    )  # fmt: skip
    assert b"etl/load" not in done.stdout
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("path", "says", "code"),
    [
        ("../bob/etl/load.ipynb", "goes up", "notebook.not_in_home"),
        ("/home/bob/etl/load.ipynb", "not in anna's home", "notebook.not_in_home"),
        ("", "names the home", "notebook.not_in_home"),
        ("link.ipynb", "symbolic link", "notebook.not_a_file"),
        ("linked/load.ipynb", "symbolic link", "notebook.not_a_file"),
        ("pipe.ipynb", "named pipe", "notebook.not_a_file"),
        ("no.ipynb", "not found", "notebook.not_found"),
        ("empty.ipynb", "empty", "notebook.not_a_notebook"),
        ("text.ipynb", "no notebook", "notebook.not_a_notebook"),
        ("cells.ipynb", "no cells", "notebook.not_a_notebook"),
        ("latin.ipynb", "not UTF-8", "notebook.not_a_notebook"),
    ],
)  # fmt: skip
def test_tricks_are_refused_in_words(ask, place, path, says, code):
    home = place / "home/anna"
    for name, target in (("link.ipynb", "../bob/etl/load.ipynb"), ("linked", "../bob/etl")):
        if not (home / name).is_symlink():
            (home / name).symlink_to(target)
    if not (home / "pipe.ipynb").exists():
        os.mkfifo(home / "pipe.ipynb")
    (home / "empty.ipynb").touch()
    (home / "text.ipynb").write_text("no JSON")
    (home / "cells.ipynb").write_text("{}")
    (home / "latin.ipynb").write_bytes(b"\xe9")
    own(home, ANNA)
    answer = ask(do="inspect", person="anna", notebook=path)
    assert (answer["failure"]["code"], says in answer["error"]) == (code, True), answer


def test_a_notebook_of_another_owner_is_read_with_the_persons_rights_alone(ask, place):
    secret = place / "home/anna/roots.ipynb"
    write(secret, "a = 1")
    os.chown(secret, 0, 0)
    secret.chmod(0o600)
    answer = ask(do="inspect", person="anna", notebook="roots.ipynb")
    assert (answer["failure"]["code"], "may not read" in answer["error"]) == (
        "notebook.not_readable",
        True,
    )


@pytest.mark.parametrize("person", ["root", "carol", "../anna", "", None, "anna/../bob", 1])
def test_who_is_no_person_gets_nothing(ask, person):
    assert ask(do="list", person=person)["error"]


def test_the_list_names_notebooks_newest_first_and_own_kernels(ask, place):
    home = place / "home/anna"
    write(home / "new.ipynb", "a = 1")
    os.utime(home / "etl/load.ipynb", (1, 1))
    write(home / ".ipynb_checkpoints/new-checkpoint.ipynb", "a = 1")
    kernel = home / ".local/share/jupyter/kernels/mine"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text('{"display_name": "Mine", "argv": []}')
    own(home, ANNA)
    found = ask(do="list", person="anna")
    assert found["kernels"] == [{"name": "mine", "title": "Mine"}]
    assert "new.ipynb" in found["notebooks"]
    assert found["notebooks"][-1] == "etl/load.ipynb"
    assert not any("checkpoint" in path or "link" in path for path in found["notebooks"])


def test_a_pinned_copy_is_the_owners_and_is_the_content(ask, place):
    home = place / "home/bob"
    content = (home / "etl/load.ipynb").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert ask(do="pin", person="bob", notebook="etl/load.ipynb") == {"pinned": digest}
    assert ask(do="pin", person="bob", notebook="etl/load.ipynb") == {"pinned": digest}
    copy = home / f".local/share/vixtract/pinned/{digest}.ipynb"
    assert copy.read_bytes() == content
    status = copy.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (BOB, 0o400)
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_link_in_the_way_of_the_pinned_copy_leads_nowhere(ask, place):
    home = place / "home/anna"
    (home / ".local/share").mkdir(parents=True, exist_ok=True)
    outside = place / "outside"
    outside.mkdir(mode=0o777, exist_ok=True)
    outside.chmod(0o777)
    if not (home / ".local/share/vixtract").is_symlink():
        (home / ".local/share/vixtract").symlink_to(outside)
    own(home, ANNA)
    answer = ask(do="pin", person="anna", notebook="etl/load.ipynb")
    assert (answer["failure"]["code"], "cannot be written" in answer["error"]) == (
        "notebook.not_written",
        True,
    )
    assert list(outside.iterdir()) == []


def test_a_notebook_that_needs_too_much_memory_is_an_answer(ask, place):
    bomb = place / "home/anna/bomb.ipynb"
    bomb.write_text('{"cells":[' + "[],[],[],[]," * 4_000_000 + "[]]}")
    own(place / "home/anna", ANNA)
    assert (
        ask(do="inspect", person="anna", notebook="bomb.ipynb")["failure"]["code"]
        == "notebook.too_large"
    )
    bomb.unlink()
    assert ask(do="list", person="anna")["notebooks"]


def test_a_person_who_stops_the_process_that_reads_for_them_stops_nothing_else(ask, place):
    bomb = place / "home/anna/bomb.ipynb"
    bomb.write_text('{"cells":[' + "[],[],[],[]," * 4_000_000 + "[]]}")
    own(place / "home/anna", ANNA)
    done = threading.Thread(
        target=ask, kwargs={"do": "inspect", "person": "anna", "notebook": "bomb.ipynb"}
    )
    done.start()

    def stopped() -> int:
        for process in read_processes():
            if process.uid == ANNA:
                os.kill(process.pid, signal.SIGSTOP)
                return process.pid
        return 0

    pid = wait_until(stopped, "the process that reads", interval_s=0.01)
    assert ask(do="list", person="bob")["notebooks"]
    wait_until(lambda: not read_stat(pid), "its end", timeout_s=30, interval_s=0.1)
    done.join(60)
    bomb.unlink()
    assert ask(do="list", person="anna")["notebooks"]


def test_silence_and_nonsense_do_not_stop_the_homes_server(ask, place):
    silent = []
    for _ in range(5):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(place / "homes.sock"))
        silent.append(connection)
    silent[0].sendall(b"x" * 20_000)
    silent[1].sendall(b"[]\n")
    assert ask(do="list", person="anna")["notebooks"]
    for connection in silent:
        connection.close()
