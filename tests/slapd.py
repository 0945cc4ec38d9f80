"""A real LDAP server: Debian's slapd, unprivileged, with an OpenLDAP-like and an AD-like tree."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import ldap3

from tests.waiting import free_port, wait_until

SLAPD = Path("/usr/sbin/slapd")
SECRET = "directory-secret-9"
LOOKUP_PASSWORD = "lookup-secret-5"

# --- the OpenLDAP-like tree: uid, groupOfNames, posixGroup, no memberOf ---
BASE = "dc=example,dc=org"
LOOKUP_DN = f"cn=lookup,{BASE}"
ALLOWED = f"cn=etl-users,ou=groups,{BASE}"
ADMINS = f"cn=etl-admins,ou=groups,{BASE}"
TEAM = f"cn=team,ou=groups,{BASE}"
POSIX = f"cn=posix,ou=groups,{BASE}"

# --- the AD-like tree: sAMAccountName, userPrincipalName, memberOf, userAccountControl ---
AD_BASE = "dc=corp,dc=example"
AD_LOOKUP = f"CN=svc etl,OU=Service,{AD_BASE}"
AD_ALLOWED = f"CN=ETL Users,OU=Groups,{AD_BASE}"
AD_ADMINS = f"CN=ETL Admins,OU=Groups,{AD_BASE}"
AD_NESTED = f"CN=Analysts,OU=Groups,{AD_BASE}"

CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
# As AD defines them; Debian's msuser.schema has no rules of comparison.
attributetype ( 1.2.840.113556.1.4.221 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.656 NAME 'userPrincipalName' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.8 NAME 'userAccountControl' EQUALITY integerMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.2 NAME 'objectGUID' EQUALITY octetStringMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.4203.666.1 NAME 'adAccount' AUXILIARY
  MAY ( sAMAccountName $ userPrincipalName $ userAccountControl $ objectGUID ) )
pidfile {folder}/pid
argsfile {folder}/args
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
sizelimit 500
# Passwords alone are hidden, and nobody reads without a login.
access to attrs=userPassword by anonymous auth by * none
access to dn.base="" by * read
access to * by users read by anonymous auth
database mdb
suffix "{base}"
rootdn "cn=root,{base}"
rootpw {secret}
directory {folder}/plain
database mdb
suffix "{ad_base}"
rootdn "cn=root,{ad_base}"
rootpw {secret}
directory {folder}/ad
overlay memberof
memberof-group-oc groupOfNames
"""


class Slapd:
    """One server at an address that containers reach, too; `stop` ends it.

    Args:
        folder: with ca.pem, server.pem and server.key; the database goes there.
        address: IP address to listen on.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        self.port, self.tls_port = free_port(), free_port()
        self.url = f"ldap://{address}:{self.port}"
        self.tls_url = f"ldaps://{address}:{self.tls_port}"
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("plain", "ad"):
            (folder / name).mkdir()
        text = CONFIGURATION.format(folder=folder, base=BASE, ad_base=AD_BASE, secret=SECRET)
        (folder / "slapd.conf").write_text(text)
        self.start()
        try:
            fill_plain(self)
            fill_ad(self)
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Start the server and wait until it answers."""
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    SLAPD,
                    "-d",
                    "0",
                    "-f",
                    self.folder / "slapd.conf",
                    "-h",
                    f"{self.url} {self.tls_url}",
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, "slapd")

    def stop(self) -> None:
        """End the server; its data stay."""
        if self._process:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def root(self, base: str) -> ldap3.Connection:
        """Return a connection that may change everything below a suffix."""
        server = ldap3.Server(self.address, self.port, get_info=ldap3.NONE)
        return ldap3.Connection(server, f"cn=root,{base}", SECRET, auto_bind=True)

    def add(self, dn: str, classes: list[str], **attributes: Any) -> None:
        """Add an entry."""
        connection = self.root(AD_BASE if dn.endswith(AD_BASE) else BASE)
        assert connection.add(dn, classes, attributes), connection.result
        connection.unbind()

    def members(self, group: str, *, add: str = "", remove: str = "") -> None:
        """Add a member to a group, or remove one."""
        changes = [(ldap3.MODIFY_ADD, [add])] if add else [(ldap3.MODIFY_DELETE, [remove])]
        self.change(group, member=changes)

    def change(self, dn: str, **changes: Any) -> None:
        """Change attributes of an entry."""
        connection = self.root(AD_BASE if dn.endswith(AD_BASE) else BASE)
        assert connection.modify(dn, changes), connection.result
        connection.unbind()

    def delete(self, dn: str) -> None:
        """Delete an entry."""
        connection = self.root(AD_BASE if dn.endswith(AD_BASE) else BASE)
        assert connection.delete(dn), connection.result
        connection.unbind()

    def _answers(self) -> bool:
        assert self._process, "not started"
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            self.root(BASE).unbind()
        except ldap3.core.exceptions.LDAPException:
            return False
        return True


def person(name: str) -> str:
    """Return a person's DN in the OpenLDAP-like tree."""
    return f"uid={name},ou=people,{BASE}"


def ad_person(common_name: str) -> str:
    """Return a person's DN in the AD-like tree."""
    return f"CN={common_name},OU=Staff,{AD_BASE}"


def fill_plain(server: Slapd) -> None:
    """Fill the OpenLDAP-like tree."""
    server.add(BASE, ["dcObject", "organization"], dc="example", o="Example")
    for unit in ("people", "groups"):
        server.add(f"ou={unit},{BASE}", ["organizationalUnit"], ou=unit)
    server.add(
        LOOKUP_DN, ["organizationalRole", "simpleSecurityObject"], cn="lookup",
        userPassword=LOOKUP_PASSWORD,
    )  # fmt: skip
    for name in (
        "lena",
        "boris",
        "vera",
        "outsider",
        "admin",
        "local.one",
        "posix.p",
        "root",
        "nested",
    ):
        add_person(server, name)
    server.add(
        ALLOWED, ["groupOfNames"], cn="etl-users", member=[person("lena"), person("admin"), TEAM]
    )
    server.change(
        ALLOWED, member=[(ldap3.MODIFY_ADD, [person("local.one"), person("root"), person("vera")])]
    )
    server.add(ADMINS, ["groupOfNames"], cn="etl-admins", member=[person("boris")])
    server.add(TEAM, ["groupOfNames"], cn="team", member=[person("nested")])
    server.add(POSIX, ["posixGroup"], cn="posix", gidNumber=5000, memberUid=["posix.p"])


def add_person(server: Slapd, name: str) -> None:
    """Add a person to the OpenLDAP-like tree; the password is `password-of-NAME`."""
    server.add(
        person(name), ["inetOrgPerson"], uid=name, cn=name, sn=name, userPassword=f"password-of-{name}",
    )  # fmt: skip


def fill_ad(server: Slapd) -> None:
    """Fill the AD-like tree: names with blanks and commas, nested groups, a disabled account."""
    server.add(AD_BASE, ["dcObject", "organization"], dc="corp", o="Corp")
    for unit in ("Staff", "Groups", "Service"):
        server.add(f"OU={unit},{AD_BASE}", ["organizationalUnit"], ou=unit)
    server.add(
        AD_LOOKUP,
        ["organizationalRole", "simpleSecurityObject"],
        cn="svc etl",
        userPassword=LOOKUP_PASSWORD,
    )
    accounts = {
        "Anna Petrova": "APetrova",
        "Smith\\, John": "j.smith",
        "Nina (IT) *": "nina",
        "Left Longago": "left",
        "Out Sider": "osider",
    }
    for common_name, account in accounts.items():
        plain = common_name.replace("\\", "")
        server.add(
            ad_person(common_name), ["inetOrgPerson", "adAccount"], cn=plain, sn=plain,
            sAMAccountName=account, userPrincipalName=f"{account.lower()}@corp.example",
            userAccountControl=514 if account == "left" else 512,
            userPassword=f"password-of-{account.lower()}",
        )  # fmt: skip
    server.add(AD_NESTED, ["groupOfNames"], cn="Analysts", member=[ad_person("Nina (IT) *")])
    server.add(
        AD_ALLOWED, ["groupOfNames"], cn="ETL Users",
        member=[ad_person("Anna Petrova"), ad_person("Left Longago"), AD_NESTED],
    )  # fmt: skip
    server.add(AD_ADMINS, ["groupOfNames"], cn="ETL Admins", member=[ad_person("Smith\\, John")])
