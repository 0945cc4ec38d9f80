"""What the fork server does before the first run: run notebooks of its own, and undo what shows.

Python adapts its code to what it executes, and libraries fill caches when they are first used; each
adaption that a forked process makes copies a page, and is lost with it. The cells are here, nothing
of anybody's is read, and the state of every module is put back after.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import io
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from vixtract.notebooks import begin, engine, kernel, suitability, warm_client
from vixtract.notebooks.wire import Wire

TIMES = 8
# Nothing of Arrow's or polars': their first use reserves a gigabyte, which every run's limit of
# data would count.
_CELLS = (
    "import os\nnumber = 6 * 7",
    "number",
    "def double(x):\n    return 2 * x\n[double(i) for i in range(3)]",
    "rows = [['name', 'size']] + [[f'n{i}', i] for i in range(20)]",
    "import petl as etl\netl.head(rows)",
    "%time sum(range(10))",
    "from IPython.display import display, HTML\ndisplay(HTML('<b>x</b>'), 'text')",
)
_PRINTS = "print('printed')\nimport sys\nprint('problem', file=sys.stderr)"


def rehearse() -> None:
    """Run kernel, driver and their notebooks; leave the state of this process as it was."""
    # Not a TemporaryDirectory, which each forked kernel would remove at its end.
    folder = Path(tempfile.mkdtemp())
    try:
        with kept_state(), _quiet(folder):
            for _ in range(TIMES):
                rehearse_kernel()
            for number in range(TIMES):
                rehearse_driver(folder, number)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rehearse_kernel() -> None:
    """Run the cells in a kernel in this process."""
    messages, messages_end = socket.socketpair()
    requests, requests_end = socket.socketpair()
    with messages, messages_end, requests, requests_end:
        session = kernel.WireSession(wire=None, username="root")
        session.wire = Wire(messages_end)
        session.outputs = SimpleNamespace(settle=lambda: None)  # type: ignore[assignment]
        wire = Wire(requests)
        for number, source in enumerate(_CELLS):
            wire.send(warm_client.make_request(source, f"m{number}", is_kept=True))
        requests.shutdown(socket.SHUT_WR)
        asyncio.run(kernel.serve(session, requests_end, lambda _: None))
        Wire(messages).receive()
    kernel.forget()


def rehearse_driver(folder: Path, number: int) -> None:
    """Drive the notebook with papermill; its kernel is forked, as a run's is.

    Args:
        folder: for the notebook.
        number: of this time.
    """
    source = folder / "input.ipynb"
    cells: list[dict[str, Any]] = [
        {"id": f"c{i}", "cell_type": "code", "metadata": {}, "source": text, "outputs": [],
         "execution_count": None} for i, text in enumerate([_PRINTS, *_CELLS])
    ]  # fmt: skip
    spec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": spec}, "cells": cells}
    source.write_text(json.dumps(content), encoding="utf-8")
    job = {
        "input": str(source), "notebook": str(source), "output": f"{folder}/{number}-output.ipynb",
        "cwd": str(folder), "parameters": {"year": 2024}, "kernel": "", "masked": ["a-secret"],
    }  # fmt: skip
    hooks = len(sys.meta_path) + len(sys.path_hooks)
    suitability.find_obstacle(job, set(), hooks)
    code = begin.run(job)
    if code != 0:
        raise RuntimeError(f"The rehearsal ended with code {code}: {engine.progress.result}")
    engine.Cells.current = None
    engine.Cells.shown_paths = {}
    engine.WholeFiles.masked = ()
    engine.progress.result.clear()


@contextlib.contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    """Let nothing of this machine's be read or written but one folder."""
    from IPython.core import application
    from jupyter_core import paths

    names = {"HOME": folder, "IPYTHONDIR": folder / "ipython", "JUPYTER_RUNTIME_DIR": folder}
    os.environ.update({name: str(path) for name, path in names.items()}, TMPDIR=str(folder))
    # /usr/local is not root's to run configuration from.
    lists = (application.SYSTEM_CONFIG_DIRS, application.ENV_CONFIG_DIRS, paths.SYSTEM_JUPYTER_PATH)
    kept = [list(one) for one in lists]
    for one in lists:
        one.clear()
    null = os.open(os.devnull, os.O_WRONLY)
    ends = {number: os.dup(number) for number in (1, 2)}
    try:
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        for number in ends:
            os.dup2(null, number)
        yield
    finally:
        for number, end in ends.items():
            os.dup2(end, number)
            os.close(end)
        os.close(null)
        for one, before in zip(lists, kept):
            one.extend(before)


@contextlib.contextmanager
def kept_state() -> Iterator[None]:
    """Put back the globals of all modules, and what the process has besides."""
    before = {
        name: (module, dict(vars(module)))
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType)
    }
    # In place; the names of the lists and dictionaries themselves are among the globals.
    lists: tuple[Any, ...] = (sys.path, sys.meta_path, sys.path_hooks, warnings.filters)
    contents = [list(one) for one in lists]
    environment, folder = dict(os.environ), Path.cwd()
    levels = _levels()
    handlers = list(logging.root.handlers)
    caught = {number: signal.getsignal(number) for number in signal.valid_signals()}
    register: Callable[..., Any] = atexit.register
    atexit.register = lambda function, *_, **__: function  # type: ignore[assignment]
    try:
        yield
    finally:
        atexit.register = register
        for one, content in zip(lists, contents):
            one[:] = content
        for name, (module, names) in before.items():
            sys.modules[name] = module
            _put_back(module, names)
        warnings._filters_mutated()  # type: ignore[attr-defined]
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        logging.root.handlers[:] = handlers
        for logger, level in _levels().items():
            logger.setLevel(levels.get(logger, level))
        for number, handler in caught.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        asyncio.set_event_loop_policy(None)


def _levels() -> dict[logging.Logger, int]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return {one: one.level for one in loggers if isinstance(one, logging.Logger)}


def _put_back(module: ModuleType, content: dict[str, Any]) -> None:
    """Put back a module's globals; modules that were imported into it stay."""
    now = vars(module)
    for name, value in list(now.items()):
        if name not in content and not isinstance(value, ModuleType):
            del now[name]
        elif name in content and value is not content[name]:
            now[name] = content[name]
    for name in content.keys() - now.keys():
        now[name] = content[name]
