"""A worker beside the appliance: jobs run there by the same rules, and the ledger stays whole."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images import edge_box
from tests.images.docker_cli import docker, handed_on, has_image, host_address, logs, unique_name
from tests.images.edge_box import EdgeBox
from tests.own_images import PREFIX, own_image
from tests.waiting import free_port, wait_until
from vixtract import __version__
from vixtract.ops.compose import find_compose
from vixtract.ops.host import Host

COMPOSE = find_compose(Host())
pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(COMPOSE is None, reason="no compose here"),
]
ROOT = Path(__file__).parents[2]
EMBEDDED = own_image("cronicle")
PYTHON = ("/opt/vixtract/bin/python", "-I")
WAITS = "#!/bin/bash\necho started\nsleep 61\n"


class Pair:
    """The appliance's job container and a worker, which share homes, libraries and runs."""

    def __init__(self, engine: str, folder: Path) -> None:
        self.engine = engine
        self.project = unique_name("worker")
        self.name = f"{self.project}_worker"
        self.folder = folder
        self.port = free_port()
        self.address = host_address(EMBEDDED)
        image = edge_box.IMAGE if engine == "cronicle" else EMBEDDED
        self.box = EdgeBox(unique_name("worker-main"), image)

    def start(self) -> None:
        """Start both."""
        self.start_main()
        shutil.copy(ROOT / "docker-compose.worker.yml", self.folder)
        key = self.box.execute("cat", "/srv/secrets/worker_key")
        self.in_folder("umask 077; cat > worker_key; chown 0:0 worker_key", key)
        places = {
            name: docker(
                "volume", "inspect", f"{self.box.prefix}-{number}", "--format", "{{.Mountpoint}}"
            ).stdout.strip()
            for name, number in (("WORKER_HOME", 0), ("WORKER_LIBS", 1), ("WORKER_RUNS", 4))
        }
        settings = {
            "COMPOSE_PROJECT_NAME": self.project, "IMAGE_PREFIX": PREFIX, "SCHEDULER_IMAGE": "cronicle",
            "VIXTRACT_VERSION": __version__, "POSTGRES_HOST": "192.0.2.7",
            "POSTGRES_PORT": "6432", "WORKER_BIND": self.address, "WORKER_PORT": str(self.port),
            "WORKER_STORAGE": "none", "WORKER_STORAGE_OPTIONS": "bind", "MAX_JOBS": "2", **places,
        }  # fmt: skip
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        (self.folder / ".env").write_text(text)
        self.compose("up", "--detach")
        self.wait_well()

    def start_main(self) -> None:
        """Start the appliance's side."""
        workers = f"WORKERS={self.address}:{self.port}"
        self.box.start("--env", f"VIXTRACT_ENGINE={self.engine}", "--env", workers)

    def in_folder(self, script: str, text: str = "") -> None:
        """Run a script as root in the folder of the worker's compose file."""
        docker(
            "run", "--rm", "--interactive", "--entrypoint", "/bin/bash", "--workdir", "/folder",
            "--volume", f"{self.folder}:/folder", EMBEDDED, "-euc", script, text=text,
        )  # fmt: skip

    def compose(self, *words: str, check: bool = True) -> str:
        """Run compose for the worker."""
        assert COMPOSE is not None
        files = ("--project-name", self.project, "--file", "docker-compose.worker.yml")
        done = subprocess.run(
            [*COMPOSE.command, *files, *words],
            cwd=self.folder, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def wait_well(self) -> None:
        """Wait until the worker's own health check is content."""
        check = (*PYTHON, "-m", "vixtract.containers.worker")
        wait_until(
            lambda: docker("exec", self.name, *check, check=False).returncode == 0,
            f"the worker: {logs(self.name)[-500:]}",
        )  # fmt: skip

    def run_script(self, script: str, **fields: object) -> tuple[dict, str]:
        """Run a script on the worker; returns the finished job and its log."""
        job = self.box.client.run_event(self.box.make_event(script, target="workers", **fields))
        done = self.box.client.wait_for_job(job, 120)
        return done, wait_until(lambda: self.box.client.get_job_log(job), "the log", interval_s=0.3)

    def processes(self) -> str:
        """List the worker's processes."""
        return docker("exec", self.name, "ps", "-eo", "uid=,args=").stdout

    def close(self) -> None:
        """Remove everything."""
        self.compose("down", "--volumes", check=False)
        self.in_folder("rm -f worker_key")
        self.box.delete()


@pytest.fixture(scope="module", params=["embedded", "cronicle"])
def pair(request, tmp_path_factory) -> Iterator[Pair]:
    """Both containers, once with each engine."""
    if request.param == "cronicle" and not edge_box.has_image():
        pytest.skip(f"Cronicle's image is absent: {edge_box.IMAGE}")
    if not has_image(EMBEDDED):
        pytest.fail(f"{EMBEDDED} is missing")
    pair = Pair(request.param, tmp_path_factory.mktemp("worker"))
    try:
        pair.start()
        yield pair
    finally:
        pair.close()


def test_a_run_is_its_owners_there_and_has_no_more_rights_than_here(pair):
    script = """#!/bin/bash
    echo "on $(hostname) as $(id -u) in $(pwd)"
    touch /home/anna/x 2>&1 | grep -o 'Read-only file system'
    for file in /srv/secrets/worker_key /proc/1/environ /run/vixtract/runner.sock; do
        cat $file >/dev/null 2>&1 && echo "GOT $file"
    done
    grep -h '^CapEff' /proc/self/status
    echo "$PGHOST $PGPORT $PGUSER ${#PGPASSWORD} $DATABASE_URL"
    echo kept > "$VIXTRACT_OUTPUT_DIR/kept.txt"
    """
    done, log = pair.run_script(script)
    assert done["code"] == 0, log
    there = docker("inspect", "--format", "{{.Config.Hostname}}", pair.name).stdout.strip()
    assert f"on {there} as 2001 in /runs/anna/" in log
    assert (
        "Read-only file system" in log and "GOT" not in log and "CapEff:\t0000000000000000" in log
    )
    assert "192.0.2.7 6432 anna 64 postgresql+psycopg2://anna:" in log
    assert "@192.0.2.7:6432/etl" in log
    # The folder is the appliance's too, and the owner's.
    kept = f"/runs/anna/{done['id']}/kept.txt"
    assert pair.box.execute("stat", "-c", "%u %n", kept).strip() == f"2001 {kept}"


def test_a_notebook_runs_there_with_progress_record_and_figures(pair):
    cell = {"cell_type": "code", "source": "print(6 * 7)", "outputs": [], "execution_count": None,
            "metadata": {"tags": ["extract"]}, "id": "a"}  # fmt: skip
    text = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]})
    docker(
        "run", "--rm", "--interactive", "--user", "2001:2001", "--entrypoint", "/bin/bash",
        "--volume", f"{pair.box.prefix}-0:/home", EMBEDDED, "-c", "cat > /home/anna/a.ipynb", text=text,
    )  # fmt: skip
    event = pair.box.client.create_event(
        {"title": "there", "plugin": "notebook", "timing": False, "target": "workers",
         "params": {"owner": "anna", "notebook": "a.ipynb"}}
    )  # fmt: skip
    job = pair.box.client.run_event(event)
    done = pair.box.client.wait_for_job(job, 120)
    assert done["code"] == 0 and done["chain_data"]["cells_done"] == 1, done
    assert 0 <= done["perf"]["extract"] <= done["perf"]["total"]
    output = done["chain_data"]["output"]
    assert "42" in pair.box.execute("cat", output)


def test_who_may_run_what_is_decided_by_the_appliance(pair):
    done, _ = pair.run_script("#!/bin/bash\nid\n", username="bob")
    assert done["code"] == 1 and "may not run anything" in done["description"]


def test_a_due_slot_has_one_outcome(pair):
    if pair.engine == "embedded" or time.time() % 60 > 50:
        time.sleep(max(0, 61 - time.time() % 60) if time.time() % 60 > 50 else 0)
    at = int(time.time() // 60 + 1) * 60
    timing = {"minutes": [at // 60 % 60], "hours": [at // 3600 % 24]}
    event = pair.box.make_event("#!/bin/bash\nhostname\n", target="workers", timing=timing)

    def outcome():
        return pair.box.query(f"SELECT due_at, outcome FROM slot WHERE event = '{event}'")

    wait_until(lambda: outcome() == [[at, "succeeded"]], "the slot's outcome", interval_s=1)
    assert pair.box.query(f"SELECT count(*) FROM run WHERE event = '{event}'") == [[1]]


def test_an_abort_ends_the_processes_there(pair):
    job = pair.box.client.run_event(pair.box.make_event(WAITS, target="workers"))
    wait_until(lambda: "sleep 61" in pair.processes(), "the process", interval_s=0.3)
    pair.box.client.abort_job(job)
    done = pair.box.client.wait_for_job(job, 40)
    assert done["code"] and "sleep 61" not in pair.processes()
    assert pair.box.query(f"SELECT outcome FROM run WHERE id = '{job}'") == [["aborted"]]


def test_more_runs_than_places_wait(pair):
    script = "#!/bin/bash\nsleep 3\n"
    events = [pair.box.make_event(script, target="workers") for _ in range(4)]
    jobs = [pair.box.client.run_event(event) for event in events]
    most = 0
    while not all(pair.box.client.get_job_status(job).get("complete") for job in jobs):
        running = pair.processes().count("sleep 3")
        most = max(most, running)
        time.sleep(0.2)
    assert 1 <= most <= 2
    assert {pair.box.client.get_job_status(job)["code"] for job in jobs} == {0}


def attempt(pair: Pair, key: str) -> str:
    """Connect to the worker's door from the appliance's container with a key; returns what came."""
    code = (
        "import sys; from vixtract.runner.workers.connection import connect, read_line\n"
        f"c = connect(('{pair.address}', {pair.port}), sys.argv[1]); print(read_line(c))"
    )
    done = docker("exec", pair.box.name, *PYTHON, "-c", code, key, check=False)
    return done.stdout + done.stderr


def test_nobody_without_the_key_gets_past_the_handshake(pair):
    key = pair.box.execute("cat", "/srv/secrets/worker_key").strip()
    assert "ready" in attempt(pair, key)
    assert "ready" not in attempt(pair, key[:-1] + "x") and "ready" not in attempt(pair, "")
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    plain.check_hostname, plain.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((pair.address, pair.port), 10) as connection,
        pytest.raises(OSError),
    ):
        plain.wrap_socket(connection)
    with socket.create_connection((pair.address, pair.port), 10) as connection:
        connection.sendall(b'{"kind":"shell","job":"j","owner":"anna","script":"id"}\n')
        connection.settimeout(10)
        answer = b""
        with contextlib.suppress(OSError):
            answer = connection.recv(100)
    # At most TLS's own alert.
    assert b"ready" not in answer and b"type" not in answer
    assert pair.run_script("#!/bin/bash\nid -u\n")[0]["code"] == 0


def test_the_worker_knows_no_secret_of_the_appliance(pair):
    files = docker("exec", pair.name, "ls", "-A", "/srv/secrets").stdout.split()
    assert files == ["worker_key"]
    shown = docker("inspect", pair.name).stdout + logs(pair.name)
    for name in ("role_key", "api_key", "worker_key"):
        assert pair.box.execute("cat", f"/srv/secrets/{name}").strip() not in shown


def test_a_worker_that_dies_fails_its_run_and_the_next_one_works(pair):
    job = pair.box.client.run_event(pair.box.make_event(WAITS, target="workers"))
    wait_until(lambda: "sleep 61" in pair.processes(), "the process", interval_s=0.3)
    docker("kill", pair.name)
    done = pair.box.client.wait_for_job(job, 120)
    assert done["code"] == 1 and "went away" in done["description"]
    lost, _ = pair.run_script("#!/bin/bash\nid\n")
    assert lost["code"] == 1 and "No worker can be reached" in lost["description"]
    docker("start", pair.name)
    pair.wait_well()
    assert pair.run_script("#!/bin/bash\nid\n")[0]["code"] == 0


def test_no_run_outlives_the_appliance(pair):
    pair.box.client.run_event(pair.box.make_event(WAITS, target="workers"))
    wait_until(lambda: "sleep 61" in pair.processes(), "the process", interval_s=0.3)
    docker("kill", pair.box.name)
    wait_until(lambda: "sleep 61" not in pair.processes(), "the run's end", timeout_s=30)
    docker("rm", "--force", pair.box.name)
    pair.start_main()
    assert pair.run_script("#!/bin/bash\nid\n")[0]["code"] == 0


def test_a_worker_without_a_key_says_so_and_ends():
    words = (*handed_on("worker"), "--env", "POSTGRES_HOST=192.0.2.7", EMBEDDED, "worker")
    done = docker("run", "--rm", *words, check=False)
    assert done.returncode == 3 and "worker_key is missing" in done.stderr


def test_a_worker_without_settings_or_an_address_of_postgresql_says_so_and_ends():
    for words, expected in (
        ((), "worker was started without"),
        (handed_on("worker"), "POSTGRES_HOST"),
    ):
        done = docker("run", "--rm", *words, EMBEDDED, "worker", check=False)
        assert done.returncode == 3 and expected in done.stderr
