"""What an event may hold under Cronicle: the contract's fields and its plugins' parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vixtract.scheduler.calls import ApiError
from vixtract.scheduler.events import check_event


def check_values(values: Mapping[str, Any], *, partial: bool) -> None:
    """Refuse a malformed event.

    Args:
        values: fields of an event.
        partial: whether fields may be absent, as in an update.
    Raises:
        ApiError: says everything that is wrong.
    """
    problems = check_event(values, partial=partial)
    if problems:
        raise ApiError("api", "; ".join(str(problem) for problem in problems))
    if isinstance(values.get("params"), Mapping):
        check_names(str(values.get("plugin") or ""), values["params"])


PARAMETERS: Mapping[str, frozenset[str]] = {
    "notebook": frozenset(("owner", "notebook", "parameters", "kernel", "memory_mb", "pinned")),
    "shellplug": frozenset(("owner", "script")),
}


def check_names(plugin: str, params: Mapping[str, Any]) -> None:
    """Refuse parameters that the plugin does not have.

    Cronicle puts every parameter into the environment of a process of its own account, where names
    such as LD_PRELOAD would have that process run anybody's code.

    Raises:
        ApiError: names the parameters.
    """
    unknown = sorted(set(params) - PARAMETERS.get(plugin, frozenset()))
    if unknown:
        raise ApiError("api", f"params.{unknown[0][:40]} is no parameter of the plugin {plugin}")
