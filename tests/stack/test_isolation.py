"""Who runs as what, and what a hostile notebook finds."""

from __future__ import annotations

import psycopg
import pytest

from tests.stack.appliance import ENGINE
from tests.waiting import wait_until

# Looks for everything it should not have; prints only what it found.
HOSTILE = r"""
import glob, os, socket, subprocess
me = os.getuid()
found = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if os.stat(f"/proc/{pid}").st_uid == me:
            continue
        for item in ("environ", "mem", "maps", "fd"):
            path = f"/proc/{pid}/{item}"
            try:
                data = os.listdir(path) if item == "fd" else open(path, "rb").read(64)
                if data:
                    found.append(path)
            except OSError:
                pass
    except OSError:
        pass
for top in ("/srv", "/opt/cronicle", "/run", "/root", "/runs", "/home", "/tmp", "/var/lib", "/etc/shadow"):
    for folder, folders, files in os.walk(top):
        if folder.startswith((f"/home/{os.environ['USER']}", os.environ["VIXTRACT_OUTPUT_DIR"])):
            folders[:] = []
            continue
        for name in files:
            path = os.path.join(folder, name)
            try:
                open(path, "rb").read(1)
                owner = os.stat(path).st_uid
                if owner != me and not path.startswith(("/home/.", "/var/lib/dpkg", "/var/lib/apt", "/var/lib/pam", "/var/lib/systemd", "/var/lib/python", "/var/lib/ucf", "/var/lib/xml-core", "/var/lib/shells")):
                    found.append(path)
            except OSError:
                pass
for path in glob.glob("/run/**", recursive=True) + glob.glob("/tmp/**", recursive=True):
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(2)
            s.connect(path)
            # Everybody may ask the vault: it answers by the uid that the kernel tells.
            if path != "/run/vixtract-vault/vault.sock":
                found.append("socket " + path)
    except OSError:
        pass
inherited = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
found += [link for link in inherited if link.startswith(("/srv", "/opt/cronicle", "/run/"))]
for name, value in os.environ.items():
    if any(word in name for word in ("API_KEY", "SECRET", "POSTGRES_PASSWORD", "ADMIN", "SCHEDULER", "HUB")):
        found.append("variable " + name)
for attempt in (lambda: os.setuid(0), lambda: os.setgroups([0]), lambda: os.kill(1, 0),
                lambda: open("/usr/local/bin/planted", "w"), lambda: open(os.path.expanduser("~/planted"), "w")):
    try:
        attempt()
        found.append("could " + attempt.__code__.co_names[-1])
    except OSError:
        pass
sudo = subprocess.run("command -v sudo su; sudo -n id", shell=True, capture_output=True, text=True).stdout
if "uid=0" in sudo:
    found.append("sudo")
print("FOUND", sorted(found))
print("GROUPS", os.getgroups(), os.getresuid(), os.getresgid())
print("CAPS", [l.strip() for l in open("/proc/self/status") if l.startswith(("CapEff", "CapPrm", "CapBnd", "NoNewPrivs"))])
"""


@pytest.fixture(scope="module", autouse=True)
def _people(passwords):
    """Make the people first."""


def test_hostile_notebook_in_a_job_finds_nothing(appliance):
    appliance.write_notebook("bob", "private.ipynb", "print('private')")
    appliance.run_notebook("bob", "private.ipynb")
    appliance.write_notebook("anna", "hostile.ipynb", HOSTILE)
    job = appliance.run_notebook("anna", "hostile.ipynb")
    log = appliance.log(job["id"])
    assert job["code"] == 0, log
    uid = appliance.execute("jupyter", "stat", "-c", "%u", "/home/anna").strip()
    assert "FOUND []" in log, log
    assert f"({uid}, {uid}, {uid}) ({uid}, {uid}, {uid})" in log
    assert "CapEff:\\t0000000000000000" in log
    assert "NoNewPrivs:\\t1" in log


def test_jobs_run_as_their_owner_and_only_supervisor_and_runner_as_root(appliance):
    appliance.write_notebook("anna", "slow.ipynb", "!sleep 4321")
    event = appliance.create_event("slow", "notebook", {"owner": "anna", "notebook": "slow.ipynb"})
    job = appliance.start(event)
    listing = wait_until(
        lambda: (
            (text := appliance.execute("cronicle", "ps", "-eo", "user:32,args"))
            and "4321" in text
            and text
        ),
        "the running cell",
    )
    appliance.schedule("abort_job", id=job)
    users = {}
    for line in listing.splitlines()[1:]:
        user, _, command = line.partition(" ")
        users.setdefault(user, []).append(command.strip())
    assert any("sleep 4321" in c for c in users["anna"])
    # A forked kernel shows the command that it was forked from.
    assert any("ipykernel" in c or "forkserver" in c for c in users["anna"])
    engine = {"embedded": "vixtract.scheduler.embedded", "cronicle": "Cronicle Server"}[ENGINE]
    assert any(engine in c for c in users["cronicle"])
    allowed = (
        *("docker-init", "/sbin/docker-init", "ps -eo", "/opt/vixtract/bin/python -I"),
        "/usr/bin/python3 -S /opt/vixtract/lib/python3.13/site-packages/vixtract/runner/forkserver",
    )
    strangers = [c for c in users["root"] if not c.startswith(allowed)]
    assert strangers == []
    roots = [c for c in users["root"] if c.startswith("/opt/vixtract/bin/python")]
    modules = ("vixtract.runner.", "vixtract.containers.cronicle", "vixtract.vault.server")
    assert all(any(module in c for module in modules) for c in roots), roots


def test_hub_s_container_runs_people_as_themselves(appliance, anna):
    listing = appliance.execute("jupyter", "ps", "-eo", "user:32,args")
    single = [
        line
        for line in listing.splitlines()
        if "jupyterhub-singleuser" in line or "jupyter-lab" in line
    ]
    assert single
    assert all(not line.startswith("root") for line in single)


def test_people_do_not_read_each_other_s_homes_schemas_or_runs(appliance, anna):
    appliance.write("bob", "diary.txt", "private")
    output = anna.run_cell(
        "import os, psycopg\n"
        "for path in ('/home/bob', '/runs/bob', '/srv/jupyterhub', '/srv/secrets'):\n"
        "    try:\n        os.listdir(path); print('READ', path)\n    except PermissionError: print('refused', path)\n"
        "try:\n    psycopg.connect().execute('CREATE TABLE bob.x (i int)'); print('WROTE')\n"
        "except psycopg.Error as error: print('refused', type(error).__name__)\n"
        "try:\n    psycopg.connect(user='postgres', password='', dbname='etl'); print('SUPER')\n"
        "except psycopg.Error: print('refused superuser')\n"
    )
    assert "READ" not in output
    assert "WROTE" not in output
    assert "SUPER" not in output
    assert output.count("refused") == 6, output


def test_bi_reads_future_tables_and_writes_nothing(appliance, anna):
    anna.run_cell(
        "import psycopg\nwith psycopg.connect() as c: c.execute('create table if not exists later (i int)')"
    )
    assert appliance.query("SELECT count(*) FROM anna.later") == [(0,)]
    for statement in (
        "INSERT INTO anna.later VALUES (1)",
        "CREATE TABLE public.x (i int)",
        "DROP TABLE anna.later",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            appliance.query(statement)
