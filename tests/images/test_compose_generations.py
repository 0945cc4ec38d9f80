"""The compose file alone, as after a download, with both generations of compose."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.images.docker_cli import docker
from tests.own_images import debian_base, own_image

ROOT = Path(__file__).parents[2]
IMAGE = own_image("compose-v2", "tests")
RECIPE = """
FROM {base}
RUN apt-get update && apt-get install -y --no-install-recommends docker-compose && apt-get clean
"""


@pytest.fixture(scope="module")
def generation_two() -> str:
    """Build (or take from the cache) an image with Debian's Compose v2."""
    recipe = RECIPE.format(base=debian_base())
    docker("build", "-q", "-t", IMAGE, "-", text=recipe, timeout_s=600)
    return IMAGE


def check(folder: Path, image: str, *files: str) -> str:
    """Run Compose v2's `config` on copies of the files and return what it made of them."""
    for name in files:
        shutil.copy(ROOT / name, folder)
    options = [word for name in files for word in ("-f", name)]
    mount = f"{folder}:/project:ro"
    words = ("run", "--rm", "-v", mount, "-w", "/project", image, "docker-compose", *options)
    return docker(*words, "config", timeout_s=120).stdout


def test_compose_file_alone_is_accepted_by_generation_two(tmp_path, generation_two):
    text = check(tmp_path, generation_two, "docker-compose.yml")
    # Generation two names the project after the folder when nothing else does.
    assert "container_name: project_nginx" in text
    assert "host_ip: 127.0.0.1" in text


def test_build_file_is_accepted_by_generation_two(tmp_path, generation_two):
    text = check(tmp_path, generation_two, "docker-compose.yml", "docker-compose.build.yml")
    assert "dockerfile: jupyter/Dockerfile" in text


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="no docker-compose 1.29 here")
@pytest.mark.parametrize(
    "files", [("docker-compose.yml",), ("docker-compose.yml", "docker-compose.build.yml")]
)
def test_compose_files_are_accepted_by_the_host_s_docker_compose(tmp_path, files):
    for name in files:
        shutil.copy(ROOT / name, tmp_path)
    options = [word for name in files for word in ("-f", name)]
    done = subprocess.run(
        ["docker-compose", *options, "config"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert "container_name: vixtract_nginx" in done.stdout
