"""The kinds of connections: which fields each has, and which values they take."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from vixtract.vault.errors import ConnectionFormError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_ADDRESS6 = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")
_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL
)
# Tab and line ends are let through: private keys have lines.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Field:
    """One value of a connection.

    Args:
        name: in the store, in forms and as attribute in notebooks.
        rule: how it is checked: text, host, port, url, choice, header, fingerprint or key.
        default: what an empty one counts as.
        required: whether it must have a value.
        secret: kept from every page; only notebooks and the test see it.
        place: decides where the secret is sent, so a change of it needs the secret again.
        choices: for rule choice.
        longest: characters.
    """

    name: str
    rule: str = "text"
    default: str = ""
    required: bool = False
    secret: bool = False
    place: bool = False
    choices: tuple[str, ...] = ()
    longest: int = 500


@dataclass(frozen=True)
class Kind:
    """One kind of connection.

    Args:
        name: short name, as in the store.
        title: a proper name, the same in every language.
        fields: in the form's order.
    """

    name: str
    title: str
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field:
        """Return a field by its name."""
        return next(field for field in self.fields if field.name == name)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secret fields."""
        return tuple(field.name for field in self.fields if field.secret)


def _host() -> Field:
    return Field("host", "host", required=True, place=True, longest=253)


def _port(default: str) -> Field:
    return Field("port", "port", default=default, place=True, longest=5)


_USER = Field("user", required=True, longest=128)
_PASSWORD = Field("password", secret=True)
_DATABASE = Field("database", longest=128)
_TLS_POSTGRES = ("prefer", "disable", "require", "verify-full")
_LOGINS_HTTP = ("bearer", "header", "basic", "none")
_TLS_MYSQL = ("prefer", "off", "require", "verify-full")

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("postgresql", "PostgreSQL", (
            _host(), _port("5432"), Field("database", required=True, longest=128), _USER, _PASSWORD,
            # A weaker one would send the password to whoever answers: it counts as a place.
            Field("tls", "choice", "prefer", choices=_TLS_POSTGRES, place=True),
        )),
        Kind("mysql", "MySQL, MariaDB", (
            _host(), _port("3306"), _DATABASE, _USER, _PASSWORD,
            Field("tls", "choice", "prefer", choices=_TLS_MYSQL, place=True),
        )),
        Kind("mssql", "Microsoft SQL Server", (
            _host(), _port("1433"), _DATABASE, _USER, _PASSWORD,
            Field("tls", "choice", "require", choices=("off", "require"), place=True),
        )),
        Kind("http", "HTTP", (
            Field("address", "url", required=True, place=True, longest=1000),
            Field("auth", "choice", "bearer", choices=_LOGINS_HTTP, place=True),
            Field("token", secret=True, longest=8000),
            Field("header", "header", "X-API-Key", longest=100, place=True),
            Field("user", longest=128),
            Field("test_path", longest=1000),
        )),
        Kind("s3", "S3", (
            Field("address", "url", place=True, longest=500),
            Field("region", default="us-east-1", longest=50),
            Field("bucket", longest=100),
            Field("access_key", required=True, longest=200),
            Field("secret_key", secret=True, required=True, longest=500),
        )),
        Kind("sftp", "SFTP", (
            _host(), _port("22"), _USER, _PASSWORD,
            Field("private_key", "key", secret=True, longest=20000),
            Field("passphrase", secret=True),
            Field("host_key", "fingerprint", place=True, longest=60),
            Field("folder", longest=1000),
        )),
    )
}  # fmt: skip


def check_connection_name(name: str) -> dict[str, str]:
    """Return what is wrong with a name: nothing, or a word of field `name`.

    Args:
        name: 1 to 64 letters, digits, dots, dashes and underscores.
    """
    if NAME.fullmatch(name):
        return {}
    return {"name": "not_a_name" if name else "missing"}


def check_values(
    kind: Kind, values: Mapping[str, str], kept: Collection[str] = ()
) -> dict[str, str]:
    """Check and complete what a person typed.

    Args:
        kind: decides the fields; others are left out.
        values: name to text.
        kept: secret fields whose stored value stays, so none is needed here.
    Returns: a value for each field, defaults filled in; kept fields left out.
    Raises:
        ConnectionFormError: names every field that is wrong.
    """
    found: dict[str, str] = {}
    problems: dict[str, str] = {}
    for field in kind.fields:
        if field.secret and field.name in kept:
            continue
        # Passwords may begin and end with spaces.
        text = values.get(field.name, "")
        text = text if field.secret else text.strip()
        text = text or field.default
        word = _check_value(field, text)
        if word:
            problems[field.name] = word
        found[field.name] = text
    lacks = _LACKS.get(kind.name)
    for name in lacks(found, kept) if lacks else ():
        problems.setdefault(name, "missing")
    if problems:
        raise ConnectionFormError(problems)
    return found


def _lacks_of_sftp(values: Mapping[str, str], kept: Collection[str]) -> list[str]:
    has = {name for name in ("password", "private_key") if values.get(name) or name in kept}
    return [] if has else ["password"]


def _lacks_of_http(values: Mapping[str, str], kept: Collection[str]) -> list[str]:
    lacks = [] if values["auth"] == "none" or values.get("token") or "token" in kept else ["token"]
    if values["auth"] == "basic" and not values["user"]:
        lacks.append("user")
    return lacks


# Fields that are needed because of others.
_LACKS: Mapping[str, Callable[[Mapping[str, str], Collection[str]], Collection[str]]] = {
    "sftp": _lacks_of_sftp,
    "http": _lacks_of_http,
}


def _check_value(field: Field, text: str) -> str:
    """Return a word for what is wrong, or nothing."""
    if not text:
        return "missing" if field.required else ""
    if len(text) > field.longest:
        return "too_long"
    if _CONTROL.search(text) or (field.rule != "key" and ("\n" in text or "\r" in text)):
        return "control"
    rule = _RULES.get(field.rule)
    return rule(text, field) if rule else ""


def _check_port(text: str, _: Field) -> str:
    is_port = text.isascii() and text.isdigit() and 1 <= int(text) <= 65535
    return "" if is_port else "not_a_port"


def _check_host(text: str, _: Field) -> str:
    is_host = _HOST.fullmatch(text) and ".." not in text
    return "" if is_host or (":" in text and _ADDRESS6.fullmatch(text)) else "not_a_host"


def _check_url(text: str, _: Field) -> str:
    try:
        parts = urlsplit(text)
        # Reading the port is what checks it.
        is_url = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return "not_a_url"
    # A password in the address would be shown on pages and in logs.
    plain = not (parts.username or parts.password or parts.fragment or parts.query)
    return "" if is_url and plain and not re.search(r"[\s\\]", text) else "not_a_url"


_RULES: Mapping[str, Callable[[str, Field], str]] = {
    "port": _check_port,
    "host": _check_host,
    "url": _check_url,
    "choice": lambda text, field: "" if text in field.choices else "not_a_choice",
    "header": lambda text, _: "" if _HEADER.fullmatch(text) else "not_a_header",
    "fingerprint": lambda text, _: "" if _FINGERPRINT.fullmatch(text) else "not_a_fingerprint",
    "key": lambda text, _: "" if _KEY.search(text) else "not_a_key",
}
