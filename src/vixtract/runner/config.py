"""Configuration of the runner daemon: paths, limits, and who may schedule for whom."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vixtract.errors import RequestError
from vixtract.runner import accounts
from vixtract.runner.protocol import SOCKET
from vixtract.settings import Settings, build_people_environment
from vixtract.values import MIB, read_workers

SERVICE_AUTHOR = "vixtract"

INTERPRETER = ("/opt/vixtract/bin/python", "-I", "-m")
# The kernels' Python, without site: nothing of /usr/local, which administrators may write.
FORK_SERVER = ("/usr/bin/python3", "-S", str(Path(__file__).with_name("forkserver.py")))


@dataclass(frozen=True)
class RunnerConfig:
    """Places, limits and commands of one runner daemon.

    Args:
        home_root: homes, `<home_root>/<owner>`.
        runs_root: records, `<runs_root>/<owner>/<job>`.
        tmp_root: private temporary directories of runs, 0711 root.
        secrets_dir: `role_key` and `people.json`, 0700 root.
        engine_uid: the only uid (besides root's, for tests of its own) whose requests are taken.
        engine_gid: group that may reach the socket.
        memory_mb: MiB of a run that sets none; 0 means no limit.
        grace_s: seconds that a stopped run has to save what it has.
        max_connections: runs at once; more connections are turned away.
        log_bytes: largest log; more output is dropped, with a line that says so.
        file_bytes: largest file a run may write.
        processes: threads and processes that one person may have.
        disk_floor_mb: MiB of free disk that runs must leave; 0 means no floor.
        driver: command that runs a notebook, its job on standard input.
        renderer: command that makes the HTML of the executed notebook.
        jobs_bin: directory of commands that jobs find first.
        postgresql: host and port for people's database variables.
        environment: variables that every run gets as they are.
        fork_server: command of the process that warm runs are forked from; empty: all start cold.
        ensure_account: makes the OS account of a person where it is missing.
        workers: host and port of the machines that runs with the target `workers` go to.
        is_worker: whether this is such a machine: what comes was checked by the appliance.
    """

    socket_path: Path = SOCKET
    home_root: Path = Path("/home")
    runs_root: Path = Path("/runs")
    tmp_root: Path = Path("/var/lib/vixtract/tmp")
    secrets_dir: Path = Path("/srv/secrets")
    engine_uid: int = 990
    engine_gid: int = 990
    memory_mb: int = 2048
    timeout_s: int = 86400
    grace_s: float = 3.0
    max_connections: int = 64
    notebook_bytes: int = 50 * MIB
    log_bytes: int = 20 * MIB
    file_bytes: int = 8192 * MIB
    processes: int = 1024
    disk_floor_mb: int = 0
    driver: tuple[str, ...] = (*INTERPRETER, "vixtract.notebooks.execute")
    renderer: tuple[str, ...] = (*INTERPRETER, "vixtract.notebooks.render")
    jobs_bin: Path = Path("/opt/vixtract/jobs/bin")
    postgresql: tuple[str, int] = ("postgresql", 5432)
    environment: Mapping[str, str] = field(default_factory=dict)
    fork_server: tuple[str, ...] = ()
    ensure_account: Callable[[str, Path], object] | None = None
    workers: tuple[tuple[str, int], ...] = ()
    is_worker: bool = False


def load_config(environment: Mapping[str, str]) -> RunnerConfig:
    """Read the configuration of the runner of an appliance or of a worker.

    Raises:
        SettingsError: a setting is missing or wrong.
    """
    is_worker = bool(environment.get("RUNNER_IS_WORKER"))
    process = "worker-runner" if is_worker else "appliance-runner"
    settings = Settings.for_process(process, environment)
    config = RunnerConfig(
        memory_mb=settings.integer("JOB_MEMORY_MB"),
        timeout_s=settings.integer("JOB_TIMEOUT_S"),
        processes=settings.integer("JOB_PROCESSES"),
        disk_floor_mb=settings.integer("DISK_FLOOR_MB"),
        environment=build_people_environment("job", environment),
        ensure_account=accounts.ensure_account,
        fork_server=FORK_SERVER if settings["JOB_WARM"] == "on" else (),
        is_worker=is_worker,
    )
    if not is_worker:
        return replace(config, workers=read_workers(settings["WORKERS"]))
    address = (settings["POSTGRES_HOST"], settings.integer("POSTGRES_PORT"))
    return replace(config, postgresql=address)


def check_author(author: str, owner: str, admins: Collection[str]) -> None:
    """Refuse an author who may not schedule runs for this owner.

    Raises:
        RequestError: the author is neither the owner, nor an admin, nor the appliance itself.
    """
    if author in (owner, SERVICE_AUTHOR) or author in admins:
        return
    raise RequestError(
        f"{author!r} may not run anything as {owner!r}.",
        "Only the owner or a Hub admin may schedule it.",
    )


def check_blocked(author: str, owner: str, blocked: Collection[str]) -> None:
    """Refuse a run of a person who is disabled or being removed.

    Raises:
        RequestError: one of them is blocked.
    """
    for name in (owner, author):
        if name in blocked:
            raise RequestError(
                f"{name!r} is disabled.", "An administrator can run: ./vixtract user enable NAME"
            )
