"""People of an LDAP directory (OpenLDAP, Active Directory): password, groups, lasting identifier.

All calls block, each answer of a server has a deadline, and no connection is kept: the Hub runs
them in threads of their own. Nothing here knows the Hub.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import ldap3
from ldap3.core.exceptions import LDAPException
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn, safe_dn

from vixtract.errors import VixtractError
from vixtract.hub.sources import Identity
from vixtract.settings import EVERYBODY, Settings

log = logging.getLogger(__name__)

LONGEST_PASSWORD = 1024
DEEPEST_NESTING = 8
MOST_GROUPS = 200
# Source: https://learn.microsoft.com/windows/win32/adsi/search-filter-syntax
_IN_CHAIN = "1.2.840.113556.1.4.1941"
_IS_AD = "1.2.840.113556.1.4.800"
_DISABLED = 0x2
# Source: https://datatracker.ietf.org/doc/html/draft-behera-ldap-password-policy, 5.3.3
_LOCKED_FOR_GOOD = "000001010000Z"
# What AD adds to "invalid credentials" when the password was right, but has run out.
_MUST_CHANGE = ("data 532", "data 773")
_ANSWERS = ("success", "noSuchObject", "insufficientAccessRights", "sizeLimitExceeded")
_ATTRIBUTES = (
    "memberOf",
    "entryUUID",
    "objectGUID",
    "userAccountControl",
    "nsAccountLock",
    "pwdAccountLockedTime",
)


class DirectoryDownError(VixtractError):
    """No server answered, or it refuses our account: this says nothing about the person."""


class NotAllowedError(VixtractError):
    """The directory knows the person, who may not sign in; the message is for the person."""


class _Tls(ldap3.Tls):
    """Python's own check of certificate and host name, instead of ldap3's copy of it."""

    def __init__(self, ca_file: str) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._ca_file = ca_file or None

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        context = ssl.create_default_context(cafile=self._ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        connection.socket = context.wrap_socket(
            connection.socket, server_hostname=connection.server.host
        )


class Directory:
    """One directory, on one or several servers; LDAP_URL is set."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._timeout_s = settings.integer("LDAP_TIMEOUT_S")
        self._attribute = settings["LDAP_NAME_ATTRIBUTE"]
        self._base = settings["LDAP_BASE_DN"]
        self.can_look_up = bool(settings["LDAP_BIND_DN"])

    def describe_risk(self) -> str:
        """Return a warning where passwords cross the network in the clear, else an empty text."""
        plain = [u for u in self._settings["LDAP_URL"].split() if u.startswith("ldap://")]
        if plain and self._settings["LDAP_STARTTLS"] == "off":
            return (
                f"LDAP_STARTTLS=off: passwords of LDAP cross the network to {' '.join(plain)} "
                "unencrypted. Use ldaps://, or LDAP_STARTTLS=on."
            )
        return ""

    def sign_in(self, name: str, password: str) -> Identity | None:
        """Check a password, then the groups; return None for an unknown name or a wrong password.

        Raises:
            NotAllowedError: not in the allowed group, or locked.
            DirectoryDownError: no server answered in time, or the settings do not fit it.
        """
        # An empty password would be an "unauthenticated bind", which succeeds.
        if not password or "\0" in password or len(password) > LONGEST_PASSWORD:
            return None
        with self._errors():
            if self.can_look_up:
                return self._sign_in_by_search(name, password)
            return self._sign_in_by_template(name, password)

    def look_up(self, name: str) -> Identity | None:
        """Return a person without their password, or None where they are gone; needs `can_look_up`.

        Errors are those of `sign_in`.
        """
        with self._errors(), self._service() as connection:
            entry = self._find_entry(connection, name)
            return self._judge(connection, name, entry) if entry else None

    def _sign_in_by_search(self, name: str, password: str) -> Identity | None:
        with self._service() as service:
            entry = self._find_entry(service, name)
            if entry is None:
                return None
            with self._connected(entry["dn"], password) as person:
                if not self._bind(person):
                    return None
            return self._judge(service, name, entry)

    def _sign_in_by_template(self, name: str, password: str) -> Identity | None:
        template = self._settings["LDAP_USER_DN_TEMPLATE"]
        is_dn = "=" in template
        who = template.replace("{username}", escape_rdn(name) if is_dn else name)
        with self._connected(who, password) as person:
            if not self._bind(person):
                return None
            entry = self._read_entry(person, who) if is_dn else self._find_own(person, name, who)
            if entry is None:
                raise NotAllowedError(f"The directory shows no entry of {name!r} that may sign in.")
            return self._judge(person, name, entry)

    def _judge(self, connection: Any, name: str, entry: Mapping[str, Any]) -> Identity:
        attributes = entry["attributes"]
        if _is_locked(attributes):
            raise NotAllowedError("This account is disabled in the directory.")
        admins, allowed = self._settings["LDAP_ADMIN_GROUP"], self._settings["LDAP_ALLOWED_GROUP"]
        is_admin = self._is_member(connection, name, entry, admins) if admins else None
        is_allowed = is_admin or allowed == EVERYBODY
        if not is_allowed and not self._is_member(connection, name, entry, allowed):
            raise NotAllowedError("This account is not in the group that may sign in here.")
        return Identity(self._spell(name, attributes), _subject(entry), is_admin)

    def _spell(self, name: str, attributes: Mapping[str, Any]) -> str:
        names = [value.lower() for value in _texts(attributes, self._attribute)]
        # Templates and filters may find people by something else than this attribute.
        return name if name in names or not names else names[0]

    # --- groups ---

    def _is_member(self, connection: Any, name: str, entry: Mapping[str, Any], group: str) -> bool:
        """Direct membership both ways round, then nested: by AD's own rule, or group by group."""
        wanted = _same(group)
        direct = {_same(dn): dn for dn in _texts(entry["attributes"], "memberOf")}
        if wanted in direct:
            return True
        dn = escape_filter_chars(entry["dn"])
        posix = f"(memberUid={escape_filter_chars(name)})"
        members = f"(|(member={dn})(uniqueMember={dn}){posix})"
        if self._search(connection, group, members, ldap3.BASE):
            return True
        if self._is_ad(connection):
            chain = f"(memberOf:{_IN_CHAIN}:={escape_filter_chars(group)})"
            return bool(self._search(connection, entry["dn"], chain, ldap3.BASE))
        return wanted in self._walk_up(connection, entry["dn"], direct, group)

    def _walk_up(
        self, connection: Any, dn: str, known: dict[str, str], group: str
    ) -> dict[str, str]:
        base = self._base or group.partition(",")[2]
        level, found = [dn, *known.values()], dict(known)
        for _ in range(DEEPEST_NESTING):
            if not level or len(found) > MOST_GROUPS:
                break
            terms = "".join(
                f"(member={escape_filter_chars(member)})(uniqueMember={escape_filter_chars(member)})"
                for member in level
            )
            groups = self._search(connection, base, f"(|{terms})", ldap3.SUBTREE, limit=MOST_GROUPS)
            new = {_same(e["dn"]): e["dn"] for e in groups if _same(e["dn"]) not in found}
            found |= new
            level = list(new.values())
        return found

    def _is_ad(self, connection: Any) -> bool:
        root = self._search(
            connection, "", "(objectClass=*)", ldap3.BASE, ["supportedCapabilities"]
        )
        return any(_IS_AD in _texts(e["attributes"], "supportedCapabilities") for e in root)

    # --- entries ---

    def _find_own(self, connection: Any, name: str, who: str) -> Mapping[str, Any] | None:
        """Find the entry of `name@domain`: AD takes it for a userPrincipalName first.

        The part before the @ may be another person's sAMAccountName.
        """
        entry = self._find_entry(connection, who, "userPrincipalName") if "@" in who else None
        return entry or self._find_entry(connection, name)

    def _find_entry(
        self, connection: Any, name: str, attribute: str = ""
    ) -> Mapping[str, Any] | None:
        match = f"({attribute or self._attribute}={escape_filter_chars(name)})"
        extra = self._settings["LDAP_USER_FILTER"]
        found = self._search(
            connection,
            self._base,
            f"(&{match}{extra})" if extra else match,
            ldap3.SUBTREE,
            [self._attribute, *_ATTRIBUTES],
        )
        if len(found) > 1:
            raise NotAllowedError(
                f"The directory has more than one entry for {name!r}.",
                "Narrow LDAP_BASE_DN or LDAP_USER_FILTER.",
            )
        if connection.result["description"] != "success":
            # Settings or rights are wrong: this does not mean that the person is gone.
            raise DirectoryDownError(
                f"LDAP_BASE_DN {self._base!r} cannot be searched: "
                f"{connection.result['description']}."
            )
        return found[0] if found else None

    def _read_entry(self, connection: Any, dn: str) -> Mapping[str, Any] | None:
        text = self._settings["LDAP_USER_FILTER"] or "(objectClass=*)"
        found = self._search(connection, dn, text, ldap3.BASE, [self._attribute, *_ATTRIBUTES])
        return found[0] if found else None

    def _search(
        self,
        connection: Any,
        base: str,
        text: str,
        scope: str,
        attributes: list[str] | None = None,
        *,
        limit: int = 2,
    ) -> list[Mapping[str, Any]]:
        connection.search(
            base,
            text,
            scope,
            attributes=attributes or ["1.1"],
            size_limit=limit,
            time_limit=self._timeout_s,
        )
        result = connection.result["description"]
        # An entry that is absent or hidden is an empty answer, not an error.
        if result not in _ANSWERS:
            raise DirectoryDownError(
                f"LDAP search below {base!r} failed: {result} {connection.result['message']}."
            )
        return [e for e in connection.response or [] if e["type"] == "searchResEntry"]

    # --- connections ---

    @contextmanager
    def _service(self) -> Iterator[Any]:
        """A connection of the account that looks people up."""
        account = self._settings["LDAP_BIND_DN"]
        with self._connected(account, self._settings["LDAP_BIND_PASSWORD"]) as connection:
            if not self._bind(connection):
                raise DirectoryDownError(
                    f"The directory refuses LDAP_BIND_DN {account!r}.",
                    "Correct LDAP_BIND_DN and LDAP_BIND_PASSWORD.",
                )
            yield connection

    @contextmanager
    def _connected(self, user: str, password: str) -> Iterator[Any]:
        """Open and encrypt a connection to the first server that answers; not yet bound."""
        connection = self._open(user, password)
        try:
            yield connection
        finally:
            connection.unbind()

    def _open(self, user: str, password: str) -> Any:
        problems = []
        for url in self._settings["LDAP_URL"].split():
            try:
                return self._open_one(url, user, password)
            except (LDAPException, OSError) as error:
                problems.append(f"{url}: {error}")
        raise DirectoryDownError(f"No LDAP server can be used. {'; '.join(problems)}")

    def _open_one(self, url: str, user: str, password: str) -> Any:
        parts = urlsplit(url)
        is_tls = parts.scheme == "ldaps"
        server = ldap3.Server(
            parts.hostname,
            port=parts.port or (636 if is_tls else 389),
            use_ssl=is_tls,
            tls=_Tls(self._settings["LDAP_CA_FILE"]),
            get_info=ldap3.NONE,
            connect_timeout=self._timeout_s,
        )
        # Referrals lead to servers that no setting names: they must not get the password.
        connection = ldap3.Connection(
            server,
            user=user,
            password=password,
            receive_timeout=self._timeout_s,
            auto_referrals=False,
            check_names=False,
            read_only=True,
        )
        try:
            connection.open(read_server_info=False)
            needs_start = not is_tls and self._settings["LDAP_STARTTLS"] == "on"
            if needs_start and not connection.start_tls(read_server_info=False):
                raise LDAPException(f"no StartTLS: {connection.result['description']}")
        except BaseException:
            # ldap3 leaves the socket of a connection open that it could not encrypt.
            if connection.socket:
                connection.socket.close()
            raise
        return connection

    def _bind(self, connection: Any) -> bool:
        if connection.bind(read_server_info=False):
            return True
        result, message = connection.result["description"], str(connection.result["message"])
        if result in ("invalidCredentials", "noSuchObject", "invalidDNSyntax"):
            if any(mark in message for mark in _MUST_CHANGE):
                raise NotAllowedError("Your password has expired. Change it in the directory.")
            return False
        raise DirectoryDownError(f"The directory refuses to check a password: {result} {message}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (LDAPException, OSError) as error:
            raise DirectoryDownError(f"LDAP failed: {error}") from error


def _texts(attributes: Mapping[str, Any], name: str) -> list[str]:
    """Return an attribute's values; names of attributes have no case."""
    for key, value in attributes.items():
        if key.lower() == name.lower():
            values = value if isinstance(value, list) else [value]
            return [
                v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values
            ]
    return []


def _is_locked(attributes: Mapping[str, Any]) -> bool:
    control = "".join(_texts(attributes, "userAccountControl")[:1])
    return (
        (control.isdigit() and bool(int(control) & _DISABLED))
        or "true" in [text.lower() for text in _texts(attributes, "nsAccountLock")]
        # Any other time is a lock-out after wrong passwords: whoever guesses must not end sessions.
        or _LOCKED_FOR_GOOD in _texts(attributes, "pwdAccountLockedTime")
    )


def _subject(entry: Mapping[str, Any]) -> str:
    for name in ("entryUUID", "objectGUID"):
        for key, values in entry["raw_attributes"].items():
            if key.lower() == name.lower() and values:
                value: bytes = values[0]
                return value.decode() if name == "entryUUID" else value.hex()
    return ""


def _same(dn: str) -> str:
    """Return a DN in the form in which two spellings of it are equal."""
    return str(safe_dn(dn)).lower()
