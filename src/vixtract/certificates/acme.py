"""Certificates from an ACME authority such as Let's Encrypt, by Debian's certbot.

certbot writes its challenge to a directory that nginx serves below /.well-known/acme-challenge/ on
port 80: certbot itself neither listens nor needs privileges.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CERTBOT = "/usr/bin/certbot"
DEADLINE_S = 300.0
#: certbot renews only when a third of the lifetime is left, so frequent calls cost nothing.
ASK_S = 6 * 3600.0
FIRST_RETRY_S = 120.0
LONGEST_RETRY_S = 3600.0
"""Let's Encrypt allows five failures an hour and name: 2, 4, 8, 16, 32, 60 minutes stay below."""
LINEAGE = "vixtract"
SYSTEM_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Account:
    """The ACME authority and what it is asked for.

    Args:
        domains: names, the main one first.
        email: address for notices of the authority; may be empty.
        server: address of its directory.
    """

    domains: tuple[str, ...]
    email: str
    server: str


def build_command(account: Account, certs: Path, run: Path, *, force: bool = False) -> list[str]:
    """Return certbot's command; `force` renews a certificate also before it is due."""
    options = {
        "--webroot-path": run / "acme",
        "--config-dir": certs / "acme",
        "--work-dir": run / "certbot",
        "--logs-dir": run / "certbot",
        "--max-log-backups": 0,
        "--cert-name": LINEAGE,
        "--key-type": "ecdsa",
        "--server": account.server,
    }
    command = [CERTBOT, "certonly", "--webroot", "--non-interactive", "--agree-tos"]
    command += ["--no-eff-email", "--renew-with-new-domains"]
    command += [word for name, value in options.items() for word in (name, str(value))]
    email = ["--email", account.email] if account.email else ["--register-unsafely-without-email"]
    names = [word for domain in account.domains for word in ("--domain", domain)]
    # Where the settings name another authority, do not wait until the certificate expires.
    forced = force or served_by_another(account, certs)
    return [*command, *email, *names, "--force-renewal" if forced else "--keep-until-expiring"]


def served_by_another(account: Account, certs: Path) -> bool:
    """Return whether another authority than the configured one issued the present certificate."""
    try:
        text = (certs / "acme" / "renewal" / f"{LINEAGE}.conf").read_text("utf-8")
    except OSError:
        return False
    servers = [
        line.partition("=")[2].strip() for line in text.splitlines() if line.startswith("server ")
    ]
    return bool(servers) and servers[-1] != account.server


def build_environment(certs: Path, run: Path) -> dict[str, str]:
    """Return certbot's environment; a private authority is trusted beside the public ones."""
    # The container's own file system is read-only.
    environment = {
        **os.environ,
        "HOME": str(run),
        "TMPDIR": str(run / "certbot"),
        "LC_ALL": "C.UTF-8",
    }
    private = certs / "acme-ca.pem"
    if private.exists():
        bundle = run / "acme-authorities.pem"
        system = SYSTEM_AUTHORITIES.read_bytes() if SYSTEM_AUTHORITIES.exists() else b""
        bundle.write_bytes(system + b"\n" + private.read_bytes())
        environment["REQUESTS_CA_BUNDLE"] = str(bundle)
    return environment


def obtain(account: Account, certs: Path, run: Path, *, force: bool = False) -> str:
    """Get the certificate, or renew it when it is due; return the problem in a line, or nothing."""
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
    """Return the line of certbot's output that names the problem."""
    said = [line.strip() for line in lines if line.strip()]
    details = [line for line in said if line.startswith(("Detail:", "Error:"))]
    named = [line for line in said if "rror" in line and "log" not in line.lower()]
    return (details or named or said or ["certbot failed and said nothing."])[-1][:400]
