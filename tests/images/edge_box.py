"""The job container with Cronicle in it, as the tests see it: started, killed, asked, attacked."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from tests.images.docker_cli import docker, handed_on
from tests.own_images import own_image
from tests.scheduler_client import JobClient
from tests.waiting import free_port, wait_until

IMAGE = own_image("cronicle-edge")
PEOPLE = {"admin": 2000, "anna": 2001, "bob": 2002}
HARDENED = (
    *handed_on("cronicle"),
    "--init", "--security-opt=no-new-privileges:true", "--cap-drop=ALL", "--pids-limit=4096", "--memory=4g",
    *(f"--cap-add={name}" for name in ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")),
)  # fmt: skip
PLACES = ("/home:ro", "/usr/local:ro", "/srv/secrets", "/opt/cronicle/data", "/runs")


def has_image() -> bool:
    """Say whether this machine has the image."""
    return docker("image", "inspect", IMAGE, check=False).returncode == 0


class EdgeBox:
    """One set of volumes and the containers that run on it, one after another.

    Args:
        prefix: unique; begins the names of volumes and containers.
        image: of the job container.
    """

    def __init__(self, prefix: str, image: str = IMAGE) -> None:
        self.prefix = prefix
        self.image = image
        self.name = f"{prefix}-box"
        self.port = free_port()
        self.volumes = [f"{prefix}-{number}" for number in range(len(PLACES))]
        homes = "; ".join(f"install -d -m 0700 -o {u} -g {u} /home/{p}" for p, u in PEOPLE.items())
        admins = 'install -d -m 0700 /srv/secrets; echo \'{"admins": ["admin"]}\' > /srv/secrets/people.json'
        docker(
            "run", "--rm", "--entrypoint", "/bin/bash", "--volume", f"{prefix}-0:/home",
            "--volume", f"{prefix}-2:/srv/secrets", image, "-euc", f"{homes}; {admins}",
        )  # fmt: skip

    def start(self, *options: str) -> EdgeBox:
        """Start a container on the volumes and wait until Cronicle manages."""
        mounts = [
            word
            for volume, place in zip(self.volumes, PLACES, strict=True)
            for word in ("--volume", f"{volume}:{place}")
        ]
        docker(
            "run", "--detach", "--name", self.name, *HARDENED, *mounts, "--env", "VIXTRACT_ENGINE=cronicle",
            "--publish", f"127.0.0.1:{self.port}:3012", *options, self.image,
        )  # fmt: skip
        wait_until(self.is_up, "the engine's start", 180)
        key = self.execute("cat", "/srv/secrets/api_key").strip()
        self.client = JobClient(f"http://127.0.0.1:{self.port}/cronicle", key, 30)
        return self

    def remove(self) -> None:
        """Remove the container; the volumes stay."""
        docker("stop", "--time", "30", self.name, check=False)
        docker("rm", "--force", self.name, check=False)

    def delete(self) -> None:
        """Remove everything."""
        docker("rm", "--force", self.name, check=False)
        volumes = [f"{self.prefix}-{number}" for number in range(len(PLACES))]
        docker("volume", "rm", "--force", *volumes, check=False)

    def is_up(self) -> bool:
        """Say whether the engine answers that all is well."""
        return self.ask("app/status")[1].get("code") == 0

    def execute(self, *command: str, user: str = "0", check: bool = True) -> str:
        """Run a command in the container."""
        return docker("exec", "--user", user, self.name, *command, check=check).stdout

    def ask(
        self,
        call: str,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Make a call as anybody; returns HTTP status and answer."""
        body = json.dumps(params).encode() if params is not None else None
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/cronicle/api/{call}",
            body,
            {"Content-Type": "application/json", **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                status, text = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        except OSError:
            return 0, {}
        try:
            content = json.loads(text)
        except ValueError:
            content = {"text": text.decode(errors="replace")}
        return status, content if isinstance(content, dict) else {"value": content}

    def log_in(self, name: str = "admin", password: str = "admin") -> dict[str, str]:
        """Log in as a person does; returns the header that Cronicle's page sends."""
        answer = self.ask("user/login", {"username": name, "password": password})[1]
        assert answer.get("code") == 0, answer
        return {"X-Session-ID": answer["session_id"]}

    def make_event(self, script: str, **fields: Any) -> str:
        """Create an event of anna's that runs a script."""
        event = {
            "title": f"test {time.monotonic_ns()}", "plugin": "shellplug", "timing": False,
            "params": {"script": script, "owner": "anna"}, **fields,
        }  # fmt: skip
        return self.client.create_event(event)

    def run_script(self, script: str) -> tuple[dict[str, Any], str]:
        """Run a script as anna; returns the finished job and its log."""
        job = self.client.run_event(self.make_event(script))
        done = self.client.wait_for_job(job, 120)
        return done, wait_until(lambda: self.client.get_job_log(job), "the log", interval_s=0.3)

    def query(self, sql: str) -> list[list[Any]]:
        """Ask the ledger."""
        code = (
            "import sqlite3,json,sys;"
            "c=sqlite3.connect('/opt/cronicle/data/ledger.sqlite3',timeout=30);"
            "print(json.dumps(c.execute(sys.argv[1]).fetchall()))"
        )
        python = ("/opt/vixtract/bin/python", "-I", "-c")
        return json.loads(self.execute(*python, code, sql, user="990:990"))

    def engine_pid(self) -> str:
        """Return the pid of Cronicle in the container, which may just be starting again."""

        def find() -> str:
            lines = self.execute("ps", "-eo", "pid=,args=").splitlines()
            return next((line.split()[0] for line in lines if "Cronicle Server" in line), "")

        return wait_until(find, "Cronicle's process", interval_s=0.3)

    def kill_engine(self) -> None:
        """Kill Cronicle, as the kernel does when memory is short."""
        self.execute("kill", "-9", self.engine_pid())
