"""The certificates command of `front-door`. Exit codes: 0 done, 1 failed, 2 usage, 3 refused.

check     refuse settings that are missing or wrong
prepare   choose a certificate before nginx starts
watch     keep it; does not end
install   take a certificate from standard input: JSON with `cert`, `key` and `password`
authority take the authorities of a private ACME server from standard input (PEM; empty: none)
renew     ask the ACME authority now, whether it is due or not
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys
import time

from cryptography import x509

from vixtract.certificates.choose import SUPPLIED
from vixtract.certificates.keeper import CERTS, RENEW_REQUEST, RUN, Keeper
from vixtract.certificates.pair import CertificateError, read_pair
from vixtract.errors import UsageError, VixtractError
from vixtract.files import write_whole
from vixtract.settings import Settings


def take_supplied(text: str) -> str:
    """Check a certificate, write it to the volume for the keeper, and return what was done.

    Args:
        text: JSON with `cert`, `key` and `password` (may be empty).
    Raises:
        CertificateError: the certificate cannot be used; nothing was changed.
    """
    given = json.loads(text)
    now = datetime.datetime.now(datetime.timezone.utc)
    password = str(given.get("password") or "").strip("\r\n")
    pair = read_pair(given["cert"].encode(), given["key"].encode(), password.encode() or None, now)
    parts = (given["cert"], given["key"], password)
    for name, content in zip(SUPPLIED, parts, strict=True):
        if content:
            write_whole(CERTS / name, content.encode())
        else:
            (CERTS / name).unlink(missing_ok=True)
    names = ", ".join(pair.names) or "no name"
    return f"Certificate for {names} taken, valid until {pair.not_after:%Y-%m-%d}."


def take_authority(text: str) -> str:
    """Write the authorities of a private ACME server to the volume; return what was done.

    Args:
        text: PEM; an empty text removes the present ones.
    Raises:
        CertificateError: it holds no certificate.
    """
    path = CERTS / "acme-ca.pem"
    if not text.strip():
        path.unlink(missing_ok=True)
        return "The ACME server is checked against the public authorities alone."
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise CertificateError("The file holds no certificate (PEM).", "Check the file.") from error
    write_whole(path, text.encode(), mode=0o644)
    return f"{len(found)} authorities taken for the ACME server."


def run(command: str) -> None:
    """Carry out one command; errors are VixtractError or OSError."""
    if command == "install":
        print(take_supplied(sys.stdin.read()))
        return
    if command == "authority":
        print(take_authority(sys.stdin.read()))
        return
    settings = Settings.for_process("front-door", os.environ)
    if command == "check":
        return
    if command == "prepare":
        Keeper(settings).judge(reload=False)
    elif command == "watch":
        Keeper(settings).watch()
    elif command == "renew":
        if settings.https_mode != "acme":
            raise UsageError("HTTPS is not acme.", "Set HTTPS=acme in .env, then ./vixtract up.")
        (RUN / RENEW_REQUEST).touch()
        print("The authority is asked now; ./vixtract logs nginx tells.")
    else:
        raise UsageError(f"Unknown command {command!r}.", "See the head of this module.")


def main() -> int:
    """Run the command and return its exit code."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)sZ certificates: %(levelname)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    logging.Formatter.converter = time.gmtime
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        run(command)
    except VixtractError as error:
        print(f"ERROR: {error.message}\n{error.hint}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
