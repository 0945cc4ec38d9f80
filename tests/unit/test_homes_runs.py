"""The homes server over runs, as a real process: what it opens, and every trick that must not work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scratch import open_folder
from tests.waiting import wait_until
from vixtract.people.roles import role_password
from vixtract.portal.archive import Archive, ask_homes
from vixtract.portal.errors import AwayError, NotFoundError
from vixtract.portal.models import Run

ROOT = Path(__file__).parents[2]
IS_ROOT = os.getuid() == 0
UID = 2345 if IS_ROOT else os.getuid()
SERVE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from vixtract.homes.server import Homes, HomesConfig
base = Path(sys.argv[2])
import os
Homes(HomesConfig(base / "s", base / "home", os.getuid(), os.getgid(), base / "runs", base)).run()
"""
RUN = Run(id="j1", owner="anna", output="/runs/anna/j1/a-output.ipynb")
pytestmark = pytest.mark.skipif(
    not IS_ROOT and os.getuid() < 2000, reason="homes belong to uids from 2000 on"
)


@pytest.fixture(scope="module")
def base():
    with open_folder() as folder:
        yield prepare(folder)


def prepare(base: Path) -> Path:
    """Make two people's homes and records."""
    for folder in ("home/anna", "home/mallory", "runs/anna/j1/deep", "runs/mallory/j2"):
        (base / folder).mkdir(parents=True)
    (base / "runs").chmod(0o755)
    (base / "role_key").write_text("k" * 64)
    for name, uid in (("anna", UID), ("mallory", UID + 1 if IS_ROOT else UID)):
        for path in (base / "home" / name, base / "runs" / name):
            path.chmod(0o700)
            for entry in (path, *path.rglob("*")):
                os.chown(entry, uid, uid)
    return base


@pytest.fixture(scope="module")
def archive(base):
    process = subprocess.Popen([sys.executable, "-I", "-c", SERVE, str(ROOT / "src"), str(base)])
    wait_until((base / "s").exists, "the homes server's socket", interval_s=0.05)
    yield Archive(base / "s")
    process.terminate()
    assert process.wait(10) == 0


@pytest.fixture
def record(base):
    return base / "runs" / "anna" / "j1"


def put(path: Path, content: str) -> None:
    path.write_text(content)
    os.chown(path, UID, UID)
    path.chmod(0o600)


def test_files_of_a_run_are_listed_and_read(archive, record):
    put(record / "report.csv", "city,people\n")
    put(record / "deep" / "x.txt", "x" * 700_000)
    put(record / "log.txt", "the appliance's own")
    names = {file.path: file.size for file in archive.list_files(RUN)}
    assert names["report.csv"] == 12
    assert names["deep/x.txt"] == 700_000
    assert "log.txt" not in names
    assert b"".join(archive.open(RUN, "report.csv")) == b"city,people\n"
    assert len(b"".join(archive.open(RUN, "deep/x.txt"))) == 700_000


@pytest.mark.parametrize(
    "path",
    [
        "../../mallory/j2/secret", "/etc/passwd", "deep/../report.csv", "", ".", "..", "deep",
        "link", "links/shadow", "pipe", "deep//x.txt", "nothing", "a\0b", "x/" * 300, "up/j2/secret",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_run(archive, base, record, path):
    put(base / "runs" / "mallory" / "j2" / "secret", "another's")
    put(record / "report.csv", "mine")
    for name, target in (("link", "/etc/passwd"), ("links", "/etc"), ("up", "../../mallory")):
        if not (record / name).is_symlink():
            (record / name).symlink_to(target)
    if not (record / "pipe").exists():
        os.mkfifo(record / "pipe")
    with pytest.raises(NotFoundError):
        archive.open(RUN, path)
    assert not {"link", "links", "pipe"} & {file.path for file in archive.list_files(RUN)}


def test_a_record_that_is_a_link_is_none(archive, base):
    link = base / "runs" / "anna" / "j7"
    link.symlink_to(base / "runs" / "mallory" / "j2")
    assert archive.list_files(Run(id="j7", owner="anna")) == []


@pytest.mark.parametrize("folder", ["/runs/mallory/j2", "/runs/anna/j1/../../mallory/j2", "/etc"])
def test_a_run_has_no_other_folder_than_its_own(archive, folder):
    with pytest.raises(NotFoundError):
        archive.open(Run(id="j1", owner="anna", folder=folder), "secret")


@pytest.mark.skipif(not IS_ROOT, reason="needs two accounts")
def test_what_the_owner_may_not_read_is_not_read(archive, record):
    (record / "roots.txt").write_text("secret")
    (record / "roots.txt").chmod(0o600)
    with pytest.raises(NotFoundError):
        archive.open(RUN, "roots.txt")


def test_cells_show_what_failed_and_what_came_out(archive, record):
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no\x1b[31m", "traceback": []}
    printed = {"output_type": "stream", "name": "stdout", "text": ["12 rows\n"]}
    cells = [
        {"cell_type": "markdown", "source": "# Title"},
        {"cell_type": "code", "source": "", "outputs": []},
        {"cell_type": "code", "source": "p = 1", "metadata": {"tags": ["injected-parameters"]}},
        {"cell_type": "code", "id": "abc", "source": ["a()\n", "b()"], "outputs": [printed]},
        {"cell_type": "code", "id": "def", "source": "c()", "outputs": [error]},
    ]
    put(record / "a-output.ipynb", json.dumps({"cells": cells, "nbformat": 4}))
    first, second = archive.list_cells(RUN)
    assert (first.number, first.source, first.text) == (1, "a()\nb()", "12 rows\n")
    assert (second.number, second.id, second.failed) == (2, "def", True)
    assert second.text == "ValueError: no"
    for broken in ("[]", "{", '{"cells": 5}', '{"cells": [5, null, {"cell_type": []}]}'):
        put(record / "a-output.ipynb", broken)
        assert archive.list_cells(RUN) == []


def test_a_login_is_one_persons_alone(archive, base):
    answer, _ = ask_homes(base / "s", {"do": "login", "person": "anna"})
    assert answer == {"password": role_password("k" * 64, "anna")}
    for name in ("vixtract", "postgres", "..", "", "bi"):
        with pytest.raises(NotFoundError):
            ask_homes(base / "s", {"do": "login", "person": name})


def test_a_homes_server_that_is_away_is_said(tmp_path):
    with pytest.raises(AwayError):
        Archive(tmp_path / "none").open(RUN, "x")
