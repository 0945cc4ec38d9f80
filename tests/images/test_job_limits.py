"""Jobs against everybody: fork bombs and disk fillers are stopped; secrets are masked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.images.docker_cli import created_container, docker, unique_name
from tests.images.test_cronicle import HARDENED, IMAGE, PEOPLE, Box, notebook, volumes
from tests.waiting import wait_until

pytestmark = pytest.mark.docker

#: The floor is above any disk, so that whoever writes much is below it.
LIMITS = {"JOB_PROCESSES": "500", "DISK_FLOOR_MB": str(1 << 29)}
FORK_BOMB = """
import subprocess, time
subprocess.Popen(["bash", "-c", "b() { b | b & }; b"], stderr=subprocess.DEVNULL)
time.sleep(100)
"""
DISK_FILLER = """
import os, time
with open(os.environ["VIXTRACT_OUTPUT_DIR"] + "/filler", "wb") as file:
    for _ in range(3000):
        file.write(os.urandom(1 << 20)); file.flush(); time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def limited() -> Iterator[Box]:
    """A job container with small limits."""
    prefix = unique_name("limit-test")
    docker(
        "run", "--rm", "--entrypoint", "/bin/bash", "--volume", f"{prefix}-0:/home", IMAGE, "-euc",
        "; ".join(f"install -d -m 0700 -o {u} -g {u} /home/{p}" for p, u in PEOPLE.items()),
    )  # fmt: skip
    variables = [f"--env={name}={value}" for name, value in LIMITS.items()]
    try:
        with created_container(IMAGE, (*HARDENED, *variables, *volumes(prefix))) as name:
            docker("start", name)
            wait_until(
                lambda: docker("exec", name, "test", "-S", "/run/vixtract/runner.sock", check=False).returncode == 0,
                what="the runner's socket",
            )  # fmt: skip
            yield Box(name, f"{prefix}-0")
    finally:
        docker("volume", "rm", "--force", *(f"{prefix}-{i}" for i in range(5)), check=False)


def test_a_bomb_and_a_filler_are_stopped_while_another_s_job_runs(limited):
    hogs = {}
    for person, code in (("anna", FORK_BOMB), ("admin", DISK_FILLER)):
        limited.write(person, "hog.ipynb", notebook("print('begins')", code))
        params = {"owner": person, "notebook": "hog.ipynb"}
        hogs[person], _ = limited.start("notebook", params, timeout=120)
    other = limited.run_cells("print(6 * 7)", person="bob", timeout=110)
    assert other.end["code"] == 0 and "42" in other.log, other
    bomb, filler = limited.finish(hogs["anna"]), limited.finish(hogs["admin"])
    assert bomb.end["code"] == filler.end["code"] == 1, (bomb, filler)
    assert "limit of processes and threads with 1 of 2 cells done" in bomb.text
    assert "disk is nearly full with 1 of 2 cells done" in filler.text
    assert "DISK_FLOOR_MB" in filler.log
    assert limited.processes_of("anna") == limited.processes_of("admin") == []


def test_known_secrets_are_masked_in_log_notebook_page_and_record(limited):
    result = limited.run_cells(
        "import os, base64; p = os.environ['PGPASSWORD']; print('clear', p, len(p))",
        "import sys, time\nfor part in (p[:20], p[20:]):\n    sys.stdout.write(part); sys.stdout.flush(); time.sleep(0.5)",
        "os.environ['DATABASE_URL']",
        "raise RuntimeError('cannot connect with ' + p)",
    )
    assert result.end["code"] == 1
    assert "clear ******** 64" in result.log
    assert "cannot connect with ********" in result.text
    password = _password(limited)
    run_dir = result.end["chain_data"]["run_dir"]
    for name in ("log.txt", "run.json", "test-output.ipynb", "output.html"):
        assert password not in limited.execute("cat", f"{run_dir}/{name}"), name
    assert password not in str(result.lines) and password not in result.log


def _password(box: Box) -> str:
    script = (
        "from vixtract.people.roles import role_password;"
        "print(role_password(open('/srv/secrets/role_key').read().strip(), 'anna'))"
    )
    return box.execute("/opt/vixtract/bin/python", "-I", "-c", script).strip()
