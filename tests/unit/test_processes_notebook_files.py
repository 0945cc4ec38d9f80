"""Opening notebooks of real people on a real file system: no way out of the home."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from vixtract.errors import RequestError
from vixtract.processes.notebook_files import (
    PINNED,
    copy_notebook,
    open_notebook,
    open_pinned,
    relative_parts,
)
from vixtract.processes.person import Person, acting_as, find_person
from vixtract.runner.config import check_author

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other people: needs root")
LIMIT = 1000


@pytest.fixture
def homes():
    """Homes of anna (42001) and bob (42002), as they are in the container."""
    root = Path(tempfile.mkdtemp(prefix="vixtract-homes-"))
    root.chmod(0o755)
    for name, uid in (("anna", 42001), ("bob", 42002)):
        home = root / name
        home.mkdir(mode=0o700)
        (home / "own.ipynb").write_text(f"{name}'s")
        for path in (home, home / "own.ipynb"):
            os.chown(path, uid, uid)
        (home / "own.ipynb").chmod(0o600)
    yield root
    shutil.rmtree(root)


def read(homes: Path, path: str, name: str = "anna") -> str:
    """Open and read a notebook as its owner, as the supervisor does."""
    person = find_person(name, homes)
    parts = relative_parts(path, person, homes)
    with acting_as(person), os.fdopen(open_notebook(person, parts, LIMIT)) as file:
        return file.read()


def refusal(homes: Path, path: str, name: str = "anna") -> str:
    with pytest.raises(RequestError) as error:
        read(homes, path, name)
    assert os.geteuid() == 0
    return error.value.message


def test_own_notebook_opens_by_relative_and_absolute_path(homes):
    assert read(homes, "own.ipynb") == "anna's"
    assert read(homes, f"{homes}/anna/own.ipynb") == "anna's"
    assert read(homes, "./own.ipynb") == "anna's"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("../bob/own.ipynb", "goes up"),
        ("a/../../bob/own.ipynb", "goes up"),
        ("/etc/passwd", "not in anna's home"),
        ("/", "not in anna's home"),
        (".", "home itself"),
        ("none.ipynb", "There is no none.ipynb"),
        ("no/deep/none.ipynb", "There is no no/deep/none.ipynb"),
        ("own.ipynb/x", "a file, not a directory"),
    ],
)
def test_paths_that_lead_elsewhere_are_refused(homes, path, words):
    assert words in refusal(homes, path)


def test_links_are_refused_at_every_level(homes):
    home = homes / "anna"
    (home / "link.ipynb").symlink_to(homes / "bob/own.ipynb")
    (home / "same.ipynb").symlink_to("own.ipynb")
    (home / "folder").symlink_to(homes / "bob")
    (home / "zero.ipynb").symlink_to("/dev/zero")
    (home / "loop.ipynb").symlink_to("loop.ipynb")
    for path in ("link.ipynb", "same.ipynb", "folder/own.ipynb", "zero.ipynb", "loop.ipynb"):
        assert "a symbolic link" in refusal(homes, path)


def test_special_files_are_refused_without_waiting(homes):
    home = homes / "anna"
    os.mkfifo(home / "pipe.ipynb")
    os.chown(home / "pipe.ipynb", 42001, 42001)
    (home / "folder.ipynb").mkdir()
    os.chown(home / "folder.ipynb", 42001, 42001)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "socket.ipynb"))
        assert "a named pipe" in refusal(homes, "pipe.ipynb")
        assert "a directory" in refusal(homes, "folder.ipynb")
        assert "a socket" in refusal(homes, "socket.ipynb")


def test_size_and_rights_are_checked(homes):
    home = homes / "anna"
    for name, size in (("empty.ipynb", 0), ("big.ipynb", LIMIT + 1)):
        (home / name).write_bytes(b"x" * size)
        os.chown(home / name, 42001, 42001)
    assert "empty" in refusal(homes, "empty.ipynb")
    assert "limit" in refusal(homes, "big.ipynb")
    # A hard link needs no right to read; the owner's rights decide.
    os.link(homes / "bob/own.ipynb", home / "his.ipynb")
    assert "anna may not read his.ipynb" in refusal(homes, "his.ipynb")


def test_a_notebook_that_grows_while_it_is_copied_is_refused(homes, tmp_path):
    home = homes / "anna"
    source = os.open(home / "own.ipynb", os.O_RDONLY)
    (home / "own.ipynb").write_bytes(b"x" * (LIMIT + 1))
    directory = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(RequestError):
        copy_notebook(source, directory, "input.ipynb", LIMIT)
    os.close(directory)


def test_only_homes_of_people_count(homes):
    (homes / "service").mkdir()
    (homes / "file").write_text("")
    os.chown(homes / "file", 2003, 2003)
    (homes / "link").symlink_to(homes / "anna")
    for name in ("service", "file", "link", "nobody"):
        with pytest.raises(RequestError):
            find_person(name, homes)
    assert find_person("bob", homes) == Person("bob", 42002, homes / "bob")


def test_who_may_run_whose():
    check_author("anna", "anna", ())
    check_author("vixtract", "anna", ())
    check_author("bob", "anna", {"bob"})
    with pytest.raises(RequestError):
        check_author("bob", "anna", {"anna"})


def test_acting_as_a_person_nests_and_gives_root_back(homes):
    person = find_person("anna", homes)
    with acting_as(person):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (42001, 42001, [42001])
        with acting_as(person), pytest.raises(PermissionError):
            (homes / "bob" / "own.ipynb").read_text()
        assert os.geteuid() == 42001
    assert (os.geteuid(), os.getegid()) == (0, 0)


def pin(homes: Path, content: str) -> str:
    """Put a pinned copy into anna's home; return its digest."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    folder = homes.joinpath("anna", *PINNED)
    folder.mkdir(parents=True)
    (folder / f"{digest}.ipynb").write_text(content)
    for path in (*homes.joinpath("anna").rglob("*"),):
        os.chown(path, 42001, 42001)
    return digest


def test_a_pinned_copy_is_opened_by_its_content(homes):
    digest = pin(homes, "as it was")
    person = find_person("anna", homes)
    with acting_as(person), os.fdopen(open_pinned(person, digest, LIMIT)) as file:
        assert file.read() == "as it was"


def test_a_pinned_copy_that_was_changed_or_removed_is_refused(homes):
    digest = pin(homes, "as it was")
    person = find_person("anna", homes)
    copy = homes.joinpath("anna", *PINNED, f"{digest}.ipynb")
    copy.write_text("something else")
    with acting_as(person), pytest.raises(RequestError, match="was changed after"):
        open_pinned(person, digest, LIMIT)
    copy.unlink()
    with acting_as(person), pytest.raises(RequestError, match="not found"):
        open_pinned(person, digest, LIMIT)
    copy.symlink_to(homes / "bob" / "own.ipynb")
    with acting_as(person), pytest.raises(RequestError, match="symbolic link"):
        open_pinned(person, digest, LIMIT)
