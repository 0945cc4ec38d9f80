"""The front door's certificate: read it, show it, replace it."""

from __future__ import annotations

import datetime
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vixtract.errors import PreconditionError, UsageError, VixtractError
from vixtract.ops.host import Host
from vixtract.ops.instance import Instance

STATUS = "/run/nginx/tls-status.json"
CHAIN = "/run/nginx/tls/current/chain.pem"
EXEC_S = 60.0
#: OpenSSL's X509_V_FLAG_PARTIAL_CHAIN; Python names it from 3.10 on.
PARTIAL_CHAIN = 0x80000


class CertificateError(VixtractError):
    """The front door refused a certificate, or has none."""


@dataclass(frozen=True)
class Certificate:
    """What the front door serves.

    Args:
        mode: of the setting HTTPS.
        source: files, last-good, acme or self-signed.
        names: host names and addresses that it is for.
        not_after: when it expires, UTC.
        problem: why it cannot be used as it is, or an empty text.
    """

    mode: str
    source: str
    names: tuple[str, ...]
    issuer: str
    not_after: datetime.datetime
    problem: str = ""
    cure: str = ""

    def days_left(self, now: datetime.datetime) -> int:
        """Return the whole days until it expires; negative once it has."""
        return int((self.not_after - now).total_seconds() // 86400)


def _run(host: Host, instance: Instance, *words: str, text: str = "") -> str:
    """Run a command in the front door and return what it printed."""
    command = ["docker", "exec", "--interactive", instance.container("nginx"), *words]
    done = host.run(command, timeout_s=EXEC_S, input_text=text)
    if done.ok:
        return done.stdout
    if "is not running" in done.stderr or "No such container" in done.stderr:
        raise PreconditionError("The front door does not run.", "Run: ./vixtract up")
    said = [line for line in done.stderr.splitlines() if line.strip()]
    message = said[0].replace("ERROR: ", "", 1) if said else done.last_line
    raise CertificateError(message, said[1] if len(said) > 1 else "See ./vixtract logs nginx.")


def parse_certificate(text: str) -> Certificate:
    """Read the status file that the front door writes (JSON)."""
    found: Mapping[str, Any] = json.loads(text)
    return Certificate(
        mode=found["mode"],
        source=found["source"],
        names=tuple(found["names"]),
        issuer=found["issuer"],
        not_after=datetime.datetime.fromisoformat(found["not_after"]),
        problem=found["problem"],
        cure=found["cure"],
    )


def load_certificate(host: Host, instance: Instance) -> Certificate | None:
    """Return the certificate that the front door serves, or None where it serves none."""
    if instance.settings.https_mode == "off":
        return None
    try:
        return parse_certificate(_run(host, instance, "cat", STATUS))
    except (VixtractError, ValueError, KeyError):
        return None


def render_certificate(found: Certificate, now: datetime.datetime) -> list[str]:
    """Return the lines that `status` and `up` print."""
    kind = {
        "self-signed": "self-signed: browsers warn once",
        "files": f"yours, issued by {found.issuer}",
        "last-good": f"your former one, issued by {found.issuer}",
        "acme": f"issued by {found.issuer}",
    }.get(found.source, found.source)
    days = found.days_left(now)
    until = f"until {found.not_after:%Y-%m-%d} ({days} days left)"
    lines = [f"HTTPS {found.mode}: {', '.join(found.names)}; {kind}; {until}"]
    if found.problem:
        lines += [f"  problem: {found.problem}", f"  cure: {found.cure}"]
    return lines


def as_json(found: Certificate | None, now: datetime.datetime) -> dict[str, Any] | None:
    """Return a certificate as `status --json` prints it."""
    if found is None:
        return None
    return {
        "mode": found.mode,
        "source": found.source,
        "names": list(found.names),
        "issuer": found.issuer,
        "not_after": found.not_after.isoformat(),
        "days_left": found.days_left(now),
        "problem": found.problem,
    }


def pinned_context(host: Host, instance: Instance) -> ssl.SSLContext | None:
    """Return a TLS context that trusts the front door's certificate alone; None where HTTPS is off.

    The certificate was read inside the container, so its names need not be checked: only the front
    door can answer with it.

    Raises:
        CertificateError: nothing is served.
    """
    if instance.settings.https_mode == "off":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= PARTIAL_CHAIN
    context.load_verify_locations(cadata=_run(host, instance, "cat", CHAIN))
    return context


def read_file(path: str) -> str:
    """Return the content of one of the operator's files: PEM or a password.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return Path(path).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not PEM (text).",
            "Convert it: openssl x509 -inform der -in FILE, or openssl pkcs12 -in FILE.pfx.",
        ) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error


def manage(host: Host, instance: Instance, word: str, *, text: str = "") -> str:
    """Run `front-door certificates` with a word in the container; return what was done."""
    return _run(host, instance, "front-door", "certificates", word, text=text).strip()


def install(host: Host, instance: Instance, cert: str, key: str, password_file: str) -> str:
    """Install a certificate in the front door, which checks it before anything changes.

    Args:
        cert: PEM file of the certificate, followed by those that vouch for it.
        key: PEM file of its key.
        password_file: file with the key's password; empty for none.
    Returns: what was done.
    Raises:
        CertificateError: the certificate cannot be used.
    """
    given = {
        "cert": read_file(cert),
        "key": read_file(key),
        "password": read_file(password_file) if password_file else "",
    }
    return manage(host, instance, "install", text=json.dumps(given))


def trust_authority(host: Host, instance: Instance, path: str) -> str:
    """Have the front door trust a private ACME server's authorities; return what was done.

    Args:
        path: PEM file; empty withdraws the trust.
    """
    return manage(host, instance, "authority", text=read_file(path) if path else "")
