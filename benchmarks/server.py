"""A PostgreSQL of the bench's own, with default settings, gone afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running_server() -> Iterator[dict[str, str]]:
    """Start a server on loopback and give the environment with which libpq finds it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise SystemExit("PostgreSQL's programs are missing: apt-get install postgresql")
    binaries = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="vixtract-bench-db-"))
    account = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        account = {"user": "postgres", "group": "postgres", "extra_groups": []}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def control(*argv: object) -> None:
        subprocess.run(
            list(map(str, argv)),
            check=True,
            timeout=120,
            cwd="/",
            stdout=subprocess.DEVNULL,
            **account,
        )

    try:
        control(
            binaries / "initdb",
            "-D",
            folder / "data",
            "-U",
            "postgres",
            "--auth",
            "trust",
            "-E",
            "UTF8",
        )
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        control(
            binaries / "pg_ctl",
            "-D",
            folder / "data",
            "-w",
            "-o",
            options,
            "-l",
            folder / "log",
            "start",
        )
        yield {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGUSER": "postgres",
            "PGDATABASE": "postgres",
            "BENCH_URI": f"postgresql://postgres:unused@127.0.0.1:{port}/postgres",
        }
    finally:
        subprocess.run(
            [str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-w", "-m", "immediate", "stop"],
            timeout=120,
            cwd="/",
            stdout=subprocess.DEVNULL,
            **account,
        )
        shutil.rmtree(folder, ignore_errors=True)
