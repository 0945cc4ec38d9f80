"""Passwords that are made here, and the form in which PostgreSQL keeps them.

On the standard library alone: the operator's command on the host uses it too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import string
import unicodedata

_ALPHABET = string.ascii_letters + string.digits
"""Characters that have no special meaning to compose, to a shell or in an address."""


def generate_password(length: int = 24) -> str:
    """Return random letters and digits that begin with a letter; 24 of them are 142 bits."""
    rest = (secrets.choice(_ALPHABET) for _ in range(length - 1))
    return secrets.choice(string.ascii_letters) + "".join(rest)


def scram_verifier(password: str, salt: bytes | None = None, rounds: int = 4096) -> str:
    """Return what PostgreSQL stores of a password, so that no log can hold the password itself.

    Args:
        salt: 16 bytes; random where None.
        rounds: rounds of PBKDF2; 4096 is PostgreSQL's own default.
    Source: https://www.postgresql.org/docs/current/catalog-pg-authid.html
    """
    salt = secrets.token_bytes(16) if salt is None else salt
    # Characters beyond ASCII are normalised as SASLprep does.
    normal = unicodedata.normalize("NFKC", password)
    salted = hashlib.pbkdf2_hmac("sha256", normal.encode(), salt, rounds)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored = hashlib.sha256(client).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    texts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${rounds}:{texts[0]}${texts[1]}:{texts[2]}"


def is_scram_of(verifier: str | None, password: str) -> bool:
    """Return whether PostgreSQL made a verifier (None: it has none) of this password."""
    found = re.match(r"SCRAM-SHA-256\$([1-9]\d{0,8}):([A-Za-z0-9+/]+=*)\$", verifier or "")
    if found is None or verifier is None:
        return False
    try:
        salt = base64.b64decode(found[2], validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(scram_verifier(password, salt, int(found[1])), verifier)
