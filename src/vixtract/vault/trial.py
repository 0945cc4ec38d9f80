"""Starts a test of a connection: a process of an account that owns nothing, with a deadline."""

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

log = logging.getLogger(__name__)

TRIAL_S = 18.0
_END_S = 5.0
MAX_RESULT = 64 * 1024
MIB = 1024 * 1024
# `-S`: what administrators install under /usr/local is not looked at. The drivers are the image's.
_BOOT = (
    "import sys; sys.path.append('/usr/lib/python3/dist-packages');"
    "from vixtract.vault.probe import main; sys.exit(main())"
)
COMMAND = ("/usr/bin/python3", "-I", "-S", "-c", _BOOT)
_PASSED_ON = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """How tests are run.

    Args:
        command: absolute argument list; reads the connection on its input.
        timeout_s: after which it is killed.
        allowed: addresses that are let through although they are refused; for tests of ours.
    """

    command: tuple[str, ...] = COMMAND
    timeout_s: float = TRIAL_S
    allowed: tuple[str, ...] = ()

    def run(self, kind: str, values: Mapping[str, str], uid: int) -> dict[str, Any]:
        """Try a connection; blocks.

        Args:
            kind: of connection.
            values: with the secrets; they go through a pipe.
            uid: account of the process, where this one is root's.
        Returns: `ok`, `code` of what was found, `detail` in the words of the server or its driver.
        """
        try:
            process = start_service(
                self.command, _environment(), uid if os.geteuid() == 0 else None, prepare=_limit,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
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
        # Nothing of its errors is shown: they might tell a value.
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
        # Something that left its session may keep a pipe open.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_END_S)


def _environment() -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)}
    # Without this the S3 library asks the cloud's metadata for a login.
    off = {"AWS_EC2_METADATA_DISABLED": "true", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**passed, **off, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}


def _limit() -> None:
    for what, limit in (
        (resource.RLIMIT_CPU, 20),
        (resource.RLIMIT_DATA, 2048 * MIB),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))
    signal.alarm(int(TRIAL_S) + 5)
