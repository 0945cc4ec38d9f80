"""Sign-in by LDAP and OpenID Connect in the jupyter image, against a real slapd and a real issuer."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests import slapd
from tests.certificates import make_authority, write_pair
from tests.directory_settings import by_search
from tests.images.docker_cli import docker, handed_on, host_address, logs
from tests.images.hub import IMAGE, PYTHON, Hub
from tests.issuer import TWISTS, Issuer
from tests.slapd import Slapd
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not slapd.SLAPD.exists(), reason="slapd is not installed"),
    # ldap3 leaves refused sockets to the garbage collector; the issuer uses authlib's old names.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CA_FILE = "/etc/jupyterhub/conf.d/test-ca.pem"
CALLBACK = "/jupyter/hub/oauth_callback"


def put_config(hub: Hub, name: str, content: str) -> None:
    """Write a file into the volume of drop-ins, as an operator does before the first start."""
    docker(
        *("run", "--rm", "-i", "-v", f"{hub.name}-config:/etc/jupyterhub/conf.d", "--entrypoint"),
        *("/usr/bin/tee", IMAGE, f"/etc/jupyterhub/conf.d/{name}"),
        text=content,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A Hub with all three ways to sign in, its directory and its issuer."""
    folder = tmp_path_factory.mktemp("signin")
    hub = Hub()
    started = []
    try:
        address = host_address(IMAGE, hub.name)
        write_pair(folder, address, make_authority("CA of a test"))
        directory = Slapd(folder, address)
        started.append(directory)
        issuer = Issuer(folder, address, f"{hub.url}{CALLBACK}")
        started.append(issuer)
        put_config(hub, "test-ca.pem", (folder / "ca.pem").read_text())
        hub.start_postgres()
        hub.start(
            **by_search(directory, LDAP_CA_FILE=CA_FILE, LDAP_TIMEOUT_S="3"),
            **issuer.settings(CA_FILE, OIDC_LABEL="Example ID"),
            SIGNIN_CHECK_S="3",
            LDAP_PASSWORD_URL="https://password.example.org/",
        )
        yield SimpleNamespace(hub=hub, directory=directory, issuer=issuer)
    finally:
        for server in started:
            server.stop()
        hub.close()


@pytest.fixture
def hub(place) -> Hub:
    return place.hub


def read_admins(hub: Hub) -> list[str]:
    return json.loads(hub.run("cat", "/srv/secrets/people.json"))["admins"]


def admins_contain(hub: Hub, name: str) -> bool:
    return name in read_admins(hub)


def go_to_issuer(place, http: httpx.Client, subject: str, **query: str) -> str:
    """Press the button and agree at the issuer; returns the address that leads back."""
    answer = http.get("/jupyter/hub/oauth_login", params=query)
    assert answer.status_code == 302, answer.text
    return place.issuer.agree(answer.headers["Location"], subject)


def sign_in(place, subject: str, **query: str) -> httpx.Response:
    """Sign in by OpenID Connect in a new browser; 302 is success."""
    http = place.hub.client()
    return http.get(go_to_issuer(place, http, subject, **query))


def words(answer: httpx.Response) -> str:
    """Return a page's text in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>|&#39;", " ", answer.text))


# --- LDAP -----------------------------------------------------------------------------------------


def test_person_of_the_directory_gets_account_home_role_and_server(hub):
    person = hub.browser("lena", "password-of-lena")
    person.start_server()
    assert hub.run("stat", "-c", "%U %a", "/home/lena").split() == ["lena", "700"]
    query = "import psycopg; print(psycopg.connect().execute('select current_user').fetchone())"
    assert "lena" in wait_until(lambda: person.run_cell(query), "the role")
    found = person.run_cell(
        "import os, glob\n"
        "print([k for k in os.environ if k.startswith(('LDAP', 'OIDC'))])\n"
        "def read(p):\n"
        "    try: return open(p, 'rb').read()\n"
        "    except OSError: return b''\n"
        f"print(any(b'{slapd.LOOKUP_PASSWORD}' in read(p) for p in glob.glob('/proc/[0-9]*/environ')))"
    )
    assert found.split() == ["[]", "False"]


def test_group_makes_and_unmakes_administrators(place, hub):
    assert hub.try_login("boris", "password-of-boris").status_code == 302
    assert admins_contain(hub, "boris")
    place.directory.members(slapd.ADMINS, add=slapd.person("vera"))
    place.directory.members(slapd.ADMINS, remove=slapd.person("boris"))
    place.directory.members(slapd.ALLOWED, add=slapd.person("boris"))
    assert hub.try_login("boris", "password-of-boris").status_code == 302
    assert not admins_contain(hub, "boris")


def test_who_is_in_no_group_stays_outside_and_reads_why(hub):
    answer = hub.try_login("outsider", "password-of-outsider")
    assert answer.status_code == 403
    assert "not in the group that may sign in here" in words(answer)
    assert hub.run("id", "outsider", check=False) == ""


def test_name_of_a_local_person_cannot_be_taken(hub):
    hub.operate("user", "add", "local.one")
    assert hub.try_login("local.one", "password-of-local.one").status_code == 403
    assert hub.try_login("admin", "password-of-admin").status_code == 403
    assert hub.try_login("admin", "vixtract").status_code == 302


def test_home_of_somebody_who_left_cannot_be_taken(place, hub):
    hub.run("mkdir", "/home/old.hand")
    slapd.add_person(place.directory, "old.hand")
    place.directory.members(slapd.ALLOWED, add=slapd.person("old.hand"))
    assert hub.try_login("old.hand", "password-of-old.hand").status_code == 403
    assert "'old.hand' is a local name here" in logs(hub.container)


def test_new_account_of_an_old_name_does_not_get_the_old_home(place, hub):
    for turn in ("first", "second"):
        slapd.add_person(place.directory, "twin")
        place.directory.members(slapd.ALLOWED, add=slapd.person("twin"))
        answer = hub.try_login("twin", "password-of-twin")
        assert answer.status_code == (302 if turn == "first" else 403), turn
        place.directory.members(slapd.ALLOWED, remove=slapd.person("twin"))
        place.directory.delete(slapd.person("twin"))


def test_administrator_can_move_a_local_person_to_the_directory(place, hub):
    hub.add("mover", "a-local-password-3")
    slapd.add_person(place.directory, "mover")
    place.directory.members(slapd.ALLOWED, add=slapd.person("mover"))
    assert hub.try_login("mover", "password-of-mover").status_code == 403
    assert "signs in with LDAP from now on" in hub.operate("user", "source", "mover", "ldap").stdout
    assert hub.try_login("mover", "password-of-mover").status_code == 302
    assert hub.try_login("mover", "a-local-password-3").status_code == 403
    assert hub.operate("user", "source", "nobody.here", "ldap", check=False).returncode == 2


@pytest.mark.parametrize("name", ["*", "lena)(uid=*))(|(uid=*", "lena,ou=people", "root"])
def test_names_that_are_filters_or_system_accounts_are_refused(hub, name):
    assert hub.try_login(name, "password-of-lena").status_code in (400, 403)


def test_empty_password_is_no_anonymous_bind(hub):
    assert hub.try_login("lena", "").status_code == 403


def test_guessing_is_locked_for_people_of_the_directory_too(hub):
    for _ in range(5):
        assert hub.try_login("nested", "wrong").status_code == 403
    answer = hub.try_login("nested", "password-of-nested")
    assert answer.status_code == 429
    assert "Too many failed attempts" in words(answer)


def test_password_of_the_directory_is_not_changed_here(hub):
    person = hub.browser("lena", "password-of-lena")
    page = person.http.get("/jupyter/hub/change-password")
    assert "your password is kept there, not here" in words(page)
    assert "https://password.example.org/" in page.text
    done = hub.operate("user", "passwd", "lena", check=False)
    assert done.returncode != 0
    assert "signs in with LDAP" in done.stderr
    assert hub.try_login("lena", "password-of-lena").status_code == 302


def test_who_leaves_the_group_loses_sessions_and_server(place, hub):
    slapd.add_person(place.directory, "leaver")
    place.directory.members(slapd.ALLOWED, add=slapd.person("leaver"))
    person = hub.browser("leaver", "password-of-leaver")
    person.start_server()
    assert person.is_logged_in()
    token = person.call("POST", "/users/leaver/tokens", {"note": "of a program"}).json()["token"]
    headers = {"Authorization": f"token {token}"}
    assert hub.client().get("/jupyter/hub/api/user", headers=headers).status_code == 200
    place.directory.members(slapd.ALLOWED, remove=slapd.person("leaver"))
    wait_until(lambda: not person.is_logged_in(), "the end of the session", 60)
    wait_until(
        lambda: not hub.run("pgrep", "-u", "leaver", check=False), "the end of the server", 60
    )
    assert hub.client().get("/jupyter/hub/api/user", headers=headers).status_code == 403
    assert hub.try_login("leaver", "password-of-leaver").status_code == 403


def test_directory_that_is_down_or_hangs_holds_no_local_login_up(place, hub):
    person = hub.browser("lena", "password-of-lena")
    process = place.directory._process.pid
    os.kill(process, signal.SIGSTOP)
    try:
        started = time.monotonic()
        answer = hub.try_login("lena", "password-of-lena")
        assert answer.status_code == 503
        assert "Local accounts can sign in" in words(answer)
        assert time.monotonic() - started < 60
        assert hub.try_login("admin", "vixtract").status_code == 302
        assert hub.health()["hub"] == "up"
        assert person.is_logged_in(), "no answer is no verdict"
    finally:
        os.kill(process, signal.SIGCONT)
    place.directory.stop()
    try:
        assert hub.try_login("lena", "password-of-lena").status_code == 503
        assert hub.try_login("admin", "vixtract").status_code == 302
    finally:
        place.directory.start()
    assert hub.try_login("lena", "password-of-lena").status_code == 302
    assert slapd.LOOKUP_PASSWORD not in logs(hub.container)
    assert "password-of-lena" not in logs(hub.container)


# --- OpenID Connect -------------------------------------------------------------------------------


def test_button_stands_beside_the_form_in_two_languages(hub):
    page = hub.client().get("/jupyter/hub/login")
    assert "Sign in with Example ID" in page.text
    assert 'name="password"' in page.text
    russian = hub.client().get("/jupyter/hub/login", headers={"Accept-Language": "ru-RU,ru;q=0.9"})
    assert "Войти через Example ID" in russian.text


def test_person_of_the_issuer_signs_in_and_gets_a_server(place, hub):
    place.issuer.add("sub-1", "Olga", "etl-users")
    http = hub.client()
    back = go_to_issuer(place, http, "sub-1", next="/jupyter/hub/home")
    answer = http.get(back)
    assert answer.status_code == 302, words(answer)
    assert answer.headers["Location"] == "/jupyter/hub/home"
    assert "olga" in http.get("/jupyter/hub/home").text
    assert hub.run("stat", "-c", "%U", "/home/olga").strip() == "olga"
    page = words(http.get("/jupyter/hub/change-password"))
    assert "You sign in with Example ID" in page
    assert not admins_contain(hub, "olga")


def test_code_and_state_are_not_carried_on(place):
    place.issuer.add("sub-1", "Olga", "etl-users")
    assert sign_in(place, "sub-1").headers["Location"] == "/jupyter/hub/spawn"
    evil = sign_in(place, "sub-1", next="https://evil.example/")
    assert evil.headers["Location"] == "/jupyter/hub/spawn"


def test_groups_of_the_issuer_decide(place, hub):
    place.issuer.add("sub-2", "pavel", "etl-admins")
    assert sign_in(place, "sub-2").status_code == 302
    assert admins_contain(hub, "pavel")
    place.issuer.add("sub-2", "pavel", "etl-users")
    assert sign_in(place, "sub-2").status_code == 302
    assert not admins_contain(hub, "pavel")
    place.issuer.add("sub-2", "pavel")
    answer = sign_in(place, "sub-2")
    assert answer.status_code == 403
    assert "not in the group" in words(answer)


@pytest.mark.parametrize("name", ["admin", "lena", "root", "../x", "a b", "имя", ""])
def test_names_of_others_and_unusable_names_are_refused(place, hub, name):
    if name == "lena":
        assert hub.try_login("lena", "password-of-lena").status_code == 302
    place.issuer.add("sub-3", name, "etl-admins")
    assert sign_in(place, "sub-3").status_code == 403


def test_renaming_oneself_at_the_issuer_takes_nobody_over(place):
    place.issuer.add("sub-4", "quiet", "etl-users")
    assert sign_in(place, "sub-4").status_code == 302
    place.issuer.add("sub-5", "quiet", "etl-users")
    answer = sign_in(place, "sub-5")
    assert answer.status_code == 403
    assert "belongs to another account of OpenID Connect" in words(answer)


def test_password_form_does_not_open_an_account_of_the_issuer(place, hub):
    slapd.add_person(place.directory, "quiet2")
    place.directory.members(slapd.ALLOWED, add=slapd.person("quiet2"))
    place.issuer.add("sub-6", "quiet2", "etl-users")
    assert sign_in(place, "sub-6").status_code == 302
    assert hub.try_login("quiet2", "password-of-quiet2").status_code == 403


@pytest.mark.parametrize("twist", TWISTS)
def test_id_tokens_that_are_not_right_are_refused(place, twist):
    place.issuer.add("sub-7", "tokens", "etl-users")
    place.issuer.twist = TWISTS[twist]
    try:
        answer = sign_in(place, "sub-7")
        assert answer.status_code == 403
        assert "The ID token of Example ID" in words(answer)
    finally:
        place.issuer.twist = None
    assert sign_in(place, "sub-7").status_code == 302


def test_an_answer_counts_once_and_in_its_own_browser_alone(place, hub):
    place.issuer.add("sub-8", "replay", "etl-users")
    http, stranger = hub.client(), hub.client()
    back = go_to_issuer(place, http, "sub-8")
    assert stranger.get(back).status_code == 403, "another browser"
    assert http.get(re.sub(r"state=[^&]+", "state=guessed", back)).status_code == 403
    back = go_to_issuer(place, http, "sub-8")
    kept = dict(http.cookies)
    assert http.get(back).status_code == 302
    replay = httpx.Client(base_url=hub.url, timeout=60, cookies=kept)
    with replay:
        assert replay.get(back).status_code == 403, "the same answer with the same cookie"


def test_code_of_another_sign_in_is_refused_by_pkce(place, hub):
    """A stolen code is put into the thief's own sign-in: state fits, verifier does not."""
    place.issuer.add("sub-9", "victim", "etl-users")
    victim, thief = hub.client(), hub.client()
    stolen = parse_qs(urlsplit(go_to_issuer(place, victim, "sub-9")).query)["code"][0]
    own = go_to_issuer(place, thief, "sub-8")
    assert thief.get(re.sub(r"code=[^&]+", f"code={stolen}", own)).status_code == 403


def test_sign_in_by_the_issuer_runs_out(place, hub):
    place.issuer.add("sub-10", "daily", "etl-users")
    http = hub.client()
    assert http.get(go_to_issuer(place, http, "sub-10")).status_code == 302
    assert http.get("/jupyter/hub/home").status_code == 200
    age = (
        "import sqlite3; c = sqlite3.connect('/srv/jupyterhub/jupyterhub.sqlite', timeout=30);"
        'c.execute("UPDATE vixtract_source SET signed_in_at = signed_in_at - 13 * 3600'
        " WHERE name = 'daily'\"); c.commit()"
    )
    hub.run(*PYTHON, "-c", age)
    wait_until(
        lambda: http.get("/jupyter/hub/home").status_code == 302, "the end of the session", 60
    )
    assert http.get(go_to_issuer(place, http, "sub-10")).status_code == 302
    time.sleep(4)  # longer than SIGNIN_CHECK_S: the new sign-in is not ended for the old one's age
    assert http.get("/jupyter/hub/home").status_code == 200


def test_address_of_return_follows_the_front_door(place, hub):
    headers = {"Host": "etl.example.org", "X-Forwarded-Proto": "https"}
    answer = hub.client().get("/jupyter/hub/oauth_login", headers=headers)
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert query["redirect_uri"] == ["https://etl.example.org/jupyter/hub/oauth_callback"]
    assert query["code_challenge_method"] == ["S256"]


# --- settings, drop-in ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"LDAP_URL": "ldap://x"}, ("LDAP_BIND_DN", "LDAP_ALLOWED_GROUP")),
        (
            {
                "LDAP_URL": "ldaps://x", "LDAP_USER_DN_TEMPLATE": "uid={username},dc=x",
                "LDAP_ALLOWED_GROUP": "*", "LDAP_CA_FILE": "/absent.pem",
            },
            ("/absent.pem", "docker cp"),
        ),
        ({"OIDC_ISSUER": "http://id.example.org"}, ("https://", "OIDC_CLIENT_ID")),
    ],
)  # fmt: skip
def test_wrong_settings_refuse_at_start_with_the_cure(values, expected):
    words = [w for item in values.items() for w in ("-e", "=".join(item))]
    done = docker("run", "--rm", *handed_on("jupyter"), *words, IMAGE, check=False)
    assert done.returncode == 3
    assert all(word in done.stderr for word in expected), done.stderr


RECIPE = """
# As it stands in the older ViXtract's jupyterhub_config.py, with this test's addresses.
c.JupyterHub.authenticator_class = 'ldapcreateusers.LocalLDAPCreateUsers'
c.LocalLDAPCreateUsers.server_address = 'ldap://{address}'
c.LocalLDAPCreateUsers.server_port = {port}
c.LocalLDAPCreateUsers.use_ssl = True
c.LocalLDAPCreateUsers.lookup_dn = True
c.LocalLDAPCreateUsers.lookup_dn_search_filter = '({{login_attr}}={{login}})'
c.LocalLDAPCreateUsers.lookup_dn_search_user = '{user}'
c.LocalLDAPCreateUsers.lookup_dn_search_password = '{password}'
c.LocalLDAPCreateUsers.user_search_base = '{base}'
c.LocalLDAPCreateUsers.user_attribute = 'sAMAccountName'
c.LocalLDAPCreateUsers.lookup_dn_user_dn_attribute = 'cn'
c.LocalLDAPCreateUsers.escape_userdn = True
c.LocalLDAPCreateUsers.bind_dn_template = '{template}'
c.LocalLDAPCreateUsers.use_lookup_dn_username = False
# Create system users that don't exist yet.
c.LocalLDAPCreateUsers.create_system_users = True
c.Authenticator.admin_users = {{'j.smith'}}
"""


def test_recipe_of_the_predecessor_works_as_a_drop_in(tmp_path):
    hub, directory = Hub(), None
    try:
        address = host_address(IMAGE, hub.name)
        write_pair(tmp_path, address, make_authority("CA of a test"))
        directory = Slapd(tmp_path, address)
        # ldap3 takes ldap:// for plain LDAP whatever use_ssl says; slapd binds by DN alone, where AD
        # takes the bare name of the recipe's template.
        text = RECIPE.format(
            address=address, port=directory.port, user=slapd.AD_LOOKUP,
            password=slapd.LOOKUP_PASSWORD, base=f"OU=Staff,{slapd.AD_BASE}",
            template="CN={username},OU=Staff," + slapd.AD_BASE,
        )  # fmt: skip
        put_config(hub, "ldap.py", text)
        hub.start()
        hub.browser("apetrova", "password-of-apetrova").start_server()
        assert hub.run("stat", "-c", "%U", "/home/apetrova").strip() == "apetrova"
        assert hub.try_login("apetrova", "wrong").status_code == 403
        admin = hub.browser("j.smith", "password-of-j.smith")
        assert "j.smith" in read_admins(hub)
        assert "change-password" not in admin.http.get("/jupyter/hub/home").text
    finally:
        if directory:
            directory.stop()
        hub.close()
