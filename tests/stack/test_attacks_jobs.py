"""What a person's code tries from inside: against root's processes, against others, against SQL."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.waiting import wait_until

SITE = "/usr/local/lib/python3.13/site-packages"
COMMANDS = [
    "sh",
    "bash",
    "env",
    "python",
    "python3",
    "pip3",
    "node",
    "npm",
    "id",
    "ps",
    "kill",
    "getent",
    "useradd",
    "usermod",
    "groupadd",
    "chown",
    "chmod",
    "cat",
    "find",
    "setpriv",
    "sudo",
    "papermill",
    "jupyter",
    "jupyterhub",
    "configurable-http-proxy",
    "docker-init",
    "tini",
    "curl",
    "psql",
    "nice",
    "ionice",
]
# Whoever runs it leaves a note; people may, root and the engine must not.
NOTE = "import os; open(f'/tmp/planted-{os.geteuid()}', 'a').close()"
PLANT = f"""
import os, pathlib
script = "#!/bin/sh\\n: > /tmp/planted-$(/usr/bin/id -u)\\nexec /usr/bin/$(/usr/bin/basename $0) \\"$@\\"\\n"
for name in {COMMANDS!r}:
    path = pathlib.Path("/usr/local/bin", name)
    if not path.exists():
        path.write_text(script)
        path.chmod(0o755)
        print("PLANTED", path)
for name, text in {{
    "attack.pth": {NOTE!r} + "\\n",
    "sitecustomize.py": {NOTE!r},
    "usercustomize.py": {NOTE!r},
    "uvicorn.py": {NOTE!r}, "starlette.py": {NOTE!r}, "anyio.py": {NOTE!r},
}}.items():
    path = pathlib.Path({SITE!r}, name)
    path.write_text(text)
    print("PLANTED", path)
"""


def list_notes(appliance, service: str) -> set[str]:
    """Return the accounts that ran what was planted."""
    output = appliance.execute(
        service, "/usr/bin/find", "/tmp", "-maxdepth", "1", "-name", "planted-*"
    )
    return {line.rpartition("-")[2] for line in output.split()}


@pytest.fixture(scope="module")
def planted(appliance, passwords, boss):
    """An admin's files in /usr/local, and setuid ones that the admin made with sudo."""
    output = boss.run_cell(PLANT)
    paths = [line.split()[1] for line in output.splitlines() if line.startswith("PLANTED")]
    assert len(paths) > 25, output
    rootid = "/usr/local/bin/attack-rootid"
    done = boss.run_cell(
        f"!sudo install -m 4755 -o root /usr/bin/id {rootid} && stat -c %a:%U {rootid}"
    )
    assert "4755:root" in done
    yield [*paths, rootid]
    appliance.execute("jupyter", "rm", "-f", *paths, rootid)
    for service in ("jupyter", "cronicle"):
        appliance.execute(service, "sh", "-c", "rm -f /tmp/planted-*")


def test_neither_root_nor_the_engine_runs_what_an_admin_planted(appliance, planted):
    """Both containers' root processes start again, make accounts and run jobs over the plants."""
    appliance.docker("restart", "--time", "10", appliance.container("cronicle"))
    wait_until(
        lambda: (
            (answer := appliance.schedule("status"))["code"] == 0 and answer.get("runner") == "up"
        ),
        "the scheduler after a restart",
    )
    appliance.add_person("newcomer")
    appliance.write_notebook("anna", "plain.ipynb", "print('ran')")
    job = appliance.run_notebook("anna", "plain.ipynb")
    assert job["code"] == 0, appliance.log(job["id"])
    appliance.run_script("anna", "#!/bin/sh\nid -u; python3 -c 'print(1)'\n")
    anna = appliance.execute("cronicle", "stat", "-c", "%u", "/home/anna").strip()
    found = list_notes(appliance, "cronicle")
    assert anna in found, "the plants work: the person's own job has run them"
    assert not found & {"0", "990"}, found
    assert "0" not in list_notes(appliance, "jupyter")
    portal = appliance.execute("jupyter", "/usr/bin/id", "-u", "portal").strip()
    assert portal not in list_notes(appliance, "jupyter")


def test_a_setuid_file_gives_a_job_nothing(appliance, planted):
    job = appliance.run_script("anna", "#!/bin/sh\n/usr/local/bin/attack-rootid; echo ended\n")
    log = appliance.log(job["id"])
    assert "ended" in log
    assert "(anna)" in log
    assert "root" not in log, log


FLIP = """
import os, time
os.chdir(os.path.expanduser("~"))
os.makedirs("real", exist_ok=True)
end = time.monotonic() + 25
open("ready", "w").close()
while time.monotonic() < end and not os.path.exists("stop"):
    for target in ("/home/bob", "/etc", "real"):
        try:
            os.symlink(target, "next"); os.rename("next", "way")
        except OSError:
            pass
    try:
        os.unlink("way"); os.rename("real", "way"); os.rename("way", "real")
    except OSError:
        pass
    for target in ("/home/bob/treasure.ipynb", "/etc/shadow", "/srv/secrets/api_key"):
        os.symlink(target, "next"); os.rename("next", "race.ipynb")
        os.link("good.ipynb", "next"); os.rename("next", "race.ipynb")
"""


def test_a_race_of_links_reads_nothing_of_others(appliance, anna):
    """The notebook's path changes under the runner between a file, and links to others' files."""
    appliance.write_notebook("bob", "treasure.ipynb", "print('bobs treasure')")
    appliance.write_notebook("anna", "good.ipynb", "print('good')")
    appliance.write_notebook("anna", "real/treasure.ipynb", "print('good')")
    appliance.write("anna", "flip.py", FLIP)
    appliance.execute("jupyter", "rm", "-f", "ready", "stop", user="anna")
    name = appliance.container("jupyter")
    appliance.docker(
        "exec",
        "-d",
        "-u",
        "anna",
        "-e",
        "HOME=/home/anna",
        name,
        "/usr/bin/python3",
        "/home/anna/flip.py",
    )
    is_ready = ("jupyter", "sh", "-c", "test -e /home/anna/ready && echo yes || true")
    wait_until(lambda: "yes" in appliance.execute(*is_ready), "the race")
    events = [
        appliance.create_event("race", "notebook", {"owner": "anna", "notebook": path})
        for path in ("race.ipynb", "way/treasure.ipynb", "race.ipynb", "way/treasure.ipynb")
    ]
    jobs = [appliance.start(event) for event in events]
    endings = [appliance.finish(job, 120) for job in jobs]
    appliance.execute("jupyter", "touch", "stop", user="anna")
    for ending in endings:
        text = appliance.log(ending["id"]) + json.dumps(ending)
        assert "bobs treasure" not in text
        assert "root:" not in text
        assert ending["code"] == 0 or "good" not in text


INSIDE = """
import json, urllib.error, urllib.request
def ask(address, **headers):
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read(400).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError as error:
        return 0, type(error).__name__
for address in (
    "http://{jupyter}:8081/jupyter/hub/api/users", "http://{jupyter}:8000/jupyter/hub/api/users",
    "http://{jupyter}:8001/api/routes", "http://{jupyter}:8010/portal/api/schedules",
    "http://{jupyter}:8010/portal/metrics", "http://{jupyter}:8000/jupyter/user/boss/api/contents",
    "http://{cronicle}:3012/cronicle/api/app/get_schedule", "http://{cronicle}:3012/api/app/get_api_keys",
    "http://nginx:8080/portal/api/runs",
):
    print("ASKED", json.dumps([address, *ask(address, **{{"X-Real-IP": "127.0.0.1", "X-Forwarded-User": "boss",
        "X-API-Key": "vixtract", "Remote-User": "boss"}})]))
"""


@pytest.mark.parametrize("where", ["lab", "job"])
def test_no_service_trusts_a_caller_for_being_inside(appliance, anna, where):
    """Addresses that the front door does not publish, from a person's own code."""
    if where == "lab":
        output = anna.run_cell(INSIDE.format(jupyter="127.0.0.1", cronicle="cronicle"))
    else:
        appliance.write_notebook(
            "anna", "inside.ipynb", INSIDE.format(jupyter="jupyter", cronicle="127.0.0.1")
        )
        output = appliance.log(appliance.run_notebook("anna", "inside.ipynb")["id"])
    asked = [
        json.loads(line.partition("ASKED ")[2]) for line in output.splitlines() if "ASKED [" in line
    ]
    assert len(asked) == 9, output
    for address, status, body in asked:
        refused = status in {0, 401, 403} or json.loads(body or "{}").get("code") in {
            "api",
            "session",
        }
        assert refused, (address, status, body)


SQL = "x'); DROP TABLE vixtract.run; --\\\"$$ %s {0} \x01 Ω"


def test_a_schedule_s_title_is_no_sql(appliance, passwords):
    title = f"{SQL} {uuid.uuid4().hex[:6]}"
    appliance.write_notebook("anna", "sql.ipynb", "print(1)")
    event = appliance.create_event("sql", "notebook", {"owner": "anna", "notebook": "sql.ipynb"})
    changed = appliance.schedule("update_event", id=event, title=title)
    stored = title if changed["code"] == 0 else None
    job = appliance.finish(appliance.start(event))
    assert job["code"] == 0

    def mirrored() -> list:
        sql = "SELECT event_title FROM vixtract.run WHERE event = '" + event + "'"
        return appliance.query_inside(sql, database="vixtract")

    rows = wait_until(mirrored, "the run in PostgreSQL")
    assert len(rows) == 1
    if stored:
        assert rows[0][0].replace("\N{REPLACEMENT CHARACTER}", "\x01") == stored
    for value in (SQL, "' OR '1'='1", "1; SELECT 1", "%", "\\"):
        for name in ("id", "event", "owner", "word", "state", "category", "plugin", "since"):
            answer = appliance.schedule("get_history", limit=5, **{name: value})
            assert answer["code"] != "internal", (name, value, answer)
    assert appliance.schedule("get_event", id="' OR '1'='1")["code"] != 0


@pytest.mark.parametrize(
    "name", ["x'; DROP ROLE anna; --", 'x"; --', "../root", "root", "pg_monitor", "a b", "Ω"]
)
def test_a_person_s_name_is_no_sql_and_no_path(appliance, passwords, name):
    output = appliance.execute(
        "jupyter", "/opt/jupyterhub/bin/python", "-I", "-m", "vixtract.hub.operator",
        "user", "add", "--password-stdin", "--", name, stdin="pw-long-enough-1\n", check=False,
    )  # fmt: skip
    assert "Traceback" not in output
    names = appliance.query_inside("SELECT rolname FROM pg_roles")
    assert name not in {row[0] for row in names} - {"pg_monitor"}
    assert ("anna",) in names
    assert name == "root" or name not in appliance.execute(
        "jupyter", "cut", "-d:", "-f1", "/etc/passwd"
    ).split("\n")
