"""The daemon and its fork server: a connection handed over, ends told, and a server that is gone."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.waiting import wait_until
from vixtract.processes import tree
from vixtract.runner.config import RunnerConfig
from vixtract.runner.fork_client import ForkServer

SOURCE = Path(__file__).parents[2] / "src"
# The real server's loop without the image's libraries; a supervisor does what its peer says.
CODE = f"""
import os, pickle, signal, socket, sys
sys.path.insert(0, {str(SOURCE)!r})
from vixtract.runner import forkserver
def supervise(connection, config):
    word = connection.recv(10)
    if word == b"stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    connection.sendall(str(config.memory_mb).encode())
    os._exit(int(word))
forkserver.supervise = supervise
control = socket.socket(fileno=int(sys.argv[1]))
with os.fdopen(int(sys.argv[2]), "rb") as pipe:
    config = pickle.load(pipe)
forkserver.send(control, ready=True)
forkserver.serve(control, config)
"""


@pytest.fixture
def server():
    """A fork server that is ready."""
    server = ForkServer(RunnerConfig(memory_mb=321, fork_server=(sys.executable, "-c", CODE)))
    wait_until(lambda: server.keep() or server.sockets, "the fork server", interval_s=0.05)
    yield server
    if server.pid:
        server.kill()
        server.ended(tree.wait_for(server.pid, 20) or 0)


def hand_over(server: ForkServer, word: bytes) -> tuple[int | None, socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        pid = server.hand_over(theirs)
    ours.settimeout(20)
    ours.sendall(word)
    return pid, ours


def test_a_connection_gets_a_supervisor_and_its_end_is_told(server):
    pid, ours = hand_over(server, b"7")
    with ours:
        assert ours.recv(10) == b"321"
    assert pid > 0
    assert wait_until(server.collect, "its end", interval_s=0.02) == {pid: 7}


def test_ends_that_come_before_an_answer_are_kept(server):
    first, one = hand_over(server, b"0")
    with one:
        assert one.recv(10) == b"321"
        wait_until(lambda: not tree.read_stat(first), "its end", interval_s=0.02)
        second, other = hand_over(server, b"3")
        with other:
            assert other.recv(10) == b"321"
    ended: dict[int, int] = {}
    wait_until(lambda: ended.update(server.collect()) or len(ended) == 2, "both", interval_s=0.02)
    assert ended == {first: 0, second: 3}


def test_a_stopped_fork_server_is_ended_and_runs_start_cold(server, monkeypatch):
    monkeypatch.setattr("vixtract.runner.fork_client._ANSWER_S", 0.5)
    pid = server.pid
    os.kill(pid, signal.SIGSTOP)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert server.hand_over(theirs) is None
        assert tree.wait_for(pid, 20) == -signal.SIGKILL
        server.ended(-signal.SIGKILL)
        assert server.hand_over(theirs) == 0
    assert server.pid == 0
