"""The fork server: root's process that has the image's libraries in memory and forks from itself.

Started with `python3 -S` on this file, so that it finds Python's own and the image's libraries and
nothing of /usr/local or anybody's home, which others than root may write. It opens no connection,
starts no thread, reads no secret and no notebook; what it forks gets the rest from elsewhere.
"""

from __future__ import annotations

import os
import sys

_IMAGE_LIBRARIES = "/usr/lib/python3/dist-packages"
_RENDERER_LIBRARIES = "/opt/vixtract/lib/python3.13/site-packages"
_RENDERER = (
    "nbconvert.exporters.html",
    "nh3",
    "vixtract.notebooks.render",
    "vixtract.notebooks.page",
)
# What notebooks of the image's libraries use, and what runs them. Libraries that look at their
# surroundings when they are imported (plotly, pyplot, dask, tqdm.auto) are not among them.
LIBRARIES = (
    "numpy",
    "pandas",
    "pyarrow",
    "pyarrow.csv",
    "pyarrow.parquet",
    "polars",
    "petl",
    "pgpq",
    "psycopg",
    "psycopg2",
    "sqlalchemy",
    "sqlalchemy.dialects.postgresql",
    "requests",
    "openpyxl",
    "lxml.etree",
    "matplotlib",
    "matplotlib.font_manager",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "tqdm",
    "zoneinfo",
    "sqlite3",
    "concurrent.futures",
    "vixtract.loading",
    "vixtract.loading.petl_methods",
    "ipykernel.debugger",
    "IPython.core.magics",
    "IPython.core.completer",
    "IPython.display",
    "jedi",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "IPython.utils.wildcard",
    "pdb",
    "readline",
    "rlcompleter",
    "encodings.utf_8_sig",
    "encodings.unicode_escape",
    "encodings.latin_1",
    "encodings.idna",
    "pandas.io.formats.html",
    "vixtract.notebooks.warm.in_process",
    "vixtract.notebooks.warm.kernel",
    "vixtract.notebooks.warm.client",
    "vixtract.runner.supervisor",
    "vixtract.people.roles",
)


def prepare_path() -> None:
    """Leave Python's own libraries and the image's on the path."""
    own = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - before any import
    sys.path[:] = [entry for entry in sys.path if entry and os.path.abspath(entry) != own]  # noqa: PTH100
    sys.path.append(_IMAGE_LIBRARIES)


def import_libraries() -> None:
    """Import everything that runs may need, as a kernel would find it."""
    import builtins
    import importlib
    import tempfile
    import types
    import warnings

    # ipykernel looks for a debugger, which is large and cannot work without sockets.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    # pandas sets its widths by this: True only in a kernel.
    builtins.get_ipython = lambda: types.SimpleNamespace(kernel=None)  # type: ignore[attr-defined]
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True):
        os.environ["MPLCONFIGDIR"] = folder
        for name in LIBRARIES:
            try:
                importlib.import_module(name)
            except ImportError as error:
                if name.startswith("vixtract.notebooks."):
                    raise
                sys.stderr.write(f"The fork server has no {name}: {error}\n")
        # Last on the path, so that nothing of it takes the place of a library of the notebooks.
        sys.path.append(_RENDERER_LIBRARIES)
        for name in _RENDERER:
            importlib.import_module(name)
        prepare_validators()
        prepare_renderer()
        sys.path.remove(_RENDERER_LIBRARIES)
        sys.modules["vixtract.notebooks.warm.in_process"].hide_renderer()
    del os.environ["MPLBACKEND"], os.environ["MPLCONFIGDIR"]
    delattr(builtins, "get_ipython")
    del sys.modules["debugpy"]
    tempfile.tempdir = None


def prepare_validators() -> None:
    """Have nbformat compile its schemas, which takes longer than a small notebook."""
    import nbformat

    for minor in range(6):
        notebook = {"nbformat": 4, "nbformat_minor": minor, "metadata": {}, "cells": []}
        nbformat.validate(nbformat.from_dict(notebook))  # type: ignore[no-untyped-call]


def prepare_renderer() -> None:
    """Have the renderer's templates compiled, from the image alone."""
    from jupyter_core import paths

    from vixtract.notebooks import page

    places = list(paths.SYSTEM_JUPYTER_PATH)
    # /usr/local is not root's to run templates from.
    paths.SYSTEM_JUPYTER_PATH[:] = []
    os.environ["JUPYTER_PATH"] = "/opt/vixtract/share/jupyter"
    try:
        page.rehearse()
    except Exception as error:
        page.prepare.cache_clear()
        sys.stderr.write(f"The renderer is not prepared: {error}\n")
    finally:
        paths.SYSTEM_JUPYTER_PATH[:] = places
        del os.environ["JUPYTER_PATH"]


def main() -> None:
    """Import, then fork on request until the daemon is gone."""
    prepare_path()
    from vixtract.notebooks.warm import shared_memory as sharing

    reserved = sharing.reserve_memory()
    import gc
    import pickle
    import signal
    import socket

    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    import_libraries()
    with os.fdopen(int(sys.argv[2]), "rb") as pipe:
        # The daemon's own configuration, over a pipe that only the daemon has.
        config = pickle.load(pipe)  # noqa: S301
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    sharing.share_objects()
    reserved += sharing.fill_gaps()
    # Collections would touch, and so copy, the memory that all forks share.
    gc.freeze()
    gc.disable()
    sharing.join_pages()
    send(control, ready=True)
    serve(control, config)


def send(control, **message) -> None:  # type: ignore[no-untyped-def]
    """Send the daemon a message, over a socket that keeps the borders of messages."""
    from vixtract.processes.questions import encode

    control.send(encode(message))


def serve(control, config) -> None:  # type: ignore[no-untyped-def]
    """Fork on request and tell who ended, until the daemon is gone.

    Args:
        control: the daemon's socket. In comes `{"do": "supervise"}` with a connection, out goes
            `{"pid"}` of its supervisor, and later `{"ended", "code"}`.
    """
    import select
    import signal
    import socket

    woken, waker = socket.socketpair()
    for end in (woken, waker):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            tell_ended(control)
        if control in ready:
            _, descriptors, _, _ = socket.recv_fds(control, 256, 1)
            if not descriptors:
                return
            with socket.socket(fileno=descriptors[0]) as connection:
                pid = fork_supervisor()
                if pid == 0:
                    for end in (control, woken, waker):
                        end.close()
                    supervise(connection, config)
            send(control, pid=pid)


def tell_ended(control) -> None:  # type: ignore[no-untyped-def]
    """Collect supervisors that ended, and tell the daemon."""
    from vixtract.processes import tree

    for pid, code in tree.reap().items():
        send(control, ended=pid, code=code)


def fork_supervisor() -> int:
    """Fork; returns -1 where the system has no room for a process."""
    import signal

    try:
        # A warm start: the fork has the image's libraries in memory.
        pid = os.fork()
    except OSError:
        return -1
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return pid


def supervise(connection, config) -> None:  # type: ignore[no-untyped-def]
    """Supervise one run; never returns."""
    import logging
    import signal

    from vixtract.notebooks.warm import in_process
    from vixtract.runner import supervisor
    from vixtract.runner.prepared import WarmStarts

    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.setpgid(0, 0)
        logging.basicConfig(level=logging.INFO, format="runner: %(levelname)s: %(message)s")
        starts = WarmStarts(in_process.run_notebook, in_process.render_notebook)
        supervisor.serve(connection, config, starts)
    except BaseException:
        logging.getLogger(__name__).exception("A supervisor failed")
        os._exit(1)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
