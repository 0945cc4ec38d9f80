"""Changing all secrets: what is chosen, when it begins, and that a cut anywhere loses nothing."""

from __future__ import annotations

import sqlite3

import pytest

from tests.unit.ops_fakes import FakeHost, make_session
from vixtract.errors import PreconditionError, UsageError
from vixtract.files import ensure_secret
from vixtract.hub import rotation
from vixtract.ops import rotate
from vixtract.ops.instance import load_instance
from vixtract.people.directory import forget_service_tokens


@pytest.fixture
def secrets(tmp_path):
    """A directory with every key."""
    for name in rotation.KEYS:
        ensure_secret(tmp_path / "secrets", name)
    return tmp_path / "secrets"


def read(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_every_key_is_exchanged_for_one_of_the_same_kind(secrets):
    before = read(secrets)
    staged = read(rotation.stage(secrets))
    assert set(staged) == set(rotation.KEYS)
    assert read(secrets) == before, "nothing has changed yet"
    assert rotation.swap(secrets) == list(rotation.KEYS)
    after = read(secrets)
    assert after == staged and not (secrets / "next").exists()
    assert all(after[n] != before[n] and len(after[n]) == len(before[n]) for n in before)
    assert {ensure_secret(secrets, name) + "\n" for name in before} == set(after.values())


@pytest.mark.parametrize("done", range(len(rotation.KEYS) + 1))
def test_a_rotation_that_was_cut_off_goes_on_with_the_same_keys(secrets, done):
    staged = read(rotation.stage(secrets))
    for name in rotation.KEYS[:done]:
        (secrets / "next" / name).replace(secrets / name)
    rotation.stage(secrets)
    rotation.swap(secrets)
    assert read(secrets) == staged


def test_a_cut_while_the_keys_are_made_leaves_no_half_set(secrets):
    before = read(secrets)
    (secrets / ".next").mkdir()
    (secrets / ".next" / "role_key").write_text("half")
    assert set(read(rotation.stage(secrets))) == set(rotation.KEYS)
    assert read(secrets) == before


def test_services_tokens_end_and_people_s_stay(tmp_path):
    database = tmp_path / "hub.sqlite"
    assert forget_service_tokens(database) == 0
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE api_tokens (user_id int, service_id int)")
        connection.execute("INSERT INTO api_tokens VALUES (1, NULL), (NULL, 1), (NULL, 2)")
    connection.close()
    assert forget_service_tokens(database) == 2
    connection = sqlite3.connect(database)
    assert connection.execute("SELECT * FROM api_tokens").fetchall() == [(1, None)]
    connection.close()


def test_what_comes_from_elsewhere_is_left_alone_and_said(tmp_path):
    (tmp_path / "bi").write_text("own-one-1")
    (tmp_path / ".env").write_text("BI_PASSWORD_FILE=bi\nCRONICLE_ADMIN_PASSWORD=own-one-2\n")
    environment = {"POSTGRES_PASSWORD": "own-one-3"}
    instance = load_instance(tmp_path, {}, environment)
    passwords, kept = rotate.choose_passwords(instance, environment, lambda: "new")
    assert passwords == {"CRONICLE_ADMIN_PASSWORD": "new"}
    assert kept == ("POSTGRES_PASSWORD", "BI_PASSWORD")
    told = "\n".join(rotate.render_rotated(rotate.Rotated(instance, passwords, kept)))
    assert "POSTGRES_PASSWORD, BI_PASSWORD" in told


def test_it_waits_for_jobs_and_for_a_moment_when_none_is_due(tmp_path, monkeypatch):
    host = FakeHost(tmp_path)
    jobs, seconds = iter([2, 0, 0, 0]), iter([10, 59, 1, 10])
    monkeypatch.setattr(rotate, "count_jobs", lambda *_: next(jobs))
    times = []

    def wall():
        times.append(next(seconds))
        return times[-1]

    next(seconds)
    rotate.wait_for_jobs(make_session(host), load_instance(tmp_path, {}, {}), 60, wall)
    assert times == [59, 1, 10]


def test_jobs_that_run_on_are_named_and_nothing_is_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(rotate, "count_jobs", lambda *_: 3)
    with pytest.raises(PreconditionError, match="3 jobs still run after 5 s; nothing was changed"):
        rotate.wait_for_jobs(
            make_session(FakeHost(tmp_path)), load_instance(tmp_path, {}, {}), 5, lambda: 10
        )


def test_only_secret_settings_are_shown():
    assert rotate.check_shown("BI_PASSWORD") == "BI_PASSWORD"
    for wrong in ("", "TZ", "role_key"):
        with pytest.raises(UsageError, match="no secret setting"):
            rotate.check_shown(wrong)


def test_a_running_server_finds_new_variables_and_no_link_is_followed(tmp_path):
    rotation.tell_server(tmp_path / "absent", {"PGPASSWORD": "new"})
    (tmp_path / "environment.json").symlink_to(tmp_path / "victim")
    rotation.tell_server(tmp_path, {"PGPASSWORD": "new"})
    assert not (tmp_path / "victim").exists()
    path = tmp_path / "environment.json"
    assert path.read_text() == '{"PGPASSWORD": "new"}'
    assert path.stat().st_mode & 0o777 == 0o600
