"""What the appliance survives: kills, re-creation, floods of work, an interrupted first boot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import httpx
import pytest

from tests.stack.appliance import Appliance, Person
from tests.stack.conftest import new_appliance
from tests.waiting import wait_until

SERVICES = ("postgresql", "jupyter", "cronicle", "nginx")
COMPOSE_LABEL = "com.docker.compose.service"


@pytest.fixture(scope="module", autouse=True)
def _people(passwords):
    """Make the people first."""


def healthy(appliance: Appliance) -> bool:
    """Say whether the front door reports every service as up."""
    return httpx.get(f"{appliance.url}/healthz", timeout=60).status_code == 200


def wait_healthy(appliance: Appliance) -> None:
    """Wait until all services are up again."""
    wait_until(lambda: healthy(appliance), "all services up")


def kill_main_process(appliance: Appliance, service: str) -> None:
    """Kill a container as the kernel's OOM killer or an operator would, and let it restart."""
    name = appliance.container(service)
    pid = appliance.docker("inspect", "-f", "{{.State.Pid}}", name).strip()
    # Not `docker kill`: the engine takes that for a wish and does not restart the container.
    os.kill(int(pid), signal.SIGKILL)


LONG = "import time\nfor i in range({seconds}):\n    time.sleep(1); print('second', i, flush=True)"
SLOTS = """
import json, sqlite3, sys
ledger = sqlite3.connect("file:/opt/cronicle/data/ledger.sqlite3?mode=ro", uri=True)
rows = ledger.execute("SELECT due_at, outcome FROM slot WHERE event = ? ORDER BY 1", sys.argv[1:])
print(json.dumps(rows.fetchall()))
"""


def active_runs(appliance: Appliance, event: str) -> list[dict]:
    """Return the jobs of an event that have begun and not ended."""
    jobs = appliance.schedule("get_active_jobs")["jobs"].values()
    return [job for job in jobs if job["event"] == event]


@pytest.mark.parametrize("service", ["postgresql", "jupyter", "nginx"])
def test_killed_neighbour_comes_back_and_the_run_goes_on(appliance, service):
    appliance.write_notebook("anna", "long.ipynb", LONG.format(seconds=12))
    event = appliance.create_event("kill", "notebook", {"owner": "anna", "notebook": "long.ipynb"})
    job = appliance.start(event)
    wait_until(lambda: "second 1" in appliance.console(job), "the run's first output")
    kill_main_process(appliance, service)
    time.sleep(1)
    wait_healthy(appliance)
    status = appliance.finish(job, 60)
    assert status["code"] == 0, status
    assert appliance.log(job).count("second 11") == 1


def test_killed_scheduler_loses_and_doubles_no_due_time(appliance):
    appliance.write_notebook("anna", "long.ipynb", LONG.format(seconds=12))
    event = appliance.create_event(
        "every minute",
        "notebook",
        {"owner": "anna", "notebook": "long.ipynb"},
        timing={},
        timezone="UTC",
        catch_up=1,
    )
    try:
        wait_until(lambda: active_runs(appliance, event), "a due run", interval_s=1)
        kill_main_process(appliance, "cronicle")
        time.sleep(1)
        wait_healthy(appliance)
        # The cut-off run is started again; a further due time shows that the clock goes on.
        wait_until(lambda: len(settled_slots(appliance, event)) >= 2, "the next due time", 150, 2)
    finally:
        appliance.schedule("update_event", id=event, enabled=0)
    wait_until(lambda: not active_runs(appliance, event), "the end of its runs", interval_s=1)
    slots = settled_slots(appliance, event)
    dues = [due for due, _ in slots]
    assert dues == list(range(dues[0], dues[-1] + 60, 60)), "a due minute is absent or doubled"
    assert {outcome for _, outcome in slots} == {"succeeded"}, slots


def settled_slots(appliance: Appliance, event: str) -> list[list]:
    """Return (due, outcome) of an event from the ledger's own file."""
    python = ("/opt/vixtract/bin/python", "-I", "-c")
    rows = json.loads(appliance.execute("cronicle", *python, SLOTS, event))
    return [row for row in rows if row[1] is not None]


def test_re_created_containers_keep_everything(appliance, passwords):
    boss = Person(appliance, "boss", passwords["boss"])
    event = appliance.create_event(
        "kept",
        "notebook",
        {"owner": "anna", "notebook": "kept.ipynb"},
        timing={"hours": [3], "minutes": [7]},
    )
    appliance.write_notebook(
        "anna",
        "kept.ipynb",
        "import psycopg\nwith psycopg.connect() as c: c.execute('create table if not exists kept (i int)')\nprint('kept')",
    )
    uid = appliance.execute("jupyter", "id", "-u", "anna")
    job = appliance.run_notebook("anna", "kept.ipynb")
    libraries = appliance.execute("jupyter", "ls", "/usr/local/lib/python3.13/site-packages")
    for service in SERVICES:
        appliance.docker("rm", "-f", appliance.container(service))
    appliance.operate("up", "--yes", timeout_s=300)
    wait_healthy(appliance)
    assert appliance.execute("jupyter", "id", "-u", "anna") == uid
    assert boss.http.get("/jupyter/hub/home").status_code == 200, "the login cookie is still good"
    Person(appliance, "anna", passwords["anna"]).start_server()
    assert appliance.schedule("get_event", id=event)["event"]["timing"] == {
        "hours": [3],
        "minutes": [7],
    }
    assert "kept" in appliance.log(job["id"])
    assert (
        appliance.execute("jupyter", "ls", "/usr/local/lib/python3.13/site-packages") == libraries
    )
    assert appliance.query("SELECT count(*) FROM anna.kept") == [(0,)]
    assert appliance.run_notebook("anna", "kept.ipynb")["code"] == 0


@pytest.mark.parametrize("service", ["jupyter", "cronicle", "postgresql"])
def test_front_door_stays_up_while_a_part_is_away(appliance, service):
    page = {
        "jupyter": "/jupyter/hub/login",
        "cronicle": "/cronicle/api/app/ping",
        "postgresql": "/",
    }[service]
    name = appliance.container(service)
    appliance.docker("stop", "-t", "20", name)
    try:
        assert httpx.get(appliance.url, timeout=60).status_code == 200
        health = wait_until(
            lambda: (
                (answer := httpx.get(f"{appliance.url}/healthz", timeout=60)).status_code == 503
                and answer
            ),
            "the missing part to show",
        ).json()
        assert health["services"][service] == "down"
        answer = httpx.get(appliance.url + page, timeout=60)
        assert answer.status_code in ({200} if service == "postgresql" else {502, 503})
        # nginx re-created while the part is away must start all the same.
        appliance.docker("restart", "-t", "5", appliance.container("nginx"))
        wait_until(lambda: httpx.get(appliance.url, timeout=5).status_code == 200, "the front door")
    finally:
        appliance.docker("start", name)
    wait_healthy(appliance)


def test_killed_hub_keeps_people_s_servers_and_kernels(appliance, passwords):
    person = Person(appliance, "bob", passwords["bob"])
    person.start_server()
    before = appliance.execute("jupyter", "pgrep", "-u", "bob", "-f", "singleuser").split()
    appliance.execute("jupyter", "pkill", "-KILL", "-f", "bin/jupyterhub ")
    time.sleep(2)
    wait_healthy(appliance)
    wait_until(
        lambda: person.http.get("/jupyter/user/bob/api/status").status_code == 200,
        "bob's server",
    )
    assert appliance.execute("jupyter", "pgrep", "-u", "bob", "-f", "singleuser").split() == before


@pytest.mark.parametrize("count", [10, pytest.param(50, marks=pytest.mark.long)])
def test_many_notebooks_due_at_once_all_finish_once(appliance, count):
    for index in range(count):
        appliance.write_notebook("anna", f"many/{index}.ipynb", f"print('number', {index})")
    # All are due at the first minute that begins after they are made.
    due = int((time.time() + 10 + count) // 60 + 1) * 60
    moment = time.gmtime(due)
    timing = {"hours": [moment.tm_hour], "minutes": [moment.tm_min], "days": [moment.tm_mday]}
    events = [
        appliance.create_event(
            "many",
            "notebook",
            {"owner": "anna", "notebook": f"many/{index}.ipynb"},
            timing=timing,
            timezone="UTC",
        )
        for index in range(count)
    ]
    assert time.time() < due, "creating the schedules took too long"

    def finished() -> list[dict]:
        rows = appliance.schedule("get_history", offset=0, limit=200)["rows"]
        return [row for row in rows if row["event"] in events]

    wait_until(lambda: len(finished()) >= count, "all runs", due - time.time() + 400, 3)
    time.sleep(5)
    rows = finished()
    assert sorted(row["event"] for row in rows) == sorted(events)
    assert {row["code"] for row in rows} == {0}
    state = appliance.docker(
        "inspect", "-f", "{{.State.OOMKilled}}", appliance.container("cronicle")
    )
    assert state.strip() == "false"


@pytest.mark.parametrize(
    "moment_s", [2, *(pytest.param(moment, marks=pytest.mark.long) for moment in (0.5, 5, 9))]
)
def test_first_boot_cut_off_and_started_again(moment_s):
    other = new_appliance(f"cut{str(moment_s).replace('.', '')}")
    other.operate("down", "--volumes", "--yes", check=False)
    try:
        # `up` in the background; after a while every container is killed as by a power cut.
        up = subprocess.Popen(
            other.command("up", "--yes", "--engine", "embedded"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(
            lambda: subprocess.run(
                ["docker", "ps", "-q", "--filter", f"label=com.docker.compose.project={other.project}"],
                capture_output=True, text=True, timeout=60,
            ).stdout,
            "a first container",
            interval_s=0.1,
        )  # fmt: skip
        time.sleep(moment_s)
        up.send_signal(signal.SIGKILL)
        up.wait(timeout=120)
        running = other.docker(
            "ps", "-aq", "--filter", f"label=com.docker.compose.project={other.project}"
        )
        for container in running.split():  # some are made but not started yet
            subprocess.run(["docker", "kill", container], capture_output=True, timeout=60)
        other.operate("up", "--yes", "--engine", "embedded", timeout_s=400)
        assert httpx.get(f"{other.url}/healthz", timeout=60).status_code == 200
        password = other.add_person("cut")
        Person(other, "cut", password)
        other.write_notebook(
            "cut",
            "n.ipynb",
            "import psycopg; print(psycopg.connect().execute('select 1').fetchone())",
        )
        assert other.run_notebook("cut", "n.ipynb")["code"] == 0
    finally:
        other.close()
        other.operate("down", "--volumes", "--yes", check=False)
