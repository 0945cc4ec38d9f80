"""The table of settings: what it accepts, what it refuses, and the files made from it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from vixtract.errors import SettingsError
from vixtract.ops.reference import GENERATED
from vixtract.settings import Settings, check_value
from vixtract.settings_table import BY_NAME, SETTINGS
from vixtract.values import count_edits, find_similar, is_loopback

ROOT = Path(__file__).parents[2]


def test_defaults_are_valid():
    settings = Settings.from_environment({})
    assert settings["VIXTRACT_BIND"] == "127.0.0.1"
    assert settings.integer("MAX_JOBS") == 4


def test_empty_value_means_default():
    assert Settings.from_environment({"HTTP_PORT": ""})["HTTP_PORT"] == "80"


def test_all_wrong_values_are_reported_together_and_no_password_is_shown():
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(
            {"HTTP_PORT": "70000", "MAX_JOBS": "many", "TZ": "../x", "POSTGRES_PASSWORD": "hidden1"}
        )
    message = caught.value.message
    assert all(name in message for name in ("HTTP_PORT", "MAX_JOBS", "TZ"))
    assert "hidden1" not in message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TZ", "Europe/Moskva", "did you mean Europe/Moscow?"),
        ("TZ", "Moscow", "did you mean Europe/Moscow?"),
        ("TZ", "europe/moscow", "did you mean Europe/Moscow?"),
        ("TZ", "MSK-3", "not the name of a time zone such as"),
        ("TZ", "Europe", "not the name of a time zone"),
        ("JUPYTER_MEMORY", "lots", "is not a size"),
        ("JUPYTER_MEMORY", "8", "6m at least"),
        ("CRONICLE_MEMORY", "8 g", "is not a size"),
        ("POSTGRES_MEMORY", "-1", "is not a size"),
        ("PUBLIC_URL", "foo", "is not an http:// or https:// address"),
        ("PUBLIC_URL", "https://", "is not an http:// or https:// address"),
        ("PUBLIC_URL", "https://etl.example.com:x", "is not an http:// or https:// address"),
        ("PIP_INDEX_URL", "pypi.example.com/simple", "is not an http:// or https:// address"),
        ("HTTP_PROXY", "ftp://proxy:21", "is not the address of a proxy"),
        ("HTTPS_PROXY", "http://:3128", "is not the address of a proxy"),
        ("NO_PROXY", "a b", "is not a list such as"),
        ("SMTP_FROM", "vixtract", "is not a mail address"),
        ("SMTP_FROM", "ViXtract <vixtract>", "is not a mail address"),
        ("SMTP_HOST", "smtp://mail", "neither a host name nor an address"),
        ("SMTP_USER", "a\tb", "control character"),
        ("HUB_ADMIN", "Admin", "is not a name of"),
        ("LDAP_CA_FILE", "ca.pem", "is not a full path"),
        ("WORKERS", "worker1:99999", "is not a list such as worker1"),
        ("POSTGRES_IMAGE", "Postgres:17", "is not the name of an image"),
        ("POSTGRES_IMAGE", "postgres:", "is not the name of an image"),
        ("VIXTRACT_VERSION", "0.1/0", "is not the tag of an image"),
    ],
)
def test_values_are_checked_for_truth_too(name, value, words):
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({name: value})
    assert f"{name}={value!r}" in caught.value.message and words in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TZ", "America/New_York"),
        ("TZ", "Etc/GMT-3"),
        ("JUPYTER_MEMORY", "1.5G"),
        ("JUPYTER_MEMORY", "512mb"),
        ("JUPYTER_MEMORY", "0"),
        ("JUPYTER_MEMORY", "1073741824"),
        ("PIP_INDEX_URL", "https://name:it's%40word@pypi.example.com:8443/simple/"),
        ("PUBLIC_URL", "http://[fd00::1]:8080/etl"),
        ("HTTP_PROXY", "proxy:3128"),
        ("HTTPS_PROXY", "http://name:word@proxy.example.com:3128"),
        ("NO_PROXY", "localhost, .example.com,10.0.0.0/8,*"),
        ("SMTP_FROM", "ViXtract <etl@example.com>"),
        ("SMTP_HOST", "mail_relay"),
        ("POSTGRES_IMAGE", f"registry.example.com:5000/a/postgres:17@sha256:{'0' * 64}"),
        ("DEBIAN_IMAGE", "localhost/vixtract/debian-offline:trixie-slim"),
    ],
)
def test_right_values_pass(name, value):
    assert Settings.from_environment({name: value})[name] == value


def test_a_refusal_names_where_the_value_was_found():
    with pytest.raises(SettingsError, match=r"TZ='x y' \(\.env, line 3\) is not"):
        Settings.from_environment({"TZ": "x y"}, {"TZ": ".env, line 3"})


def test_edits_are_counted():
    pairs = (("HTPS", "HTTPS"), ("HTTSP", "HTTPS"), ("TZ", "TX"), ("", "ab"), ("kitten", "sitting"))
    assert [count_edits(*pair) for pair in pairs] == [1, 1, 1, 2, 3]
    assert find_similar("HTTP_PROT", BY_NAME) == "HTTP_PORT"
    assert find_similar("anything", BY_NAME) == ""


def test_repr_masks_passwords():
    settings = Settings.from_environment({"BI_PASSWORD": "topsecret"})
    assert "topsecret" not in repr(settings)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("127.9.0.1", True), ("::1", True), ("localhost", True)]
    + [("0.0.0.0", False), ("::", False), ("192.0.2.1", False), ("example.org", False)],
)
def test_loopback(address, loopback):
    assert is_loopback(address) is loopback


@pytest.mark.parametrize(
    ("value", "is_taken"),
    [("localhost/vixtract", True), ("registry.example.com/etl", True), ("registry:5000/a/b", True)]
    + [("localhost", True), ("vixtract", False), ("library/etl", False), ("localhost/Etl", False)]
    + [("registry.example.com/etl/", False), ("registry.example.com/etl:1", False)],
)
def test_a_prefix_of_images_names_its_registry(value, is_taken):
    found = check_value(BY_NAME["IMAGE_PREFIX"], value)
    assert (found == "") is is_taken, found


def test_the_job_container_s_image_is_a_name_without_prefix_and_tag():
    check = partial(check_value, BY_NAME["SCHEDULER_IMAGE"])
    assert check("cronicle-edge") == check("my-jobs") == ""
    assert "IMAGE_PREFIX" in check("vixtract/cronicle-edge")
    assert check("cronicle:0.1.0")


def test_default_passwords_are_refused_on_a_wide_address():
    settings = Settings.from_environment({"VIXTRACT_BIND": "0.0.0.0", "BI_PASSWORD": "own-one"})
    with pytest.raises(SettingsError, match="HUB_ADMIN_PASSWORD"):
        settings.check_exposure("HUB_ADMIN_PASSWORD")
    settings.check_exposure("BI_PASSWORD")


def test_default_passwords_are_fine_on_loopback():
    Settings.from_environment({}).check_exposure()


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_generated_files_are_up_to_date(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == GENERATED[name](text), "run PYTHONPATH=src python3 -m vixtract.ops.reference"


def test_names_are_unique_and_described():
    assert len({s.name for s in SETTINGS}) == len(SETTINGS)
    assert all(s.help.endswith(".") for s in SETTINGS)
