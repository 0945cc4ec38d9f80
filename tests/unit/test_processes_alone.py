"""Identity changes below `processes/` alone: no other file of `src` has a system call for it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.syntax import list_nodes

SOURCE = Path(__file__).parents[2] / "src" / "vixtract"
FILES = sorted(SOURCE.rglob("*.py"))
HOME = "processes/"
IDENTITY = {
    *("setuid", "setgid", "setgroups", "seteuid", "setegid", "setreuid", "setregid"),
    *("setresuid", "setresgid", "initgroups", "setfsuid", "setfsgid", "prctl", "unshare", "setns"),
}
PEERS = {"SO_PEERCRED", "SO_PEERGROUPS", "SO_PEERPIDFD"}
FORKS = {"fork", "forkpty", "posix_spawn", "posix_spawnp"}
SOCKETS = {"AF_UNIX"}
STARTERS = {"Popen", "run", "call", "check_call", "check_output"}
ACCOUNT_OPTIONS = {"user", "group", "extra_groups", "preexec_fn"}

# What stands elsewhere, with its reason.
ALLOWED = {
    # The process comes from one that has all libraries in memory, which is what a warm start is.
    ("runner/prepared.py", "fork"),
    ("runner/forkserver.py", "fork"),
    ("notebooks/warm/in_process.py", "fork"),
    # chmod runs in a team's group, or the kernel takes the set-group bit away; it stays root's.
    # `processes` imports `people`, so this cannot stand there.
    ("people/accounts.py", "group"),
    # The pair between the daemon and its fork server, which keeps the borders of messages.
    ("runner/fork_client.py", "AF_UNIX"),
    # HTTP to Cronicle Edge, which asks for a key.
    ("cronicle_edge/upstream.py", "AF_UNIX"),
}


def find_words(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    """Yield line and name of everything that may change identity or ask who a peer is."""
    words = IDENTITY | PEERS | FORKS | SOCKETS
    for node in nodes:
        name = ""
        if isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.Name) and node.id not in FORKS:
            # A plain `fork` is an argument of ours; its import would be found.
            name = node.id
        elif isinstance(node, ast.alias):
            name = node.name.rpartition(".")[2]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value
        if name in words or name.lstrip("_").startswith(("PR_SET_", "PR_CAP")):
            yield getattr(node, "lineno", 0), name
        if isinstance(node, ast.Call):
            called = node.func
            starter = called.attr if isinstance(called, ast.Attribute) else ""
            starter = called.id if isinstance(called, ast.Name) else starter
            owner = called.value if isinstance(called, ast.Attribute) else None
            is_subprocess = isinstance(owner, ast.Name) and owner.id == "subprocess"
            if starter in STARTERS and (is_subprocess or starter == "Popen"):
                for keyword in node.keywords:
                    if keyword.arg in ACCOUNT_OPTIONS:
                        yield node.lineno, keyword.arg


def test_identity_changes_in_processes_alone():
    names = {path.relative_to(SOURCE).as_posix(): path for path in FILES}
    found = [
        f"{name}:{line}: {word}"
        for name, path in names.items()
        if not name.startswith(HOME)
        for line, word in find_words(list_nodes(path))
        if (name, word) not in ALLOWED
    ]
    assert len(names) > 200 and not found, "use vixtract.processes:\n" + "\n".join(found)


def test_processes_itself_has_what_is_looked_for():
    found = {
        word
        for path in FILES
        if path.relative_to(SOURCE).as_posix().startswith(HOME)
        for _, word in find_words(list_nodes(path))
    }
    assert found >= {
        *("setuid", "setgroups", "setresuid", "setresgid", "seteuid", "prctl", "fork", "AF_UNIX"),
        *("SO_PEERCRED", "preexec_fn", "user", "group", "extra_groups"),
        "_PR_SET_NO_NEW_PRIVS",
    }


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os\nos.setuid(5)", ["setuid"]),
        ("from os import setresgid", ["setresgid"]),
        ("getattr(os, 'setgroups')([])", ["setgroups"]),
        ("ctypes.CDLL(None).prctl(1, 15)", ["prctl"]),
        ("_PR_SET_DUMPABLE = 4", ["_PR_SET_DUMPABLE"]),
        ("subprocess.run(['id'], user=5)", ["user"]),
        ("Popen(['id'], extra_groups=[], preexec_fn=f)", ["extra_groups", "preexec_fn"]),
        ("if os.fork() == 0: pass", ["fork"]),
        ("s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)", ["SO_PEERCRED"]),
        ("with socket.socket(socket.AF_UNIX) as s: pass", ["AF_UNIX"]),
        ("subprocess.run(['id'], timeout=5); connect(user='anna')", []),
    ],
)
def test_the_look_finds_each_way(code, words):
    assert [word for _, word in find_words(ast.walk(ast.parse(code)))] == words
