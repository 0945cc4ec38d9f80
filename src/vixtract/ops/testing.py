"""What `./vixtract test` does: its own environment, linters, images, then all tiers at once."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vixtract.errors import PreconditionError, UsageError
from vixtract.ops.compose import ensure_compose
from vixtract.ops.console import Session
from vixtract.ops.engine import ensure_engine, install_packages, look_at_engine
from vixtract.ops.host import CommandError, Host
from vixtract.ops.instance import Instance
from vixtract.ops.provision import Supply, ensure_images

TIERS = ("unit", "contract", "images", "stack", "browser")
# Most tests wait for a container: two at a time. tests/conftest.py says which stay together.
SIDE_BY_SIDE = ("-n", "2", "--dist", "loadscope", "--no-loadscope-reorder")
DOCKER_TIERS = ("images", "stack", "browser")
LINT = "lint"
BENCH = "bench"
OLDEST = (3, 11)
# Package to a file of it below /usr/lib. The server packages start a server, which is not used.
CONTRACT_PACKAGES = {
    # Without its service, which a test starts by itself; its helper comes with the client.
    "mariadb-server-core": "../sbin/mariadbd",
    "mariadb-client-core": "../bin/my_print_defaults",
    "postgresql": "postgresql/*/bin/initdb",
    "faketime": "*/faketime/libfaketimeMT.so.1",
    "slapd": "ldap/back_mdb.so",
}
# The build file only adds where images are built from.
COMPOSE_FILE = "docker-compose.yml"
NGINX_LINT = "nginx/site/lint.py"
PYTEST_S = 4800.0
LINT_S = 300.0
BENCH_S = 900.0


@dataclass
class Outcome:
    """What the tests led to.

    Args:
        failed: names of the steps that failed.
        codes: their exit codes.
        left_out: tiers that were not run, with the reason.
    """

    failed: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def note(self, name: str, code: int) -> None:
        """Take down one step's exit code, translated to this command's own.

        Args:
            name: the step.
            code: 0 when it passed.
        """
        if code:
            self.failed.append(name)
            # pytest's 4 is wrong use; all other codes of it and of the linters are failures.
            self.codes.append(2 if (name, code) == ("pytest", 4) else 1)

    @property
    def exit_code(self) -> int:
        """The worst of all exit codes."""
        return max(self.codes, default=0)


def choose_tiers(root: Path, asked: Sequence[str]) -> list[str]:
    """Return the tiers to run; all that have tests when none is asked for.

    Args:
        root: repository.
        asked: names of tiers, `lint` and `bench` among them.
    """
    known = (LINT, *TIERS, BENCH)
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise UsageError(f"No tier {', '.join(unknown)}.", f"There are: {', '.join(known)}")
    there = [tier for tier in TIERS if any((root / "tests" / tier).glob("test_*.py"))]
    return [tier for tier in there if tier in asked] if asked else there


def stamp_of(requirements: bytes, version: str) -> str:
    """Return what marks an environment as made from these requirements.

    Args:
        requirements: content of the lock file.
        version: of the Python that it was made with.
    """
    return hashlib.sha256(requirements + version.encode()).hexdigest()


def ensure_environment(session: Session, root: Path) -> Path:
    """Make the tests' own Python environment, unless it is there and matches the lock file.

    Args:
        session: this call.
        root: repository.
    Returns: its folder of programs.
    """
    host, console = session.host, session.console
    folder = root / ".venv"
    programs = folder / "bin"
    lock = root / "tests/requirements.txt"
    python = find_python(session)
    version = host.run([python, "--version"], timeout_s=30).stdout.strip()
    stamp = folder / "vixtract-stamp"
    wanted = stamp_of(lock.read_bytes(), version)
    if stamp.is_file() and stamp.read_text("ascii") == wanted:
        return programs
    console.say(f"Making the tests' environment in .venv with {version}")
    stamp.unlink(missing_ok=True)
    steps = [[str(programs / "python"), "-m", "pip", "install", "--requirement", str(lock)]]
    there = host.run([str(programs / "python"), "--version"], timeout_s=30)
    if not there.ok or there.stdout.strip() != version:
        steps.insert(0, [python, "-m", "venv", "--clear", str(folder)])
    for step in steps:
        done = host.stream(step, timeout_s=1200, on_line=console.detail)
        if not done.ok:
            for line in done.stdout.splitlines()[-15:]:
                console.say(f"  {line}")
            raise CommandError(
                f"The tests' environment could not be made: {done.last_line[:200]}",
                "Check that the package index can be reached (PIP_INDEX_URL, HTTPS_PROXY).",
            )
    stamp.write_text(wanted, "ascii")
    return programs


def find_python(session: Session) -> str:
    """Return a Python of 3.11 or newer that can make environments; installs what it lacks.

    Args:
        session: this call.
    """
    host = session.host
    names = [sys.executable, "/usr/bin/python3", "python3.13", "python3.12", "python3.11"]
    test = f"import sys, ensurepip, venv; sys.exit(sys.version_info < {OLDEST})"
    for name in names:
        if host.run([name, "-c", test], timeout_s=30).ok:
            return name
    newer = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    if host.run(["/usr/bin/python3", "-c", newer], timeout_s=30).ok:
        install_packages(session, ["python3-venv"], "the tests' environment")
        return "/usr/bin/python3"
    raise PreconditionError("The tests need Python 3.11 or newer.", "Install python3.11-venv.")


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


def run_linters(session: Session, root: Path, programs: Path, outcome: Outcome) -> None:
    """Run all linters; only those that complain show their output.

    Args:
        session: this call.
        root: repository.
        programs: the environment's folder of programs.
        outcome: takes down what failed.
    """
    host = session.host
    commands = build_linters(root, programs, list_tracked(host, root))
    for name, command in commands.items():
        session.console.detail(f"{name} …")
        done = host.run(["env", "-C", str(root), *command], timeout_s=LINT_S)
        outcome.note(name, done.returncode)
        if not done.ok:
            for line in (done.stdout + done.stderr).splitlines():
                session.console.say(f"  {line}")
        session.console.say(f"{name}: {'passed' if done.ok else 'failed'}")


def prepare_engine(
    session: Session, instance: Instance, tiers: Sequence[str], *, required: bool
) -> str:
    """Make engine, compose and images ready for the tiers that run containers.

    Args:
        session: this call.
        instance: an appliance of the tests' own, for its settings.
        tiers: those that will run.
        required: whether a missing engine is a failure.
    Returns: why these tiers cannot run; empty when they can.
    """
    engine = look_at_engine(session.host)
    if engine.state != "running" and not session.assume_yes and not required:
        return f"no container engine ({engine.message}); --yes installs and starts it"
    engine = ensure_engine(session)
    ensure_compose(session, engine)
    ensure_images(session, instance)
    supply = Supply(session, instance)
    if supply.has(instance.settings["CRONICLE_IMAGE"]):
        # Where it is absent, the tests that need it say so in the report's last lines.
        supply.ensure_service("cronicle-edge")
    if "browser" in tiers and not session.host.which("chromium"):
        install_packages(session, ["chromium"], "the browser tests")
    return ""


def prepare_servers(session: Session, *, required: bool) -> None:
    """Install what tests run on this machine itself: PostgreSQL, slapd, and a clock to move.

    Args:
        session: this call.
        required: whether they are a must (CI); otherwise the tests say that they did not run.
    """
    missing = [
        package
        for package, pattern in CONTRACT_PACKAGES.items()
        if not any(Path("/usr/lib").glob(pattern))
    ]
    if missing and (required or session.assume_yes):
        install_packages(session, missing, "the contract tests")


def run_tests(
    session: Session,
    instance: Instance,
    asked: Sequence[str],
    arguments: Sequence[str],
    *,
    required: bool,
) -> Outcome:
    """Run linters and tests.

    Args:
        session: this call.
        instance: an appliance of the tests' own, for its settings.
        asked: tiers; all when empty.
        arguments: more arguments of pytest.
        required: whether tiers that cannot run are a failure (CI).
    """
    root = instance.root
    outcome = Outcome()
    tiers = choose_tiers(root, asked)
    programs = ensure_environment(session, root)
    if not asked or LINT in asked:
        run_linters(session, root, programs, outcome)
    measures = not asked or BENCH in asked
    if {"contract", "images"} & set(tiers) or measures:
        prepare_servers(session, required=required)
    if any(tier in DOCKER_TIERS for tier in tiers):
        problem = prepare_engine(session, instance, tiers, required=required)
        if problem:
            outcome.left_out = {tier: problem for tier in tiers if tier in DOCKER_TIERS}
            tiers = [tier for tier in tiers if tier not in DOCKER_TIERS]
    for tier, reason in outcome.left_out.items():
        session.console.say(f"Not run: {tier}, {reason}")
    if outcome.failed:
        session.console.say(f"Failed so far: {', '.join(outcome.failed)}")
    if tiers:
        # One run for all tiers: pytest's own last line then counts every test.
        words = [*(f"tests/{tier}" for tier in tiers), *SIDE_BY_SIDE, *arguments]
        command = [str(programs / "python"), "-m", "pytest", *words]
        session.console.say(f"pytest {' '.join(words)}")
        code = session.host.attach(command, timeout_s=PYTEST_S, directory=root)
        if code < 0:
            session.console.say(f"pytest was killed by signal {-code}")
        outcome.note("pytest", code)
    if measures:
        run_bench(session, root, programs, outcome)
    return outcome


def run_bench(session: Session, root: Path, programs: Path, outcome: Outcome) -> None:
    """Measure whether loading has become twice as slow as recorded, beside its peers.

    Args:
        session: this call.
        root: repository.
        programs: the environment's folder of programs.
        outcome: takes down a failure, or that it did not run.
    """
    if not any(Path("/usr/lib").glob(CONTRACT_PACKAGES["postgresql"])):
        outcome.left_out[BENCH] = "PostgreSQL is not installed here; --yes installs it"
        session.console.say(f"Not run: {BENCH}, {outcome.left_out[BENCH]}")
        return
    command = [str(programs / "python"), "benchmarks/check.py"]
    session.console.say("benchmarks/check.py")
    outcome.note(BENCH, session.host.attach(command, timeout_s=BENCH_S, directory=root))
