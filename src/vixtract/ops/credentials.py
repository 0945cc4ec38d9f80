"""Passwords of an appliance that others can reach, and PostgreSQL's form of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import string
import unicodedata
from collections.abc import Callable

from vixtract.ops.instance import Instance
from vixtract.settings import is_loopback

#: Characters that no generation of compose, no shell and no address changes the meaning of.
ALPHABET = string.ascii_letters + string.digits + "_-"
LENGTH = 24


def generate_password() -> str:
    """Return 24 random characters that begin with a letter, 143 bits."""
    first = secrets.choice(string.ascii_letters)
    return first + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH - 1))


def build_passwords(
    instance: Instance, generate: Callable[[], str] = generate_password
) -> dict[str, str]:
    """Return new passwords for all that are documented defaults, where others can reach the ports.

    Args:
        instance: the appliance with the address that it will be published on.
        generate: makes one password.
    Returns: setting to password; empty on loopback.
    """
    if is_loopback(instance.settings["VIXTRACT_BIND"]):
        return {}
    return {name: generate() for name in instance.settings.default_passwords()}


def scram_verifier(password: str, salt: bytes | None = None, rounds: int = 4096) -> str:
    """Return what PostgreSQL stores of a password, so that no log can hold the password itself.

    Args:
        password: the password; characters beyond ASCII are normalised as SASLprep does.
        salt: 16 bytes; random where None.
        rounds: PBKDF2 rounds; PostgreSQL's own number.
    Source: https://www.postgresql.org/docs/current/catalog-pg-authid.html
    """
    salt = salt or secrets.token_bytes(16)
    normal = unicodedata.normalize("NFKC", password)
    salted = hashlib.pbkdf2_hmac("sha256", normal.encode(), salt, rounds)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored = hashlib.sha256(client).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    texts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${rounds}:{texts[0]}${texts[1]}:{texts[2]}"


def is_scram_of(verifier: str, password: str) -> bool:
    """Say whether PostgreSQL made a verifier of this password.

    Args:
        verifier: as PostgreSQL stores it; other forms, and none, are of no password.
        password: the password.
    """
    found = re.match(r"SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/]+=*)\$", verifier)
    if found is None:
        return False
    try:
        salt = base64.b64decode(found[2], validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(scram_verifier(password, salt, int(found[1])), verifier)
