"""The environment of a run, built from scratch: no variable of root's leaks into it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from vixtract.errors import VixtractError
from vixtract.people.roles import login_environment, role_password
from vixtract.processes.person import Person
from vixtract.processes.spawn import compute_apart
from vixtract.runner.config import RunnerConfig
from vixtract.vault import client

log = logging.getLogger(__name__)

_APART_S = 30.0
PRIVATE_FOLDERS = ("cache", "ipython", "jupyter", "matplotlib", "tmp")


def build_environment(
    person: Person, config: RunnerConfig, *, run_dir: Path, private: Path, job: str
) -> dict[str, str]:
    """Return the variables of a person's run with this record and private directory."""
    # Commands of the owner come before the system's, as in a login shell; the wrapper for papermill
    # comes first of all, because old scripts write beside their notebooks.
    path = [config.jobs_bin, person.home / ".local/bin", "/usr/local/bin", "/usr/bin", "/bin"]
    return {
        **config.environment,
        "PATH": ":".join(str(entry) for entry in path),
        "HOME": str(person.home),
        "USER": person.name,
        "LOGNAME": person.name,
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TMPDIR": str(private / "tmp"),
        "XDG_CACHE_HOME": str(private / "cache"),
        "IPYTHONDIR": str(private / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(private / "jupyter"),
        "MPLCONFIGDIR": str(private / "matplotlib"),
        "VIXTRACT_OUTPUT_DIR": str(run_dir),
        "VIXTRACT_RUN_ID": job,
    }


def ask_for_run(person: Person, config: RunnerConfig) -> tuple[Mapping[str, str], list[str]]:
    """Ask the vault for the owner's database login and the secrets to mask.

    Both are made from keys of all people. These must not be in a supervisor's memory, which its
    forked processes inherit.

    Returns: the owner's PostgreSQL variables, and the secrets of their connections, for masking.
    """
    if client.SOCKET.parent.is_dir():
        try:
            answer = client.ask({"do": "run", "person": person.name})
        except VixtractError as error:
            log.warning("Connections' secrets of %s are not masked: %s", person.name, error)
        else:
            host, port = config.postgresql
            password = str(answer.get("password") or "")
            if not password:
                log.warning("Runs have no database variables: there is no role_key")
            variables = login_environment(person.name, password, host=host, port=port)
            secrets = [str(value) for value in answer.get("secrets", ())]
            return (variables if password else {}), secrets

    def work() -> bytes:
        return json.dumps(dict(database_environment(person, config))).encode()

    return json.loads(compute_apart(work, _APART_S) or b"{}"), []


def database_environment(person: Person, config: RunnerConfig) -> Mapping[str, str]:
    """Return the person's PostgreSQL variables; none where the appliance has no key yet."""
    try:
        key = (config.secrets_dir / "role_key").read_text(encoding="ascii").strip()
    except OSError as error:
        log.warning("Runs have no database variables: role_key: %s", error.strerror)
        return {}
    from vixtract.people.archive import generation

    host, port = config.postgresql
    number = generation(person.name, config.home_root)
    try:
        password = role_password(key, person.name, number)
        return login_environment(person.name, password, host=host, port=port)
    except VixtractError as error:
        log.warning("No database variables for %s: %s", person.name, error.message)
        return {}


def received_database(database: Mapping[str, object], config: RunnerConfig) -> dict[str, str]:
    """Return the PostgreSQL variables of a request, with the address as seen from this worker."""
    found = {name: text for name, text in database.items() if isinstance(text, str)}
    if not found:
        return {}
    host, port = config.postgresql
    url = urlsplit(found.get("DATABASE_URL", ""))
    login = url.netloc.rpartition("@")[0]
    bracketed = f"[{host}]" if ":" in host else host
    found["DATABASE_URL"] = url._replace(netloc=f"{login}@{bracketed}:{port}").geturl()
    return {**found, "PGHOST": host, "PGPORT": str(port)}
