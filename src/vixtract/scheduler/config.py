"""The engine's configuration, read once from the environment."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vixtract.errors import SettingsError
from vixtract.scheduler.notify import NotifyConfig
from vixtract.settings import Settings

ENGINE_VERSION = "embedded"


@dataclass(frozen=True)
class EngineConfig:
    """What the engine needs to know.

    Args:
        api_key: the appliance's key, which has all privileges.
        data_dir: folder of the ledger and the job logs, kept 0700.
        database_url: PostgreSQL to mirror the ledger to; empty for none.
        max_jobs: runs at the same time, the rest waits.
        job_timeout_s: limit of a run whose event sets none, seconds.
        catch_up_cap: late slots made up for per event.
        keep_days: finished runs older than this are deleted; 0 keeps them.
        keep_runs: newest finished runs of an event that are kept; 0 keeps all.
        timezone: zone of events that name none.
        plugin_command: command line of the plugins; the plugin's own word is appended.
        plugin_environment: the whole environment of plugins.
        runner_socket: socket whose answer says that the runner is up.
        log_limit: bytes kept of one job's log.
    """

    api_key: str = field(repr=False)
    data_dir: Path
    database_url: str = field(default="", repr=False)
    max_jobs: int = 4
    job_timeout_s: int = 86400
    catch_up_cap: int = 24
    keep_days: int = 180
    keep_runs: int = 1000
    timezone: str = "UTC"
    host: str = "0.0.0.0"  # noqa: S104 - reached by nginx and the portal on the compose network
    port: int = 3012
    plugin_command: tuple[str, ...] = ()
    plugin_environment: Mapping[str, str] = field(default_factory=dict)
    runner_socket: Path = Path("/run/vixtract/runner.sock")
    log_limit: int = 20 * 1024 * 1024
    notify: NotifyConfig = field(default_factory=NotifyConfig)


def load_config(environment: Mapping[str, str]) -> EngineConfig:
    """Read the configuration; SettingsError when a setting or the API key is missing or wrong."""
    settings = Settings.for_process("engine", environment)
    api_key = environment.get("SCHEDULER_API_KEY", "")
    if not re.fullmatch(r"\w{20,200}", api_key, re.ASCII):
        raise SettingsError(
            "SCHEDULER_API_KEY is missing or is not 20 to 200 letters and digits.",
            "The container's entrypoint sets it from the secrets volume.",
        )
    port = environment.get("SCHEDULER_PORT", "") or "3012"
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise SettingsError(f"SCHEDULER_PORT={port!r} is not a port between 1 and 65535.")
    default_plugin = (sys.executable, "-I", "-m", "vixtract.runner.plugin")
    plugin = tuple(environment.get("SCHEDULER_PLUGIN_COMMAND", "").split())
    return EngineConfig(
        api_key=api_key,
        data_dir=Path(environment.get("SCHEDULER_DATA_DIR", "") or "/opt/cronicle/data"),
        database_url=environment.get("SCHEDULER_DATABASE_URL", ""),
        max_jobs=max(1, settings.integer("MAX_JOBS")),
        job_timeout_s=settings.integer("JOB_TIMEOUT_S") or 86400,
        catch_up_cap=max(1, settings.integer("CATCH_UP_CAP")),
        keep_days=settings.integer("RUNS_KEEP_DAYS"),
        keep_runs=settings.integer("RUNS_KEEP_COUNT"),
        timezone=settings["TZ"],
        host=environment.get("SCHEDULER_HOST", "") or EngineConfig.host,
        port=int(port),
        plugin_command=plugin or default_plugin,
        plugin_environment=_plugin_environment(environment),
        notify=NotifyConfig.from_settings(settings),
        runner_socket=Path(environment.get("RUNNER_SOCKET", "") or EngineConfig.runner_socket),
    )


def _plugin_environment(environment: Mapping[str, str]) -> dict[str, str]:
    # Everything else in the engine's environment stays with the engine.
    passed = {name: environment[name] for name in ("TZ", "RUNNER_SOCKET") if name in environment}
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent", **passed}
