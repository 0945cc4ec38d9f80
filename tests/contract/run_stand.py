"""A portal with runs that left files: real engine, real portal, real homes server; plugin and Hub played."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.contract.embedded import EmbeddedEngine
from tests.contract.portal_stand import ROOT, FakeHub, Portal, start_engine
from tests.waiting import wait_until

CAN_SERVE = os.getuid() == 0 or os.getuid() >= 2000
WHY_NOT = "homes belong to uids from 2000 on"
HOMES = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from vixtract.homes.server import Homes, HomesConfig
base = Path(sys.argv[2])
Homes(HomesConfig(base / "s", base / "home", os.getuid(), os.getgid(), base / "runs", base)).run()
"""
ERROR = {"cell": 2, "name": "ValueError", "message": "The file of today has no rows."}


def notebook(*cells: tuple[str, str, str]) -> str:
    """Write an executed notebook: id, source and printed text of each cell; `!` begins an error."""
    made = []
    for identifier, source, text in cells:
        output = {"output_type": "stream", "name": "stdout", "text": text}
        if text.startswith("!"):
            name, _, message = text[1:].partition(": ")
            output = {"output_type": "error", "ename": name, "evalue": message, "traceback": []}
        made.append(
            {
                "cell_type": "code", "id": identifier, "source": source, "metadata": {},
                "execution_count": 1, "outputs": [output] if text else [],
            }
        )  # fmt: skip
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def start_homes(directory: Path) -> subprocess.Popen[bytes]:
    """Start a homes server over `home`, `runs` and `role_key` of a folder; its socket there is `s`."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", HOMES, str(ROOT / "src"), str(directory)]
    )
    wait_until((directory / "s").exists, "the homes server's socket", interval_s=0.05)
    return process


class RunStand:
    """All the processes.

    Args:
        directory: scratch folder, reachable by other accounts.
        settings: of the portal.
    """

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.runs = directory / "runs"
        for folder in ("home/anna", "home/boris", "runs/anna", "engine", "portal"):
            (directory / folder).mkdir(parents=True)
        (directory / "role_key").write_text(settings.pop("role_key", "k" * 64))
        self.runs.chmod(0o755)
        if os.getuid() == 0:
            for path, uid in (("home/anna", 2345), ("home/boris", 2346), ("runs/anna", 2345)):
                os.chown(directory / path, uid, uid)
        self.homes = start_homes(directory)
        self.engine: EmbeddedEngine = start_engine(directory / "engine")
        self.hub = FakeHub()
        self.portal = Portal(
            directory / "portal", self.hub, f"http://127.0.0.1:{self.engine.port}",
            VIXTRACT_HOMES_SOCKET=str(directory / "s"), **settings,
        )  # fmt: skip

    def close(self) -> None:
        """Stop everything."""
        self.portal.stop()
        self.hub.close()
        self.engine.stop()
        self.homes.terminate()
        self.homes.wait(10)

    def schedule(self, title: str, steps: list, **fields) -> str:
        """Make anna a schedule whose notebook does these steps, and only them."""
        parameters = {"parameters": {"steps": steps, **fields.pop("parameters", {})}}
        return self.engine.client.create_event(
            {
                "title": title, "plugin": "notebook", "username": "anna", "timing": False,
                "params": {"notebook": "etl/load.ipynb", **parameters}, **fields,
            }
        )  # fmt: skip

    def step(self, files: dict[str, str], *, fails: bool = False, **facts) -> list:
        """Return the step that leaves a record."""
        end = {"code": 0, "description": "", "facts": facts}
        if fails:
            text = f"Cell 2 of 3 failed: {ERROR['name']}: {ERROR['message']}"
            end = {"code": 1, "description": text, "facts": {"error": ERROR, **facts}}
        return ["record", str(self.runs), files, end]

    def run(self, schedule: str) -> str:
        """Run a schedule to its end, hand its record over to anna, and return the run's id."""
        job = self.engine.client.run_event(schedule)
        self.engine.client.wait_for_job(job, 120)
        if os.getuid() == 0 and (self.runs / "anna" / job).exists():
            for path in (self.runs / "anna" / job, *(self.runs / "anna" / job).rglob("*")):
                os.chown(path, 2345, 2345)
        return job
