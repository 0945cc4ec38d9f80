#!/usr/bin/env python3
"""Measure what the appliance costs: image sizes, seconds to healthy, idle memory.

Run from the repository's root:

    python3 benchmarks/appliance.py [--cold] > benchmarks/appliance.md

Starts its own instance under the project `vxbench` and removes it afterwards. `--cold` also times a
build without cached layers; it leaves the images as they were, under the same names.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVICES = ("postgresql", "jupyter", "cronicle", "nginx")
IDLE_S = 60
WARM_ROUNDS = 3


def run(*argv: str, timeout_s: float = 3600) -> str:
    """Run a command to its end and return its standard output."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def timed(*argv: str) -> float:
    """Run a command to its end and return how many seconds it took."""
    started = time.monotonic()
    run(*argv)
    return time.monotonic() - started


def free_port() -> int:
    """Return a TCP port that is free on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def operator() -> list[str]:
    """Return the operator's command for the instance that is measured."""
    ports = [f"--{name}-port={free_port()}" for name in ("http", "https", "postgres")]
    return ["./vixtract", "--project=vxbench", *ports]


def resident_mb(container: str) -> float:
    """Return the memory that a container's processes hold, page cache left out, in MiB."""
    usage = run("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", container)
    number = usage.split("/")[0].strip()
    factors = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}
    return float(number[:-3]) * factors[number[-3:]]


def image_mb(container: str) -> float:
    """Return the size of a container's image in MB (10^6 bytes), shared layers included."""
    image = run("docker", "inspect", "-f", "{{.Image}}", container).strip()
    return int(run("docker", "image", "inspect", "-f", "{{.Size}}", image)) / 1e6


def main() -> None:
    """Measure and print a Markdown page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cold", action="store_true", help="also time a build without cache")
    cold = parser.parse_args().cold
    command = operator()
    rows = []
    if cold:
        rows.append(
            (
                "build of all images without cache, s",
                f"{timed(*command, 'build', '--no-cache'):.0f}",
            )
        )
    else:
        run(*command, "build")
    run(*command, "down", "--volumes", "--yes")
    try:
        rows.append(("first `up` with empty volumes, s", f"{timed(*command, 'up', '--yes'):.1f}"))
        warm = []
        for _ in range(WARM_ROUNDS):
            run(*command, "down", "--yes")
            warm.append(timed(*command, "up", "--yes"))
        rows.append(
            (
                f"`up` with existing volumes, s (median of {WARM_ROUNDS})",
                f"{statistics.median(warm):.1f}",
            )
        )
        again = [timed(*command, "up", "--yes") for _ in range(WARM_ROUNDS)]
        rows.append(
            (
                f"`up` when it runs already, s (median of {WARM_ROUNDS})",
                f"{statistics.median(again):.1f}",
            )
        )
        time.sleep(IDLE_S)
        sizes = {s: (image_mb(f"vxbench_{s}"), resident_mb(f"vxbench_{s}")) for s in SERVICES}
    finally:
        run(*command, "down", "--volumes", "--yes")
    print("# What the appliance costs\n")
    print(f"`python3 benchmarks/appliance.py{' --cold' if cold else ''}`, {time.strftime('%Y-%m-%d')}, "
          f"{os.cpu_count()} CPUs, {platform.machine()}, engine {run('docker', 'version', '-f', '{{.Server.Version}}').strip()}.\n")  # fmt: skip
    print("| what | measured |\n|---|--:|")
    for name, value in rows:
        print(f"| {name} | {value} |")
    print(
        f"\n| service | image, MB (jupyter and cronicle share their base) | idle memory after {IDLE_S} s, MiB |\n|---|--:|--:|"
    )
    for service, (image, memory) in sizes.items():
        print(f"| {service} | {image:.0f} | {memory:.0f} |")
    print(f"| all four | | {sum(memory for _, memory in sizes.values()):.0f} |")


if __name__ == "__main__":
    main()
