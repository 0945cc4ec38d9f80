"""The releases of other libraries whose private parts we use, and a check of what is loaded.

Code that replaces a library's own functions, or calls functions that the library does not promise,
asks `find_unknown` first and leaves any other release alone. CONTRIBUTING.md lists these places. A
test compares the table with the lock files: check the places before you raise a version there.
"""

from __future__ import annotations

import importlib

#: Module to the release that we know: all versions that begin with it.
RELEASES = {
    "ipykernel": "7.4",
    "jupyter_client": "8.10",
    "jupyter_server": "2.21",
    "jupyterhub": "6.1",
    "nbclient": "0.11",
    "nbconvert": "7.17",
    "papermill": "2.7",
    "petl": "1.7",
}


def find_unknown(*names: str) -> str:
    """Return the first of some modules that is of another release, as `petl 2.0.1`, or ""."""
    for name in names:
        version = str(getattr(importlib.import_module(name), "__version__", ""))
        if not f"{version}.".startswith(f"{RELEASES[name]}."):
            return f"{name} {version}".rstrip()
    return ""
