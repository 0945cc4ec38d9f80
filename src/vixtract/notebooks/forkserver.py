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
_RENDERER = ("nbconvert.exporters.html", "bleach", "vixtract.notebooks.render")
# The only Python whose objects `share_objects` knows.
_KNOWN_PYTHON = (3, 13)
# What notebooks of the image's libraries use, and what runs them. Libraries that look at their
# surroundings when they are imported (plotly, dask, tqdm.auto) are not among them.
LIBRARIES = (
    "numpy", "pandas", "pyarrow", "pyarrow.csv", "pyarrow.parquet", "polars", "petl", "pgpq",
    "psycopg", "psycopg2", "sqlalchemy", "sqlalchemy.dialects.postgresql", "requests", "openpyxl",
    "lxml.etree", "matplotlib", "matplotlib.pyplot", "matplotlib.font_manager",
    "matplotlib.backends.backend_agg", "tqdm", "zoneinfo", "sqlite3", "concurrent.futures",
    "vixtract.loading", "vixtract.loading.petl_methods", "ipykernel.debugger",
    "IPython.core.magics", "IPython.core.completer", "IPython.display", "jedi",
    "IPython.core.completerlib", "IPython.core.debugger", "IPython.core.oinspect",
    "IPython.extensions.storemagic", "IPython.utils.wildcard", "pdb", "readline", "rlcompleter",
    "encodings.utf_8_sig", "encodings.unicode_escape", "encodings.latin_1", "encodings.idna",
    "matplotlib_inline.config", "pandas.io.formats.html",
    "vixtract.notebooks.begin", "vixtract.notebooks.kernel", "vixtract.notebooks.warm_client",
    "vixtract.notebooks.supervisor", "vixtract.people.roles",
)  # fmt: skip


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

    from vixtract.notebooks import render

    places = list(paths.SYSTEM_JUPYTER_PATH)
    # /usr/local is not root's to run templates from.
    paths.SYSTEM_JUPYTER_PATH[:] = []
    os.environ["JUPYTER_PATH"] = "/opt/vixtract/share/jupyter"
    try:
        render.rehearse()
    except Exception as error:
        render.make_exporter.cache_clear()
        sys.stderr.write(f"The renderer is not prepared: {error}\n")
    finally:
        paths.SYSTEM_JUPYTER_PATH[:] = places
        del os.environ["JUPYTER_PATH"]


def share_objects() -> None:
    """Make all objects immortal, so that using them does not write to their memory.

    Each use of an object counts references in it, and so each forked process would soon have a
    copy of most of what it shares: 58 MB in place of 28 for a run. These objects live as long as
    the process anyway.

    Source: https://peps.python.org/pep-0683/ (object.h: `_Py_IMMORTAL_REFCNT`)
    """
    import ctypes
    import gc
    import sysconfig

    if sys.version_info[:2] != _KNOWN_PYTHON or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return
    found: dict[int, object] = {}
    layer = gc.get_objects()
    while layer:
        fresh = {id(thing): thing for thing in layer if id(thing) not in found}
        found.update(fresh)
        layer = gc.get_referents(*fresh.values()) if fresh else []
    for address in found:
        ctypes.c_uint32.from_address(address).value = 0xFFFFFFFF


def main() -> None:
    """Import, then fork on request until the daemon is gone."""
    prepare_path()
    import gc
    import pickle
    import signal
    import socket

    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    import_libraries()
    with os.fdopen(int(sys.argv[2]), "rb") as pipe:
        # The daemon's own configuration, over a pipe that nobody else has.
        config = pickle.load(pipe)  # noqa: S301
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    # Collections would touch, and so copy, the memory that all forks share.
    share_objects()
    gc.freeze()
    gc.disable()
    control.send(b"ready")
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 16, 1)
        if not descriptors:
            return
        control.send(fork_supervisor(control, socket.socket(fileno=descriptors[0]), config))


def fork_supervisor(control, connection, config) -> bytes:  # type: ignore[no-untyped-def]
    """Fork a supervisor that is the daemon's child, not this process's.

    Args:
        control: the daemon's socket, closed in the supervisor.
        connection: a plugin's.
        config: the daemon's.
    Returns: its process id, packed; 0 where the system has no room for it.
    """
    import struct

    reader, writer = os.pipe()
    with connection:
        try:
            middle = os.fork()
        except OSError:
            os.close(reader)
            os.close(writer)
            return struct.pack("i", 0)
        if middle == 0:
            try:
                pid = os.fork()
            except OSError:
                pid = -1
            if pid == 0:
                os.close(reader)
                os.close(writer)
                control.close()
                supervise(connection, config)
            os.write(writer, struct.pack("i", max(pid, 0)))
            # Its child goes to the nearest subreaper above, which is the daemon.
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read(4)
    os.waitpid(middle, 0)
    return answer if len(answer) == 4 else struct.pack("i", 0)


def supervise(connection, config) -> None:  # type: ignore[no-untyped-def]
    """Supervise one run; never returns.

    Args:
        connection: a plugin's.
        config: the daemon's.
    """
    import logging
    import signal

    from vixtract.notebooks import begin, supervisor
    from vixtract.notebooks.prefork import Beginnings

    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.setpgid(0, 0)
        logging.basicConfig(level=logging.INFO, format="runner: %(levelname)s: %(message)s")
        supervisor.serve(connection, config, Beginnings(begin.begin, begin.render_notebook))
    except BaseException:
        logging.getLogger(__name__).exception("A supervisor failed")
        os._exit(1)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
