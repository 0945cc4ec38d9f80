"""The container engine: find it, install it from the distribution, start it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from vixtract.errors import PreconditionError
from vixtract.ops.console import Session
from vixtract.ops.host import Completed, Host
from vixtract.ops.stale import find_process, find_stale_files, remove_stale_files

CGROUPS = "sys/fs/cgroup"
LOG = "var/log/dockerd.log"
START_S = 90.0
ASK_S = 20.0
#: Newer releases have the client in a package of its own.
ENGINE_PACKAGES = ("docker.io", "docker-cli", "iptables", "ca-certificates")
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=120")


@dataclass(frozen=True)
class ContainerEngine:
    """The state of the container engine.

    Args:
        state: running, missing, stopped, forbidden (no permission) or remote (DOCKER_HOST, no
            answer).
        version: of the server, empty unless it runs.
        api: newest API version that it speaks, as (major, minor).
        oldest_api: oldest API version that it accepts.
        message: what the client last said.
    """

    state: str
    version: str = ""
    api: tuple[int, ...] = ()
    oldest_api: tuple[int, ...] = ()
    message: str = ""


def parse_version(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version such as `20.10.24+dfsg1`."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", text.strip())
    return tuple(map(int, found[1].split("."))) if found else ()


def read_engine(answer: Completed, *, has_daemon: bool, remote: bool) -> ContainerEngine:
    """Return the engine's state from what `docker version --format '{{json .}}'` answers.

    Args:
        has_daemon: whether dockerd is installed on this machine.
        remote: whether DOCKER_HOST names another engine.
    """
    server = None
    if answer.stdout.strip().startswith("{"):
        server = json.loads(answer.stdout.strip().splitlines()[0]).get("Server")
    if server and answer.ok:
        return ContainerEngine(
            "running",
            server.get("Version", ""),
            parse_version(server.get("ApiVersion", "")),
            parse_version(server.get("MinAPIVersion", "")),
        )
    message = answer.last_line
    if "permission denied" in message.lower():
        return ContainerEngine("forbidden", message=message)
    if answer.returncode == 127:
        return ContainerEngine("missing", message=message)
    if remote:
        return ContainerEngine("remote", message=message)
    return ContainerEngine("stopped" if has_daemon else "missing", message=message)


def look_at_engine(host: Host, *, timeout_s: float = ASK_S) -> ContainerEngine:
    """Ask the engine; changes nothing."""
    answer = host.run(["docker", "version", "--format", "{{json .}}"], timeout_s=timeout_s)
    remote = host.environment.get("DOCKER_HOST", "")
    return read_engine(
        answer,
        has_daemon=bool(host.which("dockerd")),
        remote=bool(remote) and not remote.startswith("unix://"),
    )


def build_engine_packages(available: Collection[str]) -> list[str]:
    """Choose the packages of the engine and of compose among those that can be installed."""
    found = [name for name in ENGINE_PACKAGES if name in available]
    return found + build_compose_packages(available)


def build_compose_packages(available: Collection[str]) -> list[str]:
    """Choose the package of compose: the second generation where both can be installed."""
    names = ("docker-compose-v2", "docker-compose-plugin", "docker-compose")
    return [name for name in names if name in available][:1]


def read_available(policy: str) -> set[str]:
    """Read `apt-cache policy NAME…`: the names that have a candidate."""
    found = set()
    name = ""
    for line in policy.splitlines():
        if line and not line.startswith(" "):
            name = line.rstrip(":")
        elif line.strip().startswith("Candidate:") and not line.strip().endswith("(none)"):
            found.add(name)
    return found


def build_apt_install(packages: Sequence[str]) -> list[str]:
    """Build the command that installs packages without a question."""
    options = ["--yes", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"]
    return ["env", "DEBIAN_FRONTEND=noninteractive", *APT, "install", *options, *packages]


def install_packages(session: Session, wanted: Sequence[str], purpose: str) -> None:
    """Install Debian packages, after asking.

    Args:
        purpose: what they are for, in a few words.
    Raises:
        PreconditionError: no apt, no consent, or apt failed.
    """
    names = " ".join(wanted)
    if not session.host.which("apt-get"):
        raise PreconditionError(
            f"Missing for {purpose}: {names}, and this is no Debian or Ubuntu.",
            "Install it with this system's own package manager and start again.",
        )
    session.agree(
        f"Install the packages {names} for {purpose}",
        f"Run with --yes, or: sudo apt-get install {names}",
    )
    session.console.say(f"Installing {names}")
    install = session.privileged(build_apt_install(wanted))
    done = session.host.stream(install, timeout_s=1200, on_line=session.console.detail)
    if not done.ok:
        # A machine's first package lists are empty, and old ones name files that mirrors dropped.
        _update_package_lists(session)
        done = session.host.stream(install, timeout_s=1200, on_line=session.console.detail)
    done.require(
        PreconditionError,
        f"apt-get could not install {names}",
        "Run `sudo apt-get update` and look at its messages, then start again.",
    )


def _update_package_lists(session: Session) -> None:
    update = session.privileged([*APT, "update"])
    session.host.stream(update, timeout_s=300, on_line=session.console.detail)


def list_available(session: Session, names: Sequence[str]) -> set[str]:
    """Return which packages can be installed, package lists brought up to date before."""
    if not session.host.which("apt-cache"):
        return set()
    if session.assume_yes:
        _update_package_lists(session)
    return read_available(session.host.run(["apt-cache", "policy", *names], timeout_s=60).stdout)


def ensure_engine(session: Session) -> ContainerEngine:
    """Return the running container engine; install and start it where that is needed.

    Raises:
        PreconditionError: it cannot be installed or started; the hint names the cure.
    """
    host = session.host
    engine = look_at_engine(host)
    if engine.state == "missing":
        compose = ["docker-compose-v2", "docker-compose"]
        plugin = ["docker", "compose", "version"]
        available = list_available(session, [*ENGINE_PACKAGES, *compose])
        packages = build_engine_packages(available) or ["docker.io"]
        if host.which("docker-compose") or host.run(plugin, timeout_s=ASK_S).ok:
            packages = [name for name in packages if name not in compose]
        install_packages(session, packages, "the container engine")
        # The package's own script starts the daemon where the machine has an init system.
        engine = look_at_engine(host)
    if engine.state in ("stopped", "missing"):
        engine = start_engine(session)
    if engine.state != "running":
        raise engine_error(engine)
    return engine


def engine_error(engine: ContainerEngine) -> PreconditionError:
    """Return the error for an engine that does not run, with its cure."""
    cures = {
        "forbidden": "Run it with sudo, or: sudo usermod -aG docker $USER, and log in again.",
        "missing": "Run `./vixtract up --yes`, which installs it, or: apt-get install docker.io",
        "remote": "Start the engine that DOCKER_HOST names, or unset DOCKER_HOST.",
        "stopped": "Run `./vixtract up --yes`, which starts it, or: sudo systemctl start docker",
    }
    texts = {"forbidden": "may not be used by this account", "missing": "is not installed"}
    state = texts.get(engine.state, "does not run")
    return PreconditionError(f"The container engine {state}.", cures[engine.state])


def start_engine(session: Session) -> ContainerEngine:
    """Start the installed daemon and wait until it answers.

    Raises:
        PreconditionError: no consent, or it does not answer in time (its last log line is given).
    """
    host = session.host
    session.agree("Start the container engine", "Run with --yes, or start dockerd yourself.")
    session.console.say("Starting the container engine")
    log = host.root / LOG
    ended = None
    if (host.root / "run/systemd/system").is_dir():  # sd_booted(3)
        start = session.privileged(["systemctl", "start", "docker"])
        host.run(start, timeout_s=START_S)
    elif not find_process(host.root, "dockerd"):
        if not host.is_root():
            raise PreconditionError("Only root can start dockerd.", "Run: sudo ./vixtract up")
        removed = remove_stale_files(find_stale_files(host.root))
        if removed:
            session.console.detail(f"removed {removed} leftovers of a daemon that died")
        if not any((host.root / CGROUPS).glob("*")):
            # Without an init system, this command has to start it.
            host.run(["mount", "-t", "cgroup2", "cgroup2", f"/{CGROUPS}"], timeout_s=10)
        ended = host.spawn([host.which("dockerd") or "dockerd"], log)
    end = host.clock() + START_S
    while True:
        engine = look_at_engine(host, timeout_s=5)
        if engine.state == "running":
            session.console.say(f"Container engine {engine.version} runs")
            return engine
        code = ended() if ended else None
        if code is not None or host.clock() > end:
            why = f"ended with code {code}" if code is not None else "does not answer"
            hint = "journalctl -u docker" if ended is None else f"/{LOG}"
            raise PreconditionError(
                f"dockerd {why}: {last_log_line(log) or engine.message}", f"Look at: {hint}"
            )
        session.console.detail(f"waiting for dockerd: {engine.message}")
        host.sleep(1)


def last_log_line(log: Path) -> str:
    """Return the last line of a log, at most 300 characters, empty where there is none."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4000))
        lines = file.read().decode("utf-8", "replace").split("\n")
    return next((line.strip()[-300:] for line in reversed(lines) if line.strip()), "")
