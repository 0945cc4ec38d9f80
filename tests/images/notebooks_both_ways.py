"""Notebooks of all sorts, run with a forked kernel and with one that is started.

Each is a list of code cells; what depends on the moment (process ids, times, addresses) is replaced
before the outputs are compared.
"""

from __future__ import annotations

import json
import re
from typing import Any

NOTEBOOKS: dict[str, tuple[str, ...]] = {
    "magics": (
        "%time 1 + 1",
        "%%capture kept\nprint('hidden')",
        "kept.stdout",
        "x = %sql_that_is_not_there",
    ),
    "system": (
        "!echo one; echo two >&2; exit 3",
        "_exit_code",
        "lines = !printf 'a\\nb'\nlines",
        "%%bash\necho $((6 * 7)); echo oops >&2",
        "%%bash\nexit 4",
    ),
    "display": (
        "from IPython.display import HTML, Image, JSON, Markdown, display, clear_output\nHTML('<b>bold</b>')",
        "display(Markdown('# t'), JSON({'a': [1]}))\nprint('after')",
        "shown = display('first', display_id='one')",
        "shown.update('second')\nprint('x')\nclear_output()\nprint('only this')",
        "print('gone'); clear_output(wait=True); display('stays')",
        "class Both:\n    def _repr_html_(self): return '<i>html</i>'\n    def __repr__(self): return 'plain'\nBoth()",
    ),
    "tables": (
        "import pandas as pd, petl as etl, polars as pl\npd.DataFrame({'a': range(100), 'b': 'text'})",
        "pd.options.display.max_columns, pd.options.display.width, pd.options.display.max_rows",
        "etl.fromcolumns([[1, 2], ['x', 'y']])",
        "pl.DataFrame({'a': [1, None], 'b': ['x', 'ж']})",
        "pl.DataFrame({'a': range(1000)}).group_by(pl.col('a') % 3).agg(pl.col('a').sum()).sort('a')",
    ),
    "plots": (
        "import matplotlib, matplotlib.pyplot as plt\nmatplotlib.get_backend()",
        "plt.plot([1, 2, 4]); plt.title('growth')",
        "fig, ax = plt.subplots()\nax.bar([1, 2], [3, 4])\nfig",
        "import os\nmatplotlib.get_configdir() == os.environ['MPL' + 'CONFIGDIR']",
        "%matplotlib inline\nplt.scatter([1], [2]);",
        "import plotly.graph_objects as go, plotly.io as pio\npio.renderers.default",
        "sorted(go.Figure(go.Bar(y=[1]))._repr_mimebundle_())",
    ),
    "streams": (
        # The pauses are for the kernel that is started: it keeps no order between the two on its own.
        "import os, sys, subprocess, ctypes, time\nprint('python', flush=True); time.sleep(0.5)\n"
        "os.write(1, b'descriptor\\n'); time.sleep(0.5); print('again')",
        "import time\nsubprocess.run(['echo', 'program']); time.sleep(0.5)\nprint('after it')",
        "ctypes.CDLL(None).puts(b'from C'); ctypes.CDLL(None).fflush(None); time.sleep(0.5); print('python')",
        "os.system('echo shell')",
        "sys.stdout.write('no newline')",
        "print('ж', '\\U0001f600', chr(0))",
        "import threading, time\ndef work():\n    for i in range(3): print('thread', i); time.sleep(.01)\nt = threading.Thread(target=work); t.start(); t.join(); print('joined')",
        "import logging\nlogging.basicConfig(); logging.warning('careful')",
        "sys.stdout.isatty(), sys.stdout.encoding",
    ),
    "descriptors": (
        "import os, sys\nfile = os.open(os.environ['VIXTRACT_OUTPUT_DIR'] + '/said', os.O_CREAT | os.O_WRONLY)\nos.dup2(file, 1);",
        "os.system('echo to the file'); print('to the cell')",
        "open(os.environ['VIXTRACT_OUTPUT_DIR'] + '/said').read()",
        "os.close(1)\nprint('still to the cell')",
    ),
    "warnings": (
        "import warnings\nwarnings.warn('mind this')",
        "def old(): warnings.warn('gone soon', DeprecationWarning, stacklevel=2)\nold()",
        "import numpy as np\nnp.array([1]) / 0",
        "with warnings.catch_warnings(record=True) as caught:\n    warnings.simplefilter('always'); warnings.warn('x')\nlen(caught)",
    ),
    "async": (
        "import asyncio\nawait asyncio.sleep(0.01)\nprint('awaited')",
        "async def add(a, b):\n    await asyncio.sleep(0)\n    return a + b\nawait asyncio.gather(*(add(i, 1) for i in range(3)))",
        "task = asyncio.create_task(add(20, 22))",
        "await task",
        "await asyncio.wait_for(asyncio.sleep(9), 0.05)",
    ),
    "processes": (
        "import multiprocessing as mp, os\nwith mp.get_context('fork').Pool(2) as pool: print(pool.map(abs, [-1, -2]))",
        "with mp.get_context('spawn').Pool(1) as pool: print(pool.map(abs, [-3]))",
        "from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor\nwith ThreadPoolExecutor(3) as p: print(sum(p.map(len, ['a', 'bb'])))",
        "import sys\nq = mp.get_context('fork').Process(target=lambda: print('from a child', flush=True)); q.start(); q.join(); q.exitcode",
        "import subprocess\nsubprocess.run([sys.executable, '-c', 'import sys; print(sys.flags.no_site)'], capture_output=True, text=True).stdout",
    ),
    "surroundings": (
        "import os, sys\nos.getcwd(), sys.executable, sys.path",
        "[os.path.basename(word) for word in sys.argv], '__file__' in globals(), __name__",
        "sorted({*os.environ} - {'JPY_PARENT_PID', 'PYDEVD_USE_FRAME_EVAL'})",
        "[os.environ[name] for name in ('HOME', 'USER', 'LANG', 'SHELL', 'MPL' + 'BACKEND', 'TERM')]",
        "type(get_ipython()).__name__, hasattr(get_ipython(), 'kernel'), 'IPKernelApp' in get_ipython().config",
        "import signal, resource\n[signal.getsignal(n) for n in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)], signal.pthread_sigmask(signal.SIG_BLOCK, [])",
        "[resource.getrlimit(n) for n in (resource.RLIMIT_DATA, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)], os.nice(0)",
        "import gc, threading, tempfile, getpass, site, locale\ngc.isenabled(), threading.active_count() > 0, tempfile.gettempdir() == os.environ['TMPDIR'], getpass.getuser(), site.USER_SITE, locale.getlocale(), sys.flags.no_site",
        "import importlib.util\n[name for name in ('nbconvert', 'jinja2', 'bleach') if importlib.util.find_spec(name)]",
        "os.getpgrp() == os.getpid() == os.getsid(0), oct(os.umask(0o77)), os.getresuid(), open('/proc/self/oom_score_adj').read()",
        "os.access('/proc/self/environ', os.R_OK), sorted(map(int, os.listdir('/proc/self/fd')))[:3]",
    ),
    "code of others": (
        "from pathlib import Path\nfolder = Path(__import__('os').environ['VIXTRACT_OUTPUT_DIR'])\n(folder / 'part.py').write_text('value = 6 * 7\\nprint(__name__, __file__[-7:])')",
        "import os\n%run {folder}/part.py",
        "value",
        "%load_ext autoreload\n%autoreload 2",
        "%cd -q {folder}\nimport part",
        "file = open('kept.txt', 'w'); file.write('written at the end')",
        "import atexit; atexit.register(lambda: open('exit.txt', 'w').write('left'));",
    ),
    "progress": (
        "from tqdm import tqdm\nlist(tqdm(range(3), bar_format='{n_fmt}/{total_fmt}', mininterval=0))",
        "from tqdm.auto import tqdm as auto\nauto.__module__",
        "print('x' * 100, end='\\r'); print('y')",
    ),
    "error": ("a = 1", "def fails():\n    return a / 0\nfails()", "print('never')"),
    "syntax": ("if True print('x')",),
    "input": ("print('asks')\ninput('name? ')",),
    "password": ("import getpass\ngetpass.getpass()",),
    "exit code": ("print('before')\nimport sys\nsys.exit(3)", "print('never')"),
    "good exit": ("import sys\nsys.exit(0)", "print('never')"),
    "interrupt": ("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)",),
    "crash": ("print('fine')", "import ctypes, time\nprint('last words', flush=True)\ntime.sleep(2)\nctypes.string_at(0)"),
    "left": ("print('fine')", "import os\nos._exit(3)"),
    "flood": ("for i in range(70): print('x' * 100_000)", "print('afterwards')"),
    "random": ("import random, numpy as np\nprint(random.random(), np.random.rand(), np.random.default_rng().random())",),
}  # fmt: skip

_MOMENTS = (
    (r"0x[0-9a-f]{6,}", "0xADDRESS"),
    (r"\b\d+(\.\d+)?(e[+-]\d+)? ?(ns|µs|μs|us|ms|s)\b", "TIME"),
    (r"(tmp|private|r|ipykernel_)/?r?\d+/", "PRIVATE/"),
    (r"/runs/anna/\w+", "/runs/anna/JOB"),
    (r"\bjtest\d+\b", "JOB"),
    (r"pid=\d+", "pid=PID"),
    # Where a flood is cut depends on the pieces that it came in.
    (r"(x{100,}\n?)+", "FLOOD\n"),
    (r"\x1b\[[0-9;]*m", ""),
)


def plain(text: str) -> str:
    """Return a text without what depends on the moment."""
    for pattern, word in _MOMENTS:
        text = re.sub(pattern, word, text)
    return text


def summary(notebook: dict[str, Any]) -> list[Any]:
    """Return what a notebook shows, cell by cell, for comparison.

    Args:
        notebook: executed, of format 4.
    """
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            cells.append(plain("".join(cell["source"])))
            continue
        papermill = cell["metadata"]["papermill"]
        # Whether a kernel that dies still tells the cell's number is chance.
        count = cell["execution_count"] if cell["outputs"] else None
        state = (papermill["status"], papermill["exception"], count)
        cells.append([*state, *_outputs(cell["outputs"])])
    return cells


def _outputs(outputs: list[dict[str, Any]]) -> list[Any]:
    """Join the streams of a cell: when a kernel flushes them is chance."""
    streams: dict[str, str] = {}
    found: list[Any] = []
    for output in outputs:
        if output["output_type"] == "stream":
            text = "".join(output["text"])
            streams[output["name"]] = streams.get(output["name"], "") + text
        elif output["output_type"] == "error":
            trace = [plain(line) for line in output["traceback"]]
            found.append(["error", output["ename"], plain(output["evalue"]), trace])
        else:
            data = {key: _value(key, value) for key, value in output["data"].items()}
            found.append([output["output_type"], data, output["metadata"]])
    return [*found, *sorted((name, plain(text)) for name, text in streams.items())]


def _value(kind: str, value: Any) -> Any:
    text = "".join(value) if isinstance(value, list) else value
    return plain(text if isinstance(text, str) else json.dumps(text, sort_keys=True))
