"""The compose files for a worker and for CRONICLE_PORT, with both generations of compose."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.images.test_compose_generations import ROOT, check, generation_two

__all__ = ["generation_two"]
SETTINGS = """\
POSTGRES_HOST=192.0.2.7
WORKER_STORAGE_OPTIONS=addr=192.0.2.7,rw,hard,nfsvers=4.2
WORKER_HOME=:/srv/home
WORKER_LIBS=:/srv/libs
WORKER_RUNS=:/srv/runs
CRONICLE_PORT=9012
"""
SETS = (("docker-compose.worker.yml",), ("docker-compose.yml", "docker-compose.cronicle-port.yml"))


def assert_whole(files: tuple[str, ...], text: str) -> None:
    """Check what `config` made of the files."""
    if len(files) == 1:
        assert "type: nfs" in text and "device: :/srv/home" in text and "worker_key" in text
    else:
        assert "9012" in text and "8012" in text


@pytest.mark.parametrize("files", SETS)
def test_generation_two_accepts_them(tmp_path: Path, generation_two, files):
    (tmp_path / ".env").write_text(SETTINGS)
    assert_whole(files, check(tmp_path, generation_two, *files))


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="no docker-compose 1.29 here")
@pytest.mark.parametrize("files", SETS)
def test_the_hosts_docker_compose_accepts_them(tmp_path: Path, files):
    for name in files:
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".env").write_text(SETTINGS)
    options = [word for name in files for word in ("-f", name)]
    done = subprocess.run(
        ["docker-compose", *options, "config"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    assert_whole(files, done.stdout)
    (tmp_path / ".env").write_text("")
    refused = subprocess.run(
        ["docker-compose", *options, "config"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert refused.returncode and "set it to" in refused.stderr
