"""Certificates for servers of tests: an own CA, and another that nobody trusts."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Make a CA: its certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
        + ("key_agreement", "encipher_only", "decipher_only"),
        False,
    )
    builder = builder.add_extension(
        x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True
    )
    return builder.sign(key, hashes.SHA256()), key


def write_pair(
    folder: Path, address: str, authority: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]
) -> None:
    """Write ca.pem, server.pem and server.key, the server's for an IP address.

    Args:
        folder: existing folder.
        address: IP address that the server is reached at.
        authority: of `make_authority`.
    """
    root, root_key = authority
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server of a test")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    own = _builder(subject, root.subject, key).add_extension(names, critical=False)
    own = own.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    (folder / "server.pem").write_bytes(own.sign(root_key, hashes.SHA256()).public_bytes(pem))
    (folder / "server.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def tls_context(folder: Path) -> ssl.SSLContext:
    """Return a client's context that trusts the folder's CA."""
    return ssl.create_default_context(cafile=str(folder / "ca.pem"))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
