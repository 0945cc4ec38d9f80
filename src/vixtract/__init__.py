"""ViXtract: an ETL appliance for one Linux host.

In a notebook: `vixtract.load`, `vixtract.read`, `vixtract.petl_fast`, and `vixtract.etl`, which is
petl with `topostgres` and `frompostgres`; `vixtract.connection` and `vixtract.connections` give
what the portal keeps under Connections. Nothing of it is imported before it is asked for: the
package also runs on the bare host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"
_NOTEBOOK_NAMES = ("load", "read", "petl_fast", "etl", "connection", "connections")


def __getattr__(name: str) -> Any:
    """Import what notebooks use when it is first asked for."""
    if name not in _NOTEBOOK_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import sys
    from importlib import import_module

    if name.startswith("connection"):
        return getattr(import_module("vixtract.vault.notebooks"), name)
    methods = import_module("vixtract.loading.petl_methods")
    if name == "etl":
        return methods.register()
    if "petl" in sys.modules:
        methods.register()
    return getattr(import_module("vixtract.loading"), name)


def __dir__() -> list[str]:
    """List the names for completion in a notebook."""
    return [*globals(), *_NOTEBOOK_NAMES]
