#!/usr/bin/env python3
"""Measure what a scheduled run of a notebook costs beside the `papermill` command.

Run from the repository's root, with the image of the job container built:

    python3 benchmarks/notebooks.py [--runs 50] [--rounds 3] [--image NAME] > benchmarks/notebooks.md

Starts the job container alone, puts notebooks into a home, and runs them in it, 2 at a time, in
interleaved rounds: with the image's own `papermill` as their owner; and as scheduled runs through the
runner's socket (checks, folder, log, HTML and record included), with a forked kernel and with one that
is started.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__)
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
UID = 2001
PYTHON = "/usr/bin/python3"
SMALL = (
    "import petl as etl\nyear = 2024",
    "rows = [['city', 'people']] + [[f'c{i % 50}', i] for i in range(1000)]",
    "table = etl.convert(rows, 'people', float)\netl.nrows(table)",
    "etl.head(table)",
    "print(sum(etl.values(table, 'people')), year)",
)
NOTEBOOKS = {"empty": (), "petl": SMALL, "slow": ("import time, petl, pandas\ntime.sleep(4)",)}
WAYS = ("papermill", "cold", "warm")


def notebook(cells: tuple[str, ...], *, cold: bool) -> str:
    """Return a notebook; a last cell without code asks for a kernel that is started."""
    sources = [*cells, "# ipykernel"] if cold else cells
    return json.dumps({
        "nbformat": 4, "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}},
        "cells": [{"id": f"c{i}", "cell_type": "code", "metadata": {}, "source": source, "outputs": [],
                   "execution_count": None} for i, source in enumerate(sources)],
    })  # fmt: skip


# --- in the container -----------------------------------------------------------------------------


def run_through_socket(path: str) -> None:
    """Run a notebook as the scheduler's plugin does."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("/run/vixtract/runner.sock")
        request = {"kind": "notebook", "job": f"b{uuid.uuid4().hex[:12]}", "owner": "anna",
                   "author": "vixtract", "notebook": path}  # fmt: skip
        connection.sendall(json.dumps(request).encode() + b"\n")
        last = json.loads(list(connection.makefile("rb"))[-1])
    if last.get("code") != 0:
        sys.exit(f"{path}: {last}")


def run_papermill(path: str) -> None:
    """Run a notebook with the papermill command."""
    target = f"/tmp/{uuid.uuid4().hex}.ipynb"
    subprocess.run([PYTHON, "-m", "papermill", "--no-progress-bar", path, target],
                   check=True, capture_output=True, cwd="/home/anna")  # fmt: skip
    Path(target).unlink()


def cpu_seconds() -> float:
    """Return the processor seconds that the container has used."""
    old = Path("/sys/fs/cgroup/cpuacct/cpuacct.usage")
    if old.exists():
        return int(old.read_text()) / 1e9
    text = Path("/sys/fs/cgroup/cpu.stat").read_text()
    return int(text.split()[1]) / 1e6


def inside(way: str, path: str, count: int) -> None:
    """Run a notebook several times, 2 at once; prints seconds and processor seconds."""
    one = run_papermill if way == "papermill" else run_through_socket
    cpu, started = cpu_seconds(), time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: one(path), range(count)))
    print(time.monotonic() - started, cpu_seconds() - cpu)


def idle() -> None:
    """Print the processor seconds a second of the container with no run: health checks, scheduler."""
    cpu, started = cpu_seconds(), time.monotonic()
    time.sleep(20)
    print((cpu_seconds() - cpu) / (time.monotonic() - started))


def memory() -> None:
    """Print the proportional and the own memory, in MB, of all processes of this user but this one."""
    own, pss, private, count = os.getpid(), 0, 0, 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if int(entry.name) == own or entry.stat().st_uid != os.getuid():
                continue
            lines = (entry / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        sizes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
        pss += sizes["Pss:"]
        private += sizes["Private_Clean:"] + sizes["Private_Dirty:"]
        count += 1
    print(pss / 1000, private / 1000, count)


# --- on the host ----------------------------------------------------------------------------------


class Box:
    """The job container with one home."""

    def __init__(self, image: str) -> None:
        # Not at the top: this file runs in the container too.
        sys.path.insert(0, str(HERE.parents[1] / "src"))
        from vixtract.settings import list_defaults

        self.name = f"vxbench-{uuid.uuid4().hex[:8]}"
        self.home = f"{self.name}-home"
        mounts = [f"--volume={self.home}:/home:ro"]
        files = {f"{name}-{kind}.ipynb": notebook(cells, cold=kind == "cold")
                 for name, cells in NOTEBOOKS.items() for kind in ("warm", "cold")}  # fmt: skip
        script = (f"import json,os,sys\nos.mkdir('/home/anna',0o700)\n"
                  f"for n,t in json.load(sys.stdin).items(): open('/home/anna/'+n,'w').write(t)\n"
                  f"[os.chown(p,{UID},{UID}) for p in ['/home/anna',*('/home/anna/'+n for n in os.listdir('/home/anna'))]]")  # fmt: skip
        docker("run", "--rm", "-i", f"--volume={self.home}:/home", "--entrypoint", PYTHON, image,
               "-c", script, text=json.dumps(files))  # fmt: skip
        docker("run", "--detach", "--init", "--name", self.name, "--security-opt=no-new-privileges:true",
               "--cap-drop=ALL", *(f"--cap-add={name}" for name in CAPABILITIES),
               *(f"--env={name}={value}" for name, value in list_defaults("cronicle").items()), *mounts, image)  # fmt: skip
        limit = time.monotonic() + 600
        while "The fork server is ready" not in docker("logs", self.name):
            if time.monotonic() > limit:
                sys.exit("The fork server was not ready in 600 s:\n" + docker("logs", self.name))
            time.sleep(0.5)
        docker("cp", str(HERE), f"{self.name}:/opt/bench.py")
        time.sleep(20)
        self.idle = float(self.run(UID, "--idle"))

    def measure(self, way: str, name: str, count: int) -> tuple[float, float]:
        """Return seconds and processor seconds of one run of a batch, without the idle container's."""
        kind = "cold" if way == "cold" else "warm"
        path = f"/home/anna/{name}-{kind}.ipynb" if way == "papermill" else f"{name}-{kind}.ipynb"
        user = UID if way == "papermill" else 990
        text = self.run(user, "--inside", way, path, str(count))
        seconds, cpu = map(float, text.split())
        return seconds / count, (cpu - self.idle * seconds) / count

    def run(self, user: int, *words: str) -> str:
        """Run this script in the container."""
        return docker("exec", "--user", f"{user}:{user}", "--env", "HOME=/tmp", self.name, PYTHON,
                      "/opt/bench.py", *words)  # fmt: skip

    def memory(self, way: str) -> tuple[float, float]:
        """Return proportional and own MB of one run, while two are there."""
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(self.measure, way, "slow", 2)
            best = (0.0, 0.0)
            while not running.done():
                pss, private, _ = map(float, self.run(UID, "--memory").split())
                best = max(best, (pss / 2, private / 2))
            running.result()
        return best

    def remove(self) -> None:
        """Remove the container and its home."""
        docker("rm", "--force", "--volumes", self.name)
        docker("volume", "rm", "--force", self.home)


def docker(*words: str, text: str | None = None) -> str:
    """Run docker and return what it wrote."""
    done = subprocess.run(
        ["docker", *words], capture_output=True, text=True, timeout=1800, input=text
    )
    if done.returncode:
        sys.exit(f"docker {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout + (done.stderr if words[0] == "logs" else "")


def main() -> None:
    """Measure and print a Markdown page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image", default="localhost/vixtract/cronicle:0.1.0")
    parser.add_argument("--inside", nargs=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--idle", action="store_true")
    options = parser.parse_args()
    if options.inside:
        inside(options.inside[0], options.inside[1], int(options.inside[2]))
        return
    if options.memory or options.idle:
        (memory if options.memory else idle)()
        return
    box = Box(options.image)
    busy = os.getloadavg()[0]
    try:
        seen = {(name, way): [] for name in ("empty", "petl") for way in WAYS}
        for _ in range(options.rounds):
            for (name, way), found in seen.items():
                found.append(box.measure(way, name, options.runs))
        sizes = {way: box.memory(way) for way in WAYS}
        server = docker("exec", box.name, "sh", "-c", "grep -E '^(Pss|Private_Dirty):' /proc/$(pgrep -o -f forkserver.py)/smaps_rollup")  # fmt: skip
    finally:
        box.remove()
    report(options, seen, sizes, (busy, os.getloadavg()[0]), (box.idle, server))


def report(options, seen, sizes, busy, resting) -> None:
    """Print the tables."""
    print("# What a run of a notebook costs\n")
    print(f"`python3 benchmarks/notebooks.py --runs {options.runs} --rounds {options.rounds}`, {time.strftime('%Y-%m-%d')}, "
          f"{os.cpu_count()} CPUs, load of the machine {busy[0]:.1f} before and {busy[1]:.1f} after. 2 runs at a time; medians of the rounds, per run.\n")  # fmt: skip
    names = {"papermill": "`papermill` command", "cold": "scheduled run, kernel started (`JOB_WARM=off`)",
             "warm": "scheduled run, kernel forked"}  # fmt: skip
    print("| notebook | how | s | ratio | processor s | ratio |\n|---|---|--:|--:|--:|--:|")
    for name, title in (("empty", "no cells"), ("petl", "5 cells with petl")):
        base = [statistics.median(column) for column in zip(*seen[name, "papermill"])]
        for way in WAYS:
            wall, cpu = (statistics.median(column) for column in zip(*seen[name, way]))
            print(f"| {title} | {names[way]} | {wall:.3f} | {wall / base[0]:.3f} | {cpu:.3f} | {cpu / base[1]:.3f} |")  # fmt: skip
    print(
        "\n| memory of a run's processes while two run (pandas and petl imported) | proportional, MB | own, MB |\n|---|--:|--:|"
    )
    for way in WAYS:
        print(f"| {names[way]} | {sizes[way][0]:.0f} | {sizes[way][1]:.0f} |")
    numbers = [int(line.split()[1]) / 1000 for line in resting[1].splitlines()]
    print(
        f"\nThe fork server itself, idle: {numbers[0]:.0f} MB proportional, {numbers[1]:.0f} MB of it its own. "
        f"The idle container takes {resting[0]:.3f} processor seconds a second; they are not in the table."
    )


if __name__ == "__main__":
    main()
