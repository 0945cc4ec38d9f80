"""The threat model's table against the tests, and the linters' exceptions against their reasons."""

from __future__ import annotations

import ast
import functools
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/security.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in PAGE.partition("\n## Attacks\n")[2].partition("\n## ")[0].splitlines()
    if line.startswith("|")
][2:]


@functools.cache
def list_tests(path: Path) -> set[str]:
    """Return the names of a file's tests."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
    }


def test_the_table_is_there():
    assert len(ROWS) > 60
    assert re.search(r"^\| attack \| defence \| test \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("row", ROWS, ids=[row[-1].rpartition("::")[2] for row in ROWS])
def test_every_row_names_a_test_that_exists(row):
    assert len(row) == 3, row
    _, defence, test = row
    assert defence
    path, _, name = test.partition("::")
    assert re.fullmatch(r"tests/(unit|contract|images|stack|browser)/test_\w+\.py", path), test
    assert (ROOT / path).is_file(), f"{path} is gone"
    assert name in list_tests(ROOT / path), f"{name} is not in {path}"


def test_every_file_of_attacks_is_in_the_table():
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/*/test_attacks_*.py")}
    assert len(files) >= 7
    assert files <= {row[2].partition("::")[0] for row in ROWS}


def test_no_attack_is_named_twice():
    tests = [row[2] for row in ROWS]
    assert len(set(tests)) == len(tests)


def test_what_compose_lint_may_not_say_has_a_reason_for_a_service_that_exists():
    rules = yaml.safe_load((ROOT / ".compose-lint.yml").read_text(encoding="utf-8"))["rules"]
    services = {"worker"}
    services |= set(yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"])
    for rule, options in rules.items():
        assert set(options) == {"exclude_services"}, f"{rule} is switched off for good"
        for service, reason in options["exclude_services"].items():
            assert service in services
            assert len(reason) > 40, (rule, service)


def test_the_build_file_only_says_how_to_build():
    build = yaml.safe_load((ROOT / "docker-compose.build.yml").read_text(encoding="utf-8"))
    assert {key for service in build["services"].values() for key in service} == {"build"}


@pytest.mark.slow
def test_gixy_reads_the_whole_configuration(monkeypatch, capsys):
    """What is left out on purpose is found when it is not: so the includes are read."""
    monkeypatch.syspath_prepend(str(ROOT / "nginx/site"))
    import lint

    gixy = str(Path(sys.executable).with_name("gixy"))
    assert lint.main(gixy) == 0
    monkeypatch.setattr(lint, "SKIPPED", {"none"})
    assert lint.main(gixy) == 1
    told = capsys.readouterr().err
    for name in lint.SKIPPED | {"host_spoofing", "proxy_pass_normalized"} - {"none"}:
        assert name in told or name == "none"
    assert "VIXTRACT_ENGINE=cronicle HTTPS=self-signed" in told and "HTTPS=acme" in told
