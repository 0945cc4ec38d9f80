"""Cronicle in the job container: its first boot, and every known hole attacked from each side."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.images.docker_cli import docker, unique_name
from tests.images.edge_box import IMAGE, EdgeBox, has_image
from tests.scheduler_client import JobClient
from tests.waiting import wait_until
from vixtract.scheduler.client import SchedulerError

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not has_image(), reason=f"Cronicle's image is absent: {IMAGE}"),
]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def box() -> Iterator[EdgeBox]:
    """A container that all tests share, with Cronicle's account `admin` and people in it."""
    box = EdgeBox(unique_name("edge-test"))
    try:
        yield box.start()
    finally:
        box.delete()


@pytest.fixture(scope="module")
def session(box) -> dict[str, str]:
    """The header of an administrator who is logged in to Cronicle's page."""
    return box.log_in()


def test_contract_holds(box):
    environment = {
        **os.environ,
        "SCHEDULER_CONTRACT_URL": box.client.base_url,
        "SCHEDULER_CONTRACT_KEY": box.execute("cat", "/srv/secrets/api_key").strip(),
        "SCHEDULER_CONTRACT_OWNER": "anna",
    }
    suite = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract/test_contract.py"]
    done = subprocess.run(
        [sys.executable, *suite],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_first_boot_has_our_plugins_and_no_demo_items(box, session):
    plugins = box.ask("app/get_plugins", {}, session)[1]["rows"]
    assert {p["id"]: p["uid"] for p in plugins} == {"notebook": "cronicle", "shellplug": "cronicle"}
    categories = box.ask("app/get_categories", {}, session)[1]["rows"]
    assert [category["id"] for category in categories] == ["general"]
    tool = ("/usr/bin/node", "/opt/cronicle/bin/storage-cli.js", "get", "global/conf_keys")
    assert json.loads(box.execute(*tool, user="990:990"))["length"] == 0


def test_nothing_of_cronicles_runs_as_root(box):
    status = box.execute("cat", f"/proc/{box.engine_pid()}/status")
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert lines["Uid"].split() == ["990"] * 4 and int(lines["CapEff"], 16) == 0


def test_cronicle_listens_on_no_port(box):
    sockets = box.execute("cat", "/proc/net/tcp", "/proc/net/tcp6")
    listening = {row.split()[1].rpartition(":")[2] for row in sockets.splitlines() if " 0A " in row}
    # Docker's own resolver listens on a port of 127.0.0.11.
    assert f"{3012:04X}" in listening and not {f"{port:04X}" for port in (3013, 3014)} & listening


def test_secrets_are_in_no_environment_and_no_log(box):
    box.run_script("#!/bin/bash\necho done\n")
    secrets = [
        box.execute("cat", f"/srv/secrets/{name}").strip()
        for name in ("api_key", "role_key", "cronicle_key", "cronicle_session", "cronicle_oauth")
    ]
    shown = box.execute("cat", f"/proc/{box.engine_pid()}/environ", user="990:990")
    logged = box.execute("bash", "-c", "cat /opt/cronicle/data/edge/logs/*.log")
    listed = box.execute("ps", "-eo", "args=")
    ours = docker("logs", box.name).stdout + docker("logs", box.name).stderr
    for place in (shown, logged, listed, ours):
        assert not [secret for secret in secrets if secret in place]


@pytest.mark.parametrize(
    "command",
    [
        "ls /opt/cronicle/data",
        "ls /opt/cronicle/data/edge/queue",
        "cp /etc/passwd /opt/cronicle/data/edge/queue/x.json",
        "cat /opt/cronicle/conf/config.json",
        "cat /srv/secrets/api_key",
        "cat /proc/$(pgrep -f 'Cronicle Server' | head -1)/environ",
        "kill -0 $(pgrep -f 'Cronicle Server' | head -1)",
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"/run/vixtract/runner.sock\")'",
        "python3 -c 'import socket; "
        'socket.socket(socket.AF_UNIX).connect("/opt/cronicle/data/edge/web.sock")\'',
    ],
)
def test_a_job_cannot_reach_what_is_the_engines(box, command):
    _, log = box.run_script(f"#!/bin/bash\n{command} && echo GOT-THROUGH\necho REFUSED-END\n")
    assert "REFUSED-END" in log and "GOT-THROUGH" not in log


@pytest.mark.parametrize(
    "call",
    [
        "app/get_live_job_log?id=j1", "app/get_live_log_chunk", "app/fetch_delete_job_log", "app/get_config",
        "app/export", "app/echo", "app/get_event_token", "app/check_user_exists", "user/create",
        "user/forgot_password", "user/admin_get_users", "user/admin_create", "user/external_login",
    ],
)  # fmt: skip
def test_anonymous_calls_are_refused(box, call):
    for params in (None, {"id": "j1", "username": "admin"}):
        status, answer = box.ask(call, params)
        assert status in (403, 404) or answer.get("code") in ("session", "api"), answer
        assert "rows" not in answer and "text" not in answer


@pytest.mark.parametrize(
    "call",
    [
        "app/create_plugin", "app/update_plugin", "app/delete_plugin", "app/create_conf_key", "app/get_config",
        "app/import", "app/export", "app/get_secret", "app/create_secret", "app/update_secret",
        "app/shutdown_server", "app/restart_server", "app/add_server", "app/create_api_key_x",
        "app/create_server_group", "app/create_category", "app/get_event_token", "app/update_job",
        "user/admin_create", "user/admin_update", "user/admin_delete", "user/update", "user/delete",
    ],
)  # fmt: skip
def test_even_an_administrators_page_cannot_change_the_engine(box, session, call):
    status, answer = box.ask(call, {"id": "x", "title": "x", "command": "/bin/sh"}, session)
    assert status == 403, answer


EVIL = {
    "uid": "root", "gid": "root", "debug_sudo": 1, "cwd": "/srv/secrets", "command": "/bin/id",
    "env": {"LD_PRELOAD": "/tmp/x.so"}, "log_file": "/etc/passwd", "api_key": "stolen", "multiplex": 1,
}  # fmt: skip
TYPED = {
    "web_hook": "http://127.0.0.1/", "chain": "x", "ticks": "* * * * *", "interval": 60, "detached": 1,
    "notify_fail": "a@x.test", "secret_value": "A=1",
}  # fmt: skip


def test_page_cannot_choose_account_environment_or_command(box, session):
    event = {
        "title": "evil", "enabled": 1, "category": "general", "target": "allgrp", "plugin": "shellplug",
        "params": {"script": "#!/bin/bash\nid -u\npwd\n", "owner": "anna", "ld_preload": "/tmp/x.so"},
        "timing": False, **EVIL,
    }  # fmt: skip
    answer = box.ask("app/create_event", event, session)[1]
    assert answer["code"] == 0, answer
    stored = box.ask("app/get_event", {"id": answer["id"]}, session)[1]["event"]
    assert not set(EVIL) & set(stored) and set(stored["params"]) == {"script", "owner"}
    for name, value in TYPED.items():
        refused = box.ask("app/update_event", {"id": answer["id"], name: value}, session)[1]
        assert refused["code"] == "api" and name in refused["description"], refused
    stored = box.ask("app/get_event", {"id": answer["id"]}, session)[1]["event"]
    assert not [name for name in TYPED if stored.get(name)]
    changed = {"id": answer["id"], "title": "evil", **EVIL, "params": {"python_x": "1"}}
    assert box.ask("app/update_event", changed, session)[1]["code"] == 0
    stored = box.ask("app/get_event", {"id": answer["id"]}, session)[1]["event"]
    assert not set(EVIL) & set(stored) and "python_x" not in stored["params"]
    fixed = {"id": answer["id"], "params": event["params"], "plugin": "shellplug"}
    assert box.ask("app/update_event", fixed, session)[1]["code"] == 0
    run = box.ask("app/run_event", {"id": answer["id"], **EVIL, "plugin": "notebook"}, session)[1]
    done = box.client.wait_for_job(run["ids"][0], 120)
    log = wait_until(lambda: box.client.get_job_log(run["ids"][0]), "the log", interval_s=0.3)
    assert done["code"] == 0 and "\n2001\n" in log and "/srv/secrets" not in log


@pytest.mark.parametrize("name", ["LD_PRELOAD", "ld_preload", "PYTHONPATH", "node_options", "PATH"])
def test_parameters_cannot_set_the_plugins_environment(box, name):
    with pytest.raises(SchedulerError) as caught:
        box.client.create_event(
            {"title": f"p {name}", "plugin": "shellplug", "timing": False,
             "params": {"script": "#!/bin/bash\n", "owner": "anna", name: "/tmp/x.so"}}
        )  # fmt: skip
    assert caught.value.code == "api" and name in caught.value.message


def test_a_jobs_output_is_no_protocol(box):
    words = '{"update_event":{"enabled":0,"notes":"planted"},"chain":"x","complete":1,"code":9}'
    event = box.make_event(f"#!/bin/bash\necho '{words}'\necho '{words}' >&2\n")
    job = box.client.run_event(event)
    assert box.client.wait_for_job(job, 120)["code"] == 0
    shown = box.client.get_event(event)
    assert shown["enabled"] == 1 and not shown.get("notes") and words in box.client.get_job_log(job)


def test_texts_of_a_job_are_no_html_on_cronicles_page(box, session):
    cell = {
        "id": "c0", "cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None,
        "source": "raise ValueError('<img src=x onerror=alert(1)>')",
    }  # fmt: skip
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    name = "<svg onload=alert(1)>.ipynb"
    docker(
        "run", "--rm", "--interactive", "--user", "2001:2001", "--entrypoint", "/bin/bash", "--volume",
        f"{box.prefix}-0:/home", IMAGE, "-c", f"cat > '/home/anna/{name}'", text=json.dumps(notebook),
    )  # fmt: skip
    event = {
        "title": "html",
        "plugin": "notebook",
        "timing": False,
        "params": {"owner": "anna", "notebook": name},
    }
    job = box.client.run_event(box.client.create_event(event))
    done = box.client.wait_for_job(job, 120)
    assert done["code"] == 1 and "<img src=x" in done["description"]
    raw = box.ask("app/get_job_status", {"id": job}, session)[1]["job"]
    shown = json.dumps([raw.get(key) for key in ("description", "memo", "table", "html", "perf")])
    assert "<img" not in shown and "<svg" not in shown and f"/portal/runs/{job}" in shown


def test_a_finished_jobs_log_is_there_at_once(box):
    for number in range(5):
        job = box.client.run_event(box.make_event(f"#!/bin/bash\necho number {number}\n"))
        wait_until(
            lambda job=job: box.client.get_job_status(job).get("complete"), "the end", interval_s=0
        )
        assert f"number {number}" in box.client.get_job_log(job)


def test_the_workflow_signature_opens_nothing(box):
    event = box.make_event("#!/bin/bash\nsleep 20\n")
    job = box.client.run_event(event)
    signature = hashlib.md5(f"{job}undefined".encode()).hexdigest()
    forged = {"X-WF-ID": job, "X-WF-Signature": signature}
    for call in ("app/abort_job", "app/run_event"):
        assert box.ask(call, {"id": job}, forged)[1]["code"] == "session"
    box.client.abort_job(job)


def test_no_key_is_kept_in_events_or_shown_at_an_abort(box, session):
    key = "aLimitedKeyOfTheTestsWithManyLetters"
    box.client.call(
        "create_api_key",
        {"title": "limited", "key": key, "username": "anna",
         "privileges": {"create_events": 1, "run_events": 1, "abort_events": 1}},
    )  # fmt: skip
    anna = JobClient(box.client.base_url, key)
    event = anna.create_event(
        {"title": "annas", "plugin": "shellplug", "timing": False, "username": "bob",
         "params": {"script": "#!/bin/bash\nsleep 30\n", "owner": "anna"}}
    )  # fmt: skip
    job = anna.run_event(event)
    wait_until(lambda: job in anna.get_active_jobs(), "the job", interval_s=0.1)
    anna.abort_job(job)
    done = anna.wait_for_job(job, 30)
    seen = json.dumps([done, box.ask("app/get_schedule", {}, session)[1]])
    where = seen.find(key)
    assert where < 0, seen[max(0, where - 300) : where + 50]
    assert '"api_key"' not in seen
    assert anna.get_event(event)["username"] == "anna"
    everything = box.execute("grep", "-rl", key, "/opt/cronicle/data/edge", check=False)
    assert everything == ""


def test_a_limited_key_sees_its_own_events_alone(box):
    key = "bobsKeyOfTheTestsWithManyMoreLetters"
    privileges = dict.fromkeys(
        ("create_events", "edit_events", "delete_events", "run_events", "abort_events"), 1
    )
    box.client.call(
        "create_api_key", {"title": "b", "key": key, "username": "bob", "privileges": privileges}
    )
    bob = JobClient(box.client.base_url, key)
    event = box.make_event("#!/bin/bash\necho hidden words\n", username="anna")
    job = box.client.run_event(event)
    box.client.wait_for_job(job, 120)
    wait_until(lambda: box.client.get_job_log(job), "the log", interval_s=0.3)
    for call, params in (
        ("get_event", {"id": event}), ("update_event", {"id": event, "enabled": 0}),
        ("run_event", {"id": event}), ("delete_event", {"id": event}), ("get_job_status", {"id": job}),
        ("get_event_history", {"id": event}), ("flush_event_queue", {"id": event}), ("abort_job", {"id": job}),
    ):  # fmt: skip
        with pytest.raises(SchedulerError):
            bob.call(call, params)
    with pytest.raises(SchedulerError):
        bob.get_job_log(job)
    assert bob.get_schedule().rows == [] and bob.get_history().rows == []


def test_somebody_elses_home_is_not_for_an_author_without_rights(box):
    event = box.client.create_event(
        {"title": "bobs", "plugin": "shellplug", "timing": False, "username": "bob",
         "params": {"script": "#!/bin/bash\nid\n", "owner": "anna"}}
    )  # fmt: skip
    done = box.client.wait_for_job(box.client.run_event(event), 120)
    assert done["code"] == 1 and "may not run anything" in done["description"]


def test_the_appliances_own_account_has_no_login(box):
    for name in ("vixtract", "Vix.tract", "vix tract"):
        status, _ = box.ask("user/login", {"username": name, "password": "x"})
        assert status == 403, name


@pytest.mark.parametrize(
    "text",
    [
        "POST /cronicle/api/app/ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /cronicle/api/app/ping HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 5\r\n\r\nxxxxx",
        "GET /cronicle/../api/user/login HTTP/1.1\r\n\r\n",
        "GET /cronicle/%2e%2e/x HTTP/1.1\r\n\r\n",
        "GET http://x/cronicle/ HTTP/1.1\r\n\r\n",
        "OPTIONS /cronicle/api/app/ping HTTP/1.1\r\n\r\n",
        "GET /db HTTP/1.1\r\n\r\n",
        "GET /cronicle/DB HTTP/1.1\r\n\r\n",
        "GET /cronicle/custom/dashboard.html HTTP/1.1\r\n\r\n",
        "GET /cronicle/ HTTP/1.1\r\nX: a\x00b\r\n\r\n",
    ],
)
def test_odd_requests_are_refused(box, text):
    with socket.create_connection(("127.0.0.1", box.port), 10) as connection:
        connection.sendall(text.encode())
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 4") and answer.count(b"HTTP/1.1") == 1


def test_no_answer_opens_the_page_to_other_origins(box):
    with socket.create_connection(("127.0.0.1", box.port), 10) as connection:
        connection.sendall(b"GET /cronicle/ HTTP/1.1\r\nHost: x\r\nOrigin: http://evil\r\n\r\n")
        answer = connection.makefile("rb").read().lower()
    assert b"200 ok" in answer and b"access-control-allow-origin" not in answer


def test_guessing_passwords_is_slowed_down_and_locks_nobody_out(box):
    def guess(number: int) -> int:
        return box.ask("user/login", {"username": "admin", "password": f"no{number}"})[0]

    # All at once: a few at a time are slow enough to be let through on a machine with much to do.
    with ThreadPoolExecutor(90) as pool:
        assert 429 in list(pool.map(guess, range(90)))
    wait_until(box.log_in, "a login with the right password", interval_s=3)
