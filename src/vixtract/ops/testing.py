"""What `./vixtract test` does: its own environment, linters, images, then all tiers at once."""

from __future__ import annotations

import hashlib
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vixtract.errors import PreconditionError, UsageError
from vixtract.ops.compose import ensure_compose
from vixtract.ops.console import Session
from vixtract.ops.engine import ensure_engine, install_packages, look_at_engine
from vixtract.ops.host import CommandError
from vixtract.ops.instance import Instance
from vixtract.ops.linters import run_linters
from vixtract.ops.provision import Supply, ensure_images

TIERS = ("unit", "contract", "images", "stack", "browser")
# Most tests wait for a container: two at a time. tests/conftest.py says which stay together.
# With Cronicle's image there are twenty minutes more, in which tests wait for its clock.
PROCESSES = "2"
PROCESSES_WITH_CRONICLE = "3"
SIDE_BY_SIDE = ("-n", PROCESSES, "--dist", "loadscope", "--no-loadscope-reorder", "--durations=20")
DOCKER_TIERS = ("images", "stack", "browser")
LINT = "lint"
BENCH = "bench"
# A mark, not a tier: soaks, drills and corpora of any tier, which no other call runs.
LONG = "long"
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
PYTEST_S = 4800.0
LONG_S = 8 * 3600.0
BENCH_S = 900.0


@dataclass
class Outcome:
    """The outcome of linters, tests and measurement.

    Args:
        codes: their exit codes.
        left_out: tiers that were not run, with the reason.
    """

    failed: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def note(self, name: str, code: int) -> None:
        """Record the exit code of a step."""
        if code:
            self.failed.append(name)
            # pytest's 4 is wrong use; all other codes of it and of the linters are failures.
            self.codes.append(2 if (name, code) == ("pytest", 4) else 1)

    @property
    def exit_code(self) -> int:
        """The worst of all exit codes."""
        return max(self.codes, default=0)


@dataclass(frozen=True)
class Selection:
    """What one call of `./vixtract test` runs.

    Args:
        paths: what pytest collects, relative to the repository; empty when it does not run.
        tiers: those that the paths belong to.
        options: pytest's options that narrow the paths down, and how many processes share them.
    """

    paths: tuple[str, ...]
    tiers: frozenset[str]
    options: tuple[str, ...] = ()
    lint: bool = False
    bench: bool = False
    timeout_s: float = PYTEST_S


def select_tests(
    root: Path, asked: Sequence[str], keyword: str = "", *, fast: bool = False
) -> Selection:
    """Return what the words of a call select; all but the long tests when there is no word.

    Tiers are shared by two processes. What is named more narrowly runs in one, which is ready
    before a second one would have started.

    Args:
        asked: names of tiers, `lint`, `bench`, `long`, and files, folders or node ids of pytest.
        keyword: expression of pytest's option -k, or empty.
    Raises:
        UsageError: a word is neither a tier nor a path of tests, or the words contradict.
    """
    there = [tier for tier in TIERS if any((root / "tests" / tier).glob("test_*.py"))]
    words = [word for word in asked if word not in (LINT, BENCH, LONG)]
    named = [_find_path(root, word) for word in words if word not in TIERS]
    tiers = [tier for tier in there if tier in words]
    if fast and LONG in asked:
        raise UsageError("--fast and long contradict.", "Leave one of them out.")
    if not words and (LONG in asked or not asked):
        tiers = there
    paths = [*(f"tests/{tier}" for tier in tiers), *named]
    if LONG in asked:
        paths = [name for name in _list_files(root, paths) if _has_long_tests(root / name)]
        if not paths:
            raise UsageError(f"No test there is marked {LONG}.", f"Run it without the word {LONG}.")
    if keyword:
        paths = _match_names(root, paths, keyword) or paths
    marks = {"not long": LONG not in asked, "long": LONG in asked, "not slow": fast}
    options = ["-m", " and ".join(mark for mark, applies in marks.items() if applies)]
    if any("::" in name for name in named):
        # A test that is named by itself runs, whatever it is marked with.
        options = ["-m", ""]
    elif not named and not keyword:
        options += SIDE_BY_SIDE
    if keyword:
        options += ["-k", keyword]
    return Selection(
        paths=tuple(paths),
        tiers=frozenset(path.split("/")[1] for path in paths),
        options=tuple(options),
        lint=LINT in asked or not (asked or keyword),
        bench=BENCH in asked or not (asked or keyword or fast),
        timeout_s=LONG_S if LONG in asked else PYTEST_S,
    )


def _find_path(root: Path, word: str) -> str:
    """Return a file, folder or node id relative to the repository."""
    name, colons, test = word.partition("::")
    for base in (Path.cwd(), root):
        path = (base / name).resolve()
        try:
            parts = path.relative_to(root.resolve()).parts
        except ValueError:
            continue
        if name and path.exists() and len(parts) > 1 and parts[0] == "tests" and parts[1] in TIERS:
            return "/".join(parts) + colons + test
    raise UsageError(
        f"{word!r} is neither a tier nor a path of tests.",
        f"Tiers: {', '.join((LINT, *TIERS, BENCH, LONG))}. "
        f"Paths start with tests/ and a tier: tests/unit/test_settings.py.",
    )


def _list_files(root: Path, paths: Sequence[str]) -> list[str]:
    """Return the files of tests at or below paths; a node id stays as it is."""
    found = []
    for name in paths:
        path = root / name
        files = sorted(path.glob("**/test_*.py")) if path.is_dir() else []
        found += [file.relative_to(root).as_posix() for file in files] or [name]
    return found


def _has_long_tests(path: Path) -> bool:
    mark = rf"(^\s*|marks=|= |\[)@?pytest\.mark\.{LONG}\b"
    return path.is_file() and bool(re.search(mark, path.read_text("utf-8"), re.MULTILINE))


def _match_names(root: Path, paths: Sequence[str], keyword: str) -> list[str]:
    """Return the files whose name, or whose tests' names, contain a part of an expression.

    pytest still applies the expression; reading fewer files only makes that quicker. Names that
    pytest makes from parameters are not in a file: where no file matches, none is left out.
    """
    words = set(re.findall(r"[^\s()]+", keyword.lower())) - {"and", "or"}
    if "not" in words:
        return []
    found = []
    for name in _list_files(root, paths):
        path = root / name.partition("::")[0]
        names = re.findall(r"^\s*(?:async def|def|class) (\w+)", path.read_text("utf-8"), re.M)
        if any(word in each.lower() for word in words for each in (path.stem, *names)):
            found.append(name)
    return found


def ensure_environment(session: Session, root: Path) -> Path:
    """Make the Python environment of the tests, unless it matches the lock file already.

    Returns: its folder of programs.
    """
    host, console = session.host, session.console
    folder = root / ".venv"
    programs = folder / "bin"
    lock = root / "tests/requirements.txt"
    python = find_python(session)
    version = host.run([python, "--version"], timeout_s=30).stdout.strip()
    stamp = folder / "vixtract-stamp"
    wanted = hashlib.sha256(lock.read_bytes() + version.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text("ascii") == wanted:
        return programs
    console.say(f"Making the tests' environment in .venv with {version}")
    stamp.unlink(missing_ok=True)
    own = str(programs / "python")
    steps = [
        # The lock file is whole but for what its overrides leave out, which pip would look for.
        [own, "-m", "pip", "install", "--no-deps", "--requirement", str(lock)],
        # pip leaves what the lock file no longer has, and a test would go on finding it.
        [str(programs / "uv"), "pip", "sync", "--offline", "--python", own, str(lock)],
    ]
    there = host.run([own, "--version"], timeout_s=30)
    if not there.ok or there.stdout.strip() != version:
        steps.insert(0, [python, "-m", "venv", "--clear", str(folder)])
    for step in steps:
        done = host.stream(step, timeout_s=1200, on_line=console.detail)
        if not done.ok:
            for line in done.stdout.splitlines()[-15:]:
                console.say(f"  {line}")
        done.require(
            CommandError,
            "The tests' environment could not be made",
            "Check that the package index can be reached (PIP_INDEX_URL, HTTPS_PROXY).",
        )
    stamp.write_text(wanted, "ascii")
    return programs


def find_python(session: Session) -> str:
    """Return a Python of 3.11 or newer that can make environments; installs what it lacks."""
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


def prepare_engine(
    session: Session, instance: Instance, tiers: Sequence[str], *, required: bool
) -> str:
    """Make engine, compose and images ready for the tiers that run containers.

    Args:
        instance: an appliance of the tests' own, for its settings.
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
        required: whether they are a must (CI); otherwise the tests say that they did not run.
    """
    files = CONTRACT_PACKAGES.items()
    missing = [name for name, pattern in files if not any(Path("/usr/lib").glob(pattern))]
    if missing and (required or session.assume_yes):
        install_packages(session, missing, "the contract tests")


def run_tests(
    session: Session,
    instance: Instance,
    selection: Selection,
    arguments: Sequence[str],
    *,
    required: bool,
) -> Outcome:
    """Run linters, tests and the measurement of loading, as far as they are selected.

    Args:
        instance: an appliance of the tests' own, for its settings.
        arguments: more arguments of pytest.
        required: whether tiers that cannot run are a failure (CI).
    """
    root = instance.root
    outcome = Outcome()
    programs = ensure_environment(session, root)
    if selection.lint:
        run_linters(session, root, programs, outcome.note)
    if {"contract", "images"} & selection.tiers or selection.bench:
        prepare_servers(session, required=required)
    paths = list(selection.paths)
    needing = [tier for tier in DOCKER_TIERS if tier in selection.tiers]
    problem = prepare_engine(session, instance, needing, required=required) if needing else ""
    if problem:
        outcome.left_out = dict.fromkeys(needing, problem)
        paths = [path for path in paths if path.split("/")[1] not in needing]
    for tier, reason in outcome.left_out.items():
        session.console.say(f"Not run: {tier}, {reason}")
    if outcome.failed:
        session.console.say(f"Failed so far: {', '.join(outcome.failed)}")
    if paths:
        options = list(selection.options)
        shares_images = "-n" in options and "images" in selection.tiers and not problem
        if shares_images and Supply(session, instance).has(instance.settings["CRONICLE_IMAGE"]):
            options[options.index("-n") + 1] = PROCESSES_WITH_CRONICLE
        words = [*paths, *options, *arguments]
        outcome.note("pytest", run_pytest(session, root, words, selection.timeout_s))
    if selection.bench:
        run_bench(session, root, programs, outcome)
    return outcome


def run_pytest(session: Session, root: Path, words: Sequence[str], timeout_s: float) -> int:
    """Run all selected tests in one pytest, whose last line then counts every test.

    Returns: its exit code, negative for the signal that killed it.
    """
    session.console.say(f"pytest {shlex.join(words)}")
    code = session.host.attach(
        [str(root / ".venv/bin/python"), "-m", "pytest", *words],
        timeout_s=timeout_s,
        directory=root,
        # Compiled tests are kept: compiling all of them takes longer than running most of them.
        environment={"PYTHONDONTWRITEBYTECODE": ""},
    )
    if code < 0:
        session.console.say(f"pytest was killed by signal {-code}")
    return code


def run_bench(session: Session, root: Path, programs: Path, outcome: Outcome) -> None:
    """Measure whether loading has become twice as slow as recorded, beside its peers."""
    if not any(Path("/usr/lib").glob(CONTRACT_PACKAGES["postgresql"])):
        outcome.left_out[BENCH] = "PostgreSQL is not installed here; --yes installs it"
        session.console.say(f"Not run: {BENCH}, {outcome.left_out[BENCH]}")
        return
    command = [str(programs / "python"), "benchmarks/check.py"]
    session.console.say("benchmarks/check.py")
    outcome.note(BENCH, session.host.attach(command, timeout_s=BENCH_S, directory=root))
