"""What all tiers share: the Docker gate, free ports, and waiting with a deadline."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APPLIANCE_TIERS = ("stack", "browser")
DOCKER_TIERS = ("images", "stack", "browser")


@functools.cache
def ask_docker() -> tuple[str, str]:
    """Return the engine's versions, and why no container can be run; one of them is empty."""
    versions = "engine {{.Server.Version}}, API {{.Server.APIVersion}}"
    try:
        answer = subprocess.run(
            ["docker", "version", "--format", versions],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    if answer.returncode:
        return "", (answer.stderr.strip().splitlines() or ["docker version failed"])[-1]
    return answer.stdout.strip(), ""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Say which tests one worker runs one after the other: a file; and all of the appliance's."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "appliance" if file.split("/")[1] in APPLIANCE_TIERS else file

    return Scheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark the container tiers; without an engine they fail in CI and are skipped elsewhere.

    The appliance's tests come first where there are two workers: together they take about as long
    as all others.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.parent.name not in APPLIANCE_TIERS)
    needing = [
        item for item in items if item.path.relative_to(ROOT / "tests").parts[0] in DOCKER_TIERS
    ]
    for item in needing:
        item.add_marker(pytest.mark.docker)
    problem = ask_docker()[1] if needing else ""
    if not problem:
        return
    if os.environ.get("CI") == "true":
        raise pytest.UsageError(f"CI needs a container engine: {problem}")
    for item in needing:
        item.add_marker(pytest.mark.skip(reason=f"no container engine: {problem}"))


def pytest_report_collectionfinish(items):
    """Name the engine where a test needs it: failures differ between generations."""
    if any(item.get_closest_marker("docker") for item in items):
        return f"container {ask_docker()[0] or 'engine: none'}"
    return None


def pytest_terminal_summary(terminalreporter):
    """Say in the last lines which tests did not run because Cronicle's image is absent."""
    skipped = terminalreporter.stats.get("skipped", [])
    without = [report for report in skipped if "Cronicle's image is absent" in str(report.longrepr)]
    if without:
        terminalreporter.write_line(
            f"NOT TESTED: {len(without)} tests of the engine cronicle, because its image is not here "
            "(./vixtract build cronicle-edge makes it where CRONICLE_IMAGE can be had)."
        )
