"""The table of settings: what it accepts, what it refuses, and the files made from it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from vixtract.errors import SettingsError
from vixtract.ops.reference import GENERATED
from vixtract.settings import BY_NAME, SETTINGS, Settings, check_value, is_loopback

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
    assert (ROOT / name).read_text(encoding="utf-8") == GENERATED[name](), (
        "run PYTHONPATH=src python3 -m vixtract.ops.reference"
    )


def test_names_are_unique_and_described():
    assert len({s.name for s in SETTINGS}) == len(SETTINGS)
    assert all(s.help.endswith(".") for s in SETTINGS)
