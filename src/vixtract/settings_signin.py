"""Settings of sign-in by LDAP and OpenID Connect: their rows of the table, and what must fit.

Part of the table in `vixtract.settings`; runs on a bare host too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

GROUP = "Sign-in"
EVERYBODY = "*"

# Name, default, help, kind, choices.
ROWS: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    (
        "LDAP_URL",
        "",
        "LDAP or AD servers, tried in this order, such as `ldaps://dc1.example.com`; empty: off.",
        "text",
        (),
    ),
    (
        "LDAP_STARTTLS",
        "on",
        "Whether `ldap://` is encrypted by StartTLS; `off` sends passwords in the clear.",
        "choice",
        ("on", "off"),
    ),
    (
        "LDAP_CA_FILE",
        "",
        "CA certificate (PEM) of the LDAP servers, a path in the jupyter container.",
        "text",
        (),
    ),
    (
        "LDAP_BIND_DN",
        "",
        "Account that looks people up (search bind); AD takes `name@domain` too.",
        "text",
        (),
    ),
    ("LDAP_BIND_PASSWORD", "", "Password of that account.", "password", ()),
    (
        "LDAP_USER_DN_TEMPLATE",
        "",
        "Instead of it: what people sign in as (template bind), `{username}` in it.",
        "text",
        (),
    ),
    ("LDAP_BASE_DN", "", "Where people and groups are searched, with all below it.", "text", ()),
    (
        "LDAP_NAME_ATTRIBUTE",
        "uid",
        "Attribute with the name to sign in by; `sAMAccountName` in AD.",
        "text",
        (),
    ),
    ("LDAP_USER_FILTER", "", "Filter that people must match too, in parentheses.", "text", ()),
    (
        "LDAP_ALLOWED_GROUP",
        "",
        "DN of the group that may sign in, nested ones included; `*`: everybody.",
        "text",
        (),
    ),
    ("LDAP_ADMIN_GROUP", "", "DN of the group of administrators; they may sign in.", "text", ()),
    ("LDAP_TIMEOUT_S", "5", "Seconds that an LDAP server has for one answer.", "integer", ()),
    ("LDAP_PASSWORD_URL", "", "Page where people change their LDAP password.", "text", ()),
    (
        "OIDC_ISSUER",
        "",
        "Issuer of OpenID Connect, such as `https://id.example.com/realms/etl`; empty: off.",
        "text",
        (),
    ),
    ("OIDC_CLIENT_ID", "", "Client that is registered there for the appliance.", "text", ()),
    ("OIDC_CLIENT_SECRET", "", "Its secret; empty for a public client.", "password", ()),
    ("OIDC_LABEL", "OpenID Connect", "Name on the button `Sign in with …`.", "text", ()),
    ("OIDC_SCOPE", "openid profile email", "Scopes to ask for.", "text", ()),
    (
        "OIDC_NAME_CLAIM",
        "preferred_username",
        "Claim with the person's name here.",
        "text",
        (),
    ),
    (
        "OIDC_GROUPS_CLAIM",
        "groups",
        "Claim with the groups; dots lead into objects, as in `realm_access.roles`.",
        "text",
        (),
    ),
    ("OIDC_ALLOWED_GROUP", "", "Group that may sign in; `*`: everybody.", "text", ()),
    ("OIDC_ADMIN_GROUP", "", "Group of administrators; they may sign in.", "text", ()),
    (
        "OIDC_CA_FILE",
        "",
        "CA certificate (PEM) of the issuer, a path in the jupyter container.",
        "text",
        (),
    ),
    (
        "OIDC_PASSWORD_URL",
        "",
        "Page where people change their password at the issuer.",
        "text",
        (),
    ),
    (
        "SIGNIN_CHECK_S",
        "300",
        "Seconds between checks that people of LDAP may still sign in; the others' sessions end.",
        "integer",
        (),
    ),
    (
        "SIGNIN_HOURS",
        "12",
        "Hours after which people have to sign in again where LDAP or OIDC cannot be asked.",
        "integer",
        (),
    ),
)

_DEFAULTS = {row[0]: row[1] for row in ROWS}
_LDAP_SERVER = re.compile(r"ldaps?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?/?")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def find_problems(values: Mapping[str, str]) -> list[str]:
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
        for row in ROWS
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
