"""Moving tables into PostgreSQL and back: `load`, `read`, and faster petl transforms.

Heavy libraries are imported when they are first used. docs/how-to/load.md says how to use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vixtract.loading.loader import load as load
    from vixtract.loading.petl_faster import petl_fast as petl_fast
    from vixtract.loading.reader import read as read

_WHERE = {"load": "loader", "read": "reader", "petl_fast": "petl_faster"}
__all__ = ["load", "petl_fast", "read"]


def __getattr__(name: str) -> Any:
    """Import a function on first use."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"vixtract.loading.{_WHERE[name]}"), name)
