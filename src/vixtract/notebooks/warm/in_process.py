"""What a forked process does once it is the owner's: become the driver of a run, or start cold.

No trace of the fork server may show in it: environment, path, signals and whatever libraries keep
from their import are set as a process has them that was just started.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, NoReturn

from vixtract.notebooks import engine, execute
from vixtract.notebooks.warm import client as warm_client
from vixtract.notebooks.warm import kernel, suitability
from vixtract.processes.spawn import PROGRESS_FD, ProcessSpec, name_process

# Not `libraries`: the same list that `forkserver` has imported from.
_IMAGE_PATH = list(sys.path)
RENDERERS = "/opt/vixtract"
_hidden: dict[str, Any] = {}


def run_notebook(command: ProcessSpec) -> NoReturn:
    """Run the notebook whose job is on standard input, or execute the command of a cold run."""
    code = 1
    try:
        warm = {name.partition(".")[0] for name in sys.modules}
        become_owner(command.environment)
        job = json.loads(os.pread(0, os.fstat(0).st_size, 0))
        obstacle = look(job, warm)
        if obstacle:
            line = f"[vixtract] A kernel is started for it: {obstacle}.\n"
            os.write(1, line.encode(errors="backslashreplace"))
            os.lseek(0, 0, os.SEEK_SET)
            os.execve(command.argv[0], list(command.argv), command.environment)  # noqa: S606
        code = run(job)
    except BaseException as error:
        line = f"The run failed: {type(error).__name__}: {error}\n"
        os.write(2, line.encode(errors="backslashreplace"))
        raise
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def render_notebook(command: ProcessSpec) -> NoReturn:
    """Make the HTML of an executed notebook.

    Unlike a run's process it stays hidden from the owner's others: it was forked late. The last
    words of the cold renderer's command are the names of notebook and HTML.
    """
    code = 1
    try:
        os.environ.clear()
        os.environ.update(command.environment)
        # Where the templates are; a cold renderer finds them beside its own Python.
        os.environ["JUPYTER_PATH"] = f"{RENDERERS}/share/jupyter"
        sys.modules.update(_hidden)
        # Imports libraries that are out of sight until now.
        from vixtract.notebooks import render

        tempfile.tempdir = None
        gc.enable()
        sys.argv = ["render", *command.argv[-2:]]
        code = render.main()
    finally:
        os._exit(code)


def become_owner(environment: Mapping[str, str]) -> None:
    """Put this process's surroundings in place: variables, library directories, signals."""
    name_process("vixtract-run")
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    # The run's own; to look for it Python would write a file.
    tempfile.tempdir = environment.get("TMPDIR")
    if hasattr(sys.flags, "__replace__"):
        # Processes that multiprocessing starts take these over.
        sys.flags = sys.flags.__replace__(no_site=0)
    # As Python sets them at its start.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The supervisor's way of logging is not a notebook's.
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)
    gc.enable()


def look(job: dict[str, Any], warm: set[str]) -> str:
    """Add the owner's library directories; return why the process will not do, or an empty text."""
    hooks = len(sys.meta_path) + len(sys.path_hooks)
    image = [path for path in _IMAGE_PATH if path.endswith("dist-packages")]
    sys.path[:] = [path for path in _IMAGE_PATH if path not in image]
    sys.path_importer_cache.clear()
    sys.modules.pop("site", None)
    try:
        import site

        # It would write to each of some thousand modules, whose paths are absolute already.
        site.abs_paths = lambda: None
        site.main()
        return suitability.find_obstacle(job, warm, hooks)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def run(job: dict[str, Any]) -> int:
    """Fork the kernel, drive the notebook in it, and return the code, as `execute.drive` does."""
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    # Before anything of the driver's: its log, its filters for warnings, the notebook.
    forked = warm_client.ForkedKernel(lambda *ends: fork_kernel(job["cwd"], *ends))

    class Engine(engine.Engine):
        """papermill's engine with the forked kernel."""

        @classmethod
        def make_client(cls, manager: engine.Cells, **options: Any) -> engine.Client:
            return warm_client.WarmClient(manager, forked, **options)

    return execute.drive(job, Engine)


def fork_kernel(
    cwd: str, messages: socket.socket, requests: socket.socket, outputs: list[int]
) -> int:
    """Fork the process that the cells run in, and return its id; does not return in the fork.

    Args:
        messages: where everything but printed text goes.
        outputs: write ends of the pipes for standard output and error.
    """
    # A warm start: the kernel is a fork of the driver, which has all libraries in memory.
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.environ.pop("VIXTRACT_PROGRESS_FD", None)
        for number, end in enumerate(outputs, 1):
            os.dup2(end, number, inheritable=True)
        kept = {messages.fileno(), requests.fileno()}
        top = max(kept) + 1
        for number in range(3, top):
            if number not in kept:
                with contextlib.suppress(OSError):
                    os.close(number)
        os.closerange(top, max(top, PROGRESS_FD) + 1)
        freshen_libraries()
        kernel.run(messages, requests, cwd)
    finally:
        os._exit(1)


def hide_renderer() -> None:
    """Take the renderer's libraries out of sight: notebooks do not have them."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(f"{RENDERERS}/lib/"):
            _hidden[name] = sys.modules.pop(name)


def freshen_libraries() -> None:
    """Have libraries forget what they took from the fork server: chance, and its directories."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    matplotlib = sys.modules.get("matplotlib")
    if matplotlib is not None:
        for name in ("get_configdir", "get_cachedir"):
            _forget_result(getattr(matplotlib, name))
    sysconfig = sys.modules.get("sysconfig")
    if sysconfig is not None and getattr(sysconfig, "_CONFIG_VARS", None):
        sysconfig._CONFIG_VARS["userbase"] = str(Path.home() / ".local")
    warnings.onceregistry.clear()  # type: ignore[attr-defined]


def _forget_result(function: FunctionType) -> None:
    """Empty the memory of a function that matplotlib calls once: `called` in its closure."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
    if "called" in cells:
        cells["called"].cell_contents = False
