"""What drivers' errors mean: one word for each, for the portal to put into a sentence."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping

from vixtract.vault.errors import VaultError
from vixtract.vault.ready_files import HostKeyError

WORDS = (
    "ok", "late", "broken", "refused", "unknown_host", "nobody_listens", "unreachable",
    "wrong_login", "no_database", "no_right", "tls", "no_tls", "wrong_token", "no_page", "moved",
    "server_error", "no_bucket", "no_folder", "new_host_key", "other_host_key", "bad_key", "failed",
)  # fmt: skip


class Found(Exception):
    """What a test came to.

    Args:
        word: one of WORDS.
        detail: in the other side's own words.
        ok: whether the connection works.
    """

    def __init__(self, word: str, detail: str = "", *, ok: bool = False) -> None:
        super().__init__(word)
        self.word, self.detail, self.ok = word, detail, ok


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:500]


def _find(error: BaseException, words: Mapping[str, str]) -> Found:
    """Return the first word whose pattern is in an error's text."""
    if isinstance(error, ssl.SSLError):
        return Found("tls", _first_line(error))
    text = f"{type(error).__name__} {error}"
    for pattern, word in words.items():
        if re.search(pattern, text, re.IGNORECASE):
            return Found(word, _first_line(error))
    return Found("failed", f"{type(error).__name__}: {_first_line(error)}")


_POSTGRESQL = {
    r"password authentication failed|no password supplied|role .* does not exist": "wrong_login",
    r"database .* does not exist": "no_database",
    r"server does not support SSL": "no_tls",
    r"certificate|SSL error": "tls",
    r"no pg_hba.conf entry|permission denied|not permitted": "no_right",
    r"timeout": "late",
}
_MYSQL = {
    r"\b1044\b": "no_right",
    r"\b1045\b|\b1698\b": "wrong_login",
    r"\b1049\b": "no_database",
    r"\b1130\b": "no_right",
    r"doesn't support it|\b2026\b(?!.*certificate)": "no_tls",
    r"certificate|SSL": "tls",
    r"timed out|\b2013\b": "late",
}
_MSSQL = {
    r"\b18456\b|login failed": "wrong_login",
    r"\b4060\b|\b911\b|cannot open database": "no_database",
    r"\b916\b|\b229\b": "no_right",
    r"\b20002\b.*encrypt|SSL|TLS|encrypt": "tls",
    r"timed out|\b20003\b": "late",
    r"\b20009\b|\b20002\b": "failed",
}
_S3 = {
    r"INVALID_ACCESS_KEY_ID|InvalidAccessKeyId|SIGNATURE|SignatureDoesNotMatch": "wrong_login",
    r"ACCESS_DENIED|AccessDenied|HTTP status 403|response code: 403": "no_right",
    r"NO_SUCH_BUCKET|NoSuchBucket|does not exist|HTTP status 404|FileNotFound": "no_bucket",
    r"PermanentRedirect|AuthorizationHeaderMalformed|HTTP status 301|region": "moved",
    r"SSL|certificate": "tls",
    r"timeout|timed out": "late",
}
_HTTP = {
    r"SSLError|certificate": "tls",
    r"Timeout|timed out": "late",
    r"ConnectionError|refused": "unreachable",
}
_SFTP = {
    r"AuthenticationException|BadAuthenticationType": "wrong_login",
    r"FileNotFoundError|No such file": "no_folder",
    r"PermissionError|Permission denied": "no_right",
    r"timed out|TimeoutError": "late",
}


def _sftp(error: BaseException) -> Found:
    if isinstance(error, HostKeyError):
        return Found("other_host_key" if error.expected else "new_host_key", error.fingerprint)
    if isinstance(error, VaultError):
        return Found("bad_key", str(error))
    return _find(error, _SFTP)


WORDS_OF: Mapping[str, Callable[[BaseException], Found]] = {
    "postgresql": lambda error: _find(error, _POSTGRESQL),
    "mysql": lambda error: _find(error, _MYSQL),
    "mssql": lambda error: _find(error, _MSSQL),
    "s3": lambda error: _find(error, _S3),
    "http": lambda error: _find(error, _HTTP),
    "sftp": _sftp,
}
