"""A process for a run that is forked before its supervisor reads any secret.

A forked process has its parent's whole memory. So the supervisor of a warm run forks first, while
it knows nothing but the request; the process waits, still root's, for its command.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from vixtract.processes.spawn import ProcessSpec, become, wait_for_start

_NONE = -1


@dataclass(frozen=True)
class WarmStarts:
    """Functions that forked processes call once they are the owner's."""

    run: Callable[[ProcessSpec], NoReturn]
    render: Callable[[ProcessSpec], NoReturn]


@dataclass(frozen=True)
class WarmRun:
    """How the processes of one run are forked."""

    prepared: PreparedProcess
    render: Callable[[ProcessSpec], NoReturn]


class PreparedProcess:
    """The waiting process; `start` runs once it is the owner's, and has nothing of other runs."""

    def __init__(self, start: Callable[[ProcessSpec], NoReturn]) -> None:
        self._ours, theirs = socket.socketpair()
        parent = os.getpid()
        # A warm start: its command comes later, over the socket.
        self._pid = os.fork()
        if self._pid == 0:
            self._ours.close()
            _wait(theirs, parent, start)
        theirs.close()

    def start(self, command: ProcessSpec) -> int:
        """Turn it into the owner's process, start the command, and return the process id.

        The command's program runs where a warm process will not do.

        Raises:
            SpawnError: it failed and has ended.
        """
        reader, writer = os.pipe()
        payload = os.memfd_create("command")
        with os.fdopen(os.dup(payload), "wb") as file:
            pickle.dump(replace(command, stdin=None, progress=None, output=_NONE), file)
        assert command.stdin is not None
        assert command.progress is not None
        descriptors = [payload, writer, command.stdin, command.output, command.progress]
        with self._ours:
            socket.send_fds(self._ours, [b"1"], descriptors)
        os.close(writer)
        os.close(payload)
        wait_for_start(self._pid, reader)
        return self._pid


def _wait(theirs: socket.socket, parent: int, start: Callable[[ProcessSpec], NoReturn]) -> NoReturn:
    try:
        _, descriptors, _, _ = socket.recv_fds(theirs, 1, 5)
        if len(descriptors) == 5:
            payload, errors, stdin, output, progress = descriptors
            with os.fdopen(payload, "rb") as file:
                file.seek(0)
                # From this process's own parent, over a socket that no other process has.
                command = pickle.load(file)  # noqa: S301
            command = replace(command, stdin=stdin, output=output, progress=progress)
            become(command, parent, errors, start)
    finally:
        os._exit(127)
