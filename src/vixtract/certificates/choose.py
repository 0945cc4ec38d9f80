"""Choose the certificate to serve: the operator's, or the best one that can be served.

Everything lies in the volume nginx-certs:

  cert.pem key.pem password.txt   supplied by the operator (HTTPS=files)
  last-good/                      the supplied ones that were served last
  acme/                           certbot's own directory (HTTPS=acme)
  acme-ca.pem                     authorities that vouch for a private ACME server
  self-signed/                    made here, so that there always is a certificate
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vixtract.certificates.make import make_self_signed
from vixtract.certificates.pair import CertificateError, Pair, covers, read_pair
from vixtract.files import write_whole

SUPPLIED = ("cert.pem", "key.pem", "password.txt")
LAST_GOOD = "last-good"
ACME_LINEAGE = "acme/live/vixtract"
RENEW_DAYS = 30.0


@dataclass(frozen=True)
class Choice:
    """The certificate to serve, and why it is not the wanted one.

    Args:
        source: files, last-good, acme or self-signed.
        problem: why the wanted certificate is not served, or an empty text.
        cure: what to do about it.
    """

    pair: Pair
    source: str
    problem: str = ""
    cure: str = ""

    @property
    def is_vouched_for(self) -> bool:
        """Whether an authority issued it. Only then may HSTS be sent."""
        return self.source != "self-signed" and not self.pair.is_self_signed


def read_supplied(folder: Path, now: datetime.datetime | None) -> Pair:
    """Read the operator's certificate.

    Args:
        now: moment at which it must be valid; None checks no dates.
    Raises:
        CertificateError: the certificate cannot be used.
    """
    chain, key, password_file = (folder / name for name in SUPPLIED)
    contents = _read(chain), _read(key)
    password = _read(password_file).strip(b"\r\n") if password_file.exists() else None
    return read_pair(*contents, password, now)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CertificateError(
            f"There is no {path.name} in the volume nginx-certs.",
            "Put them there: ./vixtract certs install CERT KEY.",
        ) from error
    except OSError as error:
        raise CertificateError(
            f"{path} cannot be read: {error.strerror}.",
            "Put it there by ./vixtract certs install, or give it to uid 33 (chown 33:33).",
        ) from error


def choose(
    mode: str, certs: Path, names: Sequence[str], now: datetime.datetime, serving: Pair | None
) -> Choice:
    """Choose the certificate to serve; there is always one. `serving` is the present one."""
    if mode == "files":
        return _choose_supplied(certs, names, now, serving)
    if mode == "acme":
        return _choose_acme(certs, names, now, serving)
    return Choice(ensure_self_signed(certs, names, now, serving), "self-signed")


def _choose_supplied(
    certs: Path, names: Sequence[str], now: datetime.datetime, serving: Pair | None
) -> Choice:
    try:
        pair = read_supplied(certs, now)
    except CertificateError as error:
        try:
            # Its dates do not count: an expired certificate still identifies the machine, a new
            # self-signed one does not.
            last = read_supplied(certs / LAST_GOOD, None)
        except CertificateError:
            own = ensure_self_signed(certs, names, now, serving)
            return Choice(own, "self-signed", error.message, error.hint)
        return Choice(last, "last-good", error.message, error.hint)
    if serving is None or serving.digest != pair.digest:
        keep_last_good(certs)
    return Choice(pair, "files")


def keep_last_good(certs: Path) -> None:
    """Keep a copy of the operator's valid files, in case a later update is wrong."""
    folder = certs / LAST_GOOD
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in SUPPLIED:
            if (certs / name).exists():
                write_whole(folder / name, (certs / name).read_bytes())
            else:
                (folder / name).unlink(missing_ok=True)
    except OSError:
        # Root's volume, filled by hand: serve it without a copy to fall back on.
        return


def _choose_acme(
    certs: Path, names: Sequence[str], now: datetime.datetime, serving: Pair | None
) -> Choice:
    lineage = certs / ACME_LINEAGE
    try:
        chain, key = _read(lineage / "fullchain.pem"), _read(lineage / "privkey.pem")
        return Choice(read_pair(chain, key, None, now), "acme")
    except CertificateError as error:
        # An expired certificate of an authority is still served: it identifies the machine.
        if serving is not None and not serving.is_self_signed:
            return Choice(serving, "acme", error.message, "See ./vixtract logs nginx.")
        own = ensure_self_signed(certs, names, now, serving)
        if not lineage.exists():
            return Choice(own, "self-signed")
        return Choice(own, "self-signed", error.message, "See ./vixtract logs nginx.")


def ensure_self_signed(
    certs: Path, names: Sequence[str], now: datetime.datetime, serving: Pair | None = None
) -> Pair:
    """Return a self-signed certificate: the present one while it is valid and has the names.

    Where the volume cannot be written, it lives for this start only.
    """
    folder = certs / "self-signed"

    def serves_its_purpose(pair: Pair) -> bool:
        return pair.days_left(now) > RENEW_DAYS and not covers(pair, names)

    try:
        pair = read_pair(
            (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes(), None, now
        )
        if serves_its_purpose(pair):
            return pair
    except (OSError, CertificateError):
        pass
    if serving is not None and serving.is_self_signed and serves_its_purpose(serving):
        return serving
    pair = make_self_signed(names, now)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        # A crash between the two leaves a pair that does not match; the next start makes another.
        write_whole(folder / "key.pem", pair.key)
        write_whole(folder / "cert.pem", pair.chain, mode=0o644)
    except OSError:
        return pair
    return pair
