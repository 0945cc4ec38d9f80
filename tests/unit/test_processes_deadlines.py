"""No wait of root's is endless: a child that stops itself is ended, a peer that falls silent left."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import wait_until
from vixtract.processes import spawn, tree
from vixtract.processes.person import Person
from vixtract.processes.questions import UnansweredError, ask, connect, receive_line
from vixtract.processes.server import QuestionServer, ServerConfig
from vixtract.processes.usage import read_processes
from vixtract.runner.plugin import Plugin
from vixtract.runner.prepared import PreparedProcess
from vixtract.vault.isolated_test import IsolatedTest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming people needs root")
# Beyond any account of the machine that runs the tests.
UID = 48600 + os.getpid() % 500


def stop_itself(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)


def is_there(pid: int) -> bool:
    return bool(tree.read_stat(pid))


def is_listened_on(path: Path) -> bool:
    """Say whether a server listens: between bind and listen connections are refused."""
    rows = (line.split() for line in Path("/proc/net/unix").read_text("utf-8").splitlines())
    # __SO_ACCEPTCON
    return any(row[3] == "00010000" and row[-1] == str(path) for row in rows)


class Slow(QuestionServer):
    """Does what a question says."""

    def reply(self, question, peer):
        if question.get("do") == "stop":
            stop_itself()
        return {"uid": peer.uid, "pid": os.getpid()}, ()


@pytest.fixture
def server(tmp_path):
    """A server as a process, whose children may take a second."""
    config = ServerConfig(
        tmp_path / "s",
        max_children=4,
        max_of_account=3,
        question_s=1.0,
        answer_s=1.0,
        max_question=4096,
    )
    pid = os.fork()
    if pid == 0:
        try:
            Slow(config).run()
        finally:
            os._exit(0)
    wait_until(lambda: is_listened_on(config.path), "the server", interval_s=0.02)
    yield config.path
    os.kill(pid, signal.SIGTERM)
    assert tree.wait_for(pid, 10) == 0
    assert not config.path.exists()


def test_a_child_that_stops_itself_is_killed_and_the_server_goes_on(server):
    started = time.monotonic()
    with pytest.raises(UnansweredError):
        ask(server, {"do": "stop"}, timeout_s=20)
    assert time.monotonic() - started < 15
    assert ask(server, {}, timeout_s=20)["uid"] == os.getuid()


def test_a_peer_that_sends_half_a_line_is_left(server):
    with connect(server, timeout_s=20) as connection:
        connection.sendall(b'{"do":')
        started = time.monotonic()
        assert connection.recv(100) == b""
        assert time.monotonic() - started < 15


def test_silent_peers_of_one_account_do_not_take_all_places(server):
    held = [connect(server, timeout_s=20) for _ in range(3)]
    try:
        answer = ask(server, {}, timeout_s=20)
        assert answer["busy"], answer
        # Their time is over: whoever asks again gets a place.
        assert ask(server, {}, timeout_s=20, patience_s=20)["uid"] == os.getuid()
    finally:
        for connection in held:
            connection.close()


def test_a_question_that_is_too_long_gets_no_place_for_long(server):
    with connect(server, timeout_s=20) as connection:
        try:
            connection.sendall(b"x" * 10_000_000)
            assert connection.recv(100) == b""
        except OSError as error:
            # The server hung up in the middle.
            assert error.errno in (errno.EPIPE, errno.ECONNRESET)
    assert ask(server, {}, timeout_s=20)["uid"] == os.getuid()


@contextmanager
def refusing_server(path: Path, refusal: bytes):
    """Answer one connection at once, before its question has come, and close it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                # The question fills the socket's buffer by then: its end meets a closed socket.
                time.sleep(0.2)
                connection.sendall(refusal)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(20)


def test_a_refusal_in_the_middle_of_a_long_question_is_heard(tmp_path):
    with refusing_server(tmp_path / "s", b'{"busy":true}\n'):
        assert ask(tmp_path / "s", {"text": "x" * 1_500_000}, timeout_s=20) == {"busy": True}
    (tmp_path / "s").unlink()
    refusal = b'{"type":"refused","description":"64 runs.","hint":"Try later."}\n'
    lines = []
    job = {"id": "j1", "username": "anna", "params": {"script": "x" * 1_500_000}}
    with refusing_server(tmp_path / "s", refusal):
        assert Plugin("shell", tmp_path / "s", lines.append).run(json.dumps(job)) == 0
    assert lines == [{"complete": 1, "code": 1, "description": "64 runs. Try later."}]


def test_a_full_queue_of_connections_is_waited_for(tmp_path):
    path, config = tmp_path / "s", ServerConfig(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        held = [connect(path, timeout_s=20) for _ in range(2)]
        with pytest.raises(UnansweredError):
            ask(path, {}, timeout_s=20)

        def serve() -> None:
            for _ in held:
                listener.accept()[0].close()
            connection, _ = listener.accept()
            with connection:
                receive_line(connection, 20, limit=config.max_question)
                connection.sendall(b'{"uid":1}\n')

        threading.Timer(0.5, serve).start()
        assert ask(path, {}, timeout_s=20, patience_s=20) == {"uid": 1}
        for connection in held:
            connection.close()


@contextmanager
def played_server(path: Path, *parts: bytes):
    """Answer one connection with these bytes and keep it open."""
    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                for part in parts:
                    connection.sendall(part)
                done.wait(60)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        done.set()
        thread.join(20)


@pytest.mark.parametrize("parts", [(), (b'{"half":',), (b"[1]\n",), (b"no JSON\n",)])
def test_a_server_that_answers_half_a_line_or_nonsense_is_left(tmp_path, parts):
    with played_server(tmp_path / "s", *parts):
        started = time.monotonic()
        with pytest.raises(UnansweredError):
            ask(tmp_path / "s", {}, timeout_s=0.5)
        assert time.monotonic() - started < 15


def test_drops_of_a_line_do_not_prolong_the_wait():
    ours, theirs = socket.socketpair()
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.1):
            theirs.send(b"x")

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    with ours, theirs:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            receive_line(ours, 0.6)
        assert time.monotonic() - started < 15
        stop.set()
        thread.join(20)


def test_a_process_that_is_stopped_before_its_program_is_killed(monkeypatch):
    monkeypatch.setattr(spawn, "START_S", 0.5)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        stop_itself()
    os.close(writer)
    with pytest.raises(spawn.SpawnError, match="it was stopped"):
        spawn.wait_for_start(pid, reader)
    assert not is_there(pid)


def test_what_is_computed_apart_by_a_stopped_process_is_nothing():
    assert spawn.compute_apart(lambda: b"x" * 200_000, 20) == b"x" * 200_000
    started = time.monotonic()
    assert spawn.compute_apart(stop_itself, 0.5) == b""
    assert spawn.compute_apart(lambda: bytes(-1), 20) == b""
    assert time.monotonic() - started < 15


def test_a_prepared_process_that_is_stopped_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr(spawn, "START_S", 0.5)
    prepared = PreparedProcess(lambda _: os._exit(0))
    pid = next(child for child in tree.descendants(os.getpid()) if is_mine(child))
    os.kill(pid, signal.SIGSTOP)
    null = os.open(os.devnull, os.O_RDWR)
    person = Person("anna", UID, tmp_path)
    command = spawn.ProcessSpec(
        ["/bin/true"], {}, tmp_path, person, null, stdin=null, progress=null
    )
    with pytest.raises(spawn.SpawnError, match="it was stopped"):
        prepared.start(command)
    os.close(null)
    assert not is_there(pid)


def is_mine(pid: int) -> bool:
    return tree.parent(pid) == os.getpid() and not tree.is_ending(pid)


# Each stops what may be the killer: all of its own account, or the newest processes of all.
STOP_OWN = f"""import os, signal
while True:
    for name in os.listdir('/proc'):
        try:
            if name.isdigit() and os.stat('/proc/' + name).st_uid == {UID}:
                int(name) == os.getpid() or os.kill(int(name), signal.SIGSTOP)
        except OSError:
            pass
"""
STOP_NEWEST = """import os, signal
while True:
    last = int(open('/proc/loadavg').read().split()[-1])
    for pid in range(last - 2, last + 3):
        try:
            pid == os.getpid() or os.kill(pid, signal.SIGSTOP)
        except OSError:
            pass
"""


@needs_root
@pytest.mark.parametrize("code", [STOP_OWN, STOP_NEWEST], ids=["own", "newest"])
def test_no_process_can_stop_its_killer(tmp_path, code):
    for _ in range(5):
        attackers = [
            subprocess.Popen(
                ["/usr/bin/python3", "-I", "-c", code], user=UID, group=UID, extra_groups=[]
            )
            for _ in range(2)
        ]
        wait_until(
            lambda: any(process.uid == UID for process in read_processes()),
            "them",
            interval_s=0.05,
        )
        assert spawn.kill_everything_of(Person("anna", UID, tmp_path))
        assert [attacker.wait(20) for attacker in attackers] == [-signal.SIGKILL] * 2


@needs_root
def test_a_person_who_stops_the_process_of_a_run_before_its_program_gains_nothing(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(spawn, "START_S", 1.0)
    # The folder is entered with the owner's rights, right before the program: a real place to stop.
    monkeypatch.setattr(os, "chdir", stop_itself)
    output = os.open(os.devnull, os.O_RDWR)
    command = spawn.ProcessSpec(["/bin/true"], {}, tmp_path, Person("anna", UID, tmp_path), output)
    with pytest.raises(spawn.SpawnError, match="it was stopped"):
        spawn.spawn(command)
    os.close(output)
    assert not [process for process in read_processes() if process.uid == UID]


@needs_root
def test_dropping_without_an_end_to_root_is_found(tmp_path):
    def attempt() -> bytes:
        person = Person("anna", UID, tmp_path)
        os.setresgid(UID, UID, UID)
        # The saved id stays root's: the way back.
        os.setresuid(UID, UID, 0)
        try:
            spawn.check_dropped(UID, UID)
        except spawn.SpawnError as error:
            os.setuid(0)
            spawn.drop_to(person)
            spawn.check_dropped(UID, UID)
            return error.message.encode()
        return b"not found"

    assert spawn.compute_apart(attempt, 20) == b"the identity did not change"


@needs_root
def test_a_service_has_its_account_and_no_other_rights():
    code = (
        "import os; print(os.getresuid(), os.getresgid(), os.getgroups());"
        "print(open('/proc/self/status').read().partition('NoNewPrivs:')[2].split()[0])"
    )
    process = spawn.start_service(
        ["/usr/bin/python3", "-I", "-c", code], {}, UID, stdout=subprocess.PIPE
    )
    output, _ = process.communicate(timeout=60)
    assert output.decode().split("\n")[:2] == [f"{(UID,) * 3} {(UID,) * 3} []", "1"]


def test_a_test_of_a_connection_that_stops_itself_is_late():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    tester = IsolatedTest(("/usr/bin/python3", "-I", "-c", code), timeout_s=1.0)
    started = time.monotonic()
    result = tester.run("http", {}, UID if os.geteuid() == 0 else os.getuid())
    assert result["code"] == "late"
    assert time.monotonic() - started < 15
