"""Every kind of connection by its name: the modules of `vixtract.vault.kinds`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from vixtract.vault import kinds
from vixtract.vault.kind import Kind


def _find_kinds() -> dict[str, Kind]:
    names = [f"{kinds.__name__}.{module.name}" for module in pkgutil.iter_modules(kinds.__path__)]
    found: list[Kind] = [importlib.import_module(name).KIND for name in names]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.title.casefold())}


KINDS: Mapping[str, Kind] = _find_kinds()
