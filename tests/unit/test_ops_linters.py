"""The linters of `./vixtract test lint`: which files each gets, and that each can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import lint_compose
from tests.unit.ops_fakes import FAILED, OK, FakeHost, make_session
from vixtract.ops.host import CommandError, Completed, Host
from vixtract.ops.linters import (
    JAVASCRIPT,
    SHELLS,
    build_linters,
    ensure_eslint,
    list_tracked,
    run_linters,
    select_scripts,
)

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
ESLINT = ROOT / JAVASCRIPT / "node_modules/.bin/eslint"
FILES = {
    "run": "#!/usr/bin/env bash\n",
    "strict": "#!/bin/sh -eu\n",
    "code": "#!/usr/bin/env python3\n",
    "notes": "bash is a shell\n",
    "lib.sh": "x=1\n",
    "a/Dockerfile": "FROM x\n",
    "a/Dockerfile.edge": "FROM x\n",
    "a/tools.Dockerfile": "FROM x\n",
    "a/Dockerfile.dockerignore": "*\n",
    "docker-compose.yml": "services: {}\n",
    "a/compose.more.yaml": "services: {}\n",
    "a/page.js": "1;\n",
    "a/module.mjs": "1;\n",
}


@pytest.fixture
def repository(tmp_path):
    """A repository with a file of each kind."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / JAVASCRIPT).mkdir(parents=True)
    (tmp_path / JAVASCRIPT / "package-lock.json").write_text("{}")
    return tmp_path


def machine(root, *, programs=("node", "npm"), **answers):
    """Return a machine on which git tracks FILES and every linter passes."""
    names = "".join(f"{name}\0" for name in (*FILES, "gone"))
    usual = {"git -C": Completed(0, names), "^env -C": OK, "npm ci": OK}
    return FakeHost(root, {**answers, **usual, **answers}, programs=programs)


def install(root):
    (root / JAVASCRIPT / "node_modules").mkdir(exist_ok=True)


def test_every_tracked_file_of_a_kind_is_linted(repository):
    names = list_tracked(machine(repository), repository)
    assert "gone" not in names, "a deleted file is still listed by git"
    assert select_scripts(repository, names, SHELLS) == ["run", "strict"]
    linters = build_linters(repository, repository / "bin", names)
    assert linters["shellcheck"][1:] == ["--external-sources", "lib.sh", "run", "strict"]
    assert linters["ruff"][1:] == ["check", ".", "code"], "ruff finds only what ends in .py"
    recipes = ["a/Dockerfile", "a/Dockerfile.edge", "a/tools.Dockerfile"]
    assert linters["hadolint"][1:] == ["--no-color", *recipes]
    assert linters["compose-lint"][3:] == ["docker-compose.yml", "a/compose.more.yaml"]
    assert linters["eslint"][-2:] == ["a/page.js", "a/module.mjs"]
    own = ["ruff", "ruff format", "mypy", "bandit", "gixy"]
    assert list(linters) == [*own, "compose-lint", "shellcheck", "hadolint", "eslint"]
    assert list(build_linters(repository, repository / "bin", ["notes"])) == own


def test_all_our_dockerfiles_compose_files_and_scripts_are_found():
    linters = build_linters(ROOT, PROGRAMS, list_tracked(Host(), ROOT))
    wanted = {
        "hadolint": ["cronicle/Dockerfile.edge", "tests/images/tls/Dockerfile"],
        "compose-lint": ["docker-compose.worker.yml", "docker-compose.cronicle-port.yml"],
        "eslint": ["web/assets/home.js", "cronicle/edge/socket.js", "nginx/front/health.js"],
        "ruff": ["cronicle/jobs/bin/papermill"],
        "shellcheck": ["vixtract", "nginx/front-door", ".ci/run"],
    }
    for linter, names in wanted.items():
        assert set(names) <= set(linters[linter]), linter


def test_without_git_files_are_found_as_they_lie(repository):
    for folder in (".venv", "a/node_modules"):
        (repository / folder).mkdir()
        (repository / folder / "x.sh").write_text("")
    names = list_tracked(FakeHost(repository, {"git": FAILED}), repository)
    assert "lib.sh" in names and not [name for name in names if name.endswith("x.sh")]


def test_the_linter_of_javascript_is_installed_once_for_each_lock_file(repository):
    host = machine(repository, **{"npm ci": lambda _: install(repository) or OK})
    assert ensure_eslint(make_session(host), repository)
    assert ensure_eslint(make_session(host), repository)
    assert len(host.called("npm ci")) == 1
    (repository / JAVASCRIPT / "package-lock.json").write_text('{"lockfileVersion": 3}')
    assert ensure_eslint(make_session(host), repository)
    assert len(host.called("npm ci")) == 2


def test_a_linter_that_cannot_be_installed_is_an_error_with_its_reason(repository):
    host = machine(repository, **{"npm ci": Completed(1, "npm error network ENOTFOUND")})
    with pytest.raises(CommandError, match="ENOTFOUND") as caught:
        ensure_eslint(make_session(host), repository)
    assert "NODE_EXTRA_CA_CERTS" in caught.value.hint


def test_node_is_installed_with_consent_and_its_absence_is_said(repository):
    def install_node(_):
        install(repository)
        return OK

    host = machine(repository, programs=["apt-get"], **{"apt-get": OK, "npm ci": install_node})
    assert ensure_eslint(make_session(host, yes=True), repository)
    assert host.called("apt-get")[-1].endswith(" nodejs npm")
    bare, noted = machine(repository, programs=[]), {}
    session = make_session(bare)
    run_linters(session, repository, repository / "bin", noted.__setitem__)
    assert "Not run: eslint" in session.console.text and "--yes" in session.console.text
    assert "eslint" not in noted and noted["hadolint"] == 0


def test_files_that_add_to_the_main_one_are_merged_with_it():
    base = {"services": {"a": {"image": "x", "ports": ["1:1"], "labels": {"k": 1}}}}
    more = {"services": {"a": {"ports": ["2:2"], "labels": {"l": 2}, "image": "y"}}}
    merged = lint_compose.merge(base, more)
    assert merged["services"]["a"] == {
        "image": "y",
        "ports": ["1:1", "2:2"],
        "labels": {"k": 1, "l": 2},
    }
    files = dict(
        lint_compose.whole_files(
            ROOT, ["docker-compose.cronicle-port.yml", "docker-compose.worker.yml"]
        )
    )
    nginx = files["docker-compose.cronicle-port.yml"]["services"]["nginx"]
    assert nginx["cap_drop"] == ["ALL"] and len(nginx["ports"]) > 1
    assert set(files["docker-compose.worker.yml"]["services"]) == {"worker"}


BAD = {
    "ruff": ("bad.py", "import os\n", "F401"),
    "ruff format": ("bad.py", "x = {  1:2}\n", ""),
    "shellcheck": ("bad.sh", "#!/bin/bash\nrm $1/*\n", "SC2086"),
    "hadolint": ("Dockerfile.bad", "FROM debian\nRUN cd /x && sudo ls\n", "DL3004"),
    "eslint": ("bad.mjs", "if (x == 1) y = 2;\n", "eqeqeq"),
}


@pytest.mark.slow
@pytest.mark.parametrize("linter", BAD)
def test_each_linter_can_fail(tmp_path, linter):
    if linter == "eslint" and not ESLINT.exists():
        pytest.skip("eslint is not installed: ./vixtract test lint installs it")
    name, text, code = BAD[linter]
    (tmp_path / name).write_text(text)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    if linter == "eslint":
        (tmp_path / JAVASCRIPT).parent.mkdir()
        (tmp_path / JAVASCRIPT).symlink_to(ROOT / JAVASCRIPT)
    command = build_linters(tmp_path, PROGRAMS, [name])[linter]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stdout + done.stderr
    assert code in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_the_linter_of_compose_files_can_fail_in_what_is_added(tmp_path, capsys):
    shutil.copy(ROOT / lint_compose.CONFIG, tmp_path)
    service = {"image": "x:1", "privileged": True}
    (tmp_path / "docker-compose.yml").write_text(
        yaml.safe_dump({"services": {"a": {"image": "x:1"}}})
    )
    (tmp_path / "docker-compose.more.yml").write_text(yaml.safe_dump({"services": {"a": service}}))
    program = str(PROGRAMS / "compose-lint")
    assert lint_compose.lint(program, tmp_path, ["docker-compose.more.yml"]) == 1
    assert "docker-compose.more.yml" in capsys.readouterr().err


def test_hooks_of_pre_commit_run_the_same_linters():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repo,) = config["repos"]
    hooks = {hook["name"]: hook for hook in repo["hooks"]}
    linters = build_linters(ROOT, Path(".venv/bin"), list_tracked(Host(), ROOT))
    assert set(hooks) == set(linters)
    for name, command in linters.items():
        assert hooks[name]["language"] == "system", "nothing may be fetched"
        assert hooks[name]["entry"].split()[0] == command[0], name
