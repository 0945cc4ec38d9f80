"""One running appliance as the stack tests see it: its command, doors and containers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import nbformat
import psycopg
import websocket

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
# By name: `auto` depends on which images this machine happens to have.
ENGINE = os.environ.get("VIXTRACT_TEST_ENGINE", "embedded")


@dataclass
class Appliance:
    """An instance under its own project name and ports; a person's own is never touched."""

    project: str
    http_port: int
    https_port: int
    postgres_port: int
    visitors: list[httpx.Client] = field(default_factory=list, repr=False)
    _key: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """Address of the front door."""
        return f"http://127.0.0.1:{self.http_port}"

    def close(self) -> None:
        """Close all browsers that visited."""
        for visitor in self.visitors:
            visitor.close()

    def command(self, *arguments: str) -> list[str]:
        """Return the operator's command line for this instance."""
        return [
            str(ROOT / "vixtract"),
            f"--project={self.project}",
            f"--http-port={self.http_port}",
            f"--https-port={self.https_port}",
            f"--postgres-port={self.postgres_port}",
            *arguments,
        ]

    def operate(self, *arguments: str, timeout_s: float = 900, check: bool = True) -> Any:
        """Run the operator's command as a person would and return the finished process."""
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=timeout_s, cwd=ROOT
        )
        assert done.returncode == 0 or not check, f"{done.args}\n{done.stdout}\n{done.stderr}"
        return done

    def container(self, service: str) -> str:
        """Return a service's container name."""
        return f"{self.project}_{service}"

    def execute(
        self,
        service: str,
        *argv: str,
        user: str = "",
        stdin: str = "",
        check: bool = True,
        timeout_s: float = 120,
    ) -> str:
        """Run a command inside a container; return its standard output (and error, unchecked)."""
        options = ["-u", user, "-e", f"HOME=/home/{user}", "-w", f"/home/{user}"] if user else []
        done = subprocess.run(
            ["docker", "exec", "-i", *options, self.container(service), *argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0 or not check, f"{argv}\n{done.stdout}\n{done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    def docker(self, *argv: str, timeout_s: float = 120) -> str:
        """Run the engine's client and return what it printed."""
        done = subprocess.run(["docker", *argv], capture_output=True, text=True, timeout=timeout_s)
        assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    # --- people -------------------------------------------------------------------------------

    def add_person(self, name: str, *, admin: bool = False, password: str = "") -> str:
        """Create a person (again) and return the password."""
        password = password or f"pw-{uuid.uuid4().hex}"
        options = ["--admin"] if admin else []
        self.execute(
            "jupyter",
            "/opt/jupyterhub/bin/python", "-I", "-m", "vixtract.hub.operator",
            "user", "add", name, *options, "--password-stdin",
            stdin=password + "\n",
        )  # fmt: skip
        return password

    def write(self, owner: str, path: str, text: str) -> None:
        """Write a file into a home, as its owner."""
        self.execute(
            "jupyter", "/bin/sh", "-c", 'umask 077; mkdir -p "$(dirname "$1")"; cat > "$1"', "-", path,
            user=owner, stdin=text,
        )  # fmt: skip

    def write_notebook(self, owner: str, path: str, *cells: str, parameters: str = "") -> None:
        """Write a notebook of code cells into a home; ``parameters`` becomes the tagged cell."""
        notebook = nbformat.v4.new_notebook()
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        if parameters:
            cell = nbformat.v4.new_code_cell(parameters)
            cell.metadata["tags"] = ["parameters"]
            notebook.cells.append(cell)
        notebook.cells += [nbformat.v4.new_code_cell(source) for source in cells]
        self.write(owner, path, nbformat.writes(notebook))

    # --- the scheduler ------------------------------------------------------------------------

    def schedule(self, call: str, **body: Any) -> dict[str, Any]:
        """Make one call of the scheduler's REST contract through the front door."""
        if not self._key:
            self._key = self.execute("cronicle", "cat", "/srv/secrets/api_key").strip()
        answer = httpx.post(
            f"{self.url}/cronicle/api/app/{call}",
            json=body,
            headers={"X-API-Key": self._key},
            timeout=60,
        )
        assert answer.status_code == 200, f"{call}: HTTP {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def create_event(self, title: str, plugin: str, params: dict[str, Any], **fields: Any) -> str:
        """Create an event under a new id and return the id."""
        body = {
            "id": f"t{uuid.uuid4().hex[:12]}",
            "title": f"{title} {uuid.uuid4().hex[:6]}",
            "enabled": 1,
            "category": "general",
            "target": "allgrp",
            "plugin": plugin,
            "params": params,
            "timing": False,
            "max_children": 1,
            "timeout": 300,
            **fields,
        }
        answer = self.schedule("create_event", **body)
        assert answer["code"] == 0, answer
        return str(answer["id"])

    def start(self, event: str) -> str:
        """Run an event by hand and return the job's id."""
        answer = self.schedule("run_event", id=event)
        assert answer["code"] == 0 and answer["ids"], answer
        return str(answer["ids"][0])

    def job(self, job: str) -> dict[str, Any]:
        """Return a job's status."""
        answer = self.schedule("get_job_status", id=job)
        assert answer["code"] == 0, answer
        return answer["job"]

    def finish(self, job: str, timeout_s: float = 120) -> dict[str, Any]:
        """Wait for a job's end and return its status."""

        def ended() -> dict[str, Any] | None:
            status = self.job(job)
            return status if status.get("complete") else None

        return wait_until(ended, f"end of job {job}", timeout_s)

    def run_notebook(
        self, owner: str, path: str, author: str = "", timeout_s: float = 120, **params: Any
    ) -> dict[str, Any]:
        """Run a notebook by hand as a scheduled job and return the job's status."""
        fields = {"username": author} if author else {}
        event = self.create_event(
            f"run {path}", "notebook", {"owner": owner, "notebook": path, **params}, **fields
        )
        return self.finish(self.start(event), timeout_s)

    def run_script(
        self, author: str, script: str, timeout_s: float = 120, **fields: Any
    ) -> dict[str, Any]:
        """Run a Shell Script event by hand and return the job's status."""
        event = self.create_event(
            "script", "shellplug", {"script": script}, username=author, **fields
        )
        return self.finish(self.start(event), timeout_s)

    def console(self, job: str) -> str:
        """Return the beginning of a running job's live log."""
        return str(self.schedule("get_live_console", id=job, offset=0)["data"])

    def log(self, job: str) -> str:
        """Return a finished job's log."""
        if not self._key:
            self.schedule("ping")
        answer = httpx.get(
            f"{self.url}/cronicle/api/app/get_job_log",
            params={"id": job},
            headers={"X-API-Key": self._key},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text[:500]
        return answer.text

    # --- PostgreSQL ---------------------------------------------------------------------------

    def query(
        self, sql: str, *, user: str = "bi", password: str = "vixtract", database: str = "etl"
    ) -> list[Any]:
        """Run one query through the published port and return its rows."""
        with psycopg.connect(
            host="127.0.0.1", port=self.postgres_port, user=user, password=password,
            dbname=database, connect_timeout=60,
        ) as connection:  # fmt: skip
            return connection.execute(sql).fetchall()

    def query_inside(self, sql: str, *, database: str = "etl") -> list[tuple[str, ...]]:
        """Run one query as the superuser, who stays inside, and return its rows as texts."""
        psql = ("psql", "-XqAt", "-F", "\x1f", "-R", "\x1e", "-U", "postgres", "-d", database)
        text = self.execute("postgresql", *psql, "-c", sql).removesuffix("\n")
        return [tuple(row.split("\x1f")) for row in text.split("\x1e")] if text else []


class Person:
    """Somebody with a browser: a Hub session that can start a server and run cells."""

    def __init__(self, appliance: Appliance, name: str, password: str) -> None:
        self.appliance = appliance
        self.name = name
        self.http = httpx.Client(base_url=appliance.url, follow_redirects=True, timeout=60)
        appliance.visitors.append(self.http)
        self.login(password)

    def login(self, password: str) -> None:
        """Fill in the Hub's login form."""
        page = self.http.get("/jupyter/hub/login")
        token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
        answer = self.http.post(
            "/jupyter/hub/login",
            data={
                "username": self.name,
                "password": password,
                "_xsrf": token.group(1) if token else "",
            },
            follow_redirects=False,
        )
        assert answer.status_code == 302, f"login of {self.name}: {answer.status_code}"

    def start_server(self) -> None:
        """Start the person's JupyterLab server and wait until it answers."""
        self.http.get("/jupyter/hub/spawn", params={"next": ""})
        # The page first: it brings the server's own cookie, without which its API answers 403.
        wait_until(
            lambda: self.http.get(f"/jupyter/user/{self.name}/lab").url.path.endswith("/lab"),
            f"server of {self.name}",
        )
        answer = self.http.get(f"/jupyter/user/{self.name}/api/status")
        assert answer.status_code == 200, answer.text[:300]

    def _headers(self) -> dict[str, str]:
        path = f"/jupyter/user/{self.name}/"
        tokens = [c.value for c in self.http.cookies.jar if c.name == "_xsrf" and c.path == path]
        return {"X-XSRFToken": tokens[-1] or ""} if tokens else {}

    def run_cell(self, code: str, timeout_s: float = 120, until: str = "") -> str:
        """Run code in a fresh kernel; return its printed output, or the error as text.

        ``until`` ends it as soon as the output holds that text: a killed kernel reports no end.
        """
        base = f"/jupyter/user/{self.name}/api"
        if self.http.get(f"{base}/status").status_code != 200:
            # A test before this one killed or re-created the container.
            self.start_server()
        answer = self.http.post(
            f"{base}/kernels", json={"name": "python3"}, headers=self._headers()
        )
        assert answer.status_code == 201, answer.text[:300]
        kernel = answer.json()["id"]
        cookies = "; ".join(
            f"{c.name}={c.value}" for c in self.http.cookies.jar if self_path_matches(c.path, base)
        )
        channel = websocket.create_connection(
            f"ws://127.0.0.1:{self.appliance.http_port}{base}/kernels/{kernel}/channels",
            cookie=cookies,
            origin=self.appliance.url,
            timeout=timeout_s,
        )
        try:
            return collect_output(channel, code, timeout_s, until)
        finally:
            channel.close()
            self.http.delete(f"{base}/kernels/{kernel}", headers=self._headers())


def self_path_matches(cookie_path: str, path: str) -> bool:
    """Say whether a cookie of a path goes along with a request (RFC 6265, 5.1.4)."""
    return path == cookie_path or path.startswith(cookie_path.rstrip("/") + "/")


def collect_output(channel: Any, code: str, timeout_s: float, until: str = "") -> str:
    """Send an execute request over a kernel's websocket and collect what it prints."""
    message = uuid.uuid4().hex
    header = {
        "msg_id": message,
        "msg_type": "execute_request",
        "username": "",
        "session": message,
        "version": "5.3",
    }
    content = {
        "code": code,
        "silent": False,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
    }
    channel.send(
        json.dumps(
            {
                "header": header,
                "parent_header": {},
                "metadata": {},
                "content": content,
                "channel": "shell",
            }
        )
    )
    output, deadline = "", time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        answer = json.loads(channel.recv())
        if answer.get("parent_header", {}).get("msg_id") != message:
            continue
        kind = answer["msg_type"]
        if kind == "stream":
            output += answer["content"]["text"]
        elif kind == "error":
            output += f"{answer['content']['ename']}: {answer['content']['evalue']}"
        elif kind == "status" and answer["content"]["execution_state"] == "idle":
            return output
        if until and until in output:
            return output
    raise AssertionError(f"cell not finished within {timeout_s} s; so far: {output[-500:]}")
