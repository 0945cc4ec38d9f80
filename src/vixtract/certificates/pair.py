"""A certificate with its key: read and check the files that an operator supplies."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from vixtract.errors import VixtractError

RSA_BITS = 2048


class CertificateError(VixtractError):
    """A certificate or key cannot be used; the message says why, the hint what to do."""


@dataclass(frozen=True)
class Pair:
    """A certificate that can be served.

    Args:
        chain: PEM, the server's own certificate first.
        key: PEM of the key that belongs to it, without a password.
        names: host names and addresses that it is for.
    """

    chain: bytes
    key: bytes = field(repr=False)
    names: tuple[str, ...]
    issuer: str
    not_before: datetime.datetime
    not_after: datetime.datetime
    is_self_signed: bool

    @property
    def digest(self) -> str:
        """Hash that identifies the pair."""
        return hashlib.sha256(self.chain + self.key).hexdigest()[:16]

    def days_left(self, now: datetime.datetime) -> float:
        """Return the days until it expires; negative once it has."""
        return (self.not_after - now).total_seconds() / 86400


def read_pair(
    chain: bytes, key: bytes, password: bytes | None, now: datetime.datetime | None
) -> Pair:
    """Read a certificate and its key, both PEM, and check that they can be served.

    Args:
        password: of the key, or None.
        now: moment at which it must be valid; None checks no dates.
    Raises:
        CertificateError: they cannot be read, do not belong together, or are out of date.
    """
    certificates = _read_chain(chain)
    private = _read_key(key, password)
    public = _public_bytes(private.public_key())
    matching = [c for c in certificates if _public_bytes(c.public_key()) == public]
    if not matching:
        raise CertificateError(
            f"The key does not belong to the certificate of {_subject(certificates[0])}.",
            "Supply the key that the certificate was requested with.",
        )
    leaf = matching[0]
    ordered = [leaf, *(c for c in certificates if c is not leaf)]
    pair = Pair(
        chain=b"".join(c.public_bytes(serialization.Encoding.PEM) for c in ordered),
        key=private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        names=_names(leaf),
        issuer=leaf.issuer.rfc4514_string() or "(no name)",
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        is_self_signed=_is_self_signed(leaf),
    )
    if now is not None:
        check_dates(pair, now)
    return pair


def check_dates(pair: Pair, now: datetime.datetime) -> None:
    """Refuse a certificate that is not valid yet, or has expired.

    Raises:
        CertificateError: the message names the date.
    """
    who = ", ".join(pair.names) or "no name"
    if now >= pair.not_after:
        raise CertificateError(
            f"The certificate for {who} expired on {pair.not_after:%Y-%m-%d %H:%M} UTC.",
            "Supply a renewed one.",
        )
    if now < pair.not_before:
        raise CertificateError(
            f"The certificate for {who} is not valid before {pair.not_before:%Y-%m-%d %H:%M} UTC.",
            "Check the clock of this machine, or wait.",
        )


def covers(pair: Pair, names: Sequence[str]) -> list[str]:
    """Return those names, in lower case, that a certificate does not cover."""
    own = {name.lower() for name in pair.names}
    return [n for n in names if n not in own and "*." + n.partition(".")[2] not in own]


def _read_chain(chain: bytes) -> list[x509.Certificate]:
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise CertificateError(
            "The certificate file holds no certificate that can be read (PEM: BEGIN CERTIFICATE).",
            "Convert it: openssl x509 -inform der -in FILE -out cert.pem, "
            "or openssl pkcs12 -in FILE.pfx -nokeys -out cert.pem.",
        ) from error
    return certificates


def _read_key(key: bytes, password: bytes | None) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    is_locked = b"ENCRYPTED" in key
    if is_locked and not password:
        raise CertificateError(
            "The key is protected by a password, and none was given.",
            "Give it: ./vixtract certs install CERT KEY --password-file FILE.",
        )
    try:
        private = serialization.load_pem_private_key(key, password if is_locked else None)
    except UnsupportedAlgorithm as error:
        raise CertificateError(f"The key's kind is not known: {error}.", _KINDS) from error
    except (ValueError, TypeError) as error:
        if is_locked:
            raise CertificateError(
                "The key cannot be opened with the password that was given.",
                "Check the password file: it holds the password alone.",
            ) from error
        raise CertificateError(
            "The key file holds no key that can be read (PEM: BEGIN PRIVATE KEY).",
            "Convert it: openssl pkey -in FILE -out key.pem.",
        ) from error
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= RSA_BITS:
        return private
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private
    raise CertificateError("Browsers do not accept this kind of key.", _KINDS)


_KINDS = "Use an RSA key of 2048 bits or more, or an elliptic curve key (P-256)."


def _public_bytes(public: object) -> bytes:
    coded: bytes = public.public_bytes(  # type: ignore[attr-defined]  # every kind of key has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return coded


def _subject(certificate: x509.Certificate) -> str:
    return ", ".join(_names(certificate)) or certificate.subject.rfc4514_string() or "(no name)"


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    names = found.get_values_for_type(x509.DNSName)
    addresses = found.get_values_for_type(x509.IPAddress)
    return (*names, *(str(address) for address in addresses))


def _is_self_signed(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
