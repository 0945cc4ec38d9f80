"""One appliance for the whole tier, under its own project name and free ports."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.stack.appliance import ENGINE, ROOT, Appliance, Person
from tests.waiting import free_port
from vixtract.ops.envfile import save_env

SERVICES = ("postgresql", "jupyter", "cronicle", "nginx")


def project_name(suffix: str = "") -> str:
    """Return a compose project name that belongs to this checkout alone."""
    digest = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    return f"vxtest{digest}{suffix}"


def new_appliance(suffix: str = "") -> Appliance:
    """Describe an instance on free ports; nothing is started."""
    return Appliance(project_name(suffix), free_port(), free_port(), free_port())


def describe(appliance: Appliance) -> str:
    """Return the last log lines of every container, for a failure's report."""
    lines = []
    for service in SERVICES:
        name = appliance.container(service)
        done = subprocess.run(
            ["docker", "logs", "--tail", "40", name], capture_output=True, text=True, timeout=60
        )
        lines.append(f"--- {name}\n{done.stdout}{done.stderr}")
    return "\n".join(lines)


@pytest.fixture(scope="session")
def appliance() -> Iterator[Appliance]:
    """Bring one appliance up for the session and take it down with its volumes."""
    instance = new_appliance()
    instance.operate("down", "--volumes", "--yes", check=False)
    # Small, so that a hog reaches it before the machine that tests suffers.
    save_env(ROOT / ".vixtract" / f"{instance.project}.env", {"SERVER_MEMORY_MB": "1500"})
    try:
        instance.operate("up", "--yes", "--engine", ENGINE, timeout_s=1800)
        # People's uids go on from here: a limit of processes counts a uid's in all containers, and
        # other tests run beside these.
        instance.execute("jupyter", "useradd", "--uid=4000", "--no-create-home", "spacer")
        yield instance
    finally:
        instance.close()
        if os.environ.get("VIXTRACT_TEST_KEEP") != "1":
            instance.operate("down", "--volumes", "--yes", check=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Attach the containers' logs to a failed test's report."""
    report = yield
    if report.when == "call" and report.failed and "appliance" in item.funcargs:
        report.sections.append(("containers", describe(item.funcargs["appliance"])))
    return report


@pytest.fixture(scope="session")
def passwords(appliance) -> dict[str, str]:
    """Make the people of the tests: an admin and two analysts."""
    return {
        "boss": appliance.add_person("boss", admin=True),
        "anna": appliance.add_person("anna"),
        "bob": appliance.add_person("bob"),
    }


@pytest.fixture(scope="session")
def anna(appliance, passwords) -> Person:
    """Return an analyst with a running JupyterLab server."""
    person = Person(appliance, "anna", passwords["anna"])
    person.start_server()
    return person


@pytest.fixture(scope="session")
def boss(appliance, passwords) -> Person:
    """Return a Hub admin with a running JupyterLab server."""
    person = Person(appliance, "boss", passwords["boss"])
    person.start_server()
    return person
