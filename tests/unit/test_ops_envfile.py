"""The file of settings: read as compose reads it, written so that it is whole or untouched."""

from __future__ import annotations

import stat

import pytest

from vixtract.errors import SettingsError, UsageError
from vixtract.ops.envfile import load_env, parse_env, save_env, update_env
from vixtract.ops.instance import load_instance


def test_values_are_read_as_compose_reads_them():
    text = "# remark\nA=1\nexport B = two # remark\nC='x # y'\nD=\"q\"\nE=a#b\n#F=1\nG=\nnonsense\nA=3\n"
    assert parse_env(text) == {"A": "3", "B": "two", "C": "x # y", "D": "q", "E": "a#b", "G": ""}


def test_an_update_leaves_every_other_line_alone():
    text = "# mine\nHTTP_PORT=80\nOTHER=x\nHTTP_PORT=81\n"
    changed = update_env(text, {"HTTP_PORT": "8080", "TZ": "UTC"})
    assert changed == "# mine\nHTTP_PORT=8080\nOTHER=x\nTZ=UTC\n"


def test_a_file_is_made_for_its_owner_alone_and_written_once(tmp_path):
    path = tmp_path / "sub" / "x.env"
    assert save_env(path, {"BI_PASSWORD": "secret"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_env(path) == {"BI_PASSWORD": "secret"}
    before = path.stat()
    assert not save_env(path, {"BI_PASSWORD": "secret"})
    assert path.stat().st_ino == before.st_ino, "an unchanged file is not written again"
    assert [p.name for p in path.parent.iterdir()] == ["x.env"], "no temporary file stays"


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_env(path, {"A": "2"})
    assert path.read_text() == "A=1\n"
    assert len(list(tmp_path.iterdir())) == 1


def test_options_win_over_environment_over_file_over_defaults(tmp_path):
    (tmp_path / ".env").write_text("HTTP_PORT=81\nHTTPS_PORT=444\nTZ=Europe/Berlin\n")
    environment = {"HTTP_PORT": "82", "HTTPS_PORT": "445"}
    instance = load_instance(tmp_path, {"http_port": "83"}, environment)
    names = ("HTTP_PORT", "HTTPS_PORT", "TZ", "POSTGRES_PORT")
    assert [instance.settings[n] for n in names] == ["83", "445", "Europe/Berlin", "5432"]
    assert instance.project == "vixtract"


def test_an_option_given_once_is_kept(tmp_path):
    load_instance(tmp_path, {"http_port": "8080"}, {}).keep()
    assert load_env(tmp_path / ".env") == {"HTTP_PORT": "8080"}
    assert load_instance(tmp_path, {}, {}).settings["HTTP_PORT"] == "8080"
    assert load_instance(tmp_path, {"http_port": "80"}, {}).keep()
    assert load_env(tmp_path / ".env") == {"HTTP_PORT": "80"}


def test_a_start_without_options_writes_nothing(tmp_path):
    assert not load_instance(tmp_path, {}, {"TZ": "Asia/Tokyo"}).keep()
    assert list(tmp_path.iterdir()) == []


def test_another_project_never_reads_or_writes_the_default_ones_file(tmp_path):
    (tmp_path / ".env").write_text("HTTP_PORT=8080\nPOSTGRES_PASSWORD=own\n")
    other = load_instance(tmp_path, {"project": "other"}, {})
    assert other.settings["HTTP_PORT"] == "80"
    assert other.settings.default_passwords("POSTGRES_PASSWORD")
    assert other.keep(), "compose would fall back to .env where the file is missing"
    assert load_env(tmp_path / ".vixtract" / "other.env") == {"COMPOSE_PROJECT_NAME": "other"}
    assert (tmp_path / ".env").read_text() == "HTTP_PORT=8080\nPOSTGRES_PASSWORD=own\n"


def test_the_default_project_may_have_another_name(tmp_path):
    (tmp_path / ".env").write_text("COMPOSE_PROJECT_NAME=etl\nHTTP_PORT=81\n")
    instance = load_instance(tmp_path, {}, {})
    assert (instance.project, instance.settings["HTTP_PORT"]) == ("etl", "81")
    assert load_instance(tmp_path, {}, {"COMPOSE_PROJECT_NAME": "x1"}).env_path.name == "x1.env"


@pytest.mark.parametrize("name", ["Upper", "-x", "a b", "../x", "x" * 64])
def test_a_wrong_project_name_is_refused(tmp_path, name):
    with pytest.raises(UsageError):
        load_instance(tmp_path, {"project": name}, {})


@pytest.mark.parametrize("project", [None, "other"])
def test_a_slip_in_a_name_stops_and_other_unknown_names_are_told(tmp_path, project):
    path = tmp_path / (".env" if project is None else ".vixtract/other.env")
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "COMPOSE_PROJECT_NAME=vixtract\nDOCKER_HOST=x\nBUILDKIT_PROGRESS=plain\nWORKER_BIND=1\n"
        "http_proxy=p:1\nBI_PASSWORD_FILE=\nMY_OWN=1\nHTTP_PROXIES=x\nHTPS=off\n"
    )
    with pytest.raises(SettingsError) as caught:
        load_instance(tmp_path, {"project": project}, {"TZ": "Europe/Moskva"})
    shown = path.relative_to(tmp_path)
    assert f"HTPS ({shown}, line 9) is not a setting; did you mean HTTPS?" in caught.value.message
    assert "TZ='Europe/Moskva' (from the environment) is not" in caught.value.message
    assert "MY_OWN" not in caught.value.message and caught.value.exit_code == 3
    path.write_text(path.read_text().replace("HTPS=", "HTTPS="))
    assert load_instance(tmp_path, {"project": project}, {}).warnings == (
        f"MY_OWN ({shown}, line 7) is not a setting",
        f"HTTP_PROXIES ({shown}, line 8) is not a setting; did you mean HTTP_PROXY?",
    )


def test_a_refusal_names_the_line_or_the_option_of_each_value(tmp_path):
    (tmp_path / ".env").write_text("JUPYTER_MEMORY=8g\n# later\nJUPYTER_MEMORY=lots\n")
    with pytest.raises(SettingsError) as caught:
        load_instance(tmp_path, {"http_port": "0"}, {"PUBLIC_URL": "foo"})
    message = caught.value.message
    assert "JUPYTER_MEMORY='lots' (.env, line 3)" in message
    assert "HTTP_PORT='0' (option --http-port)" in message
    assert "PUBLIC_URL='foo' (from the environment)" in message


def test_wrong_settings_are_named_all_at_once(tmp_path):
    (tmp_path / ".env").write_text("HTTP_PORT=0\nVIXTRACT_BIND=nowhere\n")
    with pytest.raises(SettingsError) as caught:
        load_instance(tmp_path, {}, {})
    assert "HTTP_PORT" in caught.value.message and "VIXTRACT_BIND" in caught.value.message


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", "http://localhost:8080"),
        ("0.0.0.0", "https://localhost:8443"),
        ("::", "https://[::1]:8443"),
        ("10.1.2.3", "https://10.1.2.3:8443"),
    ],
)
def test_the_address_that_reaches_the_pages(tmp_path, bind, url):
    options = {"bind": bind, "http_port": "8080", "https_port": "8443"}
    instance = load_instance(tmp_path, options, {})
    assert instance.base_url == url


def test_compose_gets_every_setting(tmp_path):
    variables = load_instance(tmp_path, {"project": "p1"}, {"http_proxy": "http://p:1"}).variables()
    assert variables["COMPOSE_PROJECT_NAME"] == "p1"
    assert variables["HTTP_PROXY"] == "http://p:1", "proxies are taken in small letters too"
    assert variables["POSTGRES_IMAGE"] == "postgres:17"
