"""A certificate from an ACME authority such as Let's Encrypt, by Debian's certbot.

certbot puts its proof into a directory that nginx serves below /.well-known/acme-challenge/ on
port 80, so nothing else has to listen, and no right is needed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CERTBOT = "/usr/bin/certbot"
DEADLINE_S = 300.0
#: certbot renews when a third of the life is left, so asking often costs nothing.
ASK_S = 6 * 3600.0
FIRST_RETRY_S = 120.0
LONGEST_RETRY_S = 3600.0
"""Let's Encrypt allows five failures an hour and name: 2, 4, 8, 16, 32, 60 minutes stay below."""
LINEAGE = "vixtract"
SYSTEM_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Account:
    """Where certificates come from, and for whom.

    Args:
        domains: names, the main one first.
        email: where the authority writes to; may be empty.
        server: address of its directory.
    """

    domains: tuple[str, ...]
    email: str
    server: str


def build_command(account: Account, certs: Path, run: Path, *, force: bool = False) -> list[str]:
    """Build the command that gets or renews the certificate.

    Args:
        account: where from and for whom.
        certs: the volume of certificates.
        run: directory of this life of the container.
        force: renew also when it is not due.
    """
    command = [
        CERTBOT, "certonly", "--webroot", "--webroot-path", str(run / "acme"),
        "--config-dir", str(certs / "acme"),
        "--work-dir", str(run / "certbot"), "--logs-dir", str(run / "certbot"),
        "--max-log-backups", "0", "--non-interactive", "--agree-tos", "--no-eff-email",
        "--cert-name", LINEAGE, "--renew-with-new-domains", "--key-type", "ecdsa",
        "--server", account.server,
    ]  # fmt: skip
    email = ["--email", account.email] if account.email else ["--register-unsafely-without-email"]
    names = [word for domain in account.domains for word in ("--domain", domain)]
    # Another authority than the one that issued the present certificate: do not wait for its end.
    forced = force or served_by_another(account, certs)
    return [*command, *email, *names, "--force-renewal" if forced else "--keep-until-expiring"]


def served_by_another(account: Account, certs: Path) -> bool:
    """Say whether the present certificate came from another authority than the settings name.

    Args:
        account: where certificates are to come from.
        certs: the volume of certificates.
    """
    try:
        text = (certs / "acme" / "renewal" / f"{LINEAGE}.conf").read_text("utf-8")
    except OSError:
        return False
    servers = [
        line.partition("=")[2].strip() for line in text.splitlines() if line.startswith("server ")
    ]
    return bool(servers) and servers[-1] != account.server


def build_environment(certs: Path, run: Path) -> dict[str, str]:
    """Return certbot's environment; a private authority is trusted beside the public ones.

    Args:
        certs: the volume, which may hold `acme-ca.pem`.
        run: directory of this life of the container.
    """
    # The container's own file system is read-only.
    environment = {
        **os.environ, "HOME": str(run), "TMPDIR": str(run / "certbot"), "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    private = certs / "acme-ca.pem"
    if private.exists():
        bundle = run / "acme-authorities.pem"
        system = SYSTEM_AUTHORITIES.read_bytes() if SYSTEM_AUTHORITIES.exists() else b""
        bundle.write_bytes(system + b"\n" + private.read_bytes())
        environment["REQUESTS_CA_BUNDLE"] = str(bundle)
    return environment


def obtain(account: Account, certs: Path, run: Path, *, force: bool = False) -> str:
    """Get the certificate, or renew it when it is due.

    Args:
        account: where from and for whom.
        certs: the volume of certificates.
        run: directory of this life of the container.
        force: renew also when it is not due.
    Returns: what went wrong in one line, or an empty text.
    """
    for folder in (run / "acme", run / "certbot"):
        folder.mkdir(mode=0o700, exist_ok=True)
    command = build_command(account, certs, run, force=force)
    try:
        done = subprocess.run(
            command,
            check=False,
            env=build_environment(certs, run),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=DEADLINE_S,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        return f"certbot did not end within {DEADLINE_S:.0f} s."
    except OSError as error:
        return f"certbot cannot be started: {error}."
    return "" if done.returncode == 0 else explain(done.stdout.splitlines())


def explain(lines: Sequence[str]) -> str:
    """Return the one line of certbot's output that says what went wrong.

    Args:
        lines: its output.
    """
    said = [line.strip() for line in lines if line.strip()]
    details = [line for line in said if line.startswith(("Detail:", "Error:"))]
    named = [line for line in said if "rror" in line and "log" not in line.lower()]
    return (details or named or said or ["certbot failed and said nothing."])[-1][:400]
