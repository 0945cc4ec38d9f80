"""The linters of `./vixtract test lint`: each checks all files of its kind that git tracks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from vixtract.ops.console import Session
from vixtract.ops.engine import install_packages
from vixtract.ops.host import CommandError, Host

NGINX_LINT = "nginx/site/lint.py"
COMPOSE_LINT = "tests/lint_compose.py"
#: Folder of eslint: its lock file, its rules, and its installation.
JAVASCRIPT = "tests/javascript"
#: Names of files by their kind. Scripts without a suffix are found by their first line.
DOCKERFILE = re.compile(
    r"(Dockerfile|Containerfile)(\.(?!dockerignore).*)?|.*\.Dockerfile", re.IGNORECASE
)
COMPOSE = re.compile(r"(docker-)?compose[^/]*\.ya?ml")
JAVASCRIPT_FILE = re.compile(r".*\.[cm]?js")
SHELLS = frozenset((b"bash", b"dash", b"sh"))
PYTHONS = frozenset((b"python", b"python3"))
LINT_S = 300.0
INSTALL_S = 600.0


def list_tracked(host: Host, root: Path) -> list[str]:
    """Return the files that git tracks, or all files of the folder where git cannot say."""
    listed = host.run(["git", "-C", str(root), "ls-files", "-z"], timeout_s=60)
    if listed.ok and listed.stdout:
        return [name for name in listed.stdout.split("\0") if name and (root / name).is_file()]
    hidden = {".venv", ".git", ".vixtract", "node_modules"}
    paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if not hidden & set(path.parts))


def select_scripts(root: Path, names: Sequence[str], programs: AbstractSet[bytes]) -> list[str]:
    """Return the files whose first line names one of some interpreters."""
    found = []
    for name in names:
        with (root / name).open("rb") as file:
            first = file.readline(80)
        words = {word.rpartition(b"/")[2] for word in first[2:].split()}
        if first.startswith(b"#!") and words & programs:
            found.append(name)
    return found


def ensure_eslint(session: Session, root: Path) -> bool:
    """Install eslint from its lock file, unless that is done.

    Returns: False where Node is absent and may not be installed.
    Raises:
        CommandError: npm could not install it.
    """
    folder = root / JAVASCRIPT
    packages = {"nodejs": "node", "npm": "npm"}
    missing = [name for name, program in packages.items() if not session.host.which(program)]
    if missing and not session.assume_yes:
        return False
    stamp = folder / "node_modules/vixtract-stamp"
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    if missing:
        install_packages(session, missing, "the linter of JavaScript")
    elif stamp.is_file() and stamp.read_text("ascii") == wanted:
        return True
    command = ["npm", "ci", "--no-progress", "--prefix", str(folder)]
    done = session.host.stream(command, timeout_s=INSTALL_S, on_line=session.console.detail)
    done.require(
        CommandError,
        "The linter of JavaScript could not be installed",
        "Check that npm reaches its registry (npm config get registry, HTTPS_PROXY,"
        " NODE_EXTRA_CA_CERTS).",
    )
    stamp.write_text(wanted, "ascii")
    return True


def build_linters(root: Path, programs: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Build the command of each linter by its name; one without files is left out."""

    def program(name: str) -> str:
        return str(programs / name)

    def select(pattern: re.Pattern[str]) -> list[str]:
        return [name for name in names if pattern.fullmatch(Path(name).name)]

    shell = [name for name in names if name.endswith(".sh")]
    shell += [name for name in select_scripts(root, names, SHELLS) if name not in shell]
    # ruff finds files that end in .py by itself.
    commands = [name for name in select_scripts(root, names, PYTHONS) if name[-3:] != ".py"]
    modules = f"{JAVASCRIPT}/node_modules/.bin/eslint"
    rules = f"{JAVASCRIPT}/eslint.config.mjs"
    of_files = {
        "compose-lint": (
            [program("python"), COMPOSE_LINT, program("compose-lint")],
            select(COMPOSE),
        ),
        "shellcheck": ([program("shellcheck"), "--external-sources"], shell),
        "hadolint": ([program("hadolint"), "--no-color"], select(DOCKERFILE)),
        "eslint": ([modules, "--config", rules, "--max-warnings", "0"], select(JAVASCRIPT_FILE)),
    }
    return {
        "ruff": [program("ruff"), "check", ".", *commands],
        "ruff format": [program("ruff"), "format", "--check", "--quiet", ".", *commands],
        "mypy": [program("mypy")],
        "bandit": [program("bandit"), "-q", "-ll", "-c", "pyproject.toml", "-r", "src"],
        "gixy": [program("python"), NGINX_LINT, program("gixy")],
        **{name: [*command, *files] for name, (command, files) in of_files.items() if files},
    }


def run_linters(
    session: Session, root: Path, programs: Path, note: Callable[[str, int], None]
) -> None:
    """Run all linters; only those that complain show their output.

    Args:
        note: called with each linter's name and exit code.
    """
    host = session.host
    commands = build_linters(root, programs, list_tracked(host, root))
    if "eslint" in commands and not ensure_eslint(session, root):
        del commands["eslint"]
        session.console.say("Not run: eslint, Node or npm is not installed; --yes installs them")
    for name, command in commands.items():
        session.console.detail(f"{name} …")
        done = host.run(["env", "-C", str(root), *command], timeout_s=LINT_S)
        note(name, done.returncode)
        if not done.ok:
            for line in (done.stdout + done.stderr).splitlines():
                session.console.say(f"  {line}")
        session.console.say(f"{name}: {'passed' if done.ok else 'failed'}")
