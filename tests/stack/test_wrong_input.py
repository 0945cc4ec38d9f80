"""Wrong and hostile notebooks: each ends in its own clear error, and nothing else suffers."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.waiting import wait_until


def description_of(appliance, path, owner="anna", **params):
    """Run a notebook which must fail and return what the person is told."""
    job = appliance.run_notebook(owner, path, **params)
    assert job["code"] != 0, job
    return job["description"]


@pytest.fixture(scope="module", autouse=True)
def _people(passwords):
    """Make the people first."""


def test_missing_notebook(appliance):
    text = description_of(appliance, "nowhere/none.ipynb")
    assert "nowhere/none.ipynb" in text
    assert "not" in text


def test_not_a_notebook(appliance):
    appliance.write("anna", "text.ipynb", "hello, this is no notebook\n")
    assert "not a notebook" in description_of(appliance, "text.ipynb")


def test_empty_file(appliance):
    appliance.write("anna", "empty.ipynb", "")
    assert "empty" in description_of(appliance, "empty.ipynb")


def test_link_out_of_the_home(appliance):
    appliance.execute("jupyter", "ln", "-sfn", "/etc/passwd", "out.ipynb", user="anna")
    assert "link" in description_of(appliance, "out.ipynb")


def test_linked_folder_out_of_the_home(appliance):
    appliance.execute("jupyter", "ln", "-sfn", "/home/bob", "bobs", user="anna")
    appliance.write_notebook("bob", "secret.ipynb", "print(1)")
    assert "link" in description_of(appliance, "bobs/secret.ipynb")


@pytest.mark.parametrize("path", ["../bob/secret.ipynb", "/home/bob/secret.ipynb", "/etc/passwd"])
def test_path_outside_the_home(appliance, path):
    assert "home" in description_of(appliance, path)


def test_someone_else_s_notebook(appliance):
    appliance.write_notebook("bob", "his.ipynb", "print(1)")
    text = description_of(appliance, "his.ipynb", owner="bob", author="anna")
    assert "anna" in text
    assert "bob" in text


def test_fifo(appliance):
    appliance.execute("jupyter", "rm", "-f", "fifo.ipynb", user="anna")
    appliance.execute("jupyter", "mkfifo", "fifo.ipynb", user="anna")
    assert "regular file" in description_of(appliance, "fifo.ipynb")


def test_link_to_a_device(appliance):
    appliance.execute("jupyter", "ln", "-sfn", "/dev/zero", "zero.ipynb", user="anna")
    assert "link" in description_of(appliance, "zero.ipynb")


def test_raising_cell_is_named(appliance):
    appliance.write_notebook("anna", "raises.ipynb", "x = 1", "1 / (x - 1)", "print('never')")
    job = appliance.run_notebook("anna", "raises.ipynb")
    assert job["code"] != 0
    assert "ZeroDivisionError" in job["description"]
    assert "2" in job["description"]
    assert "never" not in appliance.log(job["id"])


def test_endless_cell_is_stopped_and_leaves_no_process(appliance):
    appliance.write_notebook(
        "anna", "endless.ipynb", "import subprocess, time; subprocess.Popen(['sleep', '7654'], start_new_session=True)",
        "while True: time.sleep(1)",
    )  # fmt: skip
    event = appliance.create_event(
        "endless", "notebook", {"owner": "anna", "notebook": "endless.ipynb"}, timeout=15
    )
    started = time.monotonic()
    job = appliance.finish(appliance.start(event), 60)
    assert job["code"] != 0
    assert "time" in job["description"].lower()
    assert time.monotonic() - started < 45
    assert "7654" not in appliance.execute("cronicle", "ps", "-eo", "args")


def test_abort_ends_the_whole_process_group(appliance):
    appliance.write_notebook("anna", "abort.ipynb", "!sleep 8765")
    event = appliance.create_event(
        "abort", "notebook", {"owner": "anna", "notebook": "abort.ipynb"}
    )
    job = appliance.start(event)
    wait_until(lambda: "8765" in appliance.execute("cronicle", "ps", "-eo", "args"), "the cell")
    assert appliance.schedule("abort_job", id=job)["code"] == 0
    status = appliance.finish(job, 30)
    assert "bort" in status["description"]
    wait_until(
        lambda: "8765" not in appliance.execute("cronicle", "ps", "-eo", "args"), "its end", 20
    )


def test_flood_of_output_is_cut_and_said(appliance):
    appliance.write_notebook(
        "anna", "flood.ipynb", "for _ in range(100): print('x' * 1_000_000)", "print('after')"
    )
    job = appliance.run_notebook("anna", "flood.ipynb", timeout_s=180)
    assert job["code"] == 0, job
    place = f"/runs/anna/{job['id']}"
    assert (
        int(appliance.execute("cronicle", "stat", "-c", "%s", f"{place}/flood-output.ipynb"))
        < 25_000_000
    )
    assert len(appliance.log(job["id"])) < 25_000_000
    assert "cut" in appliance.execute(
        "cronicle", "grep", "-m1", "-oi", "cut", f"{place}/flood-output.ipynb"
    )


def test_job_s_output_is_never_read_as_protocol(appliance):
    line = '{"complete":1,"code":0,"description":"forged","update_event":{"enabled":0}}'
    appliance.write_notebook(
        "anna", "forge.ipynb", f"print('''{line}''', flush=True)", "raise SystemError('real')"
    )
    job = appliance.run_notebook("anna", "forge.ipynb")
    assert job["code"] != 0
    assert "forged" not in job["description"]
    assert "SystemError" in job["description"]


def test_unknown_event_and_bad_key(appliance):
    assert appliance.schedule("run_event", id="nosuchevent")["code"] != 0
    answer = httpx.post(
        f"{appliance.url}/cronicle/api/app/get_schedule",
        json={},
        headers={"X-API-Key": "wrong"},
        timeout=60,
    )
    assert answer.json()["code"] != 0
    assert "rows" not in answer.json()
