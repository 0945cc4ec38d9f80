"""The kernel of a warm run: ipykernel's own in a forked process, without sockets and threads.

What cells print goes through the pipes at descriptors 1 and 2, whoever writes there (Python, C
code, programs), everything else as messages. Before a message the kernel waits until the driver has
taken what stands in the pipes, so their order is the cell's own.
"""

from __future__ import annotations

import _io
import array
import asyncio
import atexit
import contextlib
import fcntl
import gc
import io
import os
import socket
import sys
import termios
import threading
import time
from types import SimpleNamespace
from typing import Any, NoReturn

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from jupyter_client.session import Session
from tornado.ioloop import IOLoop
from traitlets.config import Config

from vixtract.notebooks.warm.message_socket import MessageSocket

LAUNCHER = "/usr/lib/python3/dist-packages/ipykernel_launcher.py"
HISTORY = "--HistoryManager.hist_file=:memory:"
_SETTLE_S = 1.0


class Outlet(io.TextIOWrapper):
    """Standard output or error, whatever a notebook does to 1 and 2: unbuffered, and in order."""

    _last: Outlet | None = None

    def __init__(self, number: int, name: str, outputs: Outputs) -> None:
        raw = io.FileIO(outputs.ends[number], "wb", closefd=False)
        super().__init__(raw, "UTF-8", "backslashreplace", write_through=True)  # type: ignore[type-var]
        self.mode = "w"  # type: ignore[misc]
        self._outputs = outputs
        self._number = number
        self._name = name

    @property
    def name(self) -> str:
        """Return the name that ipykernel's streams have."""
        return self._name

    def fileno(self) -> int:
        """Return the descriptor that programs and C code have, too."""
        return self._number

    def write(self, text: str) -> int:
        """Write text at once."""
        if Outlet._last is not self:
            self._outputs.settle()
            Outlet._last = self
        return super().write(text)


class Outputs:
    """The pipes' write ends, kept apart from 1 and 2, which a notebook may point elsewhere."""

    def __init__(self) -> None:
        self.ends = {number: fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 300) for number in (1, 2)}
        self._size = array.array("i", [0])

    def settle(self) -> None:
        """Wait until the driver has read what was written, except in a flood without end."""
        limit = 0.0
        while self._is_pending():
            now = time.monotonic()
            limit = limit or now + _SETTLE_S
            if now > limit:
                return
            time.sleep(0.00005)

    def _is_pending(self) -> bool:
        for end in self.ends.values():
            with contextlib.suppress(OSError):
                fcntl.ioctl(end, termios.FIONREAD, self._size)
                if self._size[0]:
                    return True
        return False


class MessageSession(Session):  # type: ignore[misc]
    """Jupyter's session over a socket pair; sends nothing from processes that a cell forked."""

    messages: MessageSocket
    outputs: Outputs

    def send(self, stream: Any, msg_or_type: Any, *arguments: Any, **options: Any) -> Any:
        """Send one message; the arguments are the parent's."""
        names = ("content", "parent", "ident", "buffers", "track", "header", "metadata")
        options.update(zip(names, arguments))
        if isinstance(msg_or_type, dict):
            message = msg_or_type
        else:
            message = self.msg(
                msg_or_type,
                content=options.get("content"),
                parent=options.get("parent"),
                header=options.get("header"),
                metadata=options.get("metadata"),
            )
        if os.getpid() != self.pid:
            # ipykernel looks into what was sent, and the child's end is `_serve`'s.
            return message
        if message["msg_type"] != "status":
            self.outputs.settle()
        self.messages.send({**message, "buffers": options.get("buffers") or ()})
        return message


class Kernel(IPythonKernel):  # type: ignore[misc]
    """ipykernel's kernel, driven by one request after the other."""

    def _abort_queues(self, subshell_id: str | None = None) -> None:
        """Do nothing: the driver sends no cell before it has the answer to the one before."""

    async def answer(self, message: dict[str, Any]) -> None:
        """Run the cell of an `execute_request`."""
        self.set_parent([], message, channel="shell")
        self._publish_status("busy", "shell")
        self.pre_handler_hook()
        try:
            await self.execute_request(None, [], message)
        finally:
            self.post_handler_hook()
        self._publish_status("idle", "shell")


class KernelApp(IPKernelApp):  # type: ignore[misc]
    """ipykernel's application (profile, configuration, start-up files, plots), without sockets."""

    session_of_run: MessageSession

    def _nothing(self, *_: Any) -> None:
        """Stand for a step that needs sockets."""

    init_poller = init_sockets = init_heartbeat = init_blackhole = _nothing
    init_connection_file = log_connection_info = _nothing
    write_connection_file = _nothing  # type: ignore[assignment]
    init_crash_handler = _nothing

    def parse_command_line(self, argv: Any = None) -> None:
        """Take the one option of the command line; reading it takes longer than a small cell."""
        self.update_config(Config({"HistoryManager": {"hist_file": ":memory:"}}))

    def init_io(self) -> None:
        """Take the process's own streams as they are."""
        self.displayhook = SimpleNamespace()
        self.patch_io()

    def init_kernel(self) -> None:
        """Make the kernel."""
        from ipykernel import debugger

        # A debugger needs the sockets that are not there.
        debugger._is_debugpy_available = False
        thread = SimpleNamespace(parent_thread=threading.main_thread())
        self.kernel = Kernel.instance(
            parent=self,
            session=self.session_of_run,
            iopub_socket=object(),
            stdin_socket=object(),
            shell_channel_thread=thread,
            log=self.log,
            profile_dir=self.profile_dir,
            user_ns=self.user_ns,
        )


def run(messages: socket.socket, requests: socket.socket, cwd: str) -> NoReturn:
    """Be a kernel until the requests end, in a process that was forked for it.

    Everything but printed text goes to `messages`.
    """
    code, owner = 1, os.getpid()
    try:
        os.chdir(cwd)
        outputs = Outputs()
        for name, number in (("stdout", 1), ("stderr", 2)):
            outlet = Outlet(number, name, outputs)
            setattr(sys, name, outlet)
            setattr(sys, f"__{name}__", outlet)
        connection = f"{os.environ.get('JUPYTER_RUNTIME_DIR', '/tmp')}/k.json"  # noqa: S108 (only a name)
        sys.argv = [LAUNCHER, "-f", connection, HISTORY]
        sys.orig_argv = ["/usr/bin/python3", "-m", "ipykernel_launcher", *sys.argv[1:]]
        session = MessageSession(messages=None, username=os.environ.get("USER", ""))
        session.messages, session.outputs = MessageSocket(messages), outputs
        code = asyncio.run(_serve(session, requests))
    except BaseException as error:
        # An error of a process that a cell forked is not one of the kernel.
        if os.getpid() == owner:
            text = f"The kernel failed: {type(error).__name__}: {error}\n"
            os.write(2, text.encode(errors="backslashreplace"))
        raise
    finally:
        os._exit(code)


async def _serve(session: MessageSession, requests: socket.socket) -> int:
    owner = os.getpid()
    app = KernelApp.instance()
    app.session_of_run = session
    # The application asks for its own when its classes are configured.
    app.session = session
    app.initialize([HISTORY])
    kernel = app.kernel
    kernel.io_loop = app.io_loop = IOLoop.current()
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    # `exit()` asks the loop of the kernel to stop a moment later.
    kernel.io_loop = SimpleNamespace(
        call_later=lambda delay, _: loop.call_later(delay, stopped.set),
        add_callback=lambda call, *a, **k: loop.call_soon_threadsafe(lambda: call(*a, **k)),
        stop=stopped.set,
        asyncio_loop=loop,
    )
    incoming = MessageSocket(requests)
    arrived = asyncio.Event()
    loop.add_reader(requests, arrived.set)
    session.send(None, "kernel_info_reply", {"language_info": kernel.language_info})
    waits = asyncio.ensure_future(stopped.wait())
    while not stopped.is_set():
        next_one = asyncio.ensure_future(arrived.wait())
        await asyncio.wait({next_one, waits}, return_when=asyncio.FIRST_COMPLETED)
        next_one.cancel()
        arrived.clear()
        try:
            requested = incoming.receive()
        except EOFError:
            break
        for message in requested:
            await kernel.answer(message)
            if os.getpid() != owner:
                os._exit(0)  # a cell forked, and the child came back from it
    _finish(app.shell)
    return 0


def _finish(shell: Any) -> None:
    """Do what the end of a process does for a notebook: exit functions, files written out."""
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    with contextlib.suppress(BaseException):
        shell.user_ns.clear()
        shell.user_ns_hidden.clear()
        gc.collect()
    # By the type, which asks nothing of objects that pretend.
    files = [thing for thing in gc.get_objects() if issubclass(type(thing), _io._IOBase)]
    for file in files:
        with contextlib.suppress(BaseException):
            if not file.closed and file.writable():
                file.flush()
