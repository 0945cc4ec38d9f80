"""Jobs against everybody: fork bombs and disk fillers are stopped; secrets are masked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.images.docker_cli import created_container, docker, unique_name
from tests.images.test_cronicle import HARDENED, IMAGE, PEOPLE, Box, notebook, volumes
from tests.waiting import wait_until

pytestmark = pytest.mark.docker

FREE_MB = 1 << 29
"""A floor above any disk: whoever writes is below it."""


@pytest.fixture(scope="module", params=[{"JOB_PROCESSES": "500"}, {"DISK_FLOOR_MB": str(FREE_MB)}])
def limited(request) -> Iterator[Box]:
    """A job container with one small limit."""
    prefix = unique_name("limit-test")
    docker(
        "run", "--rm", "--entrypoint", "/bin/bash", "--volume", f"{prefix}-0:/home", IMAGE, "-euc",
        "; ".join(f"install -d -m 0700 -o {u} -g {u} /home/{p}" for p, u in PEOPLE.items()),
    )  # fmt: skip
    variables = [f"--env={name}={value}" for name, value in request.param.items()]
    try:
        with created_container(IMAGE, (*HARDENED, *variables, *volumes(prefix))) as name:
            docker("start", name)
            wait_until(
                lambda: docker("exec", name, "test", "-S", "/run/vixtract/runner.sock", check=False).returncode == 0,
                what="the runner's socket",
            )  # fmt: skip
            box = Box(name, f"{prefix}-0")
            box.limit = next(iter(request.param))
            yield box
    finally:
        docker("volume", "rm", "--force", *(f"{prefix}-{i}" for i in range(5)), check=False)


def test_a_bomb_or_a_filler_is_stopped_while_another_s_job_runs(limited):
    cells = {
        "JOB_PROCESSES": (
            "import subprocess, time\n"
            "subprocess.Popen(['bash', '-c', 'b() { b | b & }; b'], stderr=subprocess.DEVNULL)\n"
            "time.sleep(100)",
            "limit of processes",
        ),
        "DISK_FLOOR_MB": (
            "import os, time\n"
            "with open(os.environ['VIXTRACT_OUTPUT_DIR'] + '/filler', 'wb') as file:\n"
            "    for _ in range(3000):\n"
            "        file.write(os.urandom(1 << 20)); file.flush(); time.sleep(0.05)",
            "disk is nearly full",
        ),
    }
    code, words = cells[limited.limit]
    limited.write("anna", "hog.ipynb", notebook("print('begins')", code))
    process, _ = limited.start("notebook", {"owner": "anna", "notebook": "hog.ipynb"}, timeout=120)
    other = limited.run_cells("print(6 * 7)", person="bob", timeout=110)
    assert other.end["code"] == 0 and "42" in other.log, other
    result = limited.finish(process)
    assert result.end["code"] == 1, result
    assert words in result.text and "1 of 2 cells done" in result.text
    assert limited.limit in result.log or "the limit" in result.log
    assert limited.processes_of("anna") == []


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
