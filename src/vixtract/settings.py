"""The one table of settings: what each is called, its default, and what it means.

`.env.example` and `docs/reference/settings.md` are generated from it, the compose file is checked
against it, and every process reads its environment through `Settings.from_environment`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from vixtract.errors import SettingsError
from vixtract.settings_table import BY_NAME, SETTINGS, SIGN_IN_ROWS, Setting
from vixtract.values import check_kind, is_loopback, read_workers, split_list

EVERYBODY = "*"

__all__ = [
    "BY_NAME",
    "EVERYBODY",
    "SETTINGS",
    "Setting",
    "Settings",
    "check_value",
    "is_loopback",
    "read_workers",
]


def check_value(setting: Setting, value: str) -> str:
    """Check one value against its setting.

    Args:
        setting: entry of the table.
        value: text as given in the environment.
    Returns: what is wrong in a few words, or an empty text.
    """
    if setting.kind == "port" and not (value or setting.default):
        return ""
    return check_kind(setting.kind, setting.choices, value)


class Settings:
    """Checked settings of one process.

    Args:
        values: name to text for every setting of the table.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read all settings, defaults filled in.

        Args:
            environment: usually ``os.environ``; other names in it are ignored.
        Raises:
            SettingsError: names every wrong value at once; values of passwords are not shown.
        """
        values = {s.name: environment.get(s.name) or s.default for s in SETTINGS}
        problems = []
        for setting in SETTINGS:
            problem = check_value(setting, values[setting.name])
            if problem:
                shown = "(hidden)" if setting.is_secret else repr(values[setting.name])
                problems.append(f"{setting.name}={shown} {problem}")
        problems += find_sign_in_problems(values)
        if problems:
            raise SettingsError(
                "Wrong settings: " + "; ".join(problems), "Correct them in .env and start again."
            )
        return cls(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __repr__(self) -> str:
        shown = {n: "***" if BY_NAME[n].is_secret else v for n, v in self._values.items()}
        return f"Settings({shown})"

    def integer(self, name: str) -> int:
        """Return a setting of kind integer or port as a number."""
        return int(self._values[name])

    @property
    def https_mode(self) -> str:
        """How HTTPS is served: off, self-signed, files or acme."""
        usual = "off" if is_loopback(self["VIXTRACT_BIND"]) else "self-signed"
        return self["HTTPS"] or usual

    @property
    def domains(self) -> list[str]:
        """The appliance's own names and addresses, the main one first."""
        return split_list(self["HTTPS_DOMAIN"])

    def certificate_names(self, *more: str) -> list[str]:
        """Return the names and addresses that a certificate of our own making is for.

        Args:
            more: names beside those of the settings.
        """
        bind = self["VIXTRACT_BIND"].strip("[]")
        # "Every address" is none that anybody connects to.
        bound = [] if ipaddress.ip_address(bind).is_unspecified else [bind]
        names = [*self.domains, *more, *bound, "localhost", "127.0.0.1", "::1"]
        return list(dict.fromkeys(names))

    def default_passwords(self, *names: str) -> list[str]:
        """Name the given passwords (all, if none is given) that are the documented defaults."""
        # An empty one is no password that anybody could know.
        wanted = names or tuple(s.name for s in SETTINGS if s.is_secret and s.default)
        return [n for n in wanted if self._values[n] == BY_NAME[n].default]

    def check_exposure(self, *names: str) -> None:
        """Refuse documented passwords on an address that others can reach.

        Args:
            names: passwords that the calling service uses; all, if none is given.
        Raises:
            SettingsError: names the passwords that must be set.
        """
        weak = self.default_passwords(*names)
        if weak and not is_loopback(self["VIXTRACT_BIND"]):
            raise SettingsError(
                f"VIXTRACT_BIND={self['VIXTRACT_BIND']} publishes this service, but "
                f"{', '.join(weak)} still has the documented default.",
                "Set own passwords in .env, or run `./vixtract up --bind "
                f"{self['VIXTRACT_BIND']}`, which generates them.",
            )


_DEFAULTS = {row[0]: row[1] for row in SIGN_IN_ROWS}
_LDAP_SERVER = re.compile(r"ldaps?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?/?")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def find_sign_in_problems(values: Mapping[str, str]) -> list[str]:
    """Say what is wrong or missing in the settings of sign-in, each with what to do.

    Args:
        values: name to text, defaults filled in; names that are absent count as not set.
    """
    full = {**_DEFAULTS, **{k: v for k, v in values.items() if k in _DEFAULTS}}
    return [
        *_find_limits(full),
        *(_find_ldap(full) if full["LDAP_URL"] else _find_orphans(full, "LDAP_", "LDAP_URL")),
        *(_find_oidc(full) if full["OIDC_ISSUER"] else _find_orphans(full, "OIDC_", "OIDC_ISSUER")),
    ]


def is_secure_url(url: str) -> bool:
    """Say whether an address is HTTPS, or HTTP on this very machine.

    Args:
        url: absolute address.
    """
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    )


def _find_limits(values: Mapping[str, str]) -> list[str]:
    names = ("LDAP_TIMEOUT_S", "SIGNIN_CHECK_S", "SIGNIN_HOURS")
    pages = ("LDAP_PASSWORD_URL", "OIDC_PASSWORD_URL")
    return [
        *(f"{name}=0 is too short: give 1 or more" for name in names if values[name] == "0"),
        *(
            f"{name} is no http:// or https:// address"
            for name in pages
            if values[name] and not values[name].startswith(("http://", "https://"))
        ),
    ]


def _find_orphans(values: Mapping[str, str], prefix: str, main: str) -> list[str]:
    # Not the secrets: every container finds those in the volume, the others in jupyter's alone.
    names = [
        row[0]
        for row in SIGN_IN_ROWS
        if row[0].startswith(prefix) and row[3] != "password" and values[row[0]] != row[1]
    ]
    if not names:
        return []
    verb = "is" if len(names) == 1 else "are"
    return [f"{', '.join(names)} {verb} set, but {main} is empty: set it, or remove the others"]


def _find_ldap(values: Mapping[str, str]) -> list[str]:
    problems = []
    servers = values["LDAP_URL"].split()
    wrong = [server for server in servers if not _LDAP_SERVER.fullmatch(server)]
    if wrong or not servers:
        problems.append(f"LDAP_URL has {wrong}: write ldaps://HOST or ldap://HOST:PORT")
    problems += _find_ldap_bind(values)
    name_filter = values["LDAP_USER_FILTER"]
    if name_filter and not (
        name_filter.startswith("(")
        and name_filter.endswith(")")
        and name_filter.count("(") == name_filter.count(")")
    ):
        problems.append("LDAP_USER_FILTER is no filter in balanced parentheses")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", values["LDAP_NAME_ATTRIBUTE"]):
        problems.append("LDAP_NAME_ATTRIBUTE is no name of an attribute")
    allowed, admins = values["LDAP_ALLOWED_GROUP"], values["LDAP_ADMIN_GROUP"]
    if not allowed:
        problems.append(
            "LDAP_ALLOWED_GROUP is empty: give the DN of a group, or * to let everybody in"
        )
    for name, group in (("LDAP_ALLOWED_GROUP", allowed), ("LDAP_ADMIN_GROUP", admins)):
        if group and group != EVERYBODY and "=" not in group:
            problems.append(f"{name}={group!r} is no DN: write CN=…,OU=…,DC=…")
    if admins == EVERYBODY:
        problems.append("LDAP_ADMIN_GROUP=* would make everybody an administrator: give a DN")
    return [*problems, *_find_path(values, "LDAP_CA_FILE")]


def _find_ldap_bind(values: Mapping[str, str]) -> list[str]:
    template, account = values["LDAP_USER_DN_TEMPLATE"], values["LDAP_BIND_DN"]
    if bool(template) == bool(account):
        start = "both are set" if template else "neither is set"
        return [
            f"LDAP_BIND_DN (search bind) and LDAP_USER_DN_TEMPLATE (template bind): {start}; "
            "set one of the two"
        ]
    if account:
        needed = [n for n in ("LDAP_BIND_PASSWORD", "LDAP_BASE_DN") if not values[n]]
        return [f"LDAP_BIND_DN needs {' and '.join(needed)} too"] if needed else []
    problems = []
    if template.count("{username}") != 1 or template.count("{") != 1 or template.count("}") != 1:
        problems.append("LDAP_USER_DN_TEMPLATE must have {username} in it once")
    if "=" not in template and not values["LDAP_BASE_DN"]:
        problems.append("LDAP_USER_DN_TEMPLATE is no DN, so LDAP_BASE_DN is needed too")
    if values["LDAP_BIND_PASSWORD"]:
        problems.append("LDAP_BIND_PASSWORD has no use without LDAP_BIND_DN: remove it")
    return problems


def _find_oidc(values: Mapping[str, str]) -> list[str]:
    problems = []
    if not is_secure_url(values["OIDC_ISSUER"]) or urlsplit(values["OIDC_ISSUER"]).query:
        problems.append(
            f"OIDC_ISSUER={values['OIDC_ISSUER']!r} is no https:// address of an issuer"
        )
    if not values["OIDC_CLIENT_ID"]:
        problems.append("OIDC_CLIENT_ID is empty: register a client at the issuer")
    if not values["OIDC_ALLOWED_GROUP"]:
        problems.append(
            "OIDC_ALLOWED_GROUP is empty: give the name of a group, or * to let everybody in"
        )
    if values["OIDC_ADMIN_GROUP"] == EVERYBODY:
        problems.append("OIDC_ADMIN_GROUP=* would make everybody an administrator: give a group")
    if "openid" not in values["OIDC_SCOPE"].split():
        problems.append("OIDC_SCOPE must have openid in it")
    return [*problems, *_find_path(values, "OIDC_CA_FILE")]


def _find_path(values: Mapping[str, str], name: str) -> list[str]:
    if values[name] and not values[name].startswith("/"):
        return [f"{name}={values[name]!r} is no full path in the jupyter container"]
    return []
