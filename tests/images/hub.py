"""A Hub to try: its container beside a PostgreSQL, on volumes that outlive it, and browsers for it."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from types import SimpleNamespace
from urllib.parse import quote

import httpx

from tests.images.docker_cli import docker, handed_on, unique_name
from tests.own_images import own_image, postgres_base
from tests.stack.appliance import Person
from tests.waiting import free_port, wait_until

IMAGE = own_image("jupyter")
CAPABILITIES = ("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
MOUNTS = {
    "home": "/home",
    "libs": "/usr/local",
    "config": "/etc/jupyterhub/conf.d",
    "data": "/srv/jupyterhub",
    "secrets": "/srv/secrets",
    "runs": "/runs:ro",
    "socket": "/srv/postgresql/socket:nocopy",
}
PYTHON = ("/opt/jupyterhub/bin/python", "-I")


class Hub:
    """Containers, volumes and network of one Hub; `close` removes them all."""

    def __init__(self) -> None:
        self.name = unique_name("people-test")
        self.container = f"{self.name}-jupyter"
        self.postgres = f"{self.name}-postgres"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._clients: list[httpx.Client] = []
        docker("network", "create", self.name)

    def start_postgres(self, password: str = "vixtract") -> None:
        """Start PostgreSQL under the name that the Hub knows."""
        docker(
            *("run", "-d", "--name", self.postgres, "--network", self.name),
            *("--network-alias", "postgresql", "-e", f"POSTGRES_PASSWORD={password}"),
            *("-v", f"{self.name}-pg:/var/lib/postgresql/data"),
            *("-v", f"{self.name}-socket:/var/run/postgresql:nocopy", postgres_base()),
        )

    def start(self, **environment: str) -> None:
        """Start the Hub, re-created where it is there already, and wait until it is up."""
        docker("rm", "--force", self.container, check=False)
        mounts = [f"{self.name}-{volume}:{target}" for volume, target in MOUNTS.items()]
        docker(
            *("run", "-d", "--init", "--name", self.container, "--hostname", "jupyter"),
            *("--network", self.name, "-p", f"127.0.0.1:{self.port}:8000"),
            *("--cap-drop=ALL", *(f"--cap-add={name}" for name in CAPABILITIES)),
            *(word for mount in mounts for word in ("-v", mount)),
            *handed_on("jupyter"),
            *(word for item in environment.items() for word in ("-e", "=".join(item))),
            IMAGE,
        )
        self.wait_up()

    def wait_up(self) -> None:
        """Wait until the Hub answers."""
        wait_until(lambda: self.health()["hub"] == "up", "the Hub", 180)

    def health(self) -> dict[str, str]:
        """Return what the Hub says of itself."""
        with urllib.request.urlopen(
            f"{self.url}/jupyter/hub/vixtract/health", timeout=10
        ) as answer:
            return json.load(answer)

    def close(self) -> None:
        """Remove everything."""
        for client in self._clients:
            client.close()
        docker("rm", "--force", "--volumes", self.container, self.postgres, check=False)
        docker(
            "volume", "rm", *(f"{self.name}-{volume}" for volume in (*MOUNTS, "pg")), check=False
        )
        docker("network", "rm", self.name, check=False)

    def run(self, *command: str, user: str = "root", check: bool = True) -> str:
        """Run a command in the container and return what it printed."""
        return docker("exec", "-u", user, self.container, *command, check=check).stdout

    def operate(
        self, *words: str, text: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the operator's commands."""
        module = ("-m", "vixtract.hub.operator")
        return docker(
            "exec", "-i", self.container, *PYTHON, *module, *words, text=text, check=check
        )

    def add(self, name: str, password: str, *options: str) -> None:
        """Make a person with a password."""
        words = ("user", "add", name, "--password-stdin", *options)
        done = self.operate(*words, text=f"{password}\n", check=False)
        # Without PostgreSQL the person is made all the same, and their role later.
        lacks_role = "NOT DONE: PostgreSQL" in done.stderr
        assert done.returncode == 0 or lacks_role, done.stdout + done.stderr
        assert done.stderr.count("NOT DONE") <= 1, done.stderr

    def browser(self, name: str, password: str) -> Browser:
        """Return a browser that is logged in."""
        door = SimpleNamespace(url=self.url, http_port=self.port, visitors=self._clients)
        return Browser(door, name, password)

    def client(self) -> httpx.Client:
        """Return a browser without a login; it is closed with the Hub."""
        self._clients.append(httpx.Client(base_url=self.url, timeout=60))
        return self._clients[-1]

    def try_login(
        self, name: str, password: str, http: httpx.Client | None = None
    ) -> httpx.Response:
        """Send the login form once, 302 is success; a new browser unless one is given."""
        http = http or self.client()
        page = http.get("/jupyter/hub/login")
        form = {"username": name, "password": password, "_xsrf": xsrf_of(page)}
        return http.post("/jupyter/hub/login", data=form)

    def choose_password(self, name: str, first: str, password: str) -> httpx.Response:
        """Log in with a first password and choose another one; 302 is success."""
        http = self.client()
        answer = self.try_login(name, first, http)
        assert answer.headers["location"].endswith("/hub/first-password"), answer.headers
        page = http.get("/jupyter/hub/first-password")
        form = {"new_password": password, "repeated_password": password, "_xsrf": xsrf_of(page)}
        return http.post("/jupyter/hub/first-password", data=form)


class Browser(Person):
    """A person's browser on a Hub without the front door."""

    def start_server(self) -> None:
        """Start the server and open Lab, as a click does."""
        self.http.get("/jupyter/hub/spawn", params={"next": ""})
        path = f"/jupyter/user/{quote(self.name)}/lab"

        def is_open() -> bool:
            answer = self.http.get(path)
            return answer.status_code == 200 and answer.url.path.startswith(path)

        wait_until(is_open, f"Lab of {self.name}")

    def post(self, page: str, **fields: str) -> httpx.Response:
        """Open a page of the Hub and send its form."""
        token = xsrf_of(self.http.get(f"/jupyter/hub/{page}"))
        return self.http.post(f"/jupyter/hub/{page}", data={**fields, "_xsrf": token})

    def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Call the Hub's API as the Control Panel does."""
        page = self.http.get("/jupyter/hub/home").text
        token = re.search(r'xsrf_token: "([^"]+)"', page)
        assert token, page[:300]
        headers = {
            "X-XSRFToken": token.group(1),
            "Referer": f"{self.appliance.url}/jupyter/hub/admin",
        }
        return self.http.request(method, f"/jupyter/hub/api{path}", json=body, headers=headers)

    def is_logged_in(self) -> bool:
        """Say whether the Hub still takes this browser's cookies."""
        return self.http.get("/jupyter/hub/home").url.path == "/jupyter/hub/home"


def xsrf_of(page: httpx.Response) -> str:
    """Return the token of a page's first form."""
    found = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
    assert found, f"{page.status_code} {page.url}: {page.text[:300]}"
    return found.group(1)
