"""Tests a connection in a process of an account that owns nothing, with limits and a deadline."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vixtract.processes.spawn import start_service
from vixtract.settings import build_people_environment

log = logging.getLogger(__name__)

TEST_S = 18.0
_END_S = 5.0
MAX_RESULT = 64 * 1024
# -S: without the libraries under /usr/local, which administrators install. The image has drivers.
_BOOT = (
    "import sys; sys.path.append('/usr/lib/python3/dist-packages');"
    "from vixtract.vault.probe import main; sys.exit(main())"
)
COMMAND = ("/usr/bin/python3", "-I", "-S", "-c", _BOOT)


@dataclass(frozen=True)
class IsolatedTest:
    """Runs tests of connections.

    Args:
        command: absolute argument list of a process that reads the connection on its input.
        timeout_s: seconds after which the process is killed.
        allowed: addresses that are let through although they are refused; for the test suite.
    """

    command: tuple[str, ...] = COMMAND
    timeout_s: float = TEST_S
    allowed: tuple[str, ...] = ()

    def run(self, kind: str, values: Mapping[str, str], uid: int) -> dict[str, Any]:
        """Test a connection, and wait for the result.

        Args:
            values: of all fields, with the secrets; they go through a pipe.
            uid: account of the process, if this one is root's.
        Returns: `ok`, the `code` of the result, and `detail` in the words of the server or driver.
        """
        try:
            process = start_service(
                self.command,
                _environment(),
                uid if os.geteuid() == 0 else None,
                prepare=_limit,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except (OSError, subprocess.SubprocessError) as error:
            log.error("A test could not be started: %s", error)
            return {"ok": False, "code": "broken", "detail": ""}
        question = {"kind": kind, "values": dict(values), "allowed": list(self.allowed)}
        try:
            output, errors = process.communicate(json.dumps(question).encode(), self.timeout_s)
        except subprocess.TimeoutExpired:
            return {"ok": False, "code": "late", "detail": ""}
        finally:
            _kill(process)
        return _read(output, errors)


def _read(output: bytes, errors: bytes) -> dict[str, Any]:
    try:
        result = json.loads(output[:MAX_RESULT])
    except ValueError:
        # Its errors are not shown: they may contain a secret.
        log.error("A test ended without a result; %d bytes of errors", len(errors))
        return {"ok": False, "code": "broken", "detail": ""}
    return {
        "ok": result.get("ok") is True,
        "code": str(result.get("code"))[:40],
        "detail": str(result.get("detail") or "")[:1000],
    }


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        process.kill()
        # A process that left the session may keep a pipe open.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_END_S)


def _environment() -> dict[str, str]:
    passed = build_people_environment("vault", os.environ)
    # Without this the S3 library asks the cloud's metadata service for a login.
    off = {"AWS_EC2_METADATA_DISABLED": "true", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**passed, **off, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}


def _limit() -> None:
    for what, limit in (
        (resource.RLIMIT_CPU, 20),
        (resource.RLIMIT_DATA, 2 << 30),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))
    signal.alarm(int(TEST_S) + 5)
