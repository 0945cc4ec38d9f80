"""The runner daemon as a real process, with people's homes in a directory of the test."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other people: needs root")
SOURCE = Path(__file__).parents[2] / "src"
# Another run of these tests on this machine has others: all processes of a uid are looked at.
ANNA = 42001 + 2 * (os.getpid() % 5000)
BOB = ANNA + 1
DAEMON = """
import logging, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from vixtract.runner.config import RunnerConfig
from vixtract.runner.daemon import Runner
logging.basicConfig(level=logging.INFO)
root = Path(sys.argv[2])
Runner(RunnerConfig(
    socket_path=root / "run/runner.sock", home_root=root / "home", runs_root=root / "runs",
    tmp_root=root / "tmp", secrets_dir=root / "secrets", engine_uid=990, engine_gid=990,
    max_connections=4, grace_s=0.3, log_bytes=100_000, memory_mb=500, timeout_s=20, file_bytes=2_000_000,
    driver=("/usr/bin/python3", "-I", str(root / "driver.py")), jobs_bin=root,
    environment={"TZ": "Europe/Moscow"},
)).run()
"""
# Stands for the driver, whose libraries a test's people cannot read; it obeys the notebook's text.
DRIVER = """
import json, os, sys
job = json.load(sys.stdin)
report = os.fdopen(int(os.environ["VIXTRACT_PROGRESS_FD"]), "w", buffering=1)
exec(open(job["input"]).read())
"""


class Daemon:
    """A runner with its directories."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.jobs = 0
        self.process = self.start()

    def start(self) -> subprocess.Popen:
        with (self.root / "daemon.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", DAEMON, str(SOURCE), str(self.root)],
                stderr=log,
                env={"PATH": "/usr/bin:/bin", "SECRET": "root's own", "LANG": "C.UTF-8"},
                start_new_session=True,
            )
        path = self.root / "run/runner.sock"
        wait_until(lambda: path.exists() and self.ping(), "the socket", interval_s=0.05)
        return process

    def ping(self) -> bool:
        with self.connect() as connection:
            connection.sendall(b'{"kind":"ping"}\n')
            return follow(connection)[0]["code"] == 0

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        try:
            connection.connect(str(self.root / "run/runner.sock"))
        except OSError:
            connection.close()
            raise
        return connection

    def request(self, kind: str, content: str, **fields: object) -> dict:
        self.jobs += 1
        request = {
            "kind": kind,
            "job": f"j{self.jobs}",
            "owner": "anna",
            "author": "anna",
            **fields,
        }
        if kind == "shell":
            return {**request, "script": content}
        path = self.root / "home/anna/test.ipynb"
        path.write_text(content)
        os.chown(path, ANNA, ANNA)
        return {**request, "notebook": "test.ipynb"}

    def run(self, kind: str, content: str, **fields: object) -> tuple[dict, str]:
        """Run to the end; returns the last event and the log."""
        with self.connect() as connection:
            connection.sendall(json.dumps(self.request(kind, content, **fields)).encode() + b"\n")
            return follow(connection)

    def processes(self) -> list[str]:
        """Command lines of anna's processes."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and entry.stat().st_uid == ANNA:
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found


def follow(connection: socket.socket) -> tuple[dict, str]:
    """Read events to the last; returns it and the log."""
    log = b""
    with connection.makefile("rb") as lines:
        for line in lines:
            event = json.loads(line)
            if event["type"] == "log":
                log += base64.b64decode(event["data"])
            elif event["type"] in ("end", "refused"):
                return event, log.decode()
    raise AssertionError(f"the connection broke; log: {log!r}")


@pytest.fixture(scope="module")
def daemon():
    root = Path(tempfile.mkdtemp(prefix="vixtract-runner-"))
    root.chmod(0o755)
    for name, mode in (("home", 0o755), ("runs", 0o711), ("tmp", 0o711), ("secrets", 0o700)):
        (root / name).mkdir()
        (root / name).chmod(mode)
    for name, uid in (("anna", ANNA), ("bob", BOB)):
        (root / "home" / name).mkdir(mode=0o700)
        os.chown(root / "home" / name, uid, uid)
    (root / "driver.py").write_text(DRIVER)
    running = Daemon(root)
    yield running
    running.process.terminate()
    assert running.process.wait(15) == 0
    shutil.rmtree(root)


@pytest.mark.slow
def test_everybody_with_a_home_finds_a_place_for_runs(daemon):
    def owner_of(name):
        status = (daemon.root / "runs" / name).stat()
        return status.st_uid, stat.S_IMODE(status.st_mode)

    assert wait_until(lambda: owner_of("bob"), "bob's place") == (BOB, 0o700)
    home = daemon.root / "home/carl"
    home.mkdir(mode=0o700)
    time.sleep(1.5)  # the daemon has looked at a home that is still root's
    os.chown(home, 42003, 42003)
    (daemon.root / "home/lost+found").mkdir()
    assert wait_until(lambda: owner_of("carl"), "carl's place") == (42003, 0o700)
    assert not (daemon.root / "runs/lost+found").exists()


def test_process_has_dropped_everything_of_root(daemon):
    end, log = daemon.run(
        "notebook",
        "print(os.getresuid(), os.getresgid(), os.getgroups(), oct(os.umask(0)))\n"
        "print(sorted(map(int, os.listdir('/proc/self/fd'))), os.getcwd(), os.getsid(0) == os.getpid())\n"
        "print([l.split()[1] for l in open('/proc/self/status') if l[:6] in ('CapEff', 'CapPrm', 'NoNewP')])\n"
        "print(sorted(os.environ), os.environ['TZ'])",
    )
    assert end["code"] == 0, log
    assert f"({ANNA}, {ANNA}, {ANNA}) ({ANNA}, {ANNA}, {ANNA}) [{ANNA}] 0o77" in log
    assert f"[0, 1, 2, 3, 321] {end['run_dir']} True" in log
    assert "['0000000000000000', '0000000000000000', '1']" in log
    assert "SECRET" not in log
    assert "Europe/Moscow" in log


def test_record_belongs_to_the_owner_and_the_input_is_gone(daemon):
    end, _ = daemon.run(
        "notebook", "report.write(json.dumps({'result': {'cells_total': 2}}) + '\\n')"
    )
    run_dir = Path(end["run_dir"])
    assert sorted(path.name for path in run_dir.iterdir()) == ["log.txt", "run.json"]
    assert {(p.stat().st_uid, p.stat().st_mode & 0o777) for p in run_dir.iterdir()} == {
        (ANNA, 0o600)
    }
    assert (run_dir.stat().st_uid, run_dir.stat().st_mode & 0o777) == (ANNA, 0o700)
    assert (run_dir.parent.stat().st_uid, run_dir.parent.stat().st_mode & 0o777) == (ANNA, 0o700)
    record = json.loads((run_dir / "run.json").read_text())
    assert (record["cells_total"], record["exit"], record["kind"]) == (2, 0, "notebook")


def test_forged_output_paths_are_not_believed(daemon):
    for path in ("/etc/passwd", "../../bob/x", "input.ipynb"):
        end, _ = daemon.run(
            "notebook", f"report.write(json.dumps({{'result': {{'output': {path!r}}}}}) + '\\n')"
        )
        assert "output" not in end
    end, _ = daemon.run(
        "notebook",
        "os.symlink('/etc/passwd', 'x-output.ipynb')\n"
        "report.write(json.dumps({'result': {'output': os.getcwd() + '/x-output.ipynb'}}) + '\\n')",
    )
    assert "output" not in end


def test_links_planted_in_the_record_lead_nowhere(daemon):
    target = daemon.root / "victim"
    target.write_text("untouched")
    end, _ = daemon.run(
        "shell", f"ln -s {target} run.json; rm log.txt; ln -s {target} log.txt; mkdir -m 0 locked"
    )
    assert end["code"] == 0
    assert target.read_text() == "untouched"
    assert not Path(end["run_dir"], "run.json").is_symlink()


def test_same_job_again_gets_a_directory_of_its_own(daemon):
    first, _ = daemon.run("shell", "true", job="same")
    second, _ = daemon.run("shell", "true", job="same")
    assert (Path(first["run_dir"]).name, Path(second["run_dir"]).name) == ("same", "same-2")


def test_limits_hold(daemon):
    script = "ulimit -c; ulimit -n; ulimit -u; head -c 3000000 /dev/zero > big; cat /proc/self/oom_score_adj; nice"
    end, log = daemon.run("shell", script)
    assert end["code"] == 0
    assert "0\n4096\n1024\n" in log
    assert "800\n5\n" in log
    assert Path(end["run_dir"], "big").stat().st_size == 2_000_000


@pytest.mark.slow
def test_timeout_ends_those_who_left_their_group(daemon):
    started = time.monotonic()
    end, log = daemon.run(
        "shell",
        "setsid sleep 811 & (setsid sleep 812 &) ; trap '' TERM; sleep 813; sleep 814",
        timeout_s=1,
    )
    assert end["code"] == 124
    assert end["description"].startswith("Timed out: stopped after")
    assert "[vixtract] Stopped after 1 s, the time limit." in log
    assert time.monotonic() - started < 7
    assert daemon.processes() == []


def test_a_job_that_stops_itself_ends_at_its_limit_and_by_an_abort(daemon):
    end, _ = daemon.run("shell", "sleep 815 & sleep 0.3; kill -STOP $! $$", timeout_s=1)
    assert (end["code"], daemon.processes()) == (124, [])
    with daemon.connect() as connection:
        request = daemon.request("shell", "sleep 816 & sleep 0.3; kill -STOP $! $$")
        connection.sendall(json.dumps(request).encode() + b"\n")
        wait_until(
            lambda: any("816" in line for line in daemon.processes()), "the job", interval_s=0.05
        )
        connection.sendall(b'{"abort":true}\n')
        assert follow(connection)[0]["code"] == 130
    assert daemon.processes() == []


def test_half_a_request_is_refused_and_others_are_served_meanwhile(daemon):
    with daemon.connect() as connection:
        connection.sendall(b'{"kind":')
        assert daemon.run("shell", "true")[0]["code"] == 0
        event, _ = follow(connection)
    assert (event["type"], "did not arrive" in event["description"]) == ("refused", True)


def test_what_outlives_a_good_end_is_ended(daemon):
    end, _ = daemon.run("shell", "(setsid setsid sleep 821 &) ; exit 0")
    assert end["code"] == 0
    assert daemon.processes() == []


def test_a_chain_of_forks_cannot_run_away(daemon):
    chain = "import os\nwhile True:\n    if os.fork(): os._exit(0)\n    os.setsid()\n"
    end, _ = daemon.run("shell", "#!/usr/bin/python3\n" + chain, timeout_s=2)
    assert end["code"] == 0
    wait_until(lambda: daemon.processes() == [], "the chain's end", timeout_s=10, interval_s=0.1)


def test_closed_connection_aborts_and_is_recorded(daemon):
    with daemon.connect() as connection:
        request = daemon.request("shell", "setsid sleep 831 & sleep 832")
        connection.sendall(json.dumps(request).encode() + b"\n")
        wait_until(
            lambda: any("832" in line for line in daemon.processes()), "the job", interval_s=0.05
        )
    record = daemon.root / "runs/anna" / request["job"] / "run.json"
    wait_until(record.exists, "the record", interval_s=0.05)
    assert json.loads(record.read_text())["code"] == 130
    wait_until(lambda: daemon.processes() == [], "their end", timeout_s=10, interval_s=0.05)


@pytest.mark.slow
def test_memory_of_the_whole_tree_counts(daemon):
    hog = "/usr/bin/python3 -c 'import time; x = bytearray(150_000_000); time.sleep(60)' & "
    end, log = daemon.run("shell", hog * 3 + "wait", memory_mb=300)
    assert end["code"] == 137, log
    assert "memory limit of 300 MB" in end["description"]
    assert end["peak_mb"] > 300
    assert daemon.processes() == []


def test_log_is_cut_and_its_bytes_are_free(daemon):
    end, log = daemon.run(
        "shell",
        "printf 'caf\\xe9\\n' > x; cat x | iconv -f latin1 -t utf-8; head -c 3000000 /dev/zero | tr '\\0' z; echo LAST",
    )
    assert end["code"] == 0
    assert "café" in log
    assert "more output is dropped" in log
    assert "LAST" not in log
    assert len(log) < 101_000


def test_refusals_start_nothing(daemon):
    for fields, words in (
        ({"author": "bob"}, "may not run anything as 'anna'"),
        ({"owner": "root", "author": "vixtract"}, "no person 'root'"),
        ({"job": "../../etc"}, "job id"),
    ):
        end, _ = daemon.run("shell", "touch /tmp/never", **fields)
        assert end["type"] == "refused"
        assert words in end["description"]
    assert not Path("/tmp/never").exists()
    (daemon.root / "secrets/people.json").write_text('{"admins": ["bob"]}')
    end, _ = daemon.run("shell", "true", author="bob")
    assert end["type"] == "end"


@pytest.mark.parametrize("target", ["allgrp", "workers"])
def test_nothing_runs_for_a_disabled_person_here_or_on_a_worker(daemon, target):
    people = daemon.root / "secrets/people.json"
    people.write_text('{"admins": ["bob"], "blocked": ["anna"]}')
    try:
        ends = [
            daemon.run("shell", "true", author=author, target=target)[0]
            for author in ("bob", "vixtract")
        ]
    finally:
        # The daemon is shared by the tests of this file.
        people.unlink()
    assert [end["description"] for end in ends] == ["'anna' is disabled."] * 2


def test_bad_bytes_and_silence_do_not_stop_the_daemon(daemon):
    for data in (b"", b"\n", b"{}\n", b"\xff\n", b"[" * 90_000 + b"\n", b"x" * 3_000_000):
        with daemon.connect() as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                event, _ = follow(connection)
            except OSError:
                # The daemon hung up in the middle of the flood.
                continue
            assert event["type"] == "refused"
    assert "alive" in daemon.run("shell", "echo alive")[1]


def test_more_connections_than_allowed_are_turned_away(daemon):
    with ExitStack() as stack:
        held = [stack.enter_context(daemon.connect()) for _ in range(10)]
        time.sleep(0.3)
        ready, _, _ = select.select(held, [], [], 0)
        answers = [follow(connection)[0]["description"] for connection in ready]
    assert len(answers) >= 6
    assert all("its limit" in answer for answer in answers)
    wait_until(
        lambda: daemon.run("shell", "true")[0]["type"] == "end", "a free place", interval_s=0.1
    )


def test_socket_is_the_engine_s_alone(daemon):
    path = daemon.root / "run/runner.sock"
    assert (path.stat().st_mode & 0o777, path.stat().st_gid) == (0o660, 990)
    assert (path.parent.stat().st_mode & 0o777, path.parent.stat().st_gid) == (0o750, 990)
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); print(s.recv(999))"
    for uid, gid, words in ((ANNA, 990, "Only the scheduler"), (ANNA, ANNA, "PermissionError")):
        answer = subprocess.run(
            ["/usr/bin/python3", "-c", code], user=uid, group=gid, extra_groups=[],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert words in answer.stdout + answer.stderr


@pytest.mark.slow
def test_killed_daemon_leaves_its_runs_alive_and_another_takes_its_place(daemon):
    with daemon.connect() as connection:
        request = daemon.request("shell", "sleep 2; echo survived")
        connection.sendall(json.dumps(request).encode() + b"\n")
        wait_until(
            lambda: any("sleep 2" in line for line in daemon.processes()),
            "the job",
            interval_s=0.05,
        )
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(5)
        daemon.process = daemon.start()
        assert "survived" in follow(connection)[1]
    assert daemon.run("shell", "true")[0]["code"] == 0
    wait_until(lambda: list((daemon.root / "tmp").iterdir()) == [], "clean temporary directory")


def plugin(daemon, kind: str, params: dict, **job: object) -> subprocess.Popen:
    """Start the plugin as the scheduler does."""
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from vixtract.runner import plugin;"
        " sys.exit(plugin.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", code, str(SOURCE), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"RUNNER_SOCKET": str(daemon.root / "run/runner.sock")},
    )
    daemon.jobs += 1
    line = {"id": f"p{daemon.jobs}", "username": "anna", "params": params, **job}
    process.stdin.write(json.dumps(line).encode() + b"\n")
    process.stdin.flush()
    return process


def test_plugin_speaks_the_protocol_and_nothing_else(daemon):
    script = 'echo \'{"complete":1,"code":0}\'; echo oops >&2; exit 255'
    process = plugin(daemon, "shell", {"script": script})
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0
    (last,) = map(json.loads, output.splitlines())
    assert (last["complete"], last["code"]) == (1, 255)
    assert last["description"] == "The script ended with a warning (code 255)."
    assert last["chain_data"]["uid"] == ANNA
    assert b'{"complete":1,"code":0}' in errors
    assert b"oops" in errors


def test_plugin_passes_progress_and_a_failed_cell_on(daemon):
    (daemon.root / "home/anna/cells.ipynb").write_text(
        "report.write(json.dumps({'progress': 0.5, 'memo': 'cell 2 of 2'}) + '\\n')\n"
        "report.write('{\"progress\": 7}\\nnonsense\\n')\n"
        "report.write(json.dumps({'result': {'cells_done': 1, 'cells_total': 2, 'error':"
        " {'cell': 2, 'name': 'ValueError', 'message': job['parameters']['a']}}}) + '\\n')\n"
        "sys.exit(1)"
    )
    os.chown(daemon.root / "home/anna/cells.ipynb", ANNA, ANNA)
    process = plugin(daemon, "notebook", {"notebook": "cells.ipynb", "parameters": '{"a": "b"}'})
    output, _ = process.communicate(timeout=120)
    progress, last = map(json.loads, output.splitlines())
    assert progress == {"progress": 0.5, "memo": "cell 2 of 2"}
    assert (last["code"], last["description"]) == (1, "Cell 2 of 2 failed: ValueError: b")
    assert last["chain_data"]["error"] == {"cell": 2, "name": "ValueError", "message": "b"}


@pytest.mark.slow
def test_plugin_told_to_end_aborts_its_run(daemon):
    process = plugin(daemon, "shell", {"script": "sleep 841"})
    wait_until(
        lambda: any("841" in line for line in daemon.processes()), "the job", interval_s=0.05
    )
    process.terminate()
    output, _ = process.communicate(timeout=120)
    last = json.loads(output.splitlines()[-1])
    assert last["code"] == 130
    assert last["description"].startswith("Aborted after")
    assert daemon.processes() == []


def test_plugin_without_a_job_or_with_a_bad_one_says_so(daemon):
    for params, words in (
        ({"script": ""}, "script is empty"),
        ({"script": "x", "owner": "bob"}, "may not"),
    ):
        output, errors = plugin(daemon, "shell", params).communicate(timeout=120)
        assert words in json.loads(output)["description"]
        assert words.encode() in errors
