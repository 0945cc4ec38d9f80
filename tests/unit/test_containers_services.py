"""Keeping the processes of a container running: start, pauses, order of the stop, deadlines."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.waiting import wait_until
from vixtract.containers import cronicle, services
from vixtract.containers.cronicle import limit_rate
from vixtract.containers.services import Service, ServiceKeeper, describe_exit, run_container
from vixtract.errors import SettingsError, UsageError

SOURCE = Path(__file__).parents[2] / "src"


def shell(name, program, **options):
    return Service(name, ("/bin/sh", "-c", program), {"PATH": "/usr/bin:/bin"}, **options)


def run(keeper, until):
    """Run a keeper in this thread until a condition holds; return the exit code."""

    def stop():
        try:
            wait_until(until, "what the test waits for", 20)
        finally:
            signal.raise_signal(signal.SIGTERM)

    waiting = threading.Thread(target=stop)
    waiting.start()
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        return keeper.run()
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
        waiting.join(20)


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_services_are_stopped_in_the_opposite_order_of_their_start(tmp_path):
    log = tmp_path / "log"
    program = "trap 'echo {0} >> {1}; exit' TERM; touch {1}.{0}; while :; do sleep 0.05; done"
    kept = [shell(name, program.format(name, log)) for name in ("vault", "runner", "engine")]
    keeper = ServiceKeeper(
        tuple(kept),
        before_stop=lambda: log.write_text("stopping\n"),
        after_stop=lambda: log.write_text(log.read_text() + "after\n"),
    )
    there = [tmp_path / f"log.{name}" for name in ("vault", "runner", "engine")]
    assert run(keeper, lambda: all(path.exists() for path in there)) == 0
    assert lines(log) == ["stopping", "engine", "runner", "vault", "after"]


def test_a_service_that_ends_early_waits_longer_each_time_and_runs_its_steps(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(services, "PERIOD_S", 0.01)
    monkeypatch.setattr(services, "SHORTEST_PAUSE_S", 0.05)
    monkeypatch.setattr(services, "LONGEST_PAUSE_S", 0.3)
    steps = []
    service = shell(
        "engine",
        f"echo start >> {tmp_path}/log; exit 7",
        before_start=lambda: steps.append("before"),
        after_end=lambda: steps.append("after"),
    )
    run(ServiceKeeper((service,)), lambda: len(lines(tmp_path / "log")) >= 4)
    pauses = [record.args[2] for record in caplog.records if "ended with" in record.getMessage()]
    assert pauses[:4] == [0.1, 0.2, 0.3, 0.3][: len(pauses[:4])] and len(pauses) >= 3
    assert "The engine ended with code 7" in caplog.text
    assert steps[:4] == ["before", "after", "before", "after"]


def test_a_stable_service_is_started_again_at_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(services, "PERIOD_S", 0.01)
    service = shell("engine", f"echo start >> {tmp_path}/log; sleep 0.3", stable_s=0.1)
    run(ServiceKeeper((service,)), lambda: len(lines(tmp_path / "log")) >= 3)
    pauses = {record.args[2] for record in caplog.records if "ended with" in record.getMessage()}
    assert pauses == {services.SHORTEST_PAUSE_S}


def test_a_program_that_is_missing_does_not_end_the_others(tmp_path, caplog):
    missing = Service("vault", (str(tmp_path / "absent"),), {})
    other = shell("runner", f"touch {tmp_path}/there; exec sleep 60")
    assert run(ServiceKeeper((missing, other)), (tmp_path / "there").exists) == 0
    assert "The vault could not be started: " in caplog.text


def test_a_stopped_service_is_killed_at_its_deadline(tmp_path, caplog):
    service = shell("engine", f"touch {tmp_path}/there; kill -STOP $$; sleep 60", stop_s=0.3)
    started = time.monotonic()
    assert run(ServiceKeeper((service,)), (tmp_path / "there").exists) == 0
    assert time.monotonic() - started < 15
    assert "The engine did not end in 0 s and is killed" in caplog.text


def test_services_see_their_environment_alone_and_hear_no_signal_of_the_container(tmp_path):
    program = (
        f"env > {tmp_path}/env; umask > {tmp_path}/umask; ps -o sid= $$ > {tmp_path}/sid; sleep 60"
    )
    service = shell("engine", program, umask=0o027, cwd=tmp_path)
    run(ServiceKeeper((service,)), lambda: lines(tmp_path / "sid"))
    found = dict(line.split("=", 1) for line in lines(tmp_path / "env"))
    assert set(found) <= {"PATH", "PWD", "SHLVL", "_", "OLDPWD"}
    assert found["PWD"] == str(tmp_path)
    assert lines(tmp_path / "umask") == ["0027"]


def test_a_container_that_cannot_start_says_why_and_ends_with_3_or_more(capsys):
    def refuse():
        raise SettingsError("MAX_JOBS is wrong.", "Correct it.")

    def misuse():
        raise UsageError("No.", "")

    assert run_container(refuse) == 3
    assert capsys.readouterr().err == "MAX_JOBS is wrong.\nCorrect it.\n"
    # 2 would be read as a wrong call of the container.
    assert run_container(misuse) == 3


@pytest.mark.parametrize(
    ("code", "words"), [(1, "code 1"), (0, "code 0"), (-9, "SIGKILL"), (-40, "signal 40")]
)
def test_exit_codes_are_put_into_words(code, words):
    assert describe_exit(code) == words


def test_a_full_disk_does_not_keep_services_from_their_stop(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(cronicle, "EDGE", tmp_path)
    cronicle.mark_stopping()
    assert (tmp_path / "stopping").read_text() == ""

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cronicle, "write_whole", fail)
    cronicle.mark_stopping()
    assert "No space left" in caplog.text


def test_a_step_is_carried_out_once_in_a_period():
    calls = []
    step = limit_rate(lambda: calls.append(time.monotonic()), 0.2)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        step()
        time.sleep(0.01)
    assert 2 <= len(calls) <= 3
    assert all(later - earlier >= 0.2 for earlier, later in zip(calls, calls[1:], strict=False))


def test_main_process_ends_with_its_services():
    script = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r});"
        "from vixtract.containers.services import *;"
        "s = Service('engine', ('/bin/sleep', '60'), {});"
        "k = ServiceKeeper((s,), on_period=lambda: print('up', flush=True));"
        "sys.exit(k.run())"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0
