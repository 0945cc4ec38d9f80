"""The linters of `./vixtract test lint`: each looks at every file of its kind that git tracks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vixtract.ops.console import Session
from vixtract.ops.host import Host

# The build file only adds where images are built from.
COMPOSE_FILE = "docker-compose.yml"
NGINX_LINT = "nginx/site/lint.py"
LINT_S = 300.0


def list_tracked(host: Host, root: Path) -> list[str]:
    """Return the files of the repository, as git lists them or as they lie there.

    Args:
        host: the machine.
        root: repository.
    """
    listed = host.run(["git", "-C", str(root), "ls-files", "-z"], timeout_s=60)
    if listed.ok and listed.stdout:
        return [name for name in listed.stdout.split("\0") if name and (root / name).is_file()]
    hidden = (".venv/", ".git/", ".vixtract/", "node_modules/")
    names = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(name for name in names if not name.startswith(hidden))


def select_scripts(root: Path, names: Sequence[str]) -> list[str]:
    """Return those files that are shell scripts, by their first line.

    Args:
        root: repository.
        names: paths relative to it.
    """
    found = []
    for name in names:
        with (root / name).open("rb") as file:
            first = file.readline(80)
        is_shell = first.split()[-1:] in ([b"bash"], [b"sh"], [b"/bin/sh"], [b"/bin/bash"])
        if name.endswith(".sh") or (first.startswith(b"#!") and is_shell):
            found.append(name)
    return found


def build_linters(root: Path, programs: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Build the commands of all linters.

    Args:
        root: repository.
        programs: the environment's folder of programs.
        names: files of the repository.
    """
    scripts = select_scripts(root, names)
    recipes = [name for name in names if Path(name).name == "Dockerfile"]
    linters = {
        "ruff": [str(programs / "ruff"), "check", "."],
        "ruff format": [*(str(programs / "ruff"), "format", "--check", "--quiet", ".")],
        "mypy": [str(programs / "mypy")],
        "bandit": [*(str(programs / "bandit"), "-q", "-ll", "-c", "pyproject.toml", "-r", "src")],
        "compose-lint": [*(str(programs / "compose-lint"), "--fail-on", "low", COMPOSE_FILE)],
        "gixy": [*(str(programs / "python"), NGINX_LINT, str(programs / "gixy"))],
    }
    if scripts:
        linters["shellcheck"] = [str(programs / "shellcheck"), "--external-sources", *scripts]
    if recipes:
        linters["hadolint"] = [str(programs / "hadolint"), "--no-color", *recipes]
    return linters


def run_linters(
    session: Session, root: Path, programs: Path, note: Callable[[str, int], None]
) -> None:
    """Run all linters; only those that complain show their output.

    Args:
        session: this call.
        root: repository.
        programs: the environment's folder of programs.
        note: called with each linter's name and exit code.
    """
    host = session.host
    commands = build_linters(root, programs, list_tracked(host, root))
    for name, command in commands.items():
        session.console.detail(f"{name} …")
        done = host.run(["env", "-C", str(root), *command], timeout_s=LINT_S)
        note(name, done.returncode)
        if not done.ok:
            for line in (done.stdout + done.stderr).splitlines():
                session.console.say(f"  {line}")
        session.console.say(f"{name}: {'passed' if done.ok else 'failed'}")
