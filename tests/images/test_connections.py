"""Connections in the real containers: who reads them in Lab and in jobs, and what lies on the volume."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex

import pytest

from tests.images.docker_cli import docker
from tests.images.hub import PYTHON, Hub
from tests.images.test_cronicle import HARDENED
from tests.images.test_cronicle import IMAGE as JOBS_IMAGE
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PASSWORD = "correct-horse-7"
SECRET = "s3cret-that-stands-nowhere"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()
GET = "import vixtract; print(vixtract.connection('crm').password)"
TELL = f"{GET}; import hashlib; print(hashlib.sha256(vixtract.connection('crm').password.encode()).hexdigest())"
# Run as the portal's account: what its process may ask.
AS_PORTAL = """
import json, sys
from vixtract.vault.client import ask
print(json.dumps(ask(json.loads(sys.argv[1]))))
"""


class Jobs:
    """The job container on the Hub's volumes."""

    def __init__(self, hub: Hub) -> None:
        self.name = f"{hub.name}-jobs"
        self.count = 0
        mounts = {"home": "/home:ro", "libs": "/usr/local:ro", "secrets": "/srv/secrets"}
        mounts["job-runs"] = "/runs"
        docker(
            "run", "-d", "--name", self.name, "--network", hub.name, *HARDENED,
            *(word for v, to in mounts.items() for word in ("-v", f"{hub.name}-{v}:{to}")),
            JOBS_IMAGE,
        )  # fmt: skip
        for path in ("/run/vixtract/runner.sock", "/run/vixtract-vault/vault.sock"):
            wait_until(lambda path=path: self.run("test", "-S", path).returncode == 0, path)

    def run(self, *command: str, user: str = "0", text: str | None = None):
        return docker(
            "exec", "-i", "-u", user, self.name, *command, check=False, text=text, timeout_s=150
        )

    def script(self, person: str, code: str) -> str:
        """Run a job of this person's, as the engine starts it; return its log."""
        script = f"#!/bin/bash\npython3 -c {shlex.quote(code)}\n"
        return self._start(person, "shell", script=script)

    def notebook(self, hub: Hub, person: str, code: str) -> str:
        """Run a notebook of one cell; return the executed notebook."""
        cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": code, "outputs": []}
        notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
        text = json.dumps(notebook).replace('"outputs"', '"execution_count": null, "outputs"')
        write = ("exec", "-i", "-u", person, hub.container, "tee", f"/home/{person}/cell.ipynb")
        docker(*write, text=text)
        log = self._start(person, "notebook", notebook="cell.ipynb", parameters={})
        output = f"/runs/{person}/jconn{self.count}/cell-output.ipynb"
        done = self.run("cat", output)
        assert done.returncode == 0, log
        return done.stdout

    def _start(self, person: str, kind: str, **parameters) -> str:
        self.count += 1
        job = {
            "id": f"jconn{self.count}", "event": "e", "event_title": "Test", "now": 1700000000,
            "params": {"owner": person, **parameters}, "username": person, "timeout": 90,
        }  # fmt: skip
        command = ("/opt/vixtract/bin/python", "-I", "-m", "vixtract.runner.plugin", kind)
        done = self.run(*command, user="990:990", text=json.dumps(job) + "\n")
        assert '"complete"' in done.stdout, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def hub():
    hub = Hub()
    try:
        hub.start()
        for name in ("anna", "bob"):
            hub.add(name, PASSWORD)
        in_team(hub, "teams.add_team('sales', home)")
        yield hub
    finally:
        docker("rm", "--force", f"{hub.name}-jobs", check=False)
        hub.close()
        docker("volume", "rm", f"{hub.name}-job-runs", check=False)


def in_team(hub: Hub, act: str) -> None:
    """Change a team as the Hub does it."""
    code = "from pathlib import Path; from vixtract.people import teams; home = Path('/home'); "
    hub.run(*PYTHON, "-c", code + act)


def as_portal(hub: Hub, **question) -> dict:
    """Ask the vault from a process of the portal's account."""
    done = docker(
        "exec", "-u", "portal", hub.container, *PYTHON, "-c", AS_PORTAL, json.dumps(question)
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def crm(hub):
    """Anna's connection, kept as the portal does it."""
    values = {"host": "postgresql", "database": "crm", "user": "etl", "password": SECRET}
    answer = as_portal(
        hub, do="save", person="anna", name="crm", kind="postgresql", values=values, kept=[]
    )
    assert answer == {"id": 1}
    return 1


@pytest.fixture(scope="module")
def jobs(hub):
    return Jobs(hub)


def test_anna_s_kernel_and_job_read_it_and_bob_s_do_not(hub, crm, jobs):
    anna = hub.browser("anna", PASSWORD)
    anna.start_server()
    assert anna.run_cell(GET).strip() == SECRET
    assert "['crm']" in anna.run_cell("import vixtract; print(vixtract.connections())")
    run = ("exec", "-u", "bob", hub.container, "/usr/bin/python3", "-c", GET)
    refused = docker(*run, check=False)
    assert "belongs to another" in refused.stderr
    assert SECRET not in refused.stdout + refused.stderr
    for told in (jobs.script("anna", TELL), jobs.notebook(hub, "anna", TELL)):
        # Log and notebook mask the password: that it is the right one is shown by its digest.
        assert DIGEST in told
        assert SECRET not in told and "***" in told
    answer = jobs.script("bob", GET)
    assert SECRET not in answer
    assert "belongs to another" in answer
    # A terminal: any process of hers.
    terminal = docker("exec", "-u", "anna", hub.container, "/usr/bin/python3", "-c", GET)
    assert terminal.stdout.strip() == SECRET


def test_engine_portal_and_proxy_read_none_of_it(hub, crm, jobs):
    for question in ({"do": "get", "name": "crm"}, {"do": "show", "id": 1}, {"do": "list"}):
        answer = as_portal(hub, person="anna", **question)
        assert SECRET not in str(answer)
    ask = AS_PORTAL.replace(
        "json.loads(sys.argv[1])", "{'do': 'get', 'name': 'crm', 'person': 'anna'}"
    )
    for user in ("990:990", "65534:65534", "2999:2999"):
        done = jobs.run("/opt/vixtract/bin/python", "-I", "-c", ask, user=user)
        assert SECRET not in done.stdout + done.stderr
        assert "error" in done.stdout, done
    done = docker("exec", "-u", "proxy", hub.container, *PYTHON, "-c", ask)
    assert "only to processes of people" in done.stdout
    for name, user in ((hub.container, "portal"), (jobs.name, "990:990"), (hub.container, "bob")):
        done = docker("exec", "-u", user, name, "ls", "/srv/secrets", check=False)
        assert "denied" in done.stderr


def test_nothing_of_it_lies_in_clear_on_any_volume(hub, crm, jobs):
    jobs.script("anna", "import vixtract; vixtract.connection('crm')")
    places = "/srv/secrets /srv/jupyterhub /home /runs /run /tmp /var/lib"
    for name in (hub.container, jobs.name):
        words = [SECRET, base64.b64encode(SECRET.encode()).decode()]
        for word in words:
            found = docker(
                "exec", name, "sh", "-c",
                f"grep -rlaF {word} {places} 2>/dev/null || true",
            ).stdout  # fmt: skip
            assert found == "", found
        assert SECRET not in docker("logs", name).stdout + docker("logs", name).stderr
    mode = hub.run("stat", "-c", "%a %U", "/srv/secrets/connections.sqlite3").split()
    assert mode == ["600", "root"]
    look = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null || true"
    everybody = hub.run("sh", "-c", look)
    assert SECRET not in everybody


def test_a_team_s_connection_follows_its_members(hub, crm, jobs):
    in_team(hub, "teams.set_member('sales', 'anna', home, is_member=True)")
    values = {"address": "https://api.example.com", "token": SECRET}
    assert as_portal(
        hub, do="save", person="anna", name="api", kind="http", values=values, kept=[],
        owner=["team", "sales"],
    )["id"]  # fmt: skip
    get = "import vixtract; print(vixtract.connection('api').headers)"
    run = ("exec", "-u", "bob", hub.container, "/usr/bin/python3", "-c", get)
    assert SECRET not in docker(*run, check=False).stdout
    in_team(hub, "teams.set_member('sales', 'bob', home, is_member=True)")
    assert SECRET in docker(*run).stdout
    in_team(hub, "teams.set_member('sales', 'bob', home, is_member=False)")
    assert SECRET not in docker(*run, check=False).stdout


def test_a_test_runs_as_nobody_and_does_not_go_inside(hub, crm):
    def try_host(**values):
        whole = {"database": "x", "user": "etl", "password": SECRET, **values}
        return as_portal(
            hub, do="test", person="anna", name="", kind="postgresql", values=whole, kept=[]
        )["test"]["code"]

    assert try_host(host="jupyter", port="8081") == "refused"
    assert try_host(host="127.0.0.1", port="8000") == "refused"
    assert try_host(host="169.254.169.254", port="80") == "refused"
    assert try_host(host="no.such.host.invalid") == "unknown_host"
    answer = as_portal(
        hub, do="test", person="anna", name="", kind="http", kept=[],
        values={"address": "http://jupyter:8081/jupyter/hub/api", "token": "x"},
    )  # fmt: skip
    assert answer["test"]["code"] == "refused"


def test_every_driver_of_the_image_answers(hub, crm):
    """Each kind is tried at a port where nothing listens: its driver is imported all the same."""
    code = (
        "import paramiko, pymssql, pymysql, psycopg, requests, pyarrow.fs\n"
        "from vixtract.vault.notebooks import make\n"
        "from vixtract.vault.kind import check_values\n"
        "from vixtract.vault.registry import KINDS\n"
        "dead = {'host': '127.0.0.1', 'port': '9', 'user': 'u', 'password': 'p', 'database': 'd'}\n"
        "for kind in ('postgresql', 'mysql', 'mssql', 'sftp'):\n"
        "    try: (lambda c: getattr(c, 'connect', None) or c.client)(make(kind, check_values(KINDS[kind], dead)))()\n"
        "    except Exception as error: print(kind, type(error).__module__.split('.')[0])\n"
    )
    done = docker("exec", "-u", "anna", hub.container, "/usr/bin/python3", "-c", code)
    assert "postgresql psycopg" in done.stdout
    assert "mysql pymysql" in done.stdout
    assert "mssql pymssql" in done.stdout
    assert "sftp builtins" in done.stdout, done.stdout


def test_keys_are_changed_while_both_containers_read(hub, crm, jobs):
    rotate = "from vixtract.vault.owners import rotate; print(rotate())"
    before = hub.run("cat", "/srv/secrets/connection_key")
    assert int(hub.run(*PYTHON, "-c", rotate)) >= 1
    assert hub.run("cat", "/srv/secrets/connection_key") != before
    assert DIGEST in jobs.script("anna", TELL)
    terminal = docker("exec", "-u", "anna", hub.container, "/usr/bin/python3", "-c", GET)
    assert terminal.stdout.strip() == SECRET


def test_the_only_administrator_is_not_removed(hub):
    for words in (("user", "remove", "admin"), ("user", "revoke-admin", "admin")):
        done = hub.operate(*words, check=False)
        assert done.returncode == 1
        assert "only administrator" in done.stderr


def test_a_killed_vault_comes_back(hub, crm, jobs):
    for name in (hub.container, jobs.name):
        pid = docker("exec", name, "pgrep", "-o", "-f", "vixtract.vault.server").stdout.split()[0]
        docker("exec", name, "kill", "-9", pid)
    assert DIGEST in jobs.script("anna", TELL)

    def reads() -> bool:
        done = docker(
            "exec", "-u", "anna", hub.container, "/usr/bin/python3", "-c", GET, check=False
        )
        return done.stdout.strip() == SECRET

    wait_until(reads, "the Hub starts the vault again")
