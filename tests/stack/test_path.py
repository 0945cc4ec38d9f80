"""The whole path: a person, a notebook, a schedule, rows in PostgreSQL."""

from __future__ import annotations

import datetime
import json
import textwrap

import httpx

from tests.stack.appliance import ENGINE, ROOT, Person
from tests.waiting import wait_until

LOAD = """
import getpass, os, psycopg
with psycopg.connect() as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS {table} (who text, at timestamptz)")
    connection.execute("INSERT INTO {table} VALUES (%s, now())", [getpass.getuser()])
print("loaded as", getpass.getuser(), os.getuid())
"""


def test_front_door_tells_each_service_s_state(appliance):
    answer = httpx.get(f"{appliance.url}/healthz", timeout=60)
    assert answer.status_code == 200
    services = answer.json()["services"]
    assert services == {"nginx": "up", "jupyter": "up", "cronicle": "up", "postgresql": "up"}


def test_home_page_leads_on(appliance):
    page = httpx.get(appliance.url, timeout=60)
    assert page.status_code == 200
    for link in ("/jupyter", "/portal/", "/docs/"):
        assert link in page.text
        followed = httpx.get(appliance.url + link, timeout=60, follow_redirects=True)
        assert followed.status_code == 200, link
    page = httpx.get(f"{appliance.url}/cronicle/", timeout=60)
    if ENGINE == "embedded":
        assert page.headers["location"].endswith("/portal/")
    else:
        assert page.status_code == 200 and "Cronicle" in page.text


def test_wrong_password_is_refused(appliance, passwords):
    try:
        Person(appliance, "bob", "not-the-password")
    except AssertionError as error:
        assert "login of bob: " in str(error)
    else:
        raise AssertionError("a wrong password opened the door")
    Person(appliance, "bob", passwords["bob"])


def test_cell_runs_as_its_person_and_loads_into_its_schema(appliance, anna):
    output = anna.run_cell(LOAD.format(table="by_hand"))
    uid = int(appliance.execute("jupyter", "stat", "-c", "%u", "/home/anna"))
    assert uid >= 2000
    assert f"loaded as anna {uid}" in output
    assert appliance.query("SELECT who FROM anna.by_hand") == [("anna",)]


def test_scheduled_notebook_runs_on_time_as_its_owner_and_bi_reads_the_table(appliance, anna):
    appliance.write_notebook("anna", "etl/load.ipynb", LOAD.format(table="scheduled"))
    due = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=65)
    due = due.replace(second=0, microsecond=0)
    timing = {
        "hours": [due.hour],
        "minutes": [due.minute],
        "days": [due.day],
        "months": [due.month],
    }
    event = appliance.create_event(
        "on time",
        "notebook",
        {"owner": "anna", "notebook": "etl/load.ipynb"},
        username="anna",
        timing=timing,
        timezone="UTC",
    )
    history = wait_until(
        lambda: appliance.schedule("get_event_history", id=event, offset=0, limit=5)["rows"],
        "the scheduled run",
        150,
        2,
    )
    assert [row["code"] for row in history] == [0], history
    job = appliance.job(history[0]["id"])
    assert job["now"] == int(due.timestamp())
    uid = int(appliance.execute("jupyter", "stat", "-c", "%u", "/home/anna"))
    assert f"loaded as anna {uid}" in appliance.log(job["id"])
    assert appliance.query("SELECT who FROM anna.scheduled") == [("anna",)]
    # Where the person finds it: in their own home, as a notebook with outputs.
    output = appliance.execute("jupyter", "cat", f"runs/{job['id']}/load-output.ipynb", user="anna")
    assert "loaded as anna" in json.dumps(json.loads(output)["cells"][0]["outputs"])
    wait_until(
        lambda: appliance.execute(
            "postgresql", "psql", "-XAtU", "postgres", "-d", "vixtract", "-c",
            f"SELECT owner, code FROM vixtract.run WHERE id = '{job['id']}'",
        ) == "anna|0\n",
        "the record in PostgreSQL",
    )  # fmt: skip


def test_parameters_reach_the_notebook(appliance, passwords):
    appliance.write_notebook("anna", "p.ipynb", "print('sum is', a + b)", parameters="a = 1\nb = 2")
    job = appliance.run_notebook("anna", "p.ipynb", parameters={"b": 40})
    assert job["code"] == 0, job
    assert "sum is 41" in appliance.log(job["id"])


def test_own_and_global_libraries_are_seen_by_scheduled_jobs(appliance, anna, boss):
    # petl is in the image; these two are small, pure Python and not in it.
    admin_says = boss.run_cell("!pip3 install --no-cache-dir cowsay==6.1", 300)
    assert "Successfully installed cowsay" in admin_says
    anna_says = anna.run_cell("!pip3 install --no-cache-dir roman==5.2", 300)
    assert "Successfully installed roman" in anna_says
    code = "import cowsay, {own}; print('libraries', cowsay.__file__)"
    appliance.write_notebook("anna", "libs.ipynb", code.format(own="roman"))
    job = appliance.run_notebook("anna", "libs.ipynb")
    assert job["code"] == 0, (job, appliance.log(job["id"]))
    assert "libraries /usr/local/lib/python3.13/site-packages" in appliance.log(job["id"])
    # Somebody else sees the global one, not anna's.
    appliance.write_notebook("bob", "libs.ipynb", code.format(own="roman"))
    job = appliance.run_notebook("bob", "libs.ipynb")
    assert job["code"] != 0
    assert "No module named 'roman'" in job["description"]


def test_literal_command_of_the_predecessor_s_manual(appliance, passwords):
    appliance.write_notebook(
        "admin", "freshdesk.ipynb", "import getpass; print('ticket of', getpass.getuser())"
    )
    command = (
        "papermill --cwd ./jupyter-home/admin/ ./jupyter-home/admin/freshdesk.ipynb "
        "./jupyter-home/admin/freshdesk-output.ipynb"
    )
    job = appliance.run_script("admin", f"#!/bin/sh\n{command}\n")
    log = appliance.log(job["id"])
    assert job["code"] == 0, (job, log)
    assert "ticket of admin" in log
    place = f"/runs/admin/{job['id']}/freshdesk-output.ipynb"
    assert place in log
    assert "ticket of admin" in appliance.execute("cronicle", "cat", place)
    # An admin's script may run another person's notebook: it runs as that person.
    appliance.write_notebook(
        "anna", "freshdesk.ipynb", "import getpass; print('ticket of', getpass.getuser())"
    )
    job = appliance.run_script("admin", command.replace("/admin/", "/anna/"))
    assert "ticket of anna" in appliance.log(job["id"])


def test_second_up_changes_nothing_and_takes_seconds(appliance):
    ids = [appliance.docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", appliance.container(s))
           for s in ("nginx", "jupyter", "cronicle", "postgresql")]  # fmt: skip
    appliance.operate("up", "--yes", timeout_s=60)
    again = [appliance.docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", appliance.container(s))
             for s in ("nginx", "jupyter", "cronicle", "postgresql")]  # fmt: skip
    assert ids == again


def test_demo_runs_to_its_end_twice(appliance):
    for _ in range(2):
        done = appliance.operate("demo", "--yes", timeout_s=600)
        for expected in ("336776", "flights_by_carrier", "demo", "flights-output.ipynb"):
            assert expected in done.stdout.replace(",", ""), done.stdout


def test_status_is_readable_by_programs(appliance):
    status = json.loads(appliance.operate("status", "--json").stdout)
    assert {s["service"]: s["health"] for s in status["services"]} == dict.fromkeys(
        ("nginx", "jupyter", "cronicle", "postgresql"), "healthy"
    )


def test_first_notebook_of_the_readme_loads_its_table_in_lab(appliance, anna):
    text = (ROOT / "README.md").read_text("utf-8")
    source = textwrap.dedent(text.split("   ```python\n", 1)[1].split("   ```", 1)[0])
    output = anna.run_cell(source)
    assert "Warning" not in output and "Error" not in output, output
    found = appliance.query("SELECT city, people FROM anna.cities ORDER BY 1")
    assert found == [("Oslo", 717710), ("Rome", 2748109)]
