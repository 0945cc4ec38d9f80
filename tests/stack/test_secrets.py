"""An appliance that others can reach: its secrets show nowhere, no default opens a door, and all
of them can be changed while it runs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from tests.stack.appliance import ROOT, Appliance, Person
from tests.stack.conftest import SERVICES, new_appliance
from vixtract.ops.envfile import load_env

KEYS = ("role_key", "api_key", "hub_token", "cronicle_key", "cronicle_session", "cronicle_oauth")
KNOWN = (
    "vixtract",
    "admin",
    "postgres",
    "password",
    "changeme",
    "secret",
    "123456",
    "root",
    "test",
    "",
)


@pytest.fixture(scope="module")
def exposed() -> Iterator[Appliance]:
    """An appliance of its own, bound to every address."""
    instance = new_appliance("open")
    instance.operate("down", "--volumes", "--yes", check=False)
    (ROOT / ".vixtract" / f"{instance.project}.secrets").unlink(missing_ok=True)
    try:
        # HTTPS would be self-signed by default here; the tests' own clients speak plain http.
        up = ("up", "--yes", "--engine", "embedded", "--bind", "0.0.0.0", "--https", "off")
        instance.operate(*up, timeout_s=1800)
        instance.add_person("anna")
        yield instance
    finally:
        instance.close()
        instance.operate("down", "--volumes", "--yes", check=False)
        for suffix in ("secrets", "env"):
            (ROOT / ".vixtract" / f"{instance.project}.{suffix}").unlink(missing_ok=True)


def settings_of(appliance: Appliance) -> dict[str, str]:
    """Return the generated passwords."""
    return load_env(ROOT / ".vixtract" / f"{appliance.project}.secrets")


def secrets_of(appliance: Appliance) -> dict[str, str]:
    """Return every secret of the appliance by name."""
    found = settings_of(appliance)
    for name in KEYS:
        path = f"/srv/secrets/{name}"
        found[name] = appliance.execute("cronicle", "cat", path).strip()
    found["cookie_secret"] = appliance.execute(
        "jupyter", "cat", "/srv/jupyterhub/cookie_secret"
    ).strip()
    return found


def everything_shown(appliance: Appliance) -> dict[str, str]:
    """Return what the engine and the processes show to those who only look."""
    shown = {}
    for service in SERVICES:
        name = appliance.container(service)
        shown[f"inspect {service}"] = appliance.docker("inspect", name)
        done = subprocess.run(["docker", "logs", name], capture_output=True, text=True, timeout=60)
        shown[f"logs {service}"] = done.stdout + done.stderr
        shown[f"arguments {service}"] = appliance.docker("top", name, "-eo", "pid,args")
        image = appliance.docker("inspect", "--format", "{{.Image}}", name).strip()
        shown[f"history {service}"] = appliance.docker("history", "--no-trunc", image)
        shown[f"image {service}"] = appliance.docker("inspect", image)
    return shown


def test_no_generated_secret_is_shown_by_engine_logs_or_arguments(exposed):
    secrets = secrets_of(exposed)
    assert len(secrets) == 4 + len(KEYS) + 1 and all(len(v) >= 24 for v in secrets.values())
    for place, text in everything_shown(exposed).items():
        for name, value in secrets.items():
            assert value not in text, f"{name} in {place}"


def test_a_job_and_its_files_see_no_secret_but_its_owner_s_own(exposed):
    secrets = secrets_of(exposed)
    script = "#!/bin/bash\ncat /proc/self/environ /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; cat /srv/secrets/* 2>&1"
    job = exposed.run_script("anna", script)
    log = exposed.log(job["id"])
    assert "PGUSER=anna" in log
    assert "PGPASSWORD=********" in log, "its own is masked"
    for name, value in secrets.items():
        assert value not in log, name


def gateway(appliance: Appliance) -> str:
    """Return an address of this machine that is not loopback."""
    form = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}"
    return appliance.docker("inspect", "--format", form, appliance.container("nginx")).strip()


def test_no_known_password_opens_any_door_of_another_address(exposed):
    host = gateway(exposed)
    assert not host.startswith("127.")
    base = f"http://{host}:{exposed.http_port}"
    with httpx.Client(verify=False, follow_redirects=True, timeout=60) as browser:
        page = browser.get(f"{base}/jupyter/hub/login")
        assert page.status_code == 200
        token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
        assert token
        for password in KNOWN[:4]:  # more would only be locked out
            form = {"username": "admin", "password": password, "_xsrf": token.group(1)}
            answer = browser.post(str(page.url), data=form, follow_redirects=False)
            assert answer.status_code in (403, 429), (password, answer.status_code)
        call = f"{page.url.copy_with(path='/cronicle/api/user/login', query=None)}"
        for password in KNOWN:
            answer = browser.post(call, json={"username": "admin", "password": password})
            assert "session_id" not in answer.text, password
        call = f"{page.url.copy_with(path='/cronicle/api/app/get_schedule', query=None)}"
        for key in KNOWN:
            assert '"rows"' not in browser.post(call, headers={"X-API-Key": key}, json={}).text
    for user in ("postgres", "bi", "vixtract", "admin", "anna"):
        for password in KNOWN:
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(
                    host=host, port=exposed.postgres_port, user=user, password=password,
                    dbname="etl", connect_timeout=60,
                )  # fmt: skip


def connect(appliance: Appliance, password: str) -> list:
    """Read as the BI login."""
    return appliance.query("SELECT 1", password=password)


def test_rotation_changes_every_secret_and_people_work_on(exposed):
    person = Person(exposed, "anna", exposed.add_person("anna"))
    person.start_server()
    server = exposed.execute("jupyter", "pgrep", "-u", "anna", "-f", "singleuser").split()
    before = secrets_of(exposed)
    assert connect(exposed, before["BI_PASSWORD"]) == [(1,)]
    # Cut off after the new keys were made: the next one goes on.
    stage = "from vixtract.hub.rotation import *; stage(SECRETS)"
    exposed.execute("jupyter", "/opt/jupyterhub/bin/python", "-I", "-c", stage)
    staged = exposed.execute("jupyter", "cat", "/srv/secrets/next/api_key").strip()
    told = exposed.operate("secrets", "rotate", "--yes", timeout_s=400).stdout
    after = secrets_of(exposed)
    kept = {name for name in before if after[name] == before[name]}
    assert kept == {"HUB_ADMIN_PASSWORD"}, "a person's own"
    assert after["api_key"] == staged
    assert after["BI_PASSWORD"] in told and "anna" in told
    assert connect(exposed, after["BI_PASSWORD"]) == [(1,)]
    with pytest.raises(psycopg.OperationalError):
        connect(exposed, before["BI_PASSWORD"])
    call = f"{exposed.url}/cronicle/api/app/get_schedule"
    with httpx.Client(verify=False, follow_redirects=True, timeout=60) as client:
        old = client.get(call, headers={"X-API-Key": before["api_key"]})
        assert '"rows"' not in old.text
    ask = (
        "import sys, urllib.request, urllib.error\n"
        "request = urllib.request.Request('http://127.0.0.1:8081/jupyter/hub/api/users')\n"
        "request.add_header('Authorization', 'token ' + sys.stdin.read().strip())\n"
        "try:\n    print(urllib.request.urlopen(request).status)\n"
        "except urllib.error.HTTPError as error:\n    print(error.code)\n"
    )
    for name, status in ((before["hub_token"], "403"), (after["hub_token"], "200")):
        python = ("/opt/jupyterhub/bin/python", "-I", "-c", ask)
        assert exposed.execute("jupyter", *python, stdin=name).strip() == status
    running = exposed.execute("jupyter", "pgrep", "-u", "anna", "-f", "singleuser").split()
    assert running == server, "people's servers live on"
    person = Person(exposed, "anna", exposed.add_person("anna"))
    person.start_server()
    cell = "import psycopg; print(psycopg.connect().execute('select current_user').fetchone())"
    assert "('anna',)" in person.run_cell(cell), "a new kernel of the old server connects"
    exposed._key = ""
    exposed.write_notebook("anna", "after.ipynb", cell)
    job = exposed.run_notebook("anna", "after.ipynb")
    assert job["code"] == 0 and "('anna',)" in exposed.log(job["id"]), job
    for place, text in everything_shown(exposed).items():
        for name, value in after.items():
            assert value not in text, f"{name} in {place}"
