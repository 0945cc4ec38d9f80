"""The job container, run with the capabilities of the compose file: hostile notebooks, limits, boot."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from tests.images.docker_cli import (
    created_container,
    docker,
    exit_code,
    handed_on,
    logs,
    unique_name,
)
from tests.own_images import own_image
from tests.waiting import wait_until

pytestmark = pytest.mark.docker

IMAGE = own_image("cronicle")
PYTHON = "/opt/vixtract/bin/python"
PEOPLE = {"admin": 2000, "anna": 2001, "bob": 2002}
HARDENED = (
    *handed_on("cronicle"),
    "--init", "--security-opt=no-new-privileges:true", "--cap-drop=ALL", "--pids-limit=4096", "--memory=4g",
    *(f"--cap-add={name}" for name in ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")),
)  # fmt: skip


def volumes(prefix: str) -> tuple[str, ...]:
    """The mounts of the compose file, over volumes of this test run."""
    places = ("/home:ro", "/usr/local:ro", "/srv/secrets", "/opt/cronicle/data", "/runs")
    return tuple(
        word
        for index, place in enumerate(places)
        for word in ("--volume", f"{prefix}-{index}:{place}")
    )


def notebook(*cells: str, **metadata: object) -> str:
    """Return the text of a notebook with these code cells."""
    return json.dumps(
        {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": metadata
            or {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}},
            "cells": [
                {"id": f"c{index}", "cell_type": "code", "metadata": {}, "source": source,
                 "outputs": [], "execution_count": None}
                for index, source in enumerate(cells)
            ],
        }
    )  # fmt: skip


@dataclass
class Result:
    """What a plugin process said: its last line, all its lines, its log."""

    end: dict
    lines: list[dict]
    log: str

    @property
    def text(self) -> str:
        return self.end["description"]


class Box:
    """A running job container with three people in it."""

    def __init__(self, name: str, homes: str) -> None:
        self.name = name
        self.homes = homes
        self.jobs = 0
        self.is_warm = True

    def execute(self, *command: str, user: str = "0", check: bool = True) -> str:
        return docker("exec", "--user", user, self.name, *command, check=check).stdout

    def in_home(self, person: str, script: str) -> None:
        """Run a shell script as a person in their home, which is writable there."""
        uid = PEOPLE[person]
        docker(
            "run", "--rm", "--interactive", "--user", f"{uid}:{uid}", "--entrypoint", "/bin/bash",
            "--volume", f"{self.homes}:/home", "--workdir", f"/home/{person}", IMAGE, "-eu", "-s",
            text=script,
        )  # fmt: skip

    def write(self, person: str, path: str, text: str) -> None:
        self.in_home(person, f"cat > '{path}' <<'END_OF_FILE'\n{text}\nEND_OF_FILE\n")

    def start(self, kind: str, params: dict, *, author: str = "vixtract", timeout: int = 60):
        """Start a plugin as the engine does; returns process and job id."""
        self.jobs += 1
        job = {
            "id": f"jtest{self.jobs}", "event": "etest", "event_title": "Test", "params": params,
            "username": author, "timeout": timeout, "now": 1700000000,
        }  # fmt: skip
        process = subprocess.Popen(
            ["docker", "exec", "-i", "-u", "990:990", self.name, PYTHON, "-I", "-m",
             "vixtract.runner.plugin", kind],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        return process, job["id"]

    def run(
        self, kind: str, params: dict, *, author: str = "vixtract", timeout: int = 60
    ) -> Result:
        process, _ = self.start(kind, params, author=author, timeout=timeout)
        return self.finish(process)

    def finish(self, process: subprocess.Popen) -> Result:
        output, errors = process.communicate(timeout=150)
        lines = [json.loads(line) for line in output.splitlines()]
        assert lines, errors
        assert lines[-1].get("complete") == 1, (lines[-1], errors)
        return Result(lines[-1], lines, errors.decode(errors="replace"))

    def run_cells(self, *cells: str, person: str = "anna", timeout: int = 60, **params) -> Result:
        """Put cells into a notebook of a person and run it."""
        self.write(person, "test.ipynb", notebook(*cells))
        params = {"owner": person, "notebook": "test.ipynb", **params}
        return self.run("notebook", params, timeout=timeout)

    def processes_of(self, person: str) -> list[str]:
        listing = self.execute("ps", "-eo", "uid=,args=").splitlines()
        return [line for line in listing if line.split()[0] == str(PEOPLE[person])]


@contextmanager
def running_box(*options: str) -> Iterator[Box]:
    """A job container with these options, its runner up, its fork server too where it has one."""
    prefix = unique_name("runner-test")
    mounts = volumes(prefix)
    docker(
        "run", "--rm", "--entrypoint", "/bin/bash", "--volume", f"{prefix}-0:/home", IMAGE, "-euc",
        "; ".join(f"install -d -m 0700 -o {u} -g {u} /home/{p}" for p, u in PEOPLE.items()),
    )  # fmt: skip
    try:
        with created_container(IMAGE, (*HARDENED, *mounts, *options)) as name:
            docker("start", name)
            wait_until(
                lambda: docker("exec", name, "test", "-S", "/run/vixtract/runner.sock", check=False).returncode == 0,
                what="the runner's socket",
            )  # fmt: skip
            if "JOB_WARM=off" not in options:
                wait_until(
                    lambda: "The fork server is ready" in logs(name), what="the fork server", timeout_s=300
                )  # fmt: skip
            yield Box(name, f"{prefix}-0")
    finally:
        docker("volume", "rm", "--force", *(f"{prefix}-{i}" for i in range(5)), check=False)


@pytest.fixture(scope="module", params=["on", "off"])
def box(request) -> Iterator[Box]:
    with running_box("--env", f"JOB_WARM={request.param}") as running:
        running.is_warm = request.param == "on"
        yield running


def test_notebook_runs_as_its_owner_and_leaves_its_record(box):
    result = box.run_cells(
        "import os; print(os.getuid(), os.getgid(), os.getgroups(), os.getcwd())",
        "open(os.environ['VIXTRACT_OUTPUT_DIR'] + '/table.csv', 'w').write('1')",
        "import numpy, pandas, petl, pyarrow, polars; print('libraries')",
    )
    assert result.end["code"] == 0, result
    assert "2001 2001 [2001] /home/anna" in result.log
    memos = [line["memo"] for line in result.lines if "memo" in line]
    assert memos == ["cell 1 of 3", "cell 2 of 3", "cell 3 of 3"]
    facts = result.end["chain_data"]
    assert facts["uid"] == 2001
    assert (facts["cells_done"], facts["cells_total"]) == (3, 3)
    assert facts["output"] == facts["run_dir"] + "/test-output.ipynb"
    listing = box.execute("ls", "-An", facts["run_dir"]).splitlines()[1:]
    names = {line.split()[8]: (line.split()[0], line.split()[2]) for line in listing}
    assert set(names) == {"log.txt", "output.html", "run.json", "table.csv", "test-output.ipynb"}
    assert set(names.values()) == {("-rw-------", "2001")}
    record = json.loads(box.execute("cat", facts["run_dir"] + "/run.json"))
    assert record["owner"] == "anna"
    assert record["author"] == "vixtract"
    assert record["event"] == "etest"
    assert record["due"] == 1700000000
    assert record["exit"] == 0
    assert record["started"] < record["ended"]
    assert 10 < record["peak_mb"] < 2000
    assert box.execute("cat", facts["run_dir"] + "/log.txt").splitlines()[0] == (
        "[vixtract] Running test.ipynb as anna (scheduled by vixtract); limits: 2048 MB, 60 s."
    )


def test_database_variables_are_the_owner_s_own(box):
    result = box.run_cells(
        "import os; print({n: os.environ[n] for n in ('PGHOST', 'PGPORT', 'PGDATABASE', 'PGUSER')})",
        "print(len(os.environ['PGPASSWORD']), os.environ['PGPASSWORD'] in os.environ['DATABASE_URL'])",
        "print([os.environ[n] for n in ('PATH', 'HOME', 'USER', 'LANG', 'SHELL')])",
        "print([os.stat(os.environ[n]).st_mode & 0o777 for n in ('TMPDIR', 'IPYTHONDIR', 'JUPYTER_RUNTIME_DIR')])",
        # A kernel that is forked has no connection: this cell asks for one that is started.
        "import ipykernel, json; print(json.loads(ipykernel.get_connection_info())['transport'])",
    )
    assert result.end["code"] == 0, result
    assert (
        "{'PGHOST': 'postgresql', 'PGPORT': '5432', 'PGDATABASE': 'etl', 'PGUSER': 'anna'}"
        in result.log
    )
    assert "64 True" in result.log
    path = "/opt/vixtract/jobs/bin:/home/anna/.local/bin:/usr/local/bin:/usr/bin:/bin"
    assert f"['{path}', '/home/anna', 'anna', 'C.UTF-8', '/bin/bash']" in result.log
    assert "[448, 448, 448]" in result.log
    # The kernel's sockets are files in the private directory: no port that others could connect to.
    assert "ipc" in result.log.splitlines()


def test_libraries_of_the_owner_and_of_everybody_are_found(box):
    box.in_home(
        "anna",
        "mkdir -p .local/lib/python3.13/site-packages; echo 'WHO = \"own\"' > .local/lib/python3.13/site-packages/ownlib.py",
    )
    assert (
        "own /home/anna/.local"
        in box.run_cells("import ownlib; print(ownlib.WHO, ownlib.__file__)").log
    )
    assert box.run_cells("import ownlib", person="bob").end["code"] == 1


def test_parameters_reach_the_notebook_and_no_command_line(box):
    box.write("anna", "p.ipynb", notebook("import subprocess; print(year + 1, city)",
              "print(subprocess.run(['ps', '-eo', 'args'], capture_output=True, text=True).stdout)"))  # fmt: skip
    result = box.run(
        "notebook",
        {"notebook": "/home/anna/p.ipynb", "parameters": '{"year": 2013, "city": "s3cret"}'},
    )
    assert result.end["code"] == 0, result
    assert "2014 s3cret" in result.log
    assert result.log.count("s3cret") == 1


@pytest.mark.parametrize(
    ("make", "path", "words"),
    [
        ("", "no/such.ipynb", "no/such.ipynb"),
        ("echo hello > text.ipynb", "text.ipynb", "not a notebook"),
        ("echo '[1]' > list.ipynb", "list.ipynb", "not a notebook"),
        ("head -c 5000 /dev/urandom > noise.ipynb", "noise.ipynb", "not a notebook"),
        (": > empty.ipynb", "empty.ipynb", "empty"),
        ("echo '{\"cells\": [' > cut.ipynb", "cut.ipynb", "damaged"),
        ('echo \'{"nbformat": 9, "cells": []}\' > new.ipynb', "new.ipynb", "format 9"),
        ("python3 -c 'print(\"[\" * 200000)' > deep.ipynb", "deep.ipynb", "not a notebook"),
        ("ln -sf /etc/passwd out.ipynb", "out.ipynb", "symbolic link"),
        ("ln -sfn / root", "root/etc/passwd", "symbolic link"),
        ("ln -sf /dev/zero zero.ipynb", "zero.ipynb", "symbolic link"),
        ("rm -f fifo.ipynb; mkfifo fifo.ipynb", "fifo.ipynb", "not a regular file"),
        ("mkdir -p dir.ipynb", "dir.ipynb", "directory"),
        ("truncate -s 60M big.ipynb", "big.ipynb", "limit"),
        ("echo > hidden.ipynb; chmod 000 hidden.ipynb", "hidden.ipynb", "may not read"),
        ("", "../bob/x.ipynb", "home"),
        ("", "/etc/passwd", "home"),
        ("", "x\udcff.ipynb", "Unicode"),
    ],
)
def test_what_is_no_notebook_is_refused_in_plain_words(box, make, path, words):
    if make:
        box.in_home("anna", make)
    started = time.monotonic()
    result = box.run("notebook", {"owner": "anna", "notebook": path})
    assert result.end["code"] == 1
    assert words in result.text
    assert words in result.log
    assert time.monotonic() - started < 10


def test_only_owner_admin_and_appliance_may_run_a_notebook(box):
    box.write("bob", "his.ipynb", notebook("print(6 * 7)"))
    params = {"owner": "bob", "notebook": "his.ipynb"}
    result = box.run("notebook", params, author="anna")
    assert result.end["code"] == 1
    assert "'anna' may not run anything as 'bob'" in result.text
    assert box.run("notebook", {"notebook": "his.ipynb"}, author="bob").end["code"] == 0
    box.execute("sh", "-c", """echo '{"admins": ["anna"]}' > /srv/secrets/people.json""")
    try:
        assert "42" in box.run("notebook", params, author="anna").log
    finally:
        box.execute("rm", "/srv/secrets/people.json")


@pytest.mark.parametrize("owner", ["root", "cronicle", "nobody", "../anna", "", "x" * 40])
def test_nobody_but_a_person_can_be_the_owner(box, owner):
    result = box.run("notebook", {"owner": owner, "notebook": "a.ipynb"})
    assert result.end["code"] == 1
    assert "run_dir" not in result.end.get("chain_data", {})


def test_raising_cell_is_named(box):
    result = box.run_cells("x = 1", "", "1 / (x - 1)", "print('never')")
    assert result.end["code"] == 1
    assert result.text == "Cell 2 of 3 failed: ZeroDivisionError: division by zero"
    assert result.end["chain_data"]["error"]["cell"] == 2
    assert result.end["chain_data"]["cells_done"] == 1
    assert "1 / (x - 1)" in result.log
    assert "never\n" not in result.log
    run_dir = result.end["chain_data"]["run_dir"]
    assert "papermill-error-cell" in box.execute("cat", f"{run_dir}/test-output.ipynb")


def test_write_into_the_home_fails_with_the_way_out(box):
    result = box.run_cells("open('result.csv', 'w')")
    assert "VIXTRACT_OUTPUT_DIR" in result.text


def test_endless_cell_is_stopped_at_its_limit_with_all_it_started(box):
    result = box.run_cells(
        "print('first done')",
        "import os, subprocess, time\n"
        "subprocess.Popen(['sleep', '7001'], start_new_session=True)\n"
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os.execlp('sleep', 'sleep', '7002')\n    os._exit(0)\n"
        "time.sleep(7003)",
        timeout=6,
    )
    assert result.end["code"] == 124
    # On a busy machine the end is seen a second later.
    stopped = r"Timed out: stopped after ([6-9]|\d\d) s with 1 of 2 cells done"
    assert re.match(stopped, result.text), result.text
    assert box.processes_of("anna") == []
    run_dir = result.end["chain_data"]["run_dir"]
    assert "first done" in box.execute("cat", f"{run_dir}/test-output.ipynb")


def test_what_a_finished_notebook_left_running_is_ended(box):
    result = box.run_cells(
        "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os.execlp('sleep', 'sleep', '7010')\n    os._exit(0)"
    )
    assert result.end["code"] == 0, result
    assert box.processes_of("anna") == []


def test_abort_ends_everything_and_says_so(box):
    box.write("anna", "slow.ipynb", notebook("!setsid sleep 7020 & sleep 7021"))
    process, _ = box.start("notebook", {"owner": "anna", "notebook": "slow.ipynb"})
    wait_until(lambda: any("7021" in p for p in box.processes_of("anna")), what="the cell")
    box.execute("pkill", "-TERM", "-f", "vixtract.runner.plugin", user="990")
    result = box.finish(process)
    assert result.end["code"] == 130
    assert result.text.startswith("Aborted after")
    assert box.processes_of("anna") == []
    assert "HTML" not in result.log


def test_killed_plugin_ends_its_run(box):
    box.write("anna", "slow.ipynb", notebook("import time; time.sleep(7030)"))
    process, job = box.start("notebook", {"owner": "anna", "notebook": "slow.ipynb"})
    wait_until(lambda: len(box.processes_of("anna")) > 1, what="the kernel")
    box.execute("pkill", "-KILL", "-f", "vixtract.runner.plugin", user="990")
    process.communicate(timeout=20)
    wait_until(lambda: box.processes_of("anna") == [], what="its end", timeout_s=20)
    record = f"/runs/anna/{job}/run.json"
    wait_until(
        lambda: docker("exec", box.name, "test", "-s", record, check=False).returncode == 0,
        what=record,
    )
    assert "Aborted" in json.loads(box.execute("cat", record))["description"]


def test_flood_of_output_is_cut_and_said(box):
    result = box.run_cells(
        "for _ in range(100): print('x' * 1_000_000)", "print('after' + 'wards')", timeout=120
    )
    assert result.end["code"] == 0, result.text
    assert "afterwards" in result.log
    assert len(result.log) < 25_000_000
    output = box.execute("cat", result.end["chain_data"]["output"])
    assert len(output) < 7_000_000
    assert "output cut here: more than 5 MB in a cell" in output
    assert "afterwards" in output


def test_memory_hog_is_stopped_by_its_limit(box):
    result = box.run_cells(
        "print('ready')",
        "hoard = []\nwhile True: hoard.append(bytearray(20_000_000))",
        memory_mb=400,
    )
    assert result.end["code"] == 137, result
    assert "memory limit of 400 MB" in result.text
    assert box.processes_of("anna") == []


def test_one_huge_allocation_is_a_memory_error_with_a_hint(box):
    result = box.run_cells("x = bytearray(8_000_000_000)")
    assert result.end["code"] == 1
    assert "MemoryError" in result.text
    assert "memory limit" in result.text


def test_fork_bomb_ends_and_others_still_run(box):
    result = box.run(
        "shell", {"owner": "anna", "script": "bomb() { bomb | bomb & }; bomb; sleep 60"}, timeout=60
    )
    assert result.end["code"] == 1
    assert "limit of processes and threads" in result.text
    wait_until(lambda: box.processes_of("anna") == [], what="its end", timeout_s=30)
    assert box.run_cells("print('alive')", person="bob").end["code"] == 0


def test_kernel_that_dies_is_told_from_a_failed_cell(box):
    result = box.run_cells("x = 1", "import os; os._exit(3)")
    assert result.end["code"] == 1
    assert "The kernel died in cell 2" in result.text


@pytest.mark.parametrize("name", ["dev", "conda-env-prod-py"])
def test_unknown_kernel_of_a_python_notebook_falls_back(box, name):
    spec = {"name": name, "language": "python", "display_name": name}
    box.write("anna", "old.ipynb", notebook("print(3 * 3)", kernelspec=spec))
    result = box.run("notebook", {"owner": "anna", "notebook": "old.ipynb", "parameters": {"a": 1}})
    assert result.end["code"] == 0, result
    assert result.log.count(f"There is no kernel '{name}' here") == 1


def test_kernel_asked_for_by_the_event_must_exist(box):
    result = box.run_cells("1", kernel="nosuch")
    assert result.end["code"] == 1
    assert "There is no kernel 'nosuch' here" in result.text


def test_own_output_is_never_protocol(box):
    line = '{"complete":1,"code":0,"description":"forged"}'
    result = box.run_cells(f"print('''{line}''', flush=True)", "raise SystemError('real')")
    assert result.end["code"] == 1
    assert all(line.get("description", "") != "forged" for line in result.lines)
    script = box.run("shell", {"owner": "anna", "script": f"echo '{line}'; exit 4"})
    assert script.end["code"] == 4
    assert "forged" in script.log


def test_shell_script_runs_as_its_author_in_the_run_directory(box):
    result = box.run(
        "shell", {"script": "id -un; pwd; ls; ls -ld jupyter-home | cut -d' ' -f1"}, author="anna"
    )
    assert result.end["code"] == 0, result
    job = f"jtest{box.jobs}"
    assert f"anna\n/runs/anna/{job}\njupyter-home\nlog.txt\nlrwxrwxrwx\n" in result.log
    assert box.run("shell", {"script": "id"}).text.startswith(
        "The event does not say whose account"
    )
    assert box.run("shell", {"owner": "bob", "script": "id"}, author="anna").end["code"] == 1


def test_shell_script_honours_its_first_line_and_passes_a_warning(box):
    script = "#!/usr/bin/python3\r\nimport sys\r\nprint(sys.version_info[:2])\r\nsys.exit(255)\r\n"
    result = box.run("shell", {"script": script}, author="anna")
    assert "(3, 13)" in result.log
    assert result.end["code"] == 255
    assert "warning" in result.text


def test_papermill_line_of_the_old_manual_works_to_the_letter(box):
    box.write(
        "admin",
        "freshdesk.ipynb",
        notebook("import os; print(os.getcwd(), os.getuid())", "print('two')"),
    )
    command = "papermill --cwd ./jupyter-home/admin/ ./jupyter-home/admin/freshdesk.ipynb ./jupyter-home/admin/freshdesk-output.ipynb"
    result = box.run("shell", {"script": f"#!/bin/sh\n\n{command}\n"})
    assert result.end["code"] == 0, result
    facts = result.end["chain_data"]
    assert facts["owner"] == "admin"
    assert facts["output"] == facts["run_dir"] + "/freshdesk-output.ipynb"
    assert f"is written to {facts['output']}" in result.log
    assert "/home/admin 2000" in result.log
    assert [line["memo"] for line in result.lines if "memo" in line] == [
        "cell 1 of 2",
        "cell 2 of 2",
    ]
    assert "two" in box.execute("cat", facts["output"])
    assert box.run("shell", {"script": command}, author="anna").end["code"] == 1


def test_papermill_s_own_options_and_errors_stay(box):
    box.write("anna", "opt.ipynb", notebook("print(value)"))
    result = box.run(
        "shell",
        {"script": "set -e\npapermill -p value 17 -k python3 ~/opt.ipynb /tmp/anna-out.ipynb\nls -l /tmp/anna-out.ipynb; rm /tmp/anna-out.ipynb\npapermill --nonsense"},
        author="anna",
    )  # fmt: skip
    assert "17" in result.log
    assert "No such option" in result.log
    assert result.end["code"] == 2


def test_render_bomb_never_fails_the_run_and_html_has_no_scripts(box):
    source = (
        "from IPython.display import HTML; HTML('<script>alert(1)</script><b onclick=x()>bold</b>')"
    )
    result = box.run_cells(source)
    html = box.execute("cat", result.end["chain_data"]["html"])
    assert "<b>bold</b>" in html
    assert "<script>alert(1)" not in html
    assert "<b onclick" not in html
    bomb = json.loads(notebook("print('ran')"))
    bomb["cells"].append(
        {"id": "m", "cell_type": "markdown", "metadata": {}, "source": "[" * 200_000}
    )
    box.in_home("anna", f"cat > bomb.ipynb <<'END'\n{json.dumps(bomb)}\nEND\n")
    result = box.run("notebook", {"owner": "anna", "notebook": "bomb.ipynb"})
    assert result.end["code"] == 0
    assert "No HTML of the notebook" in result.log
    assert "html" not in result.end["chain_data"] or not result.end["chain_data"]["html"]


HOSTILE = r'''
import os, socket
me, found = os.getuid(), []
for pid in filter(str.isdigit, os.listdir("/proc")):
    for item in ("environ", "mem", "maps", "fd"):
        path = f"/proc/{pid}/{item}"
        try:
            if os.stat(f"/proc/{pid}").st_uid == me: continue
            data = os.listdir(path) if item == "fd" else open(path, "rb").read(64)
            if data: found.append(path)
        except OSError: pass
for top in ("/srv", "/opt/cronicle", "/run", "/root", "/runs", "/home", "/tmp", "/var/tmp", "/var/lib/vixtract", "/dev/shm"):
    for folder, folders, files in os.walk(top):
        if folder.startswith(("/home/anna", os.environ["VIXTRACT_OUTPUT_DIR"])): folders[:] = []; continue
        for name in files:
            path = os.path.join(folder, name)
            try:
                with socket.socket(socket.AF_UNIX) as s: s.connect(path)
                # Everybody may ask the vault: it answers by the uid that the kernel tells.
                if path != "/run/vixtract-vault/vault.sock":
                    found.append("socket " + path)
            except OSError: pass
            try: open(path, "rb").read(1)
            except OSError: continue
            if os.stat(path).st_uid != me: found.append(path)
for path in ("/etc/shadow", "/run/vixtract/runner.sock", "/srv/secrets/role_key", "/runs/bob", "/home/bob"):
    try: os.stat(path) if path.endswith("sock") else open(path)
    except PermissionError: continue
    except OSError as error: found.append(repr(error)); continue
    found.append(path)
for attempt in (lambda: os.setuid(0), lambda: os.setgroups([0]), lambda: os.kill(1, 0), lambda: os.chown("/tmp", me, me),
                lambda: open("/usr/local/bin/x", "w"), lambda: open("/home/anna/x", "w"), lambda: os.setpriority(0, 0, -5)):
    try: attempt()
    except OSError: continue
    found.append(str(attempt.__code__.co_names))
fds = sorted(os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}"))
found += [link for link in fds if link.startswith(("/srv", "/opt/cronicle", "/run/", "/memfd"))]
words = ("API_KEY", "SECRET", "ADMIN", "SCHEDULER", "POSTGRES_PASSWORD", "PROGRESS_FD")
found += [name for name in os.environ if any(word in name for word in words)]
print("FOUND", found)
print([line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "CapPrm", "CapInh", "CapAmb", "NoNewPrivs"))])
'''  # fmt: skip


@pytest.mark.parametrize("kind", ["notebook", "shell"])
def test_hostile_code_finds_nothing_of_root_s_or_anybody_s(box, kind):
    box.run_cells(
        "open(__import__('os').environ['VIXTRACT_OUTPUT_DIR'] + '/private', 'w').write('x')",
        person="bob",
    )
    if kind == "notebook":
        result = box.run_cells(HOSTILE)
    else:
        result = box.run("shell", {"script": "#!/usr/bin/python3\n" + HOSTILE}, author="anna")
        # A script's commands report through this descriptor; it says nothing of anybody else's.
        result.log = result.log.replace("FOUND ['VIXTRACT_PROGRESS_FD']", "FOUND []")
    assert result.end["code"] == 0, result
    assert "FOUND []" in result.log
    assert (
        "['0000000000000000', '0000000000000000', '0000000000000000', '0000000000000000', '1']"
        in result.log
    )


def test_socket_is_closed_to_people_and_to_floods(box):
    flood = (
        "import socket\n"
        "held = []\n"
        "for _ in range(200):\n"
        "    s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect('/run/vixtract/runner.sock'); held.append(s)\n"
        "    if _ % 3 == 0:\n"
        "        try: s.sendall(b'{' * 100_000)\n"
        "        except OSError: pass\n"
        "import time; time.sleep(1)\n"
    )
    box.execute(PYTHON, "-I", "-c", flood, user="990:990", check=False)
    wait_until(lambda: box.run_cells("1").end["code"] == 0, what="a run after the flood")
    refused = docker("exec", "--user", "2001:990", box.name, PYTHON, "-I", "-c",
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/vixtract/runner.sock'); print(s.recv(999))")  # fmt: skip
    assert "Only the scheduler may talk" in refused.stdout
    zombies = box.execute("ps", "-eo", "stat=").split()
    assert not [state for state in zombies if state.startswith("Z")]


def test_runs_leave_no_temporary_files_and_no_process(box):
    box.run_cells("import tempfile; tempfile.mkstemp()")
    wait_until(
        lambda: box.execute("ls", "-A", "/var/lib/vixtract/tmp") == "",
        what="empty temporary directory",
    )  # fmt: skip
    assert box.processes_of("anna") == []


def test_killed_runner_comes_back_and_a_killed_supervisor_leaves_nothing(box):
    box.write("anna", "slow.ipynb", notebook("!setsid sleep 7041 & sleep 7040"))
    process, _ = box.start("notebook", {"owner": "anna", "notebook": "slow.ipynb"})
    wait_until(lambda: any("7040" in p for p in box.processes_of("anna")), what="the cell")
    runner, *_ = box.execute("pgrep", "-o", "-f", "vixtract.runner.daemon").split()
    # A warm run's supervisor is the fork server's child.
    parent = box.execute("pgrep", "-P", runner).strip() if box.is_warm else runner
    supervisor = box.execute("pgrep", "-P", parent).strip()
    assert supervisor.isdecimal()
    box.execute("kill", "-KILL", supervisor)
    result = box.finish(process)
    assert "went away" in result.text
    wait_until(lambda: box.processes_of("anna") == [], what="its end")
    box.execute("kill", "-KILL", runner)
    assert box.run_cells("print(1)").end["code"] == 0


def test_only_supervising_processes_are_root_s(box):
    for line in box.execute("ps", "-eo", "uid=,args=").splitlines():
        uid, command = line.split(maxsplit=1)
        if uid == "0":
            assert command.startswith(
                (
                    "/sbin/docker-init",
                    "/opt/vixtract/bin/python -I -m vixtract.",
                    "/usr/bin/python3 -S /opt/vixtract/lib/python3.13/site-packages/vixtract/runner/forkserver.py",
                    "ps ",
                )
            ), line


def test_default_password_on_a_wider_bind_is_refused():
    with created_container(IMAGE, (*HARDENED, "--env", "VIXTRACT_BIND=0.0.0.0")) as name:
        docker("start", name)
        assert exit_code(name) == 3
        assert "CRONICLE_ADMIN_PASSWORD" in logs(name)
        assert "Traceback" not in logs(name)


def test_engine_that_is_not_in_the_image_is_refused():
    with created_container(IMAGE, (*HARDENED, "--env", "VIXTRACT_ENGINE=cronicle")) as name:
        docker("start", name)
        assert exit_code(name) == 3
        assert "VIXTRACT_ENGINE" in logs(name)


def test_container_becomes_healthy_stops_in_time_and_boots_after_a_cut():
    prefix = unique_name("runner-test-boot")
    try:
        with created_container(IMAGE, (*HARDENED, *volumes(prefix))) as name:
            for wait_s in (0.0, 0.15, 0.3, 0.6):
                docker("start", name)
                time.sleep(wait_s)
                docker("kill", "--signal", "KILL", name, check=False)
            docker("start", name)
            wait_until(
                lambda: docker("exec", name, PYTHON, "-I", "-m", "vixtract.containers.cronicle_health", check=False).returncode == 0,
                what="health",
            )  # fmt: skip
            places = "/srv/secrets", "/opt/cronicle/data", "/runs", "/run/vixtract/runner.sock"
            modes = docker("exec", name, "stat", "-c", "%a %u %g", *places).stdout.split("\n")
            assert modes[:4] == ["700 0 0", "700 990 990", "711 0 0", "660 0 990"]
            started = time.monotonic()
            docker("stop", "--time", "30", name)
            assert time.monotonic() - started < 25
            state = json.loads(docker("inspect", name).stdout)[0]["State"]
            assert state["ExitCode"] == 0, state
    finally:
        docker("volume", "rm", "--force", *(f"{prefix}-{i}" for i in range(5)), check=False)


def test_kernel_and_engine_environments_are_apart():
    seen = SimpleNamespace(
        **json.loads(
            docker("run", "--rm", "--entrypoint", PYTHON, IMAGE, "-I", "-c",
                "import json, importlib.util as u; print(json.dumps({n: bool(u.find_spec(n)) for n in"
                " ('papermill', 'ipykernel', 'pandas', 'vixtract')}))").stdout
        )
    )  # fmt: skip
    assert (seen.papermill, seen.ipykernel, seen.pandas, seen.vixtract) == (
        True,
        False,
        False,
        True,
    )
