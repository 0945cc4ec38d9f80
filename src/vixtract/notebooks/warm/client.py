"""papermill's client for a kernel that was forked: nbclient's handling of messages, without 0MQ."""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from jupyter_client.jsonutil import parse_date
from nbclient.client import timestamp
from nbclient.exceptions import (
    CellExecutionComplete,
    CellExecutionError,
    CellTimeoutError,
    DeadKernelError,
)

from vixtract.notebooks.engine import Cells, Client
from vixtract.notebooks.warm.message_socket import MessageSocket

_START_S = 120.0
_SHUTDOWN_S = 5.0
_FLUSH_S = 0.2
_FLUSH_BYTES = 65536
_AFTER_REPLY_S = 4.0
_INTERRUPT_S = 2.0
_STREAMS = ("stdout", "stderr")


class Printed:
    """What cells print: bytes from a pipe, made text and gathered for a moment."""

    def __init__(self, descriptor: int, name: str) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.name = name
        self.is_open = True
        self.due = 0.0
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._text: list[str] = []
        self._size = 0

    def read(self) -> bool:
        """Take what is there; return whether there was anything."""
        try:
            data = os.read(self.descriptor, 1 << 18)
        except BlockingIOError:
            return False
        if not data:
            self.is_open = False
            return False
        if not self._text:
            self.due = time.monotonic() + _FLUSH_S
        self._text.append(self._decode(data))
        self._size += len(data)
        return True

    @property
    def is_waiting(self) -> bool:
        """Whether there is text to take."""
        return bool(self._text)

    @property
    def is_due(self) -> bool:
        """Whether the text has waited long enough, or is much."""
        return self.is_waiting and (
            self._size >= _FLUSH_BYTES or time.monotonic() >= self.due or not self.is_open
        )

    def take(self) -> str:
        """Return the text and begin anew."""
        text = "".join(self._text)
        self._text.clear()
        self._size = 0
        return text


class ForkedKernel:
    """A forked kernel: its process, its messages and its printed text.

    Args:
        fork: makes the kernel's process from its ends (messages, requests) and returns its id; in
            the kernel it does not return.
    """

    def __init__(self, fork: Callable[[socket.socket, socket.socket, list[int]], int]) -> None:
        messages, messages_end = socket.socketpair()
        requests, requests_end = socket.socketpair()
        pipes = [os.pipe() for _ in _STREAMS]
        self.pid = fork(messages_end, requests_end, [writer for _, writer in pipes])
        for end in (messages_end, requests_end):
            end.close()
        for _, writer in pipes:
            os.close(writer)
        self.messages = MessageSocket(messages)
        self.requests = MessageSocket(requests)
        self._sockets = (messages, requests)
        self.printed = [Printed(pipes[i][0], name) for i, name in enumerate(_STREAMS)]
        self.death = os.pidfd_open(self.pid)
        self.is_alive = True
        self.may_speak = True

    def wait(self, timeout_s: float) -> list[dict[str, Any]]:
        """Wait for messages or printed text.

        The kernel sends nothing while printed text waits in a pipe, so messages that are there are
        older than the text: they are read first.

        Returns: messages; printed text is in `printed`.
        """
        poll = select.poll()
        for descriptor in (p.descriptor for p in self.printed if p.is_open):
            poll.register(descriptor, select.POLLIN)
        # What is closed is always ready: a kernel closes its ends some time before it is gone.
        if self.may_speak:
            poll.register(self.messages, select.POLLIN)
        poll.register(self.death, select.POLLIN)
        ready = dict(poll.poll(max(0.0, timeout_s) * 1000))
        if self.death in ready:
            self.is_alive = False
        arrived: list[dict[str, Any]] = []
        try:
            arrived = self.messages.receive()
        except EOFError:
            self.may_speak = False
        if not arrived:
            for printed in self.printed:
                if printed.is_open:
                    printed.read()
        return arrived

    def close(self) -> None:
        """End the kernel: politely, then for good."""
        self._sockets[1].shutdown(socket.SHUT_WR)
        limit = time.monotonic() + _SHUTDOWN_S
        while self.is_alive and time.monotonic() < limit:
            # What the exit functions print has no cell any more; it must not block them.
            self.wait(limit - time.monotonic())
        if self.is_alive:
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self.death)
        for connection in self._sockets:
            connection.close()
        for printed in self.printed:
            os.close(printed.descriptor)


class WarmClient(Client):
    """Runs cells in a forked kernel."""

    def __init__(self, manager: Cells, kernel: ForkedKernel, **options: Any) -> None:
        super().__init__(manager, **options)
        self._forked = kernel
        self._parent: dict[str, Any] = {}

    def execute(self, **_: Any) -> Any:
        """Run the notebook as papermill's client does."""
        self.reset_execution_trackers()
        try:
            info = self._wait_for_kernel()
            self.nb_man.saves_late = True
            self.papermill_execute_cells()
            self.nb.metadata["language_info"] = info
            self.set_widgets_metadata()
        finally:
            self.nb_man.saves_late = False
            try:
                self.nb_man.save_now()
            finally:
                self._forked.close()
        return self.nb

    def execute_cell(
        self,
        cell: Any,
        cell_index: int,
        execution_count: int | None = None,
        store_history: bool = True,
    ) -> Any:
        """Run one cell; nbclient's method without its event loop.

        Source: nbclient.client.NotebookClient.async_execute_cell
        """
        if cell.cell_type != "code" or not cell.source.strip():
            return cell
        if self.skip_cells_with_tag in cell.metadata.get("tags", []):
            return cell
        cell["metadata"]["execution"] = {}
        self.code_cells_executed += 1
        cell.outputs = []
        self.clear_before_next_output = False
        reply = self._run(cell, cell_index, self._request(cell, store_history))
        allows_errors = (not self.force_raise_errors) and (
            self.allow_errors
            or reply["content"].get("ename") in self.allow_error_names
            or "raises-exception" in cell.metadata.get("tags", [])
        )
        if reply["content"]["status"] == "error" and not allows_errors:
            raise CellExecutionError.from_cell_and_msg(cell, reply["content"])
        return cell

    def _request(self, cell: Any, store_history: bool) -> str:
        identity = uuid4().hex
        header = {"msg_id": identity, "msg_type": "execute_request", "username": "", "session": ""}
        content = {
            "code": cell.source,
            "silent": False,
            "store_history": store_history,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        self._parent = header
        request = {
            "header": header,
            "msg_id": identity,
            "msg_type": "execute_request",
            "parent_header": {},
            "metadata": {},
            "content": content,
        }
        try:
            self._forked.requests.send(request)
        except OSError:
            raise DeadKernelError("Kernel died") from None
        return identity

    def _run(self, cell: Any, index: int, identity: str) -> dict[str, Any]:
        """Take what a cell gives until it is done; returns the reply."""
        limit_s = self._get_timeout(cell)
        reply = self._follow(cell, index, identity, limit_s)
        if reply is None:
            # As a kernel of its own is ended: the traceback in the cell shows where it was.
            os.kill(self._forked.pid, signal.SIGINT)
            with contextlib.suppress(DeadKernelError):
                self._follow(cell, index, identity, _INTERRUPT_S)
            raise CellTimeoutError.error_from_timeout_and_cell(
                "Cell execution timed out", int(limit_s or 0), cell
            )
        return reply

    def _follow(
        self, cell: Any, index: int, identity: str, limit_s: float | None
    ) -> dict[str, Any] | None:
        """Take what a cell gives; returns the reply, None where there is none in time."""
        limit = time.monotonic() + limit_s if limit_s else None
        reply: dict[str, Any] | None = None
        while True:
            for message in self._forked.wait(self._patience(limit)):
                if message["parent_header"].get("msg_id") != identity:
                    continue
                message["header"]["date"] = parse_date(message["header"].get("date"))
                if message["msg_type"] == "execute_reply":
                    reply = message
                    cell["metadata"]["execution"]["shell.execute_reply"] = timestamp(message)
                    limit = time.monotonic() + _AFTER_REPLY_S
                    continue
                self._flush(cell, index, is_all=True)
                try:
                    self.process_message(message, cell, index)
                except CellExecutionComplete:
                    if reply is not None:
                        return reply
            self._flush(cell, index)
            if self.nb_man.save_where_due():
                continue
            if not (self._forked.is_alive and self._forked.may_speak):
                self._take_rest(cell, index)
                raise DeadKernelError("Kernel died")
            if limit is not None and time.monotonic() > limit:
                self._flush(cell, index, is_all=True)
                return reply

    def _patience(self, limit: float | None) -> float:
        times = [printed.due for printed in self._forked.printed if printed.is_waiting]
        if self.nb_man.save_due:
            times.append(self.nb_man.save_due)
        if limit is not None:
            times.append(limit)
        # The system's call takes no number of milliseconds beyond 31 bits.
        return min([60.0, *(at - time.monotonic() for at in times)])

    def _flush(self, cell: Any, index: int, *, is_all: bool = False) -> None:
        """Give gathered text to the cell, the older stream first."""
        waiting = [printed for printed in self._forked.printed if printed.is_waiting]
        is_all = is_all or len(waiting) > 1 or any(printed.is_due for printed in waiting)
        for printed in sorted(waiting, key=lambda one: one.due) if is_all else ():
            content = {"name": printed.name, "text": printed.take()}
            message = {
                "header": {"msg_type": "stream"},
                "parent_header": self._parent,
                "metadata": {},
                "msg_type": "stream",
                "content": content,
                "buffers": [],
            }
            self.process_message(message, cell, index)

    def _take_rest(self, cell: Any, index: int) -> None:
        for printed in self._forked.printed:
            while printed.is_open and printed.read():
                continue
        self._flush(cell, index, is_all=True)

    def _wait_for_kernel(self) -> dict[str, Any]:
        limit = time.monotonic() + _START_S
        while time.monotonic() < limit:
            for message in self._forked.wait(limit - time.monotonic()):
                if message["msg_type"] == "kernel_info_reply":
                    return dict(message["content"]["language_info"])
            if not self._forked.is_alive:
                text = "".join(printed.take() for printed in self._forked.printed)
                print(text, end="", flush=True)
                raise DeadKernelError("Kernel died")
        raise RuntimeError("Kernel didn't respond in time")
