"""Where secrets come from, how they reach the containers, and that they are masked in output."""

from __future__ import annotations

import base64
import stat

import pytest

from tests.unit.ops_fakes import OK, FakeHost, make_session
from vixtract.errors import SettingsError
from vixtract.hub.rotation import deliver
from vixtract.ops.deliver import DeliveryError, build_delivery, build_volume, deliver_secrets
from vixtract.ops.envfile import load_env
from vixtract.ops.host import Completed
from vixtract.ops.instance import load_instance
from vixtract.secret_settings import SECRET_NAMES, Masker, known_secrets, with_secrets
from vixtract.settings import Settings


def test_a_secret_comes_from_its_variable_its_file_or_the_volume(tmp_path):
    (tmp_path / "bi.txt").write_text("from-a-file\n")
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "HUB_ADMIN_PASSWORD").write_text("delivered")
    (tmp_path / "volume" / "POSTGRES_PASSWORD").write_text("delivered")
    environment = {"BI_PASSWORD_FILE": "bi.txt", "POSTGRES_PASSWORD": "given", "TZ": "UTC"}
    found = with_secrets(environment, root=tmp_path, delivered=tmp_path / "volume")
    assert found["BI_PASSWORD"] == "from-a-file"
    assert found["POSTGRES_PASSWORD"] == "given"
    assert found["HUB_ADMIN_PASSWORD"] == "delivered"
    assert Settings.from_environment(found)["CRONICLE_ADMIN_PASSWORD"] == "admin"


def test_wrong_files_of_secrets_are_named_all_at_once_and_never_shown(tmp_path):
    (tmp_path / "two").write_text("topsecret\nlines\n")
    (tmp_path / "empty").write_text("\n")
    environment = {
        "BI_PASSWORD": "topsecret",
        "BI_PASSWORD_FILE": "two",
        "POSTGRES_PASSWORD_FILE": "absent",
        "SMTP_PASSWORD_FILE": "two",
        "HUB_ADMIN_PASSWORD_FILE": "empty",
    }
    with pytest.raises(SettingsError) as caught:
        with_secrets(environment, root=tmp_path, delivered=None)
    text = caught.value.message
    assert "both BI_PASSWORD and BI_PASSWORD_FILE" in text
    assert "POSTGRES_PASSWORD_FILE=absent: No such file" in text
    assert "SMTP_PASSWORD_FILE=two: is empty or not one line" in text
    assert "HUB_ADMIN_PASSWORD_FILE=empty: is empty" in text
    assert "topsecret" not in text


def test_compose_never_gets_a_secret(tmp_path):
    (tmp_path / ".env").write_text("BI_PASSWORD=own-one-1\n")
    variables = load_instance(tmp_path, {}, {"POSTGRES_PASSWORD": "own-one-2"}).variables()
    assert {variables[name] for name in SECRET_NAMES} == {""}


def test_generated_secrets_have_a_file_of_their_own_that_compose_does_not_read(tmp_path):
    (tmp_path / ".env").write_text("BI_PASSWORD=own-one-1\n")
    instance = load_instance(tmp_path, {"bind": "0.0.0.0"}, {})
    instance.changed({"POSTGRES_PASSWORD": "made-1", "BI_PASSWORD": "made-2"}).keep()
    assert load_env(tmp_path / ".env") == {"BI_PASSWORD": "made-2", "VIXTRACT_BIND": "0.0.0.0"}
    path = tmp_path / ".vixtract" / "vixtract.secrets"
    assert load_env(path) == {"POSTGRES_PASSWORD": "made-1"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = load_instance(tmp_path, {}, {})
    assert again.settings["POSTGRES_PASSWORD"] == "made-1"
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=chosen\n")
    assert load_instance(tmp_path, {}, {}).settings["POSTGRES_PASSWORD"] == "chosen"


def test_a_file_in_the_environment_wins_over_a_value_in_env(tmp_path):
    (tmp_path / "secret").write_text("from-a-file\n")
    (tmp_path / ".env").write_text("BI_PASSWORD=own-one-1\n")
    instance = load_instance(tmp_path, {}, {"BI_PASSWORD_FILE": str(tmp_path / "secret")})
    assert instance.settings["BI_PASSWORD"] == "from-a-file"


def test_delivery_goes_through_standard_input_and_names_what_changed(tmp_path):
    host = FakeHost(
        tmp_path, {r"^docker volume create": OK, r"^docker run": Completed(0, "A\nB\n")}
    )
    instance = load_instance(tmp_path, {"project": "p1"}, {"BI_PASSWORD": "own-one-1"})
    assert deliver_secrets(make_session(host), instance) == ["A", "B"]
    assert host.given[-1]["input_text"] == '{"BI_PASSWORD": "own-one-1"}'
    assert not any("own-one-1" in call for call in host.calls), "arguments are public"
    assert "com.docker.compose.project=p1" in build_volume(instance)
    assert "p1_secrets:/srv/secrets" in build_delivery(instance)


def test_a_failed_delivery_stops_the_start(tmp_path):
    answers = {r"^docker volume": OK, r"^docker run": Completed(125, "", "no space left")}
    with pytest.raises(DeliveryError, match="no space left"):
        deliver_secrets(make_session(FakeHost(tmp_path, answers)), load_instance(tmp_path, {}, {}))


def test_delivered_files_are_roots_alone_and_follow_what_is_given(tmp_path):
    folder = tmp_path / "secrets" / "settings"
    given = {"BI_PASSWORD": "one", "POSTGRES_PASSWORD": "two"}
    assert deliver(given, folder) == ["BI_PASSWORD", "POSTGRES_PASSWORD"]
    assert deliver(given, folder) == []
    assert deliver({"BI_PASSWORD": "three"}, folder) == ["BI_PASSWORD", "POSTGRES_PASSWORD"]
    assert [path.name for path in folder.iterdir()] == ["BI_PASSWORD"]
    assert stat.S_IMODE((folder / "BI_PASSWORD").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for wrong in ({"PATH": "x"}, {"../BI_PASSWORD": "x"}, {"BI_PASSWORD": "a\nb"}):
        with pytest.raises(ValueError, match="cannot be delivered"):
            deliver(wrong, folder)


SECRET = 's3cret/Pa"ss+word'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_secrets_are_masked_in_every_form_whatever_the_pieces(size):
    encoded = base64.b64encode(SECRET.encode()).decode()
    text = f"begin {SECRET} s3cret url=s3cret%2FPa%22ss%2Bword {encoded} s3cret/P end s3c".encode()
    masker, out = Masker([SECRET]), b""
    for start in range(0, len(text), size):
        out += masker.feed(text[start : start + size])
    out += masker.flush()
    masked = encoded.replace(encoded.rstrip("="), "********").encode()
    assert out == b"begin ******** s3cret url=******** " + masked + b" s3cret/P end s3c"


def test_lines_come_at_once_and_short_words_stay():
    masker = Masker(["admin", "vixtract", "longer-secret"])
    assert masker.feed(b"admin logs in\n") == b"admin logs in\n"
    assert masker.feed(b"vixtract\n") == b"********\n", "eight characters are masked"
    assert Masker([]).feed(b"anything") == b"anything"


def test_what_is_masked_of_a_process():
    environment = {"PGPASSWORD": "p" * 64, "CRM": "crm-password", "VIXTRACT_MASKED": "CRM GONE"}
    assert known_secrets(environment) == ["p" * 64, "crm-password"]
