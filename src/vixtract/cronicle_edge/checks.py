"""What an event may hold under Cronicle: the contract's fields and its plugins' parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vixtract.scheduler import api
from vixtract.scheduler.api import ApiError

# Cronicle calls these methods of values to make texts of them. A JSON object with one of these
# names makes it crash, and all jobs end with it.
METHODS = frozenset(
    ("toString", "valueOf", "toJSON", "hasOwnProperty", "constructor", "prototype", "__proto__")
)
# What the kernel takes of one variable of an environment (MAX_ARG_STRLEN), less room for its name.
VARIABLE_BYTES = 128 * 1024 - 64


def find_method(value: object) -> str:
    """Return a name in a JSON value that Cronicle would call as a method, or an empty text."""
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, Mapping):
            found = METHODS.intersection(inner)
            if found:
                return str(min(found))
            waiting.extend(inner.values())
        elif isinstance(inner, (list, tuple)):
            waiting.extend(inner)
    return ""


def tell_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plugin's parameters in a form that is safe for Cronicle.

    A notebook's own parameters may have any names, so they become a JSON text where one is a
    method's.
    """
    told = dict(params)
    if find_method(told.get("parameters")):
        told["parameters"] = json.dumps(told["parameters"], ensure_ascii=False)
    return told


def check_values(values: Mapping[str, Any], *, partial: bool) -> None:
    """Raise ApiError for a malformed event, or for parameters that its plugin does not have."""
    api.check_values(values, partial=partial)
    if isinstance(values.get("params"), Mapping):
        check_names(str(values.get("plugin") or ""), values["params"])


PARAMETERS: Mapping[str, frozenset[str]] = {
    "notebook": frozenset(("owner", "notebook", "parameters", "kernel", "memory_mb", "pinned")),
    "shellplug": frozenset(("owner", "script")),
}


def check_names(plugin: str, params: Mapping[str, Any]) -> None:
    """Raise ApiError for parameters that the plugin does not have, or that are too long.

    Cronicle puts every parameter into the environment of a process of its own account, where a name
    such as LD_PRELOAD would make that process run the code of a person.
    """
    unknown = sorted(set(params) - PARAMETERS.get(plugin, frozenset()))
    if unknown:
        raise ApiError("api", f"params.{unknown[0][:40]} is not a parameter of the plugin {plugin}")
    for name, value in tell_params(params).items():
        if isinstance(value, str) and len(value.encode()) > VARIABLE_BYTES:
            raise ApiError(
                "api",
                f"params.{name} must have at most {VARIABLE_BYTES} bytes with this engine."
                " Put it into a file in the home, and call that.",
            )
