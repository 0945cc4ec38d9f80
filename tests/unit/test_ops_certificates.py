"""The operator's view of certificates, and the settings behind it."""

from __future__ import annotations

import datetime
import json

import pytest

from vixtract.errors import SettingsError, UsageError
from vixtract.ops import certificates
from vixtract.ops.doctor import check_certificate
from vixtract.ops.instance import load_instance
from vixtract.settings import Settings

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.timezone.utc)
STATUS = {
    "mode": "files", "source": "files", "names": ["etl.example.org"], "issuer": "CN=Company CA",
    "not_before": "2026-01-01T00:00:00+00:00", "not_after": "2026-12-24T12:00:00+00:00",
    "hsts": True, "problem": "", "cure": "",
}  # fmt: skip


def instance(tmp_path, **settings):
    """Return an appliance with these settings."""
    return load_instance(tmp_path, {}, settings)


@pytest.mark.parametrize(
    ("bind", "https", "expected"),
    [
        ("127.0.0.1", "", "off"),
        ("0.0.0.0", "", "self-signed"),
        ("10.0.0.5", "off", "off"),
        ("127.0.0.1", "files", "files"),
        ("0.0.0.0", "acme", "acme"),
    ],
)
def test_mode_follows_the_address_where_nobody_chose(bind, https, expected):
    settings = Settings.from_environment(
        {"VIXTRACT_BIND": bind, "HTTPS": https, "HTTPS_DOMAIN": "etl.example.org"}
    )
    assert settings.https_mode == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS", "on"),
        ("HTTPS_ACME_EMAIL", "nobody"),
        ("HTTPS_ACME_SERVER", "acme.example.org/directory"),
        ("HTTPS_DOMAIN", "etl.example.org; return 200"),
        ("HTTPS_DOMAIN", "10.0.0.256"),
        ("HTTPS_DOMAIN", "-a.example.org"),
        ("HTTPS_DOMAIN", "https://etl.example.org"),
        ("POSTGRES_ALLOW", "everybody"),
        ("POSTGRES_ALLOW", "10.0.0.1/8"),
        ("POSTGRES_ALLOW", "fe80::1%eth0; deny all"),
    ],
)
def test_wrong_values_are_named(name, value):
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({name: value})


def test_acme_needs_a_host_name():
    for domain in ("", "10.0.0.5"):
        with pytest.raises(SettingsError, match="HTTPS=acme needs a host name"):
            Settings.from_environment({"HTTPS": "acme", "HTTPS_DOMAIN": domain})


def test_certificates_are_for_every_name_that_leads_here():
    settings = Settings.from_environment(
        {"HTTPS_DOMAIN": "ETL.example.org, 10.0.0.5", "VIXTRACT_BIND": "10.0.0.5"}
    )
    assert settings.certificate_names("postgresql") == [
        "etl.example.org", "10.0.0.5", "postgresql", "localhost", "127.0.0.1", "::1",
    ]  # fmt: skip
    wide = Settings.from_environment({"VIXTRACT_BIND": "0.0.0.0"})
    assert wide.certificate_names() == ["localhost", "127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("settings", "base", "local"),
    [
        ({}, "http://localhost", "http://localhost"),
        ({"HTTPS": "self-signed"}, "https://localhost", "https://localhost"),
        (
            {"HTTPS": "files", "HTTPS_PORT": "8443", "HTTPS_DOMAIN": "etl.example.org,x"},
            "https://etl.example.org:8443",
            "https://localhost:8443",
        ),
        (
            {"HTTPS_DOMAIN": "fd00::5", "HTTP_PORT": "81"},
            "http://[fd00::5]:81",
            "http://localhost:81",
        ),
    ],
)
def test_addresses(tmp_path, settings, base, local):
    one = instance(tmp_path, **settings)
    assert (one.base_url, one.local_url) == (base, local)


def test_certificate_is_told_with_the_days_that_are_left():
    found = certificates.parse_certificate(json.dumps(STATUS))
    assert certificates.render_certificate(found, NOW) == [
        "HTTPS files: etl.example.org; yours, issued by CN=Company CA; until 2026-12-24 (32 days left)"
    ]
    wrong = certificates.parse_certificate(
        json.dumps({**STATUS, "problem": "It expired.", "cure": "Renew."})
    )
    assert certificates.render_certificate(wrong, NOW)[1:] == [
        "  problem: It expired.",
        "  cure: Renew.",
    ]
    assert certificates.as_json(found, NOW)["days_left"] == 32


def test_doctor_judges_the_certificate(tmp_path):
    found = certificates.parse_certificate(
        json.dumps({**STATUS, "not_after": "2020-01-01T00:00:00+00:00", "problem": "It expired."})
    )
    on = instance(tmp_path, HTTPS="files")
    assert check_certificate(on, found).level == "serious"
    assert check_certificate(on, None).level == "serious"
    assert check_certificate(instance(tmp_path), None).level == "ok"


def test_files_that_are_no_text_are_refused_with_the_cure(tmp_path):
    (tmp_path / "cert.der").write_bytes(b"\x30\x82\xff")
    with pytest.raises(UsageError) as caught:
        certificates.read_file(str(tmp_path / "cert.der"))
    assert "openssl" in caught.value.hint
    with pytest.raises(UsageError, match="cannot be read"):
        certificates.read_file(str(tmp_path / "none"))
