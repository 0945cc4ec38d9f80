"""The fields of a connection's form: their labels, their rules, and the problems of a value.

Texts that a person reads stand here in English, in `mark`; the portal translates them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


def mark(text: str) -> str:
    """Mark a text for translation and return it as it is."""
    return text


# The problems of a field: the code in the vault's answer, and the sentence of the page.
PROBLEMS: Mapping[str, str] = {
    "missing": mark("This field is required."),
    "too_long": mark("The text is too long."),
    "not_a_port": mark("A port is a number from 1 to 65535."),
    "not_a_choice": mark("Choose one from the list."),
    "not_a_url": mark("An address begins with https:// or http:// and holds no password."),
    "not_a_host": mark("This is not a host name or an IP address."),
    "not_a_name": mark("Use letters a to z, digits, dot, dash and underscore; at most 64."),
    "not_a_header": mark("This is not a valid header name."),
    "not_a_fingerprint": mark("A fingerprint looks like SHA256:… with 43 characters after it."),
    "not_a_key": mark("A private key begins with -----BEGIN … PRIVATE KEY-----."),
    "control": mark("It contains line breaks or control characters."),
    "taken": mark("A connection with this name already exists."),
    "retype": mark(
        "The address has changed. Type this again: a saved secret is not sent to a new address."
    ),
    "not_an_owner": mark("You are not a member of this team."),
    "unknown": mark("This kind of connection does not exist."),
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_ADDRESS6 = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")
_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL
)
# Tabs and line ends are checked apart: private keys have lines.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Field:
    """One value of a connection.

    Args:
        name: in the store, in forms, and as an attribute in notebooks.
        help: the sentence below the field; may be empty.
        rule: how a value is checked: text, host, port, url, choice, header, fingerprint or key.
        default: the value of a field that was left empty.
        required: whether it must have a value.
        secret: never shown on a page; only notebooks and the test get it.
        destination: whether it decides where the secrets are sent; if it changes, the secrets must
            be typed again.
        choices: for rule choice: each value with its label.
        longest: characters.
    """

    name: str
    label: str
    help: str = ""
    rule: str = "text"
    default: str = ""
    required: bool = False
    secret: bool = False
    destination: bool = False
    choices: Mapping[str, str] = field(default_factory=dict)
    longest: int = 500

    def check(self, text: str) -> str:
        """Return the problem with a stripped value as a code of PROBLEMS; empty if it has none."""
        if not text:
            return "missing" if self.required else ""
        if len(text) > self.longest:
            return "too_long"
        if _CONTROL.search(text) or (self.rule != "key" and ("\n" in text or "\r" in text)):
            return "control"
        if self.rule == "choice":
            return "" if text in self.choices else "not_a_choice"
        is_good = _RULES.get(self.rule)
        return "" if is_good is None or is_good(text) else f"not_a_{self.rule}"


def check_connection_name(name: str) -> dict[str, str]:
    """Return the problem with a connection's name as `{"name": code}`; empty if it has none."""
    if _NAME.fullmatch(name):
        return {}
    return {"name": "not_a_name" if name else "missing"}


def _is_host(text: str) -> bool:
    is_name = _HOST.fullmatch(text) is not None and ".." not in text
    return is_name or (":" in text and _ADDRESS6.fullmatch(text) is not None)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # Reading the port is what checks it.
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    # A password in the address would be shown on pages and in logs.
    has_more = parts.username or parts.password or parts.fragment or parts.query
    return is_url and not has_more and not re.search(r"[\s\\]", text)


_RULES: Mapping[str, Callable[[str], bool]] = {
    "port": lambda text: text.isascii() and text.isdigit() and 1 <= int(text) <= 65535,
    "host": _is_host,
    "url": _is_url,
    "header": lambda text: _HEADER.fullmatch(text) is not None,
    "fingerprint": lambda text: _FINGERPRINT.fullmatch(text) is not None,
    "key": lambda text: _KEY.search(text) is not None,
}


# Fields that several kinds have.

HOST = Field(
    "host",
    mark("Host"),
    mark("Name or address of the server, as this appliance reaches it."),
    rule="host",
    required=True,
    destination=True,
    longest=253,
)
USER = Field("user", mark("User"), required=True, longest=128)
PASSWORD = Field("password", mark("Password"), secret=True)


def make_port(default: str) -> Field:
    """Return the field of a TCP port."""
    return Field("port", mark("Port"), rule="port", default=default, destination=True, longest=5)


def make_database(*, required: bool = False) -> Field:
    """Return the field of a database's name."""
    return Field("database", mark("Database"), required=required, longest=128)


def make_tls(off: str) -> Field:
    """Return the field of the encryption; `off` is the driver's word for none."""
    return Field(
        "tls",
        mark("Encryption"),
        mark("“verify” also checks that the server is the right one, by its certificate."),
        rule="choice",
        default="prefer",
        choices={
            "prefer": mark("if the server offers it"),
            off: mark("none"),
            "require": mark("always"),
            "verify-full": mark("always, and verify the server"),
        },
        # Less encryption would send the password to whoever answers.
        destination=True,
    )
