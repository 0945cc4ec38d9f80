"""The embedded engine as a real process: started, killed, stopped, and its clock moved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.scheduler_client import JobClient
from tests.waiting import free_port, wait_until
from vixtract.settings import list_defaults

ROOT = Path(__file__).parents[2]
API_KEY = "aKeyOfTheTestsWithFortyLettersAndDigits1"
FAKE_PLUGIN = Path(__file__).with_name("fake_plugin.py")
# Isolated as in the image, where the package lies in the interpreter's own folders.
LAUNCH = (
    f"import sys, runpy; sys.path.insert(0, {str(ROOT / 'src')!r});"
    "runpy.run_module('vixtract.scheduler.embedded', run_name='__main__', alter_sys=True)"
)
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


class EmbeddedEngine:
    """One data directory and the engine processes that run on it, one after another.

    Args:
        directory: scratch folder.
        settings: further environment variables.
    """

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None
        self.client = JobClient(f"http://127.0.0.1:{self.port}/cronicle", API_KEY)
        self.clock_file = directory / "clock"

    @property
    def log(self) -> str:
        """Everything the engine's processes wrote."""
        return (self.directory / "engine.log").read_text(encoding="utf-8", errors="replace")

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the engine."""
        environment = {
            **list_defaults("engine"),
            "PATH": "/usr/bin:/bin",
            "SCHEDULER_API_KEY": API_KEY,
            "SCHEDULER_DATA_DIR": str(self.directory / "data"),
            "SCHEDULER_HOST": "127.0.0.1",
            "SCHEDULER_PORT": str(self.port),
            "SCHEDULER_PLUGIN_COMMAND": f"{sys.executable} -I {FAKE_PLUGIN}",
            "RUNNER_SOCKET": str(self.directory / "runner.sock"),
            **self.settings,
        }
        if self.clock_file.exists():
            environment |= {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock_file),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        return environment

    def shift_clock(self, seconds: float) -> None:
        """Let the engine's clock go this many seconds off the real one; also while it runs."""
        temporary = self.clock_file.with_suffix(".new")
        temporary.write_text(f"{seconds:+.3f}\n")
        temporary.replace(self.clock_file)

    def start(self) -> EmbeddedEngine:
        """Start the engine and wait until it answers."""
        with (self.directory / "engine.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", LAUNCH], env=self.environment(), stdout=log, stderr=log
            )
        wait_until(self._answers_or_ended, "engine's answer", interval_s=0.05)
        if self.process.poll() is not None:
            raise AssertionError(f"the engine ended with {self.process.returncode}:\n{self.log}")
        return self

    def _answers_or_ended(self) -> bool:
        ended = self.process is not None and self.process.poll() is not None
        return ended or self.client.call("ping")["code"] == 0

    def kill(self) -> None:
        """End the engine as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask the engine to stop; return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        if process.poll() is None:
            os.kill(process.pid, number)
        return process.wait(timeout=120)

    def create(self, title: str, steps: list[list[Any]] | None = None, **fields: Any) -> str:
        """Create a notebook event whose plugin does the given steps, then reports success."""
        whole = [*(steps or []), ["say", {"complete": 1, "code": 0}]]
        parameters = {"parameters": {"steps": whole}}
        event = {
            "title": title,
            "plugin": "notebook",
            "params": {"notebook": "etl/load.ipynb", **parameters},
            **fields,
        }
        return self.client.create_event(event)

    def slots(self, event: str, limit: int = 1000) -> list[dict[str, Any]]:
        """Return an event's slots, newest first."""
        rows: list[dict[str, Any]] = self.client.call(
            "get_event_slots", {"id": event, "limit": limit}
        )["rows"]
        return rows

    def run(self, event: str, timeout_s: float = 120.0) -> dict[str, Any]:
        """Run an event by hand and return the finished job."""
        return self.client.wait_for_job(self.client.run_event(event), timeout_s)
