"""What the image tests need of the container engine; every call and every wait has a deadline."""

from __future__ import annotations

import io
import subprocess
import tarfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vixtract.settings import list_defaults


def docker(
    *arguments: str, check: bool = True, timeout_s: float = 60.0, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``docker ARGUMENTS`` and return what it wrote.

    Args:
        arguments: words after ``docker``.
        check: fail the test when the command fails.
        timeout_s: seconds after which the command is killed.
        text: standard input.
    Raises:
        AssertionError: the command failed; carries its output.
    """
    done = subprocess.run(
        ["docker", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        input=text,
    )
    if check:
        assert done.returncode == 0, f"docker {arguments}: {done.stdout}\n{done.stderr}"
    return done


def handed_on(container: str) -> tuple[str, ...]:
    """Return the options that hand a container the settings as compose does where none is set.

    Args:
        container: name of its service. A later `--env` of the same name wins.
    """
    return tuple(f"--env={name}={value}" for name, value in list_defaults(container).items())


def has_image(name: str) -> bool:
    """Say whether an image is on this machine."""
    return docker("image", "inspect", name, check=False).returncode == 0


def host_address(image: str, network: str = "bridge") -> str:
    """Return this machine's address in an engine's network, as a container there sees it.

    `docker network inspect` names the default bridge's gateway only from the engine's second start
    on, so a container is asked.

    Args:
        image: any image with a shell.
        network: its name.
    """
    with created_container(image, ("--network", network, "--entrypoint=/bin/sleep"), "60") as name:
        docker("start", name)
        form = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}"
        address = docker("inspect", "--format", form, name).stdout.strip()
    assert address, f"no gateway in {network}"
    return address


def logs(container: str) -> str:
    """Return both streams of a container's log."""
    done = docker("logs", container, check=False)
    return done.stdout + done.stderr


def unique_name(prefix: str) -> str:
    """Return a name that no other test run has."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def put_file(container: str, directory: str, name: str, content: bytes) -> None:
    """Copy one file into a container, started or not, as root's and executable."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o755
        archive.addfile(entry, io.BytesIO(content))
    subprocess.run(
        ["docker", "cp", "-", f"{container}:{directory}"],
        input=buffer.getvalue(),
        check=True,
        capture_output=True,
        timeout=60,
    )


@contextmanager
def created_container(image: str, options: Sequence[str] = (), *words: str) -> Iterator[str]:
    """Create (not start) a container; it and its anonymous volumes go at the end."""
    name = unique_name("front-test")
    docker("create", "--name", name, *options, image, *words)
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name, check=False)


def exit_code(container: str, *, timeout_s: float = 60.0) -> int:
    """Wait for a container's end and return its exit code."""
    return int(docker("wait", container, timeout_s=timeout_s).stdout)
