"""The jupyter image for real: logins, accounts, servers, libraries, deaths and re-creation."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from tests.images.docker_cli import docker, exit_code, handed_on
from tests.images.hub import IMAGE, PYTHON, Hub
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.docker,
    # A server that is killed in the middle of an answer leaves httpx with an open socket.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PASSWORD = "correct-horse-7"
# A wheel is a zip file: this one has a module of one line, so that no test needs a package index.
BUILD_WHEEL = """
import sys, zipfile
name, version = sys.argv[1], sys.argv[2]
with zipfile.ZipFile(f"/tmp/{name}-{version}-py3-none-any.whl", "w") as wheel:
    info = f"{name}-{version}.dist-info"
    wheel.writestr(f"{name}.py", f"version = {version!r}")
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(f"{info}/RECORD", "")
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """One Hub with a PostgreSQL for all tests that leave it standing."""
    hub = Hub()
    try:
        hub.start_postgres()
        hub.start()
        yield hub
    finally:
        hub.close()


@pytest.fixture(scope="module")
def admin(hub):
    """The first administrator's browser."""
    return hub.browser("admin", "vixtract")


@pytest.fixture
def own_hub() -> Iterator[Hub]:
    """A Hub for one test that breaks it."""
    hub = Hub()
    try:
        yield hub
    finally:
        hub.close()


def read_people(hub):
    return json.loads(hub.run("cat", "/srv/secrets/people.json"))


def install(person, name, version, options=""):
    """Install a wheel with plain pip3 from a person's kernel; return the module's file and version."""
    script = base64.b64encode(BUILD_WHEEL.encode()).decode()
    person.run_cell(
        f"import base64, subprocess\n"
        f"subprocess.run(['python3', '-c', base64.b64decode('{script}'), '{name}', '{version}'], check=True)\n"
        f"print(subprocess.run('pip3 install --no-index {options} /tmp/{name}-{version}-py3-none-any.whl',"
        f" shell=True, capture_output=True, text=True))"
    )
    return person.run_cell(f"import {name}; print({name}.__file__, {name}.version)").strip()


# --- entrypoint -----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.5", "::"])
def test_entrypoint_refuses_documented_passwords_on_a_public_address(address):
    done = docker(
        *("run", "--rm", *handed_on("jupyter")),
        *("-e", f"VIXTRACT_BIND={address}", "-e", "HUB_ADMIN_PASSWORD=own", IMAGE),
        check=False,
    )
    assert done.returncode == 3
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2
    assert "but BI_PASSWORD still" in lines[0]
    assert "./vixtract up --bind" in lines[1]


def test_entrypoint_refuses_a_system_account_as_administrator():
    words = (*handed_on("jupyter"), "-e", "HUB_ADMIN=root", IMAGE)
    done = docker("run", "--rm", *words, check=False)
    assert done.returncode == 3
    assert "reserved" in done.stderr


def test_entrypoint_refuses_to_guess_settings_that_compose_did_not_hand_on():
    words = [word for word in handed_on("jupyter") if "SERVER_MEMORY_MB" not in word]
    done = docker("run", "--rm", *words, IMAGE, check=False)
    assert done.returncode == 3
    first, second = done.stderr.strip().splitlines()
    assert "without SERVER_MEMORY_MB." in first and "docker-compose.yml of this version" in second


# --- who runs what --------------------------------------------------------------------------------


def test_root_runs_the_hub_homes_the_vault_and_the_watch_and_nothing_else(hub):
    hub.add("ps.person", PASSWORD)
    hub.browser("ps.person", PASSWORD).start_server()
    rows = [line.split(None, 1) for line in hub.run("ps", "-eo", "user:32=,args=").splitlines()]
    of_root = [args for user, args in rows if user == "root" and not args.startswith("ps ")]
    assert len(of_root) == 6, of_root
    assert all(
        re.search(
            r"docker-init|vixtract\.(containers\.jupyter|homes\.server|processes\.labs|vault\.server)|bin/jupyterhub -f",
            a,
        )
        for a in of_root
    )
    assert {user for user, args in rows if "configurable-http-proxy" in args} == {"proxy"}
    assert {user for user, args in rows if "jupyterhub-singleuser" in args} == {"ps.person"}


def test_health_names_both_services(hub):
    assert hub.health() == {"hub": "up", "postgresql": "up"}


def test_secrets_and_state_are_roots_alone(hub):
    modes = hub.run(
        "stat", "-c", "%a %U %n", "/srv/secrets", "/srv/jupyterhub", "/srv/secrets/role_key"
    )
    assert modes.split() == [
        *("700", "root", "/srv/secrets", "700", "root", "/srv/jupyterhub"),
        *("600", "root", "/srv/secrets/role_key"),
    ]


# --- people ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["q", "ab", "ivan.petrov"])
def test_person_added_in_the_control_panel_works_after_an_admin_sets_a_password(hub, admin, name):
    assert admin.call("POST", "/users", {"usernames": [name], "admin": False}).status_code == 201
    assert hub.try_login(name, PASSWORD).status_code == 403, "no password yet"
    assert (
        f"The password of {name} is set"
        in admin.post("passwords", name=name, new_password="known-to-the-admin").text
    )
    assert hub.choose_password(name, "known-to-the-admin", PASSWORD).status_code == 302
    person = hub.browser(name, PASSWORD)
    person.start_server()
    output = person.run_cell(
        "import getpass, os, sys, psycopg2, sqlalchemy\n"
        "cursor = psycopg2.connect('').cursor(); cursor.execute('select current_schema()')\n"
        "engine = sqlalchemy.create_engine(os.environ['DATABASE_URL'])\n"
        "user = engine.connect().exec_driver_sql('select current_user').scalar()\n"
        "print(getpass.getuser(), os.getcwd(), sys.executable, cursor.fetchone()[0], user)\n"
        "print(os.readlink('runs'), os.stat('.').st_mode & 0o777, os.path.isdir('examples'))"
    )
    assert output.splitlines() == [
        f"{name} /home/{name} /usr/bin/python3 {name} {name}",
        f"/runs/{name} {0o700} True",
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("root", "reserved"),
        ("www-data", "system account"),
        ("libadmin", "system account"),
        ("portal", "reserved"),
        ("pg_me", "reserved"),
        ("a/../b", "not a valid name"),
        ("x" * 33, "not a valid name"),
        ("иван", "not a valid name"),
    ],
)
def test_control_panel_refuses_a_name_and_says_why(admin, name, reason):
    answer = admin.call("POST", "/users", {"usernames": [name], "admin": False})
    assert answer.status_code == 400
    assert reason in answer.json()["message"]


def test_renaming_is_refused(hub, admin):
    hub.add("old.name", PASSWORD)
    answer = admin.call("PATCH", "/users/old.name", {"name": "new.name", "admin": False})
    assert answer.status_code == 400
    assert "renamed" in answer.json()["message"]
    assert hub.try_login("old.name", PASSWORD).status_code == 302


def test_deleted_person_is_out_of_hub_and_postgresql(hub, admin):
    hub.add("leaver", PASSWORD)
    person = hub.browser("leaver", PASSWORD)
    person.start_server()
    assert "42" in person.run_cell(
        "import psycopg; print(psycopg.connect().execute('select 42').fetchone())"
    )
    # There is no scheduler here: everything else is done, that is said, and the next try goes on.
    for _ in range(2):
        refused = admin.call("DELETE", "/users/leaver")
        assert refused.status_code == 503
        assert "scheduler" in refused.json()["message"]
        assert "home" not in refused.json()["message"]
    assert not person.is_logged_in()
    assert hub.try_login("leaver", PASSWORD).status_code == 403
    query = "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname LIKE '%leaver%'"
    ask = ("psql", "-U", "postgres", "-h", "127.0.0.1", "-Atc", query)
    roles = docker("exec", "-e", "PGPASSWORD=vixtract", hub.postgres, *ask).stdout.split()
    assert len(roles) == 1
    assert re.fullmatch(r"removed:leaver:\d{14}\|f", roles[0])
    assert hub.run("sh", "-c", "test -e /home/leaver; echo $?").strip() == "1"
    assert "leaver." in hub.run("ls", "/home/.vixtract/left")
    assert "no such user" in hub.run("id", "leaver", check=False) or not hub.run(
        "id", "leaver", check=False
    )


def test_operator_lists_adds_again_and_generates(hub):
    first = hub.operate("user", "add", "op.person").stdout
    password = re.search(r"Password: (\w{24})", first).group(1)
    assert hub.try_login("op.person", password).status_code == 302
    again = hub.operate("user", "add", "op.person", "--admin").stdout
    assert "is there already" in again
    assert hub.try_login("op.person", password).status_code == 302, "the password stays"
    people = {
        p["name"]: p["admin"] for p in json.loads(hub.operate("user", "list", "--json").stdout)
    }
    assert people["op.person"] is True
    refused = hub.operate("user", "add", "root", check=False)
    assert refused.returncode == 1
    assert "reserved" in refused.stderr
    short = hub.operate(
        "user", "passwd", "op.person", "--password-stdin", text="short\n", check=False
    )
    assert short.returncode == 1
    assert "8 to 256" in short.stderr
    assert hub.operate("user", "passwd", "nobody.here", check=False).returncode == 1


# --- passwords ------------------------------------------------------------------------------------


def test_changed_password_ends_other_browsers_and_keeps_this_one(hub):
    hub.add("changer", PASSWORD)
    here, elsewhere = hub.browser("changer", PASSWORD), hub.browser("changer", PASSWORD)
    elsewhere.start_server()
    fields = {
        "password": PASSWORD,
        "new_password": "another-one-8",
        "repeated_password": "another-one-8",
    }
    assert "Your password is changed" in here.post("change-password", **fields).text
    assert here.is_logged_in()
    assert not elsewhere.is_logged_in()
    assert hub.try_login("changer", PASSWORD).status_code == 403
    assert hub.try_login("changer", "another-one-8").status_code == 302


@pytest.mark.parametrize(
    ("password", "new", "repeated", "problem"),
    [
        ("wrong-password", "another-one-8", "another-one-8", "current password is wrong"),
        (PASSWORD, "another-one-8", "another-one-9", "differ"),
        (PASSWORD, "short", "short", "8 to 256"),
        (PASSWORD, "x" * 257, "x" * 257, "8 to 256"),
        (PASSWORD, "vixtract", "vixtract", "too easy to guess"),
    ],
)
def test_bad_change_is_refused_with_a_reason(hub, password, new, repeated, problem):
    hub.add("keeper", PASSWORD)
    answer = hub.browser("keeper", PASSWORD).post(
        "change-password", password=password, new_password=new, repeated_password=repeated
    )
    assert answer.status_code == 400
    assert problem in answer.text
    assert hub.try_login("keeper", PASSWORD).status_code == 302


def test_nothing_changes_without_the_forms_token(hub, admin):
    hub.add("target", PASSWORD)
    for page in ("passwords", "change-password"):
        fields = {"name": "target", "password": "vixtract", "new_password": "stolen-pass"}
        assert admin.http.post(f"/jupyter/hub/{page}", data=fields).status_code == 403
    admin.http.get(
        "/jupyter/hub/passwords", params={"name": "target", "new_password": "stolen-pass"}
    )
    assert hub.try_login("target", PASSWORD).status_code == 302


def test_pages_of_administrators_are_closed_to_others(hub):
    hub.add("curious", PASSWORD)
    person = hub.browser("curious", PASSWORD)
    assert person.http.get("/jupyter/hub/passwords").status_code == 403
    answer = person.call("POST", "/../vixtract/users/admin/password", {"password": "stolen-pass"})
    assert answer.status_code == 403
    assert httpx.get(f"{hub.url}/jupyter/hub/passwords").status_code in {302, 403}
    assert httpx.get(f"{hub.url}/jupyter/hub/signup").status_code == 404


def test_lock_out_spares_the_known_browser_and_outlives_the_hub(hub, admin):
    hub.add("locked", PASSWORD)
    known = hub.client()
    assert hub.try_login("locked", PASSWORD, known).status_code == 302
    answers = [hub.try_login("locked", f"guess-{n}") for n in range(6)]
    assert [a.status_code for a in answers] == [403, 403, 403, 403, 403, 429]
    assert "Too many failed attempts" in answers[-1].text
    assert hub.try_login("locked", PASSWORD).status_code == 429, "also with the right password"
    for name in ("jupyterhub-hub-login", "jupyterhub-session-id"):
        known.cookies.delete(name)
    assert hub.try_login("locked", PASSWORD, known).status_code == 302, "the usual browser gets in"
    assert hub.try_login("admin", "vixtract").status_code == 302, "other names are free"
    kill_hub(hub)
    assert hub.try_login("locked", PASSWORD).status_code == 429, "kept in the database"
    admin.post("passwords", name="locked", new_password="unlocked-8")
    assert hub.try_login("locked", "unlocked-8").status_code == 302


@pytest.mark.parametrize("password", ["", "x" * 100_000, "\ud83d\ude00 emoji \x00 zero"])
def test_odd_passwords_are_simply_wrong(hub, password):
    hub.add("odd", PASSWORD)
    assert (
        hub.try_login(
            "odd", password.encode("utf-16", "surrogatepass").decode("utf-16")
        ).status_code
        == 403
    )


def test_hub_answers_while_passwords_are_hashed(hub):
    hub.add("slow", PASSWORD)
    clients = [hub.client() for _ in range(8)]
    with ThreadPoolExecutor(len(clients)) as pool:
        logins = [pool.submit(hub.try_login, "slow", PASSWORD, client) for client in clients]
        times = []
        while not all(login.done() for login in logins):
            started = time.monotonic()
            hub.health()
            times.append(time.monotonic() - started)
    assert {login.result().status_code for login in logins} == {302}
    # Eight hashes take well over a second here; in the event loop each question would wait for one.
    assert sorted(times)[len(times) // 2] < 0.2


# --- libraries and rights -------------------------------------------------------------------------


def test_admin_flag_gives_sudo_and_global_installs_and_is_published(hub, admin):
    hub.add("boss", PASSWORD)
    hub.add("anna", PASSWORD)
    assert admin.call("PATCH", "/users/boss", {"name": "boss", "admin": True}).status_code == 200
    assert "boss" in read_people(hub)["admins"]
    boss, anna = hub.browser("boss", PASSWORD), hub.browser("anna", PASSWORD)
    boss.start_server()
    anna.start_server()
    shell = (
        "import subprocess; print(subprocess.run({!r}, shell=True, capture_output=True, text=True))"
    )
    assert "stdout='0\\n'" in boss.run_cell(shell.format("sudo -n id -u"))
    assert "returncode=1" in anna.run_cell(shell.format("sudo -n id -u"))
    site = "/usr/local/lib/python3.13/site-packages"
    assert install(boss, "vixglobal", "1.0") == f"{site}/vixglobal.py 1.0"
    assert (
        anna.run_cell("import vixglobal; print(vixglobal.__file__)").strip()
        == f"{site}/vixglobal.py"
    )
    assert hub.run("stat", "-c", "%U %G %a", f"{site}/vixglobal.py").split() == [
        "boss",
        "libadmin",
        "664",
    ]
    own = install(anna, "vixglobal", "2.0", "--upgrade")
    assert own == "/home/anna/.local/lib/python3.13/site-packages/vixglobal.py 2.0"
    assert "1.0" in boss.run_cell("import vixglobal; print(vixglobal.version)"), (
        "anna's is hers alone"
    )
    admin.call("PATCH", "/users/boss", {"name": "boss", "admin": False})
    assert "boss" not in read_people(hub)["admins"]
    assert admin.call("DELETE", "/users/boss/server").status_code in {202, 204}
    wait_until(lambda: not json.loads(admin.call("GET", "/users/boss").text)["servers"], "stop", 30)
    boss.start_server()
    assert "returncode=1" in boss.run_cell(shell.format("sudo -n id -u")), "from the next start on"


def test_root_finds_nothing_that_an_admin_planted(hub):
    plant = (
        "import pathlib; p = pathlib.Path('/usr/local/bin/useradd'); p.write_text('#!/bin/sh\\ntouch /tmp/taken');"
        "p.chmod(0o755); pathlib.Path('/usr/local/lib/python3.13/site-packages/evil.pth')"
        '.write_text(\'import os; os.getuid() == 0 and open("/tmp/taken", "w")\')'
    )
    hub.add("planter", PASSWORD, "--admin")
    planter = hub.browser("planter", PASSWORD)
    planter.start_server()
    assert planter.run_cell(plant) == ""
    try:
        hub.add("after.plant", PASSWORD)
        kill_hub(hub)
        assert hub.run("ls", "/tmp/taken", check=False) == ""
    finally:
        hub.run("rm", "-f", "/usr/local/bin/useradd")
        hub.run("rm", "-f", "/usr/local/lib/python3.13/site-packages/evil.pth")


def test_people_read_nothing_of_each_other_or_of_root(hub):
    hub.add("spy", PASSWORD)
    spy = hub.browser("spy", PASSWORD)
    spy.start_server()
    output = spy.run_cell(
        "import os\n"
        "for path in ('/home/admin', '/srv/secrets', '/srv/jupyterhub', '/proc/1/environ', '/run/vixtract/admin'):\n"
        "    try:\n"
        "        os.listdir(path) if os.path.isdir(path) else open(path).read()\n"
        "        print('READ', path)\n"
        "    except (PermissionError, FileNotFoundError): pass\n"
        "print([n for n in os.environ if 'POSTGRES' in n or 'ADMIN' in n or 'BI_' in n])"
    )
    assert output == "[]\n"


def test_hubs_environment_imports_no_kernel_and_lab_asks_nobody_for_news(hub):
    assert "ok" in hub.run(
        *PYTHON,
        "-c",
        "import importlib.util as u; assert not u.find_spec('ipykernel'); print('ok')",
    )
    hub.add("reader", PASSWORD)
    person = hub.browser("reader", PASSWORD)
    person.start_server()
    settings = person.http.get(
        "/jupyter/user/reader/lab/api/settings/@jupyterlab/apputils-extension:notification"
    ).json()["schema"]["properties"]
    assert settings["fetchNews"]["default"] == "false"
    assert settings["checkForUpdates"]["default"] is False


# --- deaths and re-creation -----------------------------------------------------------------------


def kill_hub(hub):
    """Kill the Hub as the kernel would for want of memory, and wait for the next one."""
    pid = hub.run("pgrep", "-f", "bin/jupyterhub -f").split()[0]
    hub.run("kill", "-9", pid)
    wait_until(
        lambda: pid not in hub.run("pgrep", "-f", "bin/jupyterhub -f", check=False).split(),
        "death",
    )
    wait_until(lambda: hub.run("pgrep", "-f", "bin/jupyterhub -f", check=False), "the next Hub")
    time.sleep(2)  # the old proxy still answers until the new Hub replaces it
    hub.wait_up()


def test_killed_hub_leaves_servers_and_kernels_alone(hub):
    hub.add("worker", PASSWORD)
    person = hub.browser("worker", PASSWORD)
    person.start_server()
    before = hub.run("pgrep", "-u", "worker").split()
    kill_hub(hub)
    assert set(before) <= set(hub.run("pgrep", "-u", "worker").split())
    assert person.is_logged_in()
    person.start_server()
    assert "2" in person.run_cell("print(1 + 1)")


def test_recreated_container_knows_everybody(own_hub):
    hub = own_hub
    hub.start()
    for name in ("zoe", "a.b", "q"):
        hub.add(name, PASSWORD)
    uids = hub.run("stat", "-c", "%u %n", "/home/zoe", "/home/a.b", "/home/q")
    person = hub.browser("zoe", PASSWORD)
    person.start_server()
    assert install(person, "vixown", "1.0").startswith("/home/zoe/.local/")
    hub.operate("user", "passwd", "admin", "--password-stdin", text="first-own-1\n")
    hub.run("rm", "/home/zoe/runs")
    drop_in = "c.JupyterHub.template_vars = {'announcement': 'read-last'}"
    hub.run("sh", "-c", f'echo "{drop_in}" > /etc/jupyterhub/conf.d/10-test.py')
    started = time.monotonic()
    docker("stop", "-t", "20", hub.container)
    assert time.monotonic() - started < 18
    assert exit_code(hub.container) == 0
    hub.start(KERNEL_IDLE_S="8", HUB_ADMIN_PASSWORD="not-used-any-more")
    assert hub.run("stat", "-c", "%u %n", "/home/zoe", "/home/a.b", "/home/q") == uids
    assert hub.run("id", "-u", "a.b").strip() in uids
    assert person.is_logged_in(), "the login cookie outlives the container"
    assert "read-last" in person.http.get("/jupyter/hub/home").text
    assert hub.try_login("admin", "first-own-1").status_code == 302, "an own password stays"
    # PostgreSQL is not there at all in this test: nothing may wait for it.
    assert hub.health() == {"hub": "up", "postgresql": "down"}
    started = time.monotonic()
    person.start_server()
    assert time.monotonic() - started < 30
    assert "1.0" in person.run_cell(
        "import vixown, os; print(vixown.version, os.environ['PGUSER'])"
    )
    check_culling(person)


def check_culling(person):
    """A busy kernel outlives the limit of 8 seconds, an idle one does not."""
    kernels = f"/jupyter/user/{person.name}/api/kernels"
    idle = person.http.post(kernels, json={"name": "python3"}, headers=person._headers()).json()[
        "id"
    ]
    assert "done" in person.run_cell("import time; time.sleep(20); print('done')"), (
        "silent for 20 s"
    )
    left = [kernel["id"] for kernel in person.http.get(kernels).json()]
    assert idle not in left


def test_own_passwords_replace_documented_ones_of_an_older_volume(own_hub):
    hub = own_hub
    hub.start_postgres()
    hub.start()
    own = {
        "HUB_ADMIN_PASSWORD": "own-hub-1",
        "BI_PASSWORD": "own-bi-1",
    }
    hub.start(VIXTRACT_BIND="0.0.0.0", **own)
    assert hub.try_login("admin", "vixtract").status_code == 403
    assert hub.try_login("admin", "own-hub-1").status_code == 302
    address = docker(
        "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", hub.postgres
    ).stdout.strip()

    def connect(user, password):
        with psycopg.connect(
            host=address, user=user, password=password, dbname="etl", connect_timeout=3
        ):
            return True

    wait_until(lambda: connect("bi", "own-bi-1"), "PostgreSQL has the own passwords")

    def is_void():
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect("postgres", "vixtract")
        return True

    wait_until(is_void, "the superuser has the documented password no more", 60)


def test_container_stopped_at_once_after_its_start_starts_again(own_hub):
    hub = own_hub
    for delay in (0.0, 0.7, 1.5):
        docker("rm", "--force", hub.container, check=False)
        try:
            hub_start_without_waiting(hub)
            time.sleep(delay)
        finally:
            docker("kill", hub.container, check=False)
    hub.start()
    assert hub.try_login("admin", "vixtract").status_code == 302
    assert read_people(hub)["admins"] == ["admin"]


def hub_start_without_waiting(hub):
    wait_up, hub.wait_up = hub.wait_up, lambda: None
    try:
        hub.start()
    finally:
        hub.wait_up = wait_up
