"""People's life cycle on the whole appliance: made, shut out, handed over, archived, made again."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

import httpx
import psycopg
import pytest

from tests.stack.appliance import Person
from tests.waiting import wait_until

PASSWORD = "correct-horse-11"
ENVIRONMENT = "import os; print(os.environ['PGPASSWORD'], os.getuid())"


def read_password(done) -> str:
    """Return the password that a command showed."""
    return re.search(r"^Password: (\S+)$", done.stdout, re.MULTILINE).group(1)


def open_login(appliance, name, password):
    """Send the login form in a new browser; returns browser and answer."""
    http = httpx.Client(base_url=appliance.url, follow_redirects=True, timeout=60)
    appliance.visitors.append(http)
    page = http.get("/jupyter/hub/login")
    form = {"username": name, "password": password, "_xsrf": read_xsrf(page)}
    return http, http.post("/jupyter/hub/login", data=form)


def read_xsrf(page) -> str:
    return re.search(r'name="_xsrf" value="([^"]+)"', page.text).group(1)


def choose_password(http, page, password):
    """Fill in the page that a first password leads to; 302 is success, and starts no server yet."""
    form = {"new_password": password, "repeated_password": password, "_xsrf": read_xsrf(page)}
    return http.post("/jupyter/hub/first-password", data=form, follow_redirects=False)


def add(appliance, name, *, team="") -> Person:
    """Make a person as the operator does, and let them choose a password; returns their browser."""
    first = read_password(appliance.operate("user", "add", name))
    if team:
        appliance.operate("team", "join", team, name)
    http, page = open_login(appliance, name, first)
    assert page.url.path == "/jupyter/hub/first-password", page.url
    assert choose_password(http, page, PASSWORD).status_code == 302
    return Person(appliance, name, PASSWORD)


def make_token(person) -> str:
    """Let the person make a token for programs, as the Hub's page does."""
    page = person.http.get("/jupyter/hub/home").text
    xsrf = re.search(r'xsrf_token: "([^"]+)"', page).group(1)
    answer = person.http.post(
        f"/jupyter/hub/api/users/{person.name}/tokens",
        json={"note": "Server at /jupyter/user/x/"},
        headers={"X-XSRFToken": xsrf, "Referer": f"{person.appliance.url}/jupyter/hub/token"},
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["token"]


class Doors:
    """All the ways in that a person has while they are signed in."""

    def __init__(self, person, database_password=""):
        self.person, self.token = person, make_token(person)
        self.database_password = database_password
        person.http.get("/portal/")
        assert set(self.open()) == self.all()

    def all(self):
        return {"hub", "lab", "portal", "token"} | (
            {"postgresql"} if self.database_password else set()
        )

    def open(self) -> list[str]:
        """Name the ways in that are open, with what the browser has and no new login."""
        name, http = self.person.name, self.person.http
        # The portal's and the server's own cookies must be worthless too, without the Hub's help.
        lone = httpx.Client(base_url=self.person.appliance.url, timeout=60)
        for cookie in http.cookies.jar:
            if cookie.path not in ("/jupyter/hub/", "/jupyter/hub"):
                lone.cookies.set(cookie.name, cookie.value or "", "127.0.0.1", cookie.path)
        headers = {"Authorization": f"token {self.token}"}
        answers = {
            "hub": http.get("/jupyter/hub/home").url.path == "/jupyter/hub/home",
            "lab": lone.get(f"/jupyter/user/{name}/api/status").status_code == 200,
            "portal": lone.get("/portal/api/me").status_code == 200,
            "token": httpx.get(
                f"{self.person.appliance.url}/jupyter/hub/api/user", headers=headers, timeout=30
            ).status_code == 200,
            "postgresql": self.database_password and self.reaches_postgresql(),
        }  # fmt: skip
        lone.close()
        return [door for door, is_open in answers.items() if is_open]

    def reaches_postgresql(self):
        try:
            return self.person.appliance.query(
                "SELECT 1", user=self.person.name, password=self.database_password
            )
        except psycopg.OperationalError:
            return False

    def wait_closed(self):
        wait_until(lambda: not self.open(), f"all doors of {self.person.name} closed", 30)


def events_of(person):
    person.http.get("/portal/")
    return {row["id"]: row for row in person.http.get("/portal/api/schedules").json()}


def runs_of(person):
    person.http.get("/portal/")
    answer = person.http.get("/portal/api/runs")
    assert answer.status_code == 200
    return answer.text


@pytest.fixture(scope="module")
def olga(appliance):
    """Who gets what others leave."""
    return add(appliance, "olga")


@pytest.fixture(scope="module")
def lena(appliance, olga):
    """Somebody with a server, tables, a schedule that runs and one that does not end."""
    person = add(appliance, "lena")
    person.start_server()
    password, uid = person.run_cell(ENVIRONMENT).split()
    person.run_cell(
        "import psycopg\nwith psycopg.connect() as c: c.execute('CREATE TABLE kept AS SELECT 7 AS n')"
    )
    appliance.write_notebook(
        "lena", "/home/lena/etl/load.ipynb", "import getpass; print(getpass.getuser())"
    )
    params = {"owner": "lena", "notebook": "etl/load.ipynb"}
    event = appliance.create_event(
        "load of lena", "notebook", params, username="lena", timing={"years": [2099]}
    )
    assert appliance.finish(appliance.start(event))["code"] == 0
    endless = appliance.create_event(
        "endless of lena", "shellplug", {"script": "#!/bin/sh\nsleep 600"}, username="lena"
    )
    return SimpleNamespace(
        person=person, password=password, uid=int(uid), event=event, job=appliance.start(endless)
    )


def test_first_password_opens_nothing_but_the_page_to_change_it(appliance):
    first = read_password(appliance.operate("user", "add", "nina"))
    http, page = open_login(appliance, "nina", first)
    assert page.url.path == "/jupyter/hub/first-password"
    for path in ("/jupyter/hub/home", "/jupyter/hub/spawn", "/jupyter/hub/token", "/portal/runs"):
        assert http.get(path).url.path == "/jupyter/hub/login", path
    assert choose_password(http, page, first).status_code == 400
    page = http.get("/jupyter/hub/first-password")
    assert choose_password(http, page, PASSWORD).status_code == 302
    assert http.get("/jupyter/hub/home").url.path == "/jupyter/hub/home"
    assert open_login(appliance, "nina", first)[1].status_code == 403


def test_new_password_closes_every_way_in(appliance):
    person = add(appliance, "petra")
    person.start_server()
    doors = Doors(person)
    done = appliance.operate("user", "passwd", "petra")
    doors.wait_closed()
    assert open_login(appliance, "petra", PASSWORD)[1].status_code == 403
    _, page = open_login(appliance, "petra", read_password(done))
    assert page.url.path == "/jupyter/hub/first-password"
    appliance.operate("user", "remove", "petra", "--keep-home", "--yes")
    assert "petra" in appliance.execute("jupyter", "ls", "/home/.vixtract/kept")


def test_disabled_person_is_out_until_enabled(appliance, lena):
    doors = Doors(lena.person, lena.password)
    done = appliance.operate("user", "disable", "lena")
    assert "1 runs ended" in done.stdout and "is disabled." in done.stdout
    doors.wait_closed()
    assert open_login(appliance, "lena", PASSWORD)[1].status_code == 403
    assert appliance.job(lena.job)["complete"]
    assert not appliance.schedule("get_event", id=lena.event)["event"]["enabled"]
    refused = appliance.finish(appliance.start(lena.event))
    assert refused["code"] != 0 and "disabled" in refused["description"]
    appliance.operate("user", "enable", "lena")
    assert appliance.schedule("get_event", id=lena.event)["event"]["enabled"]
    assert appliance.finish(appliance.start(lena.event))["code"] == 0
    lena.person.login(PASSWORD)
    lena.person.start_server()
    assert lena.person.run_cell(ENVIRONMENT).split() == [lena.password, str(lena.uid)]


def test_removed_person_s_things_go_to_another_and_not_to_a_namesake(appliance, lena, olga):
    doors = Doors(lena.person, lena.password)
    appliance.docker("stop", appliance.container("cronicle"))
    try:
        cut = appliance.operate(
            "user", "remove", "lena", "--hand-over-to", "olga", "--yes", check=False
        )
    finally:
        appliance.docker("start", appliance.container("cronicle"))
    assert cut.returncode == 1
    assert "NOT DONE: schedules" in cut.stderr
    doors.wait_closed()
    wait_until(lambda: appliance.schedule("status")["code"] == 0, "the scheduler")
    # As it was begun: the second call need not say again to whom.
    done = appliance.operate("user", "remove", "lena", "--yes")
    assert "belong to olga" in done.stdout
    assert "/home/olga/from-lena" in cut.stdout + done.stdout

    assert lena.event in events_of(olga)
    job = appliance.finish(appliance.start(lena.event))
    assert job["code"] == 0, job["description"]
    assert "olga" in appliance.log(job["id"])
    assert appliance.query("SELECT n FROM lena.kept") == [(7,)]

    again = add(appliance, "lena")
    again.start_server()
    password, uid = again.run_cell(ENVIRONMENT).split()
    assert int(uid) > lena.uid
    assert password != lena.password, "who left knows the old one"
    assert again.run_cell("import os; print(os.path.exists('etl'))").strip() == "False"
    again.http.get("/portal/")
    assert lena.event not in events_of(again)
    assert lena.job not in runs_of(again)
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'lena'"
    assert appliance.query(tables) == [(0,)]
    day = time.strftime("%Y%m%d", time.gmtime())
    assert appliance.query(f"SELECT n FROM lena_until_{day}.kept") == [(7,)]
    assert appliance.execute("cronicle", "stat", "-c", "%u", "/runs/lena").strip() == uid


def test_removed_person_s_things_are_archived_for_root_alone(appliance, olga):
    person = add(appliance, "mia")
    person.start_server()
    person.run_cell(
        "import psycopg\nwith psycopg.connect() as c: c.execute('CREATE TABLE kept AS SELECT 8 AS n')"
    )
    appliance.write("mia", "/home/mia/secret.txt", "of mia")
    event = appliance.create_event(
        "of mia", "shellplug", {"script": "#!/bin/sh\necho hello"}, username="mia",
        timing={"years": [2099]},
    )  # fmt: skip
    assert appliance.finish(appliance.start(event))["code"] == 0
    appliance.operate("user", "remove", "mia", "--yes")
    assert appliance.query("SELECT n FROM mia.kept") == [(8,)]
    left = appliance.schedule("get_event", id=event)["event"]
    assert (left["username"], left["enabled"]) == ("vixtract", 0)
    assert "mia was removed" in left["notes"]

    def packed():
        listing = appliance.execute(
            "jupyter", "/bin/sh", "-c",
            "for f in /home/.vixtract/archive/mia.*.tar.gz; do tar -tzf $f; done", check=False,
        )  # fmt: skip
        return "secret.txt" in listing

    wait_until(packed, "the archive")
    for service in ("jupyter", "cronicle"):
        refused = appliance.execute(service, "ls", "/home/.vixtract", user="olga", check=False)
        assert "Permission denied" in refused
    # The runner looks at the homes once a second.
    wait_until(
        lambda: "mia." in appliance.execute("cronicle", "ls", "/runs/.removed", check=False),
        "the archive of her runs",
    )
    again = add(appliance, "mia")
    again.http.get("/portal/")
    assert events_of(again) == {}
    assert event not in runs_of(again)


def test_team_shares_a_folder_and_a_schema(appliance, olga):
    appliance.operate("team", "add", "crew")
    names = ("rita", "sven")
    people = {name: add(appliance, name, team="crew") for name in names}
    for person in (*people.values(), olga):
        person.start_server()
    make = "CREATE TABLE crew.shared AS SELECT 1 AS n"
    written = people["rita"].run_cell(
        "open('team-crew/note.txt', 'w').write('from rita')\n"
        f"import psycopg\nwith psycopg.connect() as c: c.execute('{make}')"
    )
    assert written == ""
    change = (
        "open('team-crew/note.txt', 'a').write(' and sven')\n"
        "print(open('team-crew/note.txt').read())\n"
        "import psycopg\n"
        "with psycopg.connect() as c:\n"
        "    c.execute('ALTER TABLE crew.shared ADD COLUMN more int')\n"
        "    c.execute('UPDATE crew.shared SET more = 2')"
    )
    assert people["sven"].run_cell(change).strip() == "from rita and sven"
    assert appliance.query("SELECT n, more FROM crew.shared") == [(1, 2)]
    look = "import os; print(os.listdir('/home/.teams/crew'))"
    assert "PermissionError" in olga.run_cell(look)
    read = "#!/bin/sh\ncat /home/.teams/crew/note.txt; touch /home/.teams/crew/x || echo closed"
    for name, expected in (("sven", "from rita and sven"), ("olga", "Permission denied")):
        job = appliance.run_script(name, read)
        assert expected in appliance.log(job["id"])
        assert "closed" in appliance.log(job["id"])

    appliance.operate("team", "leave", "crew", "sven")
    people["sven"].start_server()
    assert "PermissionError" in people["sven"].run_cell(look)
    select = "import psycopg\nwith psycopg.connect() as c: print(c.execute('SELECT * FROM crew.shared').fetchall())"
    assert "InsufficientPrivilege" in people["sven"].run_cell(select)
    appliance.operate("team", "remove", "crew", "--yes")
    assert appliance.query("SELECT n FROM crew.shared") == [(1,)]


def test_reader_sees_chosen_schemas_through_the_published_port(appliance, olga):
    done = appliance.operate("reader", "add", "dashboard", "--schema", "olga")
    password = read_password(done)
    olga.start_server()
    olga.run_cell(
        "import psycopg\nwith psycopg.connect() as c: c.execute('CREATE TABLE later AS SELECT 3 AS n')"
    )

    def ask(sql):
        return appliance.query(sql, user="dashboard", password=password)

    assert ask("SELECT n FROM olga.later") == [(3,)]
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        ask("INSERT INTO olga.later VALUES (4)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask("SET default_transaction_read_only = off; COMMIT; INSERT INTO olga.later VALUES (4)")
    assert "dashboard" in appliance.operate("reader", "list").stdout
    appliance.operate("reader", "remove", "dashboard", "--yes")
    with pytest.raises(psycopg.OperationalError):
        ask("SELECT 1")


@pytest.mark.parametrize(
    "words",
    [
        ("user", "add", "x'; DROP ROLE bi; --"),
        ("user", "add", "$(touch /tmp/owned)"),
        ("user", "add", "../../etc"),
        ("user", "add", "postgres"),
        ("user", "add", "-rf"),
        ("user", "remove", "nobody.here", "--yes"),
        ("user", "remove", "olga", "--hand-over-to", "nobody.here", "--yes"),
        ("team", "add", "olga"),
        ("team", "add", 'a" b'),
        ("team", "join", "no-team", "olga"),
        ("reader", "add", "olga", "--all"),
        ("reader", "add", "r", "--schema", 'olga"; DROP SCHEMA olga CASCADE; --'),
        ("reader", "add", "r", "--schema", "pg_catalog"),
        ("reader", "add", "r"),
    ],
)
def test_bad_names_are_refused_with_a_reason(appliance, olga, words):
    done = appliance.operate(*words, check=False)
    assert done.returncode in (1, 2)
    assert len(done.stderr.strip()) > 20 and "Traceback" not in done.stderr


def test_commands_say_what_to_do_when_the_hub_is_down(appliance, olga):
    appliance.docker("stop", appliance.container("jupyter"))
    try:
        done = appliance.operate("user", "list", check=False)
    finally:
        appliance.docker("start", appliance.container("jupyter"))
        wait_until(
            lambda: httpx.get(f"{appliance.url}/healthz", timeout=60).status_code == 200, "up"
        )
    assert done.returncode == 3
    assert "./vixtract up" in done.stderr
