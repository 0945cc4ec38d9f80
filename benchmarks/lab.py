#!/usr/bin/env python3
"""Measure JupyterLab in the appliance beside a bare `jupyter lab`: start, page weight, memory.

    .venv/bin/python benchmarks/lab.py --url http://127.0.0.1 [--rounds 5] > benchmarks/lab.md

Needs a running appliance with its evaluation account, and Chromium. The bare one is the same release of JupyterLab
from PyPI in an environment of its own, started by hand; the rounds are interleaved. In the appliance
the clock runs from the click on "Start My Server" to the launcher on the screen, for the bare one from
the command to the launcher; both browsers start with an empty cache.
"""

from __future__ import annotations

import argparse
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".bench-lab"
LAUNCHER = ".jp-Launcher-section"
WAIT_S = 120
# After the launcher is there Lab goes on loading.
SETTLE_MS = 3000


@dataclass
class Visit:
    """What one visit cost.

    Args:
        seconds: until the launcher is on the screen.
        wire: bytes that came over the network, compressed.
        raw: the same unpacked.
        requests: how many.
        again_s: seconds to the launcher at a reload, with a full cache.
        again_wire: bytes of the reload.
    """

    seconds: float = 0.0
    wire: int = 0
    raw: int = 0
    requests: int = 0
    again_s: float = 0.0
    again_wire: int = 0


@dataclass
class Meter:
    """Adds up what a page loads."""

    wire: int = 0
    raw: int = 0
    requests: set[str] = field(default_factory=set)

    def watch(self, page: Page) -> None:
        """Listen to a page's network."""
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.requestWillBeSent", lambda e: self.requests.add(e["requestId"]))
        session.on("Network.loadingFinished", self._finished)
        session.on("Network.dataReceived", self._received)

    def reset(self) -> None:
        """Begin from nothing."""
        self.wire = self.raw = 0
        self.requests.clear()

    def _finished(self, event: dict) -> None:
        self.wire += int(event["encodedDataLength"])

    def _received(self, event: dict) -> None:
        self.raw += int(event["dataLength"])


def visit(browser: Browser, start: Callable[[Page], float]) -> Visit:
    """Open Lab in a browser without a cache, then reload it.

    Args:
        start: leads to Lab and returns when the clock began.
    """
    context = browser.new_context()
    page = context.new_page()
    meter, found = Meter(), Visit()
    meter.watch(page)
    began = start(page)
    page.wait_for_selector(LAUNCHER, timeout=WAIT_S * 1000)
    found.seconds = time.monotonic() - began
    page.wait_for_timeout(SETTLE_MS)
    found.wire, found.raw, found.requests = meter.wire, meter.raw, len(meter.requests)
    meter.reset()
    began = time.monotonic()
    page.reload()
    page.wait_for_selector(LAUNCHER, timeout=WAIT_S * 1000)
    found.again_s = time.monotonic() - began
    page.wait_for_timeout(SETTLE_MS)
    found.again_wire = meter.wire
    context.close()
    return found


def start_in_appliance(page: Page, url: str, account: tuple[str, str]) -> float:
    """Sign in, stop the server where one runs, and click on Start."""
    page.goto(f"{url}/jupyter/hub/login?next=%2Fjupyter%2Fhub%2Fhome")
    page.fill("[name=username]", account[0])
    page.fill("[name=password]", account[1])
    page.click("[type=submit]")
    # The buttons do nothing before their scripts are there.
    page.wait_for_load_state("networkidle")
    page.wait_for_selector("#start", timeout=WAIT_S * 1000)
    if page.locator("#stop").is_visible():
        page.click("#stop")
        page.wait_for_selector("#stop", state="hidden", timeout=WAIT_S * 1000)
        page.goto(f"{url}/jupyter/hub/home", wait_until="networkidle")
    began = time.monotonic()
    page.click("#start")
    return began


@contextmanager
def bare_lab() -> Iterator[tuple[str, float, int]]:
    """Start `jupyter lab` in an empty folder; give its address, when it began, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        ENVIRONMENT / "bin/jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1",
        "--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.port_retries=0",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        environment = {"HOME": folder, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        began = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command], cwd=folder, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}/lab"
            wait_for(url, process)
            yield url, began, process.pid
        finally:
            process.terminate()
            process.wait(30)


def wait_for(url: str, process: subprocess.Popen) -> None:
    """Wait until an address answers."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{url} does not answer")


def make_environment() -> None:
    """Install the appliance's release of JupyterLab as PyPI has it."""
    if (ENVIRONMENT / "bin/jupyter").exists():
        return
    lock = (ROOT / "jupyter/requirements.txt").read_text("utf-8")
    releases = re.findall(r"^((?:jupyterlab|jupyter-server)==\S+)", lock, re.M)
    subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True, timeout=120)
    subprocess.run(
        [ENVIRONMENT / "bin/pip", "install", "--quiet", *releases], check=True, timeout=600
    )
    subprocess.run(
        [ENVIRONMENT / "bin/python", "-m", "compileall", "-q", ENVIRONMENT / "lib"],
        check=False, timeout=600, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def proportional_mb(pid: int) -> float:
    """Return a process's memory in MiB, what it shares divided among those who share it."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    return int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) / 1024


def find_server() -> int:
    """Return the process of the server in the appliance; it shares this machine's table."""
    found = subprocess.run(
        ["pgrep", "-f", "bin/jupyterhub-singleuser"], capture_output=True, text=True, timeout=10
    )
    return int(found.stdout.split()[-1])


def main() -> None:
    """Measure and print a Markdown page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default="vixtract")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    make_environment()
    ours, bare, memory = [], [], ([], [])
    account = (arguments.user, arguments.password)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-background-networking"],
        )
        for _ in range(arguments.rounds):
            ours.append(visit(browser, lambda p: start_in_appliance(p, arguments.url, account)))
            memory[0].append(proportional_mb(find_server()))
            with bare_lab() as (url, began, pid):
                bare.append(visit(browser, lambda p: p.goto(url) and began))
                memory[1].append(proportional_mb(pid))
    print_page(ours, bare, memory, arguments.rounds)


def print_page(
    ours: list[Visit], bare: list[Visit], memory: tuple[list[float], list[float]], rounds: int
) -> None:
    """Print the medians and their ratios."""

    def medians(visits: list[Visit], name: str) -> float:
        return statistics.median(getattr(each, name) for each in visits)

    rows = [
        ("start to launcher, s", "seconds", 1, 1),
        ("first visit, MB over the network", "wire", 1e6, 2),
        ("first visit, MB unpacked", "raw", 1e6, 2),
        ("first visit, requests", "requests", 1, 0),
        ("reload to launcher, s", "again_s", 1, 1),
        ("reload, MB over the network", "again_wire", 1e6, 2),
    ]
    print("# JupyterLab in the appliance, beside a bare one\n")
    print(f"`.venv/bin/python benchmarks/lab.py`, {time.strftime('%Y-%m-%d')}, medians of {rounds} interleaved rounds.\n")  # fmt: skip
    print("| what | appliance | `jupyter lab` | ratio |\n|---|--:|--:|--:|")
    for title, name, unit, digits in rows:
        own, other = medians(ours, name) / unit, medians(bare, name) / unit
        print(f"| {title} | {own:.{digits}f} | {other:.{digits}f} | {own / other:.2f} |")
    own, other = (statistics.median(values) for values in memory)
    print(f"| server's memory, MiB (proportional) | {own:.0f} | {other:.0f} | {own / other:.2f} |")


if __name__ == "__main__":
    main()
