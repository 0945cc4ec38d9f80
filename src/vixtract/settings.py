"""The one table of settings, and how its values reach the processes that read them.

`.env.example` and `docs/reference/settings.md` are generated from the table, the compose files are
checked against it, and every process gets its part of the environment by `build_environment` and
reads it through `Settings.for_process`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from vixtract.errors import SettingsError
from vixtract.settings_table import BY_NAME, SETTINGS, Setting
from vixtract.values import CHECKS, is_address, is_loopback, split_list

EVERYBODY = "*"

#: What each process starts, or consists of: it is handed the settings of all of these too.
HANDED_ON: Mapping[str, tuple[str, ...]] = {
    # The containers, by the names of their services: what compose hands on.
    "postgresql": (),
    "jupyter": ("hub",),
    "cronicle": ("appliance-runner", "engine", "cronicle-edge", "vault"),
    "nginx": ("front-door",),
    "worker": ("worker-runner", "worker-server"),
    # In jupyter. `labs` watches people's servers; `lab` are these servers with their kernels.
    "hub": ("labs", "portal", "vault", "lab"),
    "labs": (),
    "portal": (),
    "vault": (),
    "lab": (),
    # In cronicle and worker. `engine` is the embedded engine, or the gateway in front of Cronicle.
    "engine": (),
    "cronicle-edge": ("cronicle-plugin",),
    "cronicle-plugin": (),
    "appliance-runner": ("runner",),
    # Unlike the appliance's it sends no run on, and it reaches PostgreSQL from outside.
    "worker-runner": ("runner",),
    "worker-server": (),
    "runner": ("job",),
    # People's jobs.
    "job": (),
    # In nginx.
    "front-door": (),
}
CONTAINERS = ("postgresql", "jupyter", "cronicle", "nginx", "worker")

#: What every process of ours starts with.
_BASE = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}
#: Set by the images and by compose, for every process.
_FIXED = (
    "PIP_CERT",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "HOSTNAME",
    "VIXTRACT_PROJECT",
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_OWN_NAMES = "localhost,127.0.0.1,postgresql,cronicle,jupyter,nginx"


def list_read(process: str) -> tuple[str, ...]:
    """Return the names of the settings that a process reads or hands on, in the table's order.

    Args:
        process: a key of `HANDED_ON`.
    """
    meant, left = set(), [process]
    while left:
        meant.add(left[-1])
        left += HANDED_ON[left.pop()]
    return tuple(setting.name for setting in SETTINGS if setting.readers & meant)


def list_defaults(process: str) -> dict[str, str]:
    """Return what a process is handed where nothing is set: defaults, and no secrets."""
    rows = (BY_NAME[name] for name in list_read(process))
    return {row.name: "" if row.is_secret else row.default for row in rows}


def build_environment(process: str, environment: Mapping[str, str], **more: str) -> dict[str, str]:
    """Return the whole environment to start a process with.

    Args:
        environment: of the process that starts it. Names that are missing in it are left out; the
            process refuses to start without them.
        more: further variables, such as HOME.
    """
    names = [*_FIXED, *list_read(process)]
    # Whoever may read the secrets volume is told the file instead of the value.
    files = [f"{name}_FILE" for name in names if name in BY_NAME and BY_NAME[name].is_secret]
    files = [name for name in files if not environment.get(name[: -len("_FILE")])]
    handed = {name: environment[name] for name in (*names, *files) if name in environment}
    return {**_BASE, **handed, **more}


def build_people_environment(process: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that programs of others get, such as people's own; none is empty.

    An empty variable would mean something else to pip and curl.

    Args:
        process: `lab`, `job`, or `vault` for the libraries that it tries connections with.
        environment: of the process that starts it.
    Returns: settings and certificates, without PATH and HOME.
    """
    names = (*_FIXED[:4], *list_read(process))
    found = {name: environment[name] for name in names if environment.get(name)}
    if "HTTP_PROXY" in found or "HTTPS_PROXY" in found:
        found["NO_PROXY"] = f"{found.get('NO_PROXY', '')},{_OWN_NAMES}".lstrip(",")
        # curl and others read the small letters alone.
        found.update({name.lower(): found[name] for name in _PROXIES if name in found})
    return found


def check_value(setting: Setting, value: str) -> str:
    """Return the problem with one value of a setting in a few words, or an empty text."""
    if not value and not setting.default:
        return ""
    if setting.kind == "choice":
        allowed = ", ".join(choice for choice in setting.choices if choice)
        return "" if value in setting.choices else f"is none of {allowed}"
    return CHECKS[setting.kind](value)


class Settings:
    """Checked settings of one process: name to text for every setting that it reads."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str],
        sources: Mapping[str, str] | None = None,
        problems: Sequence[str] = (),
    ) -> Settings:
        """Read all settings, defaults filled in: the view of the operator's command.

        Args:
            sources: name to where its value was found, for messages.
            problems: what the caller found wrong already; reported with the rest.
        Raises:
            SettingsError: names every wrong value at once; values of passwords are not shown.
        """
        values = {s.name: environment.get(s.name) or s.default for s in SETTINGS}
        return cls(_check_all(values, sources or {}, problems))

    @classmethod
    def for_process(cls, process: str, environment: Mapping[str, str]) -> Settings:
        """Read what one process reads or hands on.

        Args:
            process: a key of `HANDED_ON`.
        Raises:
            SettingsError: a name is missing, or values are wrong; all of them are named.
        """
        rows = [BY_NAME[name] for name in list_read(process)]
        missing = [
            row.name
            for row in rows
            if row.name not in environment
            or (row.default and not row.is_secret and not environment[row.name])
        ]
        if missing:
            raise SettingsError(
                f"{process} was started without {', '.join(missing)}.",
                "Take docker-compose.yml of this version: it hands every setting on.",
            )
        values = {row.name: environment[row.name] or row.default for row in rows}
        return cls(_check_all(values, {}))

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
        """Return the names and addresses, `more` included, that an own certificate is for."""
        bind = self["VIXTRACT_BIND"].strip("[]")
        # No client connects to 0.0.0.0 or ::.
        bound = [] if ipaddress.ip_address(bind).is_unspecified else [bind]
        names = [*self.domains, *more, *bound, "localhost", "127.0.0.1", "::1"]
        return list(dict.fromkeys(names))

    def default_passwords(self, *names: str) -> list[str]:
        """Name the given passwords (all, if none is given) that are the documented defaults."""
        # Where the default is empty there is no documented password.
        wanted = names or tuple(n for n in self._values if BY_NAME[n].is_secret)
        return [n for n in wanted if BY_NAME[n].default and self[n] == BY_NAME[n].default]

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


def _check_all(
    values: Mapping[str, str], sources: Mapping[str, str], known_problems: Sequence[str] = ()
) -> Mapping[str, str]:
    """Return the values; raise SettingsError with the problems of all of them."""
    problems = [*known_problems]
    for name, value in values.items():
        problem = check_value(BY_NAME[name], value)
        if problem:
            shown = "(hidden)" if BY_NAME[name].is_secret else repr(value)
            where = f" ({sources[name]})" if name in sources else ""
            problems.append(f"{name}={shown}{where} {problem}")
    problems += _find_acme(values) if "HTTPS" in values else []
    problems += _find_sign_in(values) if "LDAP_URL" in values else []
    if problems:
        raise SettingsError(
            "Wrong settings: " + "; ".join(problems), "Correct them in .env and start again."
        )
    return values


_LDAP_SERVER = re.compile(r"ldaps?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?/?")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _find_acme(values: Mapping[str, str]) -> list[str]:
    if values["HTTPS"] != "acme" or not all(map(is_address, split_list(values["HTTPS_DOMAIN"]))):
        return []
    return [
        "HTTPS=acme needs a host name, and HTTPS_DOMAIN has none: set it to the name that the "
        "world knows this machine by"
    ]


def _find_sign_in(values: Mapping[str, str]) -> list[str]:
    times = ("LDAP_TIMEOUT_S", "SIGNIN_CHECK_S", "SIGNIN_HOURS")
    problems = [f"{name}=0 is too short: give 1 or more" for name in times if values[name] == "0"]
    for main, find in (("LDAP_URL", _find_ldap), ("OIDC_ISSUER", _find_oidc)):
        problems += find(values) if values[main] else _find_orphans(values, main)
    return problems


def is_secure_url(url: str) -> bool:
    """Return whether an absolute address is HTTPS, or HTTP on this very machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    )


def _find_orphans(values: Mapping[str, str], main: str) -> list[str]:
    group = [name for name in values if name.startswith(f"{main.partition('_')[0]}_")]
    changed = [name for name in group if values[name] != BY_NAME[name].default]
    # A secret may stay in its file after the others have gone.
    names = [name for name in changed if not BY_NAME[name].is_secret]
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
    query = values["LDAP_USER_FILTER"]
    is_balanced = query[:1] == "(" and query[-1:] == ")" and query.count("(") == query.count(")")
    if query and not is_balanced:
        problems.append("LDAP_USER_FILTER is not a filter in balanced parentheses")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", values["LDAP_NAME_ATTRIBUTE"]):
        problems.append("LDAP_NAME_ATTRIBUTE is not the name of an attribute")
    allowed, admins = values["LDAP_ALLOWED_GROUP"], values["LDAP_ADMIN_GROUP"]
    if not allowed:
        problems.append(
            "LDAP_ALLOWED_GROUP is empty: give the DN of a group, or * to let everybody in"
        )
    for name, group in (("LDAP_ALLOWED_GROUP", allowed), ("LDAP_ADMIN_GROUP", admins)):
        if group and group != EVERYBODY and "=" not in group:
            problems.append(f"{name}={group!r} is not a DN: write CN=…,OU=…,DC=…")
    if admins == EVERYBODY:
        problems.append("LDAP_ADMIN_GROUP=* would make everybody an administrator: give a DN")
    return problems


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
        problems.append("LDAP_USER_DN_TEMPLATE is not a DN, so LDAP_BASE_DN is needed too")
    if values["LDAP_BIND_PASSWORD"]:
        problems.append("LDAP_BIND_PASSWORD has no use without LDAP_BIND_DN: remove it")
    return problems


def _find_oidc(values: Mapping[str, str]) -> list[str]:
    problems = []
    if not is_secure_url(values["OIDC_ISSUER"]) or urlsplit(values["OIDC_ISSUER"]).query:
        problems.append(
            f"OIDC_ISSUER={values['OIDC_ISSUER']!r} is not the https:// address of an issuer"
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
    return problems
