"""The directory's part of sign-in against a real slapd: passwords, groups, TLS, and what goes wrong."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests import slapd
from tests.certificates import make_authority, write_pair
from tests.directory_settings import by_ad, by_search, by_template
from tests.slapd import Slapd
from tests.waiting import free_port
from vixtract.hub.ldap import Directory, DirectoryDownError, NotAllowedError
from vixtract.settings import Settings

pytestmark = [
    pytest.mark.skipif(not slapd.SLAPD.exists(), reason="slapd is not installed"),
    # ldap3 leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FORMS = {"search": by_search, "template": by_template}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Slapd]:
    """One directory for all tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("slapd")
    write_pair(folder, "127.0.0.1", make_authority("CA of a test"))
    server = Slapd(folder, "127.0.0.1")
    yield server
    server.stop()


def directory(values) -> Directory:
    return Directory(Settings.from_environment(values))


@pytest.mark.parametrize("form", FORMS)
def test_password_and_groups_decide(server, form):
    ldap = directory(FORMS[form](server))
    member, admin = (
        ldap.sign_in("lena", "password-of-lena"),
        ldap.sign_in("boris", "password-of-boris"),
    )
    assert (member.name, member.is_admin) == ("lena", False)
    assert (admin.name, admin.is_admin) == ("boris", True)
    assert len(member.subject) == 36, "entryUUID"
    assert ldap.sign_in("lena", "password-of-boris") is None
    assert ldap.sign_in("nobody.here", "x") is None
    with pytest.raises(NotAllowedError, match="not in the group"):
        ldap.sign_in("outsider", "password-of-outsider")


@pytest.mark.parametrize("form", FORMS)
def test_groups_in_groups_count(server, form):
    assert directory(FORMS[form](server)).sign_in("nested", "password-of-nested")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("password", ["", "\0", "password-of-lena\0", "x" * 5000])
def test_passwords_that_no_directory_should_be_asked_about_are_wrong(server, form, password):
    assert directory(FORMS[form](server)).sign_in("lena", password) is None


def test_posix_groups_count(server):
    ldap = directory(by_search(server, LDAP_ALLOWED_GROUP=slapd.POSIX, LDAP_ADMIN_GROUP=""))
    assert ldap.sign_in("posix.p", "password-of-posix.p").is_admin is None
    with pytest.raises(NotAllowedError):
        ldap.sign_in("lena", "password-of-lena")


def test_star_lets_everybody_in_who_has_the_password(server):
    ldap = directory(by_search(server, LDAP_ALLOWED_GROUP="*"))
    assert ldap.sign_in("outsider", "password-of-outsider").is_admin is False


def test_filter_narrows_who_is_found(server):
    ldap = directory(by_search(server, LDAP_USER_FILTER="(!(uid=lena))"))
    assert ldap.sign_in("lena", "password-of-lena") is None
    assert ldap.sign_in("boris", "password-of-boris")


def test_ad_names_groups_and_disabled_accounts(server):
    ldap = directory(by_ad(server))
    assert ldap.sign_in("apetrova", "password-of-apetrova").name == "apetrova"
    assert ldap.sign_in("j.smith", "password-of-j.smith").is_admin is True, "a comma in the DN"
    assert ldap.sign_in("nina", "password-of-nina").is_admin is False, "nested, and ( * ) in the DN"
    with pytest.raises(NotAllowedError, match="disabled"):
        ldap.sign_in("left", "password-of-left")
    with pytest.raises(NotAllowedError, match="not in the group"):
        ldap.sign_in("osider", "password-of-osider")


def test_upn_of_one_person_does_not_open_the_account_of_another(server):
    """AD checks name@domain against userPrincipalName first; slapd cannot bind so, hence a seam."""
    ldap = directory(
        by_ad(
            server, LDAP_BIND_DN="", LDAP_BIND_PASSWORD="",
            LDAP_USER_DN_TEMPLATE="{username}@corp.example", LDAP_NAME_ATTRIBUTE="cn",
        )
    )  # fmt: skip
    with ldap._connected(slapd.AD_LOOKUP, slapd.LOOKUP_PASSWORD) as connection:
        assert connection.bind()
        entry = ldap._find_own(connection, "Nina (IT) *", "apetrova@corp.example")
    assert entry["dn"].lower() == slapd.ad_person("Anna Petrova").lower()


@pytest.mark.parametrize("name", ["*", "lena)(uid=*", "a*", "lena,ou=people", "le\\6ea"])
def test_names_are_escaped(server, name):
    """The Hub refuses such names before; the directory must not rely on that."""
    for form in FORMS.values():
        assert directory(form(server)).sign_in(name, "password-of-lena") is None


def test_look_up_follows_the_directory(server):
    ldap = directory(by_search(server))
    slapd.add_person(server, "short.stay")
    with pytest.raises(NotAllowedError):
        ldap.look_up("short.stay")
    server.members(slapd.ALLOWED, add=slapd.person("short.stay"))
    assert ldap.look_up("short.stay").is_admin is False
    server.members(slapd.ADMINS, add=slapd.person("short.stay"))
    assert ldap.look_up("short.stay").is_admin is True
    before = ldap.look_up("short.stay").subject
    for group in (slapd.ALLOWED, slapd.ADMINS):
        server.members(group, remove=slapd.person("short.stay"))
    server.delete(slapd.person("short.stay"))
    assert ldap.look_up("short.stay") is None
    slapd.add_person(server, "short.stay")
    server.members(slapd.ALLOWED, add=slapd.person("short.stay"))
    assert ldap.look_up("short.stay").subject != before, "a new account of the same name"


# --- servers that fail ---


def test_base_that_cannot_be_searched_is_no_verdict_on_people(server):
    ldap = directory(by_search(server, LDAP_BASE_DN=f"ou=absent,{slapd.BASE}"))
    with pytest.raises(DirectoryDownError, match="LDAP_BASE_DN"):
        ldap.look_up("lena")


def test_wrong_password_of_the_lookup_account_says_which_settings(server):
    with pytest.raises(DirectoryDownError) as caught:
        directory(by_search(server, LDAP_BIND_PASSWORD="wrong")).sign_in("lena", "password-of-lena")
    assert "LDAP_BIND_PASSWORD" in caught.value.hint
    assert "wrong" not in caught.value.message


@pytest.mark.parametrize("form", FORMS)
def test_certificate_of_another_authority_is_refused(server, form, tmp_path):
    write_pair(tmp_path, "127.0.0.1", make_authority("somebody else's CA"))
    values = FORMS[form](server, LDAP_CA_FILE=str(tmp_path / "ca.pem"))
    with pytest.raises(DirectoryDownError, match=r"(?i)certificate"):
        directory(values).sign_in("lena", "password-of-lena")


@pytest.mark.parametrize("form", FORMS)
def test_certificate_for_another_address_is_refused(tmp_path, form):
    write_pair(tmp_path, "192.0.2.99", make_authority("CA of a test"))
    other = Slapd(tmp_path, "127.0.0.1")
    try:
        with pytest.raises(DirectoryDownError, match="not valid for"):
            directory(FORMS[form](other)).sign_in("lena", "password-of-lena")
    finally:
        other.stop()


def test_plain_connections_work_when_asked_for_and_warn(server):
    values = by_search(server, LDAP_URL=server.url, LDAP_STARTTLS="off", LDAP_CA_FILE="")
    ldap = directory(values)
    assert "unencrypted" in ldap.describe_risk()
    assert ldap.sign_in("lena", "password-of-lena")
    assert directory(by_search(server)).describe_risk() == ""
    assert directory(by_template(server)).describe_risk() == ""


def test_second_server_is_asked_when_the_first_is_down(server):
    values = by_search(server, LDAP_URL=f"ldaps://127.0.0.1:{free_port()} {server.tls_url}")
    assert directory(values).sign_in("lena", "password-of-lena")


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
@pytest.mark.parametrize("starttls", ["on", "off"])
def test_server_that_never_answers_is_given_up(server, scheme, starttls):
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        url = f"{scheme}://127.0.0.1:{hanging.getsockname()[1]}"
        values = by_search(server, LDAP_URL=url, LDAP_STARTTLS=starttls, LDAP_TIMEOUT_S="1")
        problem = []

        def sign_in() -> None:
            try:
                directory(values).sign_in("lena", "password-of-lena")
            except DirectoryDownError as error:
                problem.append(error)

        thread = threading.Thread(target=sign_in, daemon=True)
        thread.start()
        thread.join(30)
        assert problem, "still waiting after 30 s"
