"""The command line as a person meets it: words, exit codes, the two lines of an error."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.ops_fakes import OK, FakeHost
from tests.unit.test_ops_engine import NO_CLIENT, versions
from tests.unit.test_ops_up import ALL_UP, entry
from vixtract.ops import cli
from vixtract.ops.arguments import build_parser
from vixtract.ops.doctor import Finding
from vixtract.ops.host import Completed
from vixtract.ops.testing import Outcome, select_tests

ROOT = Path(__file__).parents[2]
COMMANDS = ("up", "down", "status", "logs", "build", "test", "demo", "doctor")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Put a fake machine under the command; its repository is an empty folder."""
    host = FakeHost(
        tmp_path, {"docker version": versions(), "docker compose version": Completed(0, "2.30.0")}
    )
    monkeypatch.setattr(cli, "Host", lambda: host)
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    return host


def call(capsys, *words):
    """Run the command; return exit code, standard output, standard error."""
    code = cli.main(words)
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.mark.slow
def test_the_wrapper_runs_on_its_own_from_anywhere(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(ROOT / "vixtract")
    for program in (ROOT / "vixtract", link):
        done = subprocess.run(
            [str(program), "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout.split()[0]) == (0, "vixtract"), done.stderr


@pytest.mark.slow
def test_a_reader_that_leaves_early_ends_it_quietly():
    with subprocess.Popen(
        [str(ROOT / "vixtract"), "status", "--project", "nobody-made-this"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        process.stdout = None
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (cli.READER_LEFT, "")


def test_calling_it_leaves_the_signals_of_the_process_alone(machine, capsys):
    before = signal.getsignal(signal.SIGPIPE)
    call(capsys, "status")
    assert signal.getsignal(signal.SIGPIPE) is before


def test_the_wrapper_says_what_is_missing(tmp_path):
    (tmp_path / "bash").symlink_to("/bin/bash")
    for name in ("dirname", "readlink"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    done = subprocess.run(
        [str(ROOT / "vixtract"), "up"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert done.stderr.splitlines()[0] == "vixtract: python3 was not found."
    assert "apt-get install python3" in done.stderr


@pytest.mark.slow
def test_the_command_needs_no_library():
    # -S leaves out every folder of libraries.
    script = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import vixtract.ops.cli"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([command, "--help"])
    assert ended.value.code == 0
    assert "--project" in capsys.readouterr().out


def test_no_command_is_wrong_use(capsys):
    assert cli.main([]) == 2
    assert "COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [["fly"], ["up", "--http-port", "0"], ["up", "--bind", "x"], ["logs", "nothing"], ["up", "-z"]],
)
def test_wrong_words_end_with_2(words):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2


def test_options_stand_before_or_after_the_command():
    parser = build_parser()
    before = parser.parse_args(["--project", "a", "--http-port=81", "status"])
    after = parser.parse_args(["status", "--project", "a", "--http-port=81"])
    assert (before.project, before.http_port) == (after.project, after.http_port) == ("a", "81")
    assert parser.parse_args(["--project", "a", "status", "--bind", "::1"]).project == "a"


def test_an_error_is_two_lines_and_its_exit_code(machine, capsys):
    machine.answers = {"docker version": NO_CLIENT}
    code, out, err = call(capsys, "status")
    assert (code, out) == (3, "")
    what, cure = err.splitlines()
    assert what == "vixtract: The container engine is not installed."
    assert "./vixtract up --yes" in cure
    assert "Traceback" in call(capsys, "status", "--debug")[2]


def test_an_unexpected_error_shows_no_traceback(machine, capsys, monkeypatch):
    def burst(*arguments):
        raise ZeroDivisionError("x")

    monkeypatch.setattr(cli, "list_containers", burst)
    machine.answers["docker"] = OK
    code, _, err = call(capsys, "status")
    assert code == 1 and len(err.splitlines()) == 2 and "--debug" in err
    with pytest.raises(ZeroDivisionError):
        cli.main(["--debug", "status"])


def test_wrong_settings_end_with_3(machine, capsys):
    (machine.root / ".env").write_text("MAX_JOBS=many\n")
    code, _, err = call(capsys, "status")
    assert code == 3 and "MAX_JOBS" in err


def test_up_checks_settings_before_it_touches_the_engine(machine, capsys):
    (machine.root / ".env").write_text("TZ=Europe/Moskva\nJUPYTER_MEMORY=lots\nHTPS=off\n")
    code, out, err = call(capsys, "up", "--https", "off")
    assert code == 3 and out == "" and machine.calls == []
    for words in ("did you mean Europe/Moscow?", "JUPYTER_MEMORY='lots'", "did you mean HTTPS?"):
        assert words in err


def test_up_tells_names_that_mean_nothing(machine, capsys):
    (machine.root / ".env").write_text("HTTP_PROXIES=x\n")
    machine.answers["docker"] = Completed(1, "")
    _, out, _ = call(capsys, "up")
    assert out.splitlines()[0].startswith("Warning: HTTP_PROXIES (.env, line 1) is not a setting")


def test_status_tells_a_script_by_its_exit_code(machine, capsys):
    machine.answers["docker ps"] = Completed(0, "a")
    machine.answers["docker inspect"] = Completed(0, json.dumps(ALL_UP))
    code, out, _ = call(capsys, "status", "--json")
    assert code == 0 and json.loads(out)["state"] == "up"
    machine.answers["docker inspect"] = Completed(0, json.dumps([entry("nginx")]))
    assert call(capsys, "status")[0] == 1


def test_down_keeps_data_and_asks_before_deleting(machine, capsys):
    machine.answers[" down "] = OK
    code, out, _ = call(capsys, "down")
    assert code == 0 and "all data stays" in out
    assert machine.called(" down ")[0].endswith("down --remove-orphans")
    machine.answers["docker volume ls"] = Completed(0, "vixtract_postgresql\n")
    machine.calls.clear()
    code, _, err = call(capsys, "down", "--volumes")
    assert code == 3 and "vixtract_postgresql" in err and not machine.called(" down ")
    assert call(capsys, "down", "--volumes", "--yes")[0] == 0
    assert machine.called("--volumes$")


def test_logs_of_one_service(machine, capsys):
    machine.answers[" logs "] = Completed(7, "")
    assert call(capsys, "logs", "nginx", "--tail", "5")[0] == 7
    assert machine.called("logs --tail 5 --no-color nginx$")
    assert call(capsys, "logs")[0] == 7
    code, _, err = call(capsys, "logs", "--tail", "many")
    assert code == 2 and "--tail" in err


def test_arguments_after_two_dashes_go_to_pytest(machine, capsys, monkeypatch):
    seen = []

    def run_tests(session, instance, selection, arguments, *, required):
        seen.append((instance.project, session.assume_yes, selection, arguments, required))
        outcome = Outcome()
        outcome.note("x", 5)
        return outcome

    monkeypatch.setattr(cli, "run_tests", run_tests)
    machine.environment = {"CI": "true"}
    file = machine.root / "tests/unit/test_x.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    words = ("tests/unit/test_x.py", "-k", "name", "--fast")
    code, _, err = call(capsys, "test", *words, "--", "--lf", "-x")
    assert code == 1 and "failed: x" in err
    selection = select_tests(machine.root, ["tests/unit/test_x.py"], "name", fast=True)
    assert seen == [("vixtract-test", True, selection, ["--lf", "-x"], True)]


def test_doctor_ends_with_1_when_something_is_serious(machine, capsys, monkeypatch):
    finding = Finding("disk", "serious", "full", "make room")
    monkeypatch.setattr(cli, "run_doctor", lambda session, instance: [finding])
    code, out, _ = call(capsys, "doctor")
    assert code == 1 and "cure: make room" in out
    assert json.loads(call(capsys, "doctor", "--json")[1])[0]["check"] == "disk"
