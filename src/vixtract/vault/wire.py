"""What passes over the vault's socket: one line of JSON each way. Standard library alone."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vixtract.vault.errors import NoVaultError, VaultError

SOCKET = Path("/run/vixtract-vault/vault.sock")
# For tests and for containers of one's own; it grants nothing, for the vault goes by the uid.
SOCKET_VARIABLE = "VIXTRACT_VAULT_SOCKET"
# The largest form of the portal, each character of it written as six.
MAX_LINE = 2 * 1024 * 1024
PATIENCE_S = 10.0
PAUSE_S = 0.3


@dataclass(frozen=True)
class Peer:
    """The process at the other end of a socket, as the kernel noted it at connect.

    Args:
        pid: process id.
        uid: effective user id.
    """

    pid: int
    uid: int


def peer_of(connection: socket.socket) -> Peer:
    """Return who is at the other end; nobody can pretend.

    Args:
        connection: accepted unix socket.
    """
    size = struct.calcsize("3i")
    pid, uid, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return Peer(pid, uid)


def receive_line(connection: socket.socket, timeout_s: float) -> bytes:
    """Read up to a line end.

    Args:
        connection: socket.
        timeout_s: for the whole line.
    Returns: the line; what came where it never ended.
    Raises:
        OSError: the peer is gone, or took too long.
    """
    deadline = time.monotonic() + timeout_s
    received = bytearray()
    while not received.endswith(b"\n") and len(received) <= MAX_LINE:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("The line did not end in time.")
        connection.settimeout(left)
        part = connection.recv(65536)
        if not part:
            break
        received += part
    return bytes(received)


def ask(
    question: Mapping[str, Any], *, path: Path | None = None, timeout_s: float = 15.0
) -> dict[str, Any]:
    """Ask the vault; a vault that is just being started again is waited for a moment.

    Args:
        question: JSON object.
        path: of the socket.
        timeout_s: for the answer.
    Raises:
        NoVaultError: nobody answers.
        VaultError: the vault refuses; its subclass and texts are the vault's.
    """
    where = path or Path(os.environ.get(SOCKET_VARIABLE) or SOCKET)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = _ask_once(question, where, timeout_s)
        except (FileNotFoundError, ConnectionError) as error:
            if time.monotonic() > deadline:
                raise _nobody(error) from error
        except (OSError, ValueError) as error:
            raise _nobody(error) from error
        else:
            if not answer.get("busy") or time.monotonic() > deadline:
                return answer
        time.sleep(PAUSE_S)


def _ask_once(question: Mapping[str, Any], path: Path, timeout_s: float) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        connection.sendall(json.dumps(question).encode() + b"\n")
        line = receive_line(connection, timeout_s)
    if not line:
        raise ConnectionResetError("no answer")
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise VaultError("The vault of connections gave no sensible answer.")
    return answer


def _nobody(error: Exception) -> NoVaultError:
    return NoVaultError(
        f"The vault of connections does not answer ({error}).",
        "Try again; if it stays so, the operator's `./vixtract logs jupyter` (in a job: `cronicle`)"
        " says why.",
    )
