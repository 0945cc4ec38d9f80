"""Whether a notebook can run in the warm process, or needs a kernel that is started for it.

Runs as the owner, after their environment and their libraries' directories are in place. When in
doubt the answer is no: a cold kernel is always right, and only slower.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection, Iterable
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Any

from vixtract.known_libraries import find_unknown

KERNEL = "python3"
KERNEL_FOLDER = "/usr/share/jupyter/kernels/python3"
_IMAGE = ("/usr/lib/",)
_SUFFIXES = frozenset(all_suffixes())
_PACKAGE = {f"__init__{suffix}" for suffix in _SUFFIXES}
# What needs the sockets of a kernel, or a frontend that answers.
_SOCKETS = re.compile(
    r"ipywidgets|ipyparallel|jupyter_client|ipykernel|connect_info|anywidget|FigureWidget"
    r"|create_comm|comm_manager|register_target|Comm\(|debugpy|%gui|%pylab|%matplotlib\s+(?!inline)\w"
)
# What libraries look at when they are imported, which here was before the notebook could set it.
_VARIABLES = re.compile(
    r"MPLBACKEND|MATPLOTLIBRC|MPLCONFIGDIR|_NUM_THREADS|_MAX_THREADS|\bPOLARS_[A-Z]|\bARROW_[A-Z]"
    r"|\bNPY_[A-Z]|\bNUMPY_[A-Z]|\bPANDAS_[A-Z]|\bPSYCOPG_[A-Z]|\bDISABLE_SQLALCHEMY|\bOPENBLAS_"
)
_WIDGETS = re.compile(r"tqdm|widget|interact")
_FONTS = (".fonts", ".local/share/fonts", "/usr/local/share/fonts")


def find_obstacle(job: dict[str, Any], warm: Collection[str], hooks: int) -> str:
    """Return the reason for a kernel of its own, or an empty text.

    Args:
        warm: top names of the modules that are imported already.
        hooks: number of import hooks before the owner's directories were added.
    """
    cwd = Path(job["cwd"])
    unknown = find_unknown("ipykernel", "jupyter_client", "nbclient", "papermill")
    if unknown:
        return f"{unknown} is not a release that the warm process knows"
    if len(sys.meta_path) + len(sys.path_hooks) != hooks:
        return "a library of yours changes how libraries are imported"
    own = [path for path in sys.path if path and not path.startswith(_IMAGE)]
    names = {*warm, "sitecustomize", "usercustomize"}
    shadow = find_shadow([*own, str(cwd)], names)
    if shadow:
        return f"{shadow} takes the place of a library of the image"
    if (cwd / "matplotlibrc").exists():
        return "there is a matplotlibrc beside the notebook"
    if any(os.path.isdir(Path.home() / folder) for folder in _FONTS):  # noqa: PTH112
        return "there are fonts of your own"
    return find_in_notebook(json.loads(Path(job["input"]).read_bytes()), job["kernel"])


def find_shadow(folders: Iterable[str], names: Collection[str]) -> str:
    """Return the path of a module with one of these names, or an empty text.

    Directories that are missing hold nothing; an archive may hold anything.
    """
    for folder in folders:
        try:
            entries = os.listdir(folder)  # noqa: PTH208 (hundreds of names, at each run)
        except NotADirectoryError:
            return folder
        except OSError:
            continue
        for entry in entries:
            stem = entry.partition(".")[0]
            if stem in names:
                path = os.path.join(folder, entry)  # noqa: PTH118
                if entry[len(stem) :] in _SUFFIXES or (entry == stem and _is_package(path)):
                    return path
    return ""


def _is_package(path: str) -> bool:
    """Return whether a path is a directory that Python prefers to a module further down its path.

    One without `__init__` is only ever a part of a package without one: a library's, perhaps.
    """
    try:
        entries = os.listdir(path)  # noqa: PTH208
    except OSError:
        return False
    module = sys.modules.get(os.path.basename(path))  # noqa: PTH119
    is_in_parts = hasattr(module, "__path__") and getattr(module, "__file__", None) is None
    return is_in_parts or not _PACKAGE.isdisjoint(entries)


def find_in_notebook(notebook: Any, kernel: str) -> str:
    """Return the reason in a notebook for a kernel of its own, or an empty text."""
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        return "the notebook has an old format"
    metadata = notebook.get("metadata") or {}
    spec = metadata.get("kernelspec") or {}
    language = spec.get("language") or (metadata.get("language_info") or {}).get("name") or "python"
    wanted = kernel or spec.get("name") or KERNEL
    if language.lower() != "python" or not _is_default_kernel(wanted, bool(kernel)):
        return f"its kernel is {wanted}"
    sources = [
        "".join(cell["source"]) if isinstance(cell["source"], list) else str(cell["source"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]
    for source in sources:
        found = _SOCKETS.search(source) or _VARIABLES.search(source)
        if found:
            return f"it speaks of {found[0].strip()}"
    if any(map(_WIDGETS.search, sources)):
        from importlib.util import find_spec

        if find_spec("ipywidgets") is not None:
            return "it may show widgets"
    return ""


def _is_default_kernel(wanted: str, is_demand: bool) -> bool:
    """Return whether the image's own Python kernel would run."""
    from jupyter_client.kernelspec import KernelSpecManager

    known = KernelSpecManager().find_kernel_specs()
    if known.get(KERNEL) != KERNEL_FOLDER:
        return False
    # A Python notebook with a kernel that is not here runs with the default one.
    return wanted == KERNEL or (wanted not in known and not is_demand)
