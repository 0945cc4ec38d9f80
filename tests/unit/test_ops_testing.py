"""`./vixtract test`: its environment, its linters, its tiers, its exit code."""

from __future__ import annotations

import sys

import pytest

from tests.unit.ops_fakes import FAILED, OK, FakeHost, make_session
from tests.unit.test_ops_engine import NO_CLIENT, versions
from vixtract.errors import PreconditionError, UsageError
from vixtract.ops import testing
from vixtract.ops.host import CommandError, Completed
from vixtract.ops.instance import load_instance
from vixtract.ops.testing import (
    SIDE_BY_SIDE,
    Outcome,
    ensure_environment,
    find_python,
    run_tests,
    select_tests,
)


@pytest.fixture(autouse=True)
def there_is_a_server(monkeypatch):
    """Whether this machine has PostgreSQL must not decide what these tests find."""
    monkeypatch.setattr(testing, "CONTRACT_PACKAGES", {"postgresql": "python3*"})


def repository(root):
    """Lay out a repository with two tiers and one file of each kind."""
    for tier in ("unit", "stack"):
        (root / "tests" / tier).mkdir(parents=True)
        (root / "tests" / tier / "test_a.py").write_text("")
    (root / "tests/browser").mkdir()
    (root / "tests/requirements.txt").write_text("pytest\n")
    return root


def machine(root, **answers):
    """Return a machine on which everything passes, but for what is given."""
    usual = {
        "import sys, ensurepip": OK,
        "--version": Completed(0, "Python 3.13.5\n"),
        " -m venv ": OK,
        "pip install": OK,
        "uv pip sync --offline": OK,
        "git -C": Completed(0, "tests/requirements.txt\0"),
        "^env -C": OK,
        "-m pytest": OK,
        "benchmarks/check.py": OK,
        "docker version": NO_CLIENT,
    }
    return FakeHost(root, {**answers, **usual, **answers})


def test_without_words_everything_but_the_long_tests_runs(tmp_path):
    selection = select_tests(repository(tmp_path), [])
    assert selection.paths == ("tests/unit", "tests/stack"), "browser has no tests here"
    assert selection.options == ("-m", "not long", *SIDE_BY_SIDE)
    assert selection.tiers == {"unit", "stack"} and selection.lint and selection.bench


def test_a_tier_runs_alone_and_so_do_linters_and_the_bench(tmp_path):
    repository(tmp_path)
    stack = select_tests(tmp_path, ["stack", "lint"])
    assert (stack.paths, stack.lint, stack.bench) == (("tests/stack",), True, False)
    for word in ("lint", "bench"):
        alone = select_tests(tmp_path, [word])
        assert (alone.paths, alone.lint, alone.bench) == ((), word == "lint", word == "bench")


def test_what_is_named_runs_in_one_process(tmp_path, monkeypatch):
    repository(tmp_path)
    (tmp_path / "tests/unit/test_more.py").write_text("def test_marrow(): pass\n")
    for asked in ("tests/unit/test_a.py", "tests/unit", "tests/unit/"):
        selection = select_tests(tmp_path, [asked])
        assert selection.paths == (asked.rstrip("/"),) and selection.tiers == {"unit"}
        assert selection.options == ("-m", "not long"), "no second process"
        assert not selection.lint and not selection.bench
    both = select_tests(tmp_path, ["tests/unit/test_a.py", "tests/stack/test_a.py"])
    assert both.paths == ("tests/unit/test_a.py", "tests/stack/test_a.py")
    monkeypatch.chdir(tmp_path / "tests/unit")
    assert select_tests(tmp_path, ["test_more.py"]).paths == ("tests/unit/test_more.py",)


def test_a_test_named_by_itself_runs_even_where_it_is_long(tmp_path):
    name = "tests/unit/test_a.py::test_soak[a::b]"
    selection = select_tests(repository(tmp_path), [name])
    assert (selection.paths, selection.options) == ((name,), ("-m", ""))


def test_an_expression_reads_only_files_with_such_names(tmp_path):
    repository(tmp_path)
    (tmp_path / "tests/unit/test_more.py").write_text("class TestX:\n    def test_Marrow(): pass\n")

    def chosen(*asked, keyword):
        return select_tests(tmp_path, asked, keyword)

    only = chosen("unit", keyword="marrow")
    assert only.paths == ("tests/unit/test_more.py",)
    assert only.options == ("-m", "not long", "-k", "marrow")
    assert not only.lint and not only.bench
    everywhere = chosen(keyword="test_a or (marrow)")
    assert everywhere.paths == (
        "tests/unit/test_a.py",
        "tests/unit/test_more.py",
        "tests/stack/test_a.py",
    )
    # Names made from parameters are in no file; and what is left out may be anywhere.
    assert chosen("unit", keyword="E501").paths == ("tests/unit",)
    assert chosen("unit", keyword="not marrow").paths == ("tests/unit",)
    assert chosen("tests/unit/test_a.py", keyword="x").paths == ("tests/unit/test_a.py",)


def test_long_runs_the_long_tests_alone(tmp_path):
    repository(tmp_path)
    (tmp_path / "tests/unit/test_soak.py").write_text("@pytest.mark.long\ndef test_x(): pass\n")
    (tmp_path / "tests/stack/test_words.py").write_text("TEXT = '@pytest.mark.long'\n")
    every = select_tests(tmp_path, ["long"])
    assert every.paths == ("tests/unit/test_soak.py",) and every.tiers == {"unit"}
    assert every.options == ("-m", "long", *SIDE_BY_SIDE)
    assert every.timeout_s > select_tests(tmp_path, []).timeout_s
    assert not every.lint and not every.bench
    assert select_tests(tmp_path, ["long", "unit"]).paths == every.paths
    with pytest.raises(UsageError, match="marked long"):
        select_tests(tmp_path, ["long", "stack"])
    with pytest.raises(UsageError, match="contradict"):
        select_tests(tmp_path, ["long"], fast=True)


def test_fast_leaves_out_the_slow_ones(tmp_path):
    fast = select_tests(repository(tmp_path), ["unit"], fast=True)
    assert fast.options == ("-m", "not long and not slow", *SIDE_BY_SIDE)


@pytest.mark.parametrize(
    "word",
    ["nonsense", "tests/unit/test_gone.py", "tests/gone", "src/a.py", "tests", "/etc/passwd", ""],
)
def test_a_word_that_is_no_tier_and_no_path_of_tests_is_refused(tmp_path, word):
    repository(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.py").write_text("")
    with pytest.raises(UsageError, match="neither a tier nor a path of tests") as refused:
        select_tests(tmp_path, ["unit", word])
    assert "contract" in refused.value.hint and "tests/unit/test_settings.py" in refused.value.hint


def test_what_the_contract_tier_lacks_is_installed(tmp_path, monkeypatch):
    repository(tmp_path)
    monkeypatch.setattr(testing, "CONTRACT_PACKAGES", {"nosuchpackage": "no/such/file"})
    host = machine(tmp_path, **{"apt-get": OK})
    host.programs = {"apt-get"}
    testing.prepare_servers(make_session(host), required=False)
    assert not host.called("nosuchpackage")
    testing.prepare_servers(make_session(host, yes=True), required=True)
    assert host.called("nosuchpackage")
    monkeypatch.setattr(testing, "CONTRACT_PACKAGES", {"python3": "python3*"})
    there = machine(tmp_path)
    testing.prepare_servers(make_session(there, yes=True), required=True)
    assert not there.called("apt-get")


def test_the_environment_is_made_once(tmp_path):
    repository(tmp_path)
    host = machine(tmp_path)
    (tmp_path / ".venv").mkdir()
    programs = ensure_environment(make_session(host), tmp_path)
    assert programs == tmp_path / ".venv/bin"
    assert host.called("pip install --no-deps --requirement")
    again = machine(tmp_path)
    ensure_environment(make_session(again), tmp_path)
    assert not again.called("pip install") and not again.called("venv --clear")
    (tmp_path / "tests/requirements.txt").write_text("pytest\nruff\n")
    changed = machine(tmp_path)
    ensure_environment(make_session(changed), tmp_path)
    assert changed.called("pip install"), "a changed lock file is installed"
    assert changed.called("uv pip sync"), "and what it no longer has is removed"
    assert not changed.called("venv --clear"), "into the environment that is there"
    newer = machine(
        tmp_path, **{f"{tmp_path}/.venv/bin/python --version": Completed(0, "Python 3.11.2\n")}
    )
    (tmp_path / ".venv/vixtract-stamp").unlink()
    ensure_environment(make_session(newer), tmp_path)
    assert newer.called("venv --clear"), "another Python needs another environment"


def test_an_environment_that_failed_is_not_taken_for_made(tmp_path):
    repository(tmp_path)
    (tmp_path / ".venv").mkdir()
    host = machine(tmp_path, **{"pip install": Completed(1, "ERROR: no index")})
    with pytest.raises(CommandError, match="no index"):
        ensure_environment(make_session(host), tmp_path)
    assert not (tmp_path / ".venv/vixtract-stamp").exists()


def test_a_python_without_ensurepip_gets_it(tmp_path):
    host = FakeHost(
        tmp_path,
        {"ensurepip": FAILED, "import sys; ": OK, "install": OK},
        programs=["apt-get"],
    )
    assert find_python(make_session(host, yes=True)) == "/usr/bin/python3"
    assert host.called("install")[0].endswith(" python3-venv")
    with pytest.raises(PreconditionError, match="python3-venv"):
        find_python(make_session(host))
    old = FakeHost(tmp_path, {"import": FAILED})
    with pytest.raises(PreconditionError, match=r"3\.11"):
        find_python(make_session(old, yes=True))
    assert find_python(make_session(FakeHost(tmp_path, {"import": OK}))) == sys.executable


def run(host, root, *asked, required=False, yes=False, more=()):
    (root / ".venv").mkdir(exist_ok=True)
    instance = load_instance(root, {"project": "t1"}, {})
    session = make_session(host, yes=yes)
    selection = select_tests(root, asked)
    return session, run_tests(session, instance, selection, more, required=required)


def test_missing_docker_is_said_plainly(tmp_path):
    repository(tmp_path)
    host = machine(tmp_path)
    session, outcome = run(host, tmp_path)
    assert outcome.exit_code == 0
    assert list(outcome.left_out) == ["stack"]
    assert host.called("benchmarks/check.py")
    assert "Not run: stack, no container engine" in session.console.text
    assert host.called("-m pytest tests/unit -m not long -n 2 .*reorder --durations=20$")


def test_missing_docker_fails_where_it_is_required(tmp_path):
    repository(tmp_path)
    with pytest.raises(PreconditionError):
        run(machine(tmp_path, **{"docker compose": NO_CLIENT}), tmp_path, required=True)


def test_all_tiers_run_in_one_pytest(tmp_path, monkeypatch):
    repository(tmp_path)
    monkeypatch.setattr(testing, "ensure_images", lambda session, instance: instance)
    monkeypatch.setattr(testing.Supply, "has", lambda supply, image: False)
    host = machine(
        tmp_path, **{"docker version": versions(), "docker compose": Completed(0, "2.30.0")}
    )
    _, outcome = run(host, tmp_path, more=["-x"])
    assert outcome.exit_code == 0
    (line,) = host.called("-m pytest")
    assert "-m pytest tests/unit tests/stack -m not long -n 2 " in line
    assert line.endswith(" -x"), "what a person gives comes last, and wins"
    # Whatever this shell says: without compiled tests each call compiles them all again.
    given = host.given[host.calls.index(line)]
    assert given["environment"] == {"PYTHONDONTWRITEBYTECODE": ""}


@pytest.mark.parametrize("is_here", [True, False])
def test_cronicles_tests_get_their_image_where_the_published_one_is(tmp_path, monkeypatch, is_here):
    repository(tmp_path)
    monkeypatch.setattr(testing, "ensure_images", lambda session, instance: instance)
    monkeypatch.setattr(testing.Supply, "has", lambda supply, image: is_here)
    made = []
    monkeypatch.setattr(testing.Supply, "ensure_service", lambda supply, name: made.append(name))
    host = machine(
        tmp_path, **{"docker version": versions(), "docker compose": Completed(0, "2.30.0")}
    )
    run(host, tmp_path, "stack")
    assert made == (["cronicle-edge"] if is_here else [])
    assert host.called("-m pytest tests/stack -m not long -n 2 "), "they are in another tier"
    (tmp_path / "tests/images").mkdir()
    (tmp_path / "tests/images/test_a.py").write_text("")
    run(host, tmp_path, "images")
    assert host.called(f"-m pytest tests/images -m not long -n {3 if is_here else 2} ")


def test_the_worst_exit_code_counts_and_every_step_runs(tmp_path):
    repository(tmp_path)
    ruff = Completed(2, "code:1: E501\n")
    host = machine(tmp_path, **{"bin/ruff check": ruff, "-m pytest": Completed(1, "")})
    session, outcome = run(host, tmp_path)
    assert (outcome.failed, outcome.exit_code) == (["ruff", "pytest"], 1)
    assert "  code:1: E501" in session.console.lines
    assert "mypy: passed" in session.console.lines


def test_a_bench_that_is_too_slow_is_a_failure(tmp_path):
    repository(tmp_path)
    host = machine(tmp_path, **{"benchmarks/check.py": FAILED})
    _, outcome = run(host, tmp_path, "bench")
    assert (outcome.failed, outcome.exit_code) == (["bench"], 1)
    assert not host.called("-m pytest") and not host.called("bin/ruff")


def test_a_bench_without_a_server_says_that_it_did_not_run(tmp_path, monkeypatch):
    repository(tmp_path)
    monkeypatch.setattr(testing, "CONTRACT_PACKAGES", {"postgresql": "no/such/file"})
    session, outcome = run(machine(tmp_path), tmp_path, "bench")
    assert outcome.exit_code == 0
    assert "Not run: bench, PostgreSQL is not installed here" in session.console.text


def test_a_pytest_that_was_killed_is_a_failure_with_its_signal(tmp_path):
    repository(tmp_path)
    host = machine(tmp_path, **{"-m pytest": Completed(-13, "")})
    session, outcome = run(host, tmp_path, "unit")
    assert outcome.exit_code == 1
    assert "killed by signal 13" in session.console.text


def test_linters_run_alone_and_tiers_without_them(tmp_path):
    repository(tmp_path)
    host = machine(tmp_path)
    run(host, tmp_path, "lint")
    assert host.called("bin/ruff") and not host.called("-m pytest|check.py")
    host = machine(tmp_path)
    run(host, tmp_path, "unit")
    assert host.called("-m pytest") and not host.called("bin/ruff")


@pytest.mark.parametrize(("pytests", "own"), [(0, 0), (1, 1), (2, 1), (3, 1), (4, 2), (5, 1)])
def test_exit_codes_of_pytest_become_the_commands_own(pytests, own):
    outcome = Outcome()
    outcome.note("pytest", pytests)
    assert outcome.exit_code == own
