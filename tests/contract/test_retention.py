"""Old runs go from the ledger, with their logs and folders; a runner that is away delays only that."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from vixtract.ledger.database import Database
from vixtract.ledger.history import list_trash
from vixtract.ledger.runs import NewRun, Outcome, add_run, finish_run
from vixtract.runner.config import RunnerConfig
from vixtract.runner.daemon import Runner
from vixtract.runner.protocol import parse_request
from vixtract.scheduler.config import EngineConfig
from vixtract.scheduler.retention import Retention


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "ledger.sqlite3")
    for n in range(6):
        job = {"title": "Sales", "params": {}}
        add_run(database, NewRun(f"j{n}", "e1", "anna", "x", None, 1.0, job, "vera"))
        finish_run(database, f"j{n}", Outcome("succeeded", 0, "", time.time()))
        (tmp_path / f"j{n}.log").write_text("x")
    yield database
    database.close()


@pytest.fixture
def retention(database, tmp_path):
    config = EngineConfig(
        api_key="x", data_dir=tmp_path, keep_runs=2, runner_socket=tmp_path / "r.sock"
    )
    return Retention(config, database, lambda run: tmp_path / f"{run}.log", time.time)


@contextmanager
def played_runner(path: Path, last: dict):
    """Take requests as the runner does, checked by its own rules."""
    seen = []
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen(8)

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    seen.append(parse_request(connection.recv(65536)))
                    connection.sendall(json.dumps(last).encode() + b"\n")

        threading.Thread(target=serve, daemon=True).start()
        yield seen


def test_folders_wait_for_a_runner_that_is_away(retention, database, tmp_path):
    assert retention.delete() == 4
    assert sorted(path.name for path in tmp_path.glob("*.log")) == ["j4.log", "j5.log"]
    assert retention.remove_folders() is False
    assert len(list_trash(database)) == 4
    end = {"type": "end", "code": 0, "description": "1 folders deleted."}
    with played_runner(tmp_path / "r.sock", end) as seen:
        assert retention.remove_folders() is False
    assert [(r.kind, r.job, r.owner) for r in seen] == [
        ("remove", f"j{n}", "vera") for n in range(4)
    ]
    assert list_trash(database) == []


def test_a_folder_that_cannot_be_deleted_is_not_asked_for_forever(retention, database, tmp_path):
    retention.delete()
    refused = {"type": "refused", "description": "It is no person's.", "hint": ""}
    with played_runner(tmp_path / "r.sock", refused):
        retention.remove_folders()
    assert list_trash(database) == []


def test_a_folder_is_asked_for_again_when_the_runner_had_no_room(retention, database, tmp_path):
    retention.delete()
    runner = Runner(RunnerConfig(socket_path=tmp_path / "r.sock"))
    with played_runner(tmp_path / "r.sock", dict(runner.refusal("busy"))) as seen:
        assert retention.remove_folders() is True
    assert len(seen) == 1 and len(list_trash(database)) == 4
    assert not runner.refusal("stranger")["busy"]


def test_nothing_is_deleted_right_after_a_start(retention, database):
    retention.start()
    time.sleep(0.5)
    assert list_trash(database) == []
    assert len(database.rows("SELECT id FROM run")) == 6
    retention.stop()


def test_old_runs_are_deleted_in_a_thread_that_ends(retention, database, tmp_path, monkeypatch):
    monkeypatch.setattr("vixtract.scheduler.retention.EVERY_S", 0.1)
    monkeypatch.setattr("vixtract.scheduler.retention.AGAIN_S", 0.1)
    with played_runner(tmp_path / "r.sock", {"type": "end", "code": 0}) as seen:
        retention.start()
        deadline = time.monotonic() + 10
        while (len(seen) < 4 or list_trash(database)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(seen) == 4 and list_trash(database) == []
        begun = time.monotonic()
        retention.stop()
        assert time.monotonic() - begun < 1 and not retention._thread.is_alive()
    assert len(database.rows("SELECT id FROM run")) == 2
