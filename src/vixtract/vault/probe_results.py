"""What a test of a connection can find: a code in the vault's answer, a sentence on the page."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vixtract.vault.fields import mark

# Of every kind; each kind may have more.
RESULTS: Mapping[str, str] = {
    "ok": mark("It works: the server accepted the login and answered."),
    "late": mark(
        "No answer in time. A firewall may block the connection, or the server is very slow."
    ),
    "broken": mark("The test itself failed. The Hub’s log says more."),
    "refused": mark(
        "Tests may not connect to this appliance itself or to a cloud’s metadata service."
    ),
    "unknown_host": mark("No server has this name. Check the spelling."),
    "not_listening": mark("The server exists, but nothing is listening on this port."),
    "unreachable": mark(
        "The server cannot be reached from here: check the address and the firewall."
    ),
    "wrong_login": mark("The server rejects this login: the user, password or key is wrong."),
    "no_database": mark("The login is correct, but the database does not exist."),
    "no_right": mark("The login is correct, but it has no access here."),
    "tls": mark("The encrypted connection fails, usually because of the certificate."),
    "no_tls": mark("This connection requires encryption, but the server does not offer it."),
    "moved": mark(
        "The service redirects to another address: enter that address, or the correct region."
    ),
    "failed": mark("The test failed. The server or its driver says:"),
}


class ProbeResult(Exception):
    """What a test has found; raised to end the test.

    Args:
        code: of RESULTS, or of the kind's own.
        detail: in the words of the server or its driver.
        ok: whether the connection works.
    """

    def __init__(self, code: str, detail: str = "", *, ok: bool = False) -> None:
        super().__init__(code)
        self.code, self.detail, self.ok = code, detail, ok


def find_meaning(error: BaseException, meanings: Mapping[str, str]) -> ProbeResult:
    """Return what a driver's error means, by the first pattern that its class and text match."""
    import ssl  # not above: a notebook that asks for a connection would wait for it

    if isinstance(error, ssl.SSLError):
        return ProbeResult("tls", _last_line(error))
    text = f"{type(error).__name__} {error}"
    for pattern, code in meanings.items():
        if re.search(pattern, text, re.IGNORECASE):
            return ProbeResult(code, _last_line(error))
    return ProbeResult("failed", f"{type(error).__name__}: {_last_line(error)}")


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:500]
