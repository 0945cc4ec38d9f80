"""Running programs for real: deadlines, lines, children."""

from __future__ import annotations

import time

import pytest

from tests.unit.ops_fakes import FakeHost, make_session
from vixtract.errors import PreconditionError
from vixtract.ops.host import Host


def test_a_short_program_returns_its_output():
    done = Host().run(["sh", "-c", "cat; echo no >&2; exit 4"], timeout_s=10, input_text="yes")
    assert (done.returncode, done.stdout, done.stderr, done.ok) == (4, "yes", "no\n", False)
    assert done.last_line == "no"


def test_a_missing_program_is_an_answer_not_an_exception():
    assert Host().run(["no-such-program-here"], timeout_s=1).returncode == 127
    assert Host().stream(["no-such-program-here"], timeout_s=1, on_line=print).returncode == 127
    assert Host().attach(["no-such-program-here"], timeout_s=1) == 127


def test_a_short_program_ends_at_its_deadline():
    done = Host().run(["sleep", "30"], timeout_s=0.2)
    assert done.returncode == 124
    assert "did not answer" in done.last_line


def test_lines_come_as_they_are_printed():
    seen = []
    script = "echo one; echo two >&2; exit 3"
    done = Host().stream(["sh", "-c", script], timeout_s=10, on_line=seen.append)
    assert seen == ["one", "two"]
    assert (done.returncode, done.stdout) == (3, "one\ntwo")


@pytest.mark.slow
def test_a_long_program_and_its_children_end_at_the_deadline(tmp_path):
    mark = tmp_path / "alive"
    script = f"(sleep 0.8; touch {mark}) & echo begun; sleep 30"
    start = time.monotonic()
    done = Host().stream(["sh", "-c", script], timeout_s=0.3, on_line=lambda line: None)
    assert done.returncode == 124
    assert "begun" in done.stdout
    assert time.monotonic() - start < 5
    time.sleep(0.8)
    assert not mark.exists(), "the child outlived the deadline"


@pytest.mark.slow
def test_the_first_line_has_a_deadline_of_its_own():
    quick = ["sh", "-c", "echo here; sleep 0.6; echo there"]
    done = Host().stream(quick, timeout_s=10, first_line_s=0.4, on_line=lambda line: None)
    assert done.ok, "later lines may take longer"
    silent = Host().stream(["sleep", "9"], timeout_s=10, first_line_s=0.2, on_line=print)
    assert silent.returncode == 124


def test_a_spawned_program_outlives_the_call_and_tells_its_end(tmp_path):
    log = tmp_path / "log"
    ended = Host().spawn(["sh", "-c", "echo up; sleep 0.3; exit 5"], log)
    assert ended() is None
    end = time.monotonic() + 5
    while ended() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert ended() == 5
    assert log.read_text() == "up\n"


def test_which_finds_programs_of_root():
    assert Host(environment={"PATH": "/nonexistent"}).which("sh") == ""
    assert Host(environment={"PATH": "/bin"}).which("sh") == "/bin/sh"


def test_a_change_needs_consent(tmp_path):
    host = FakeHost(tmp_path)
    make_session(host, yes=True).agree("Change it", "Do it yourself")
    make_session(host, answer=True).agree("Change it", "Do it yourself")
    with pytest.raises(PreconditionError) as caught:
        make_session(host, answer=None).agree("Change it", "Do it yourself")
    assert caught.value.exit_code == 3
    assert (caught.value.message, caught.value.hint) == (
        "Not done without --yes: Change it.",
        "Do it yourself",
    )
    with pytest.raises(PreconditionError, match="Not done: Change it"):
        make_session(host, answer=False).agree("Change it", "")


def test_rights_of_root_come_by_sudo(tmp_path):
    def privileged(**more):
        return make_session(FakeHost(tmp_path, **more)).privileged(["true"])

    assert privileged(is_root=True) == ["true"]
    assert privileged(is_root=False, programs=["sudo"]) == ["sudo", "true"]
    with pytest.raises(PreconditionError, match="Root's rights"):
        privileged(is_root=False)
