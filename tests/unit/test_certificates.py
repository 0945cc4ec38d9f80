"""Certificates: what can be served, what is chosen, and what is said about the rest."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from vixtract.certificates import acme
from vixtract.certificates.choose import choose, ensure_self_signed
from vixtract.certificates.make import issue, make_authority, make_self_signed
from vixtract.certificates.pair import CertificateError, Pair, covers, read_pair
from vixtract.files import write_whole

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
NAMES = ["etl.example.org", "10.1.2.3"]
AUTHORITY = make_authority("Company CA", NOW)
GOOD = issue(AUTHORITY, NAMES, NOW)


def supply(folder: Path, pair: Pair) -> None:
    """Put a pair where an operator's certificate lies."""
    folder.mkdir(exist_ok=True)
    (folder / "cert.pem").write_bytes(pair.chain)
    (folder / "key.pem").write_bytes(pair.key)


def coded(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    """Return a key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def test_issued_certificate_is_the_authoritys_and_for_the_names():
    leaf = x509.load_pem_x509_certificate(GOOD.chain)
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(AUTHORITY.chain))
    assert GOOD.names == tuple(NAMES)
    assert not GOOD.is_self_signed and AUTHORITY.is_self_signed
    # What browsers and systems accept of a server at most.
    assert (GOOD.not_after - GOOD.not_before).days <= 398


def test_chain_in_the_wrong_order_is_put_right():
    pair = read_pair(AUTHORITY.chain + GOOD.chain, GOOD.key, None, NOW)
    assert pair.chain == GOOD.chain + AUTHORITY.chain


@pytest.mark.parametrize(
    ("now", "reason"),
    [(NOW + 500 * DAY, "expired on 2027-"), (NOW - 5 * DAY, "not valid before 2026-11-21")],
)
def test_dates_are_named(now, reason):
    with pytest.raises(CertificateError, match=reason) as caught:
        read_pair(GOOD.chain, GOOD.key, None, now)
    assert caught.value.hint


@pytest.mark.parametrize(
    "key",
    [coded(ed25519.Ed25519PrivateKey.generate()), make_self_signed(["x"], NOW).key, b"", b"\xff"],
)
def test_keys_that_do_not_fit_are_refused(key):
    with pytest.raises(CertificateError):
        read_pair(GOOD.chain, key, None, NOW)


def test_names_that_a_certificate_lacks():
    wild = make_self_signed(["*.example.org"], NOW)
    assert covers(wild, ["etl.example.org"]) == []
    assert covers(wild, ["a.b.example.org", "example.org"]) == ["a.b.example.org", "example.org"]
    assert covers(GOOD, ["10.1.2.3", "10.1.2.4"]) == ["10.1.2.4"]


def test_own_certificate_stays_until_it_is_old_or_for_other_names(tmp_path):
    first = ensure_self_signed(tmp_path, NAMES, NOW)
    assert ensure_self_signed(tmp_path, NAMES, NOW + 300 * DAY).digest == first.digest
    renewed = ensure_self_signed(tmp_path, NAMES, NOW + 380 * DAY)
    assert renewed.digest != first.digest
    other = ensure_self_signed(tmp_path, [*NAMES, "new"], NOW + 380 * DAY)
    assert "new" in other.names
    (tmp_path / "self-signed" / "key.pem").write_bytes(b"cut off")
    assert ensure_self_signed(tmp_path, NAMES, NOW).names == tuple(NAMES)


def test_supplied_one_wins_and_is_remembered(tmp_path):
    supply(tmp_path, GOOD)
    choice = choose("files", tmp_path, NAMES, NOW, None)
    assert (choice.source, choice.problem) == ("files", "")
    assert choice.is_vouched_for and choice.pair.digest == GOOD.digest
    supply(tmp_path, Pair(b"rubbish", b"rubbish", (), "", NOW, NOW, False))
    fallen_back = choose("files", tmp_path, NAMES, NOW, None)
    assert (fallen_back.source, fallen_back.pair.digest) == ("last-good", GOOD.digest)
    assert fallen_back.problem and fallen_back.cure


def test_supplied_one_that_grew_old_is_served_with_a_complaint(tmp_path):
    supply(tmp_path, GOOD)
    choose("files", tmp_path, NAMES, NOW, None)
    choice = choose("files", tmp_path, NAMES, NOW + 500 * DAY, GOOD)
    assert (choice.source, choice.pair.digest) == ("last-good", GOOD.digest)
    assert "expired" in choice.problem


def test_nothing_supplied_is_a_problem_with_a_certificate_all_the_same(tmp_path):
    choice = choose("files", tmp_path, NAMES, NOW, None)
    assert choice.source == "self-signed" and "no cert.pem" in choice.problem
    assert "certs install" in choice.cure and not choice.is_vouched_for


def test_acme_begins_with_a_certificate_of_its_own(tmp_path):
    assert choose("acme", tmp_path, NAMES, NOW, None).source == "self-signed"
    lineage = tmp_path / "acme/live/vixtract"
    lineage.mkdir(parents=True)
    (lineage / "fullchain.pem").write_bytes(GOOD.chain)
    (lineage / "privkey.pem").write_bytes(GOOD.key)
    assert choose("acme", tmp_path, NAMES, NOW, None).source == "acme"
    (lineage / "privkey.pem").write_bytes(b"cut off")
    kept = choose("acme", tmp_path, NAMES, NOW, GOOD)
    assert (kept.source, kept.pair.digest) == ("acme", GOOD.digest) and kept.problem


ACCOUNT = acme.Account(("a.example.org", "b.example.org"), "", "https://ca.example.org/dir")


def test_certbot_is_asked_for_all_names(tmp_path):
    command = acme.build_command(ACCOUNT, tmp_path, tmp_path)
    assert [command[i + 1] for i, word in enumerate(command) if word == "--domain"] == list(
        ACCOUNT.domains
    )
    assert "--register-unsafely-without-email" in command and command[-1] == "--keep-until-expiring"
    assert acme.build_command(ACCOUNT, tmp_path, tmp_path, force=True)[-1] == "--force-renewal"


def test_another_authority_is_asked_at_once(tmp_path):
    folder = tmp_path / "acme" / "renewal"
    folder.mkdir(parents=True)
    for server, last in (
        ("https://old/dir", "--force-renewal"),
        (ACCOUNT.server, "--keep-until-expiring"),
    ):
        (folder / "vixtract.conf").write_text(f"version = 4\n[renewalparams]\nserver = {server}\n")
        assert acme.build_command(ACCOUNT, tmp_path, tmp_path)[-1] == last


def test_certbots_reason_is_found():
    said = [
        "Saving debug log to /x/letsencrypt.log",
        "Some challenges have failed.",
        "  Detail: 10.0.0.1: Timeout",
        "Ask for help",
    ]
    assert acme.explain(said) == "Detail: 10.0.0.1: Timeout"
    assert (
        acme.explain(["An unexpected error occurred:", "ConnectionError: refused"])
        == "ConnectionError: refused"
    )
    assert acme.explain([])


def test_file_appears_whole_and_closed(tmp_path):
    path = tmp_path / "key.pem"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two" and path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["key.pem"]


def test_own_certificate_stays_where_the_volume_cannot_keep_it(tmp_path):
    absent = tmp_path / "absent"
    first = choose("self-signed", absent, NAMES, NOW, None)
    assert choose("self-signed", absent, NAMES, NOW, first.pair).pair.digest == first.pair.digest
