"""SCRAM verifiers, so that PostgreSQL never sees a password: not in a statement, not in its log."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

_ITERATIONS = 4096


def build_verifier(
    password: str, *, salt: bytes | None = None, iterations: int = _ITERATIONS
) -> str:
    """Return what PostgreSQL stores for a password.

    Args:
        password: letters and digits; other text would need the SASLprep rules first.
        salt: 16 random bytes where none is given.
        iterations: rounds of PBKDF2; 4096 is PostgreSQL's own default.
    Source: https://www.postgresql.org/docs/current/catalog-pg-authid.html
    """
    salt = os.urandom(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${iterations}:{_encode(salt)}${_encode(stored_key)}:{_encode(server_key)}"


def is_verifier_of(verifier: str | None, password: str) -> bool:
    """Say whether a stored verifier belongs to a password.

    Args:
        verifier: `rolpassword` of pg_authid; None or another method's text never matches.
        password: clear text.
    """
    try:
        method, parameters, _ = (verifier or "").split("$")
        iterations, salt = parameters.split(":")
        if method != "SCRAM-SHA-256":
            return False
        expected = build_verifier(password, salt=base64.b64decode(salt), iterations=int(iterations))
    except ValueError:
        return False
    return hmac.compare_digest(expected, verifier or "")


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
