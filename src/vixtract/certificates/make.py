"""Make self-signed certificates, and those of a private authority."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vixtract.certificates.pair import Pair, read_pair

#: The longest that browsers and systems accept of a server's certificate.
SERVER_DAYS = 397
AUTHORITY_DAYS = 3650
#: The clock of a client may be slow.
EARLIER = datetime.timedelta(days=1)


def make_self_signed(names: Sequence[str], now: datetime.datetime, days: int = SERVER_DAYS) -> Pair:
    """Make a self-signed certificate; the first name becomes its common name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(names[0])
    builder = _server(subject, names, key, now, days).issuer_name(subject)
    return _pair(builder.sign(key, hashes.SHA256()), key)


def make_authority(name: str, now: datetime.datetime) -> Pair:
    """Make a private authority, shown by its name in tools that import it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    public = key.public_key()
    builder = (
        _dated(subject, key, now, AUTHORITY_DAYS)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def issue(authority: Pair, names: Sequence[str], now: datetime.datetime) -> Pair:
    """Issue a server's certificate; the first name becomes its common name."""
    signer = serialization.load_pem_private_key(authority.key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(authority.chain)
    key = ec.generate_private_key(ec.SECP256R1())
    days = min(SERVER_DAYS, int(authority.days_left(now)))
    builder = (
        _server(_name(names[0]), names, key, now, days)
        .issuer_name(issuer.subject)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    return _pair(builder.sign(signer, hashes.SHA256()), key)


def _name(common: str) -> x509.Name:
    # A common name has at most 64 characters; clients check the alternative names.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _dated(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + datetime.timedelta(days=days) - EARLIER)
    )


def _server(
    subject: x509.Name,
    names: Sequence[str],
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    days: int,
) -> x509.CertificateBuilder:
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    return (
        _dated(subject, key, now, days)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    coded = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return read_pair(certificate.public_bytes(serialization.Encoding.PEM), coded, None, None)
