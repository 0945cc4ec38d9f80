"""From the scheduler's job to a request: whose account, which notebook, what the record keeps."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from vixtract.errors import RequestError
from vixtract.runner.config import SERVICE_AUTHOR

_PARAMETERS_HINT = 'Write them like {"year": 2024, "city": "Oslo"}.'

# papermill ... ./jupyter-home/anna/x.ipynb | /home/anna/x.ipynb | ~anna/x.ipynb
_HOME_PATH = re.compile(
    r"(?:(?<![\w.])(?:\./)?jupyter-home/|(?<![\w./])/home/|(?<![\w./])~)([a-z_][a-z0-9._-]{0,31})/"
)
_PAPERMILL = re.compile(r"(?:^|[\s;&|(/`])papermill\s")


def build_request(kind: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the engine's job of kind `notebook` or `shell` into the runner's request.

    Raises:
        RequestError: the event does not say what to run, or as whom.
    """
    params = job.get("params") or {}
    if not isinstance(params, Mapping):
        raise RequestError("The event's params are not a JSON object.")
    author = str(job.get("username") or "")
    request: dict[str, Any] = {
        "kind": kind,
        "job": str(job.get("id") or ""),
        "author": author,
        "memory_mb": _whole(params, "memory_mb"),
        "timeout_s": _whole(job, "timeout"),
        "target": str(job.get("target") or ""),
        "facts": {
            "event": str(job.get("event") or ""),
            "event_title": str(job.get("event_title") or ""),
            "due": job.get("now"),
        },
    }
    if kind == "notebook":
        _add_notebook(request, params, author)
    else:
        _add_script(request, params, author)
    return request


def script_owners(script: str) -> set[str]:
    """Return the names in paths below the homes, on a script's lines that call papermill."""
    # A command may go on over several lines.
    lines = script.replace("\r\n", "\n").replace("\\\n", " ").split("\n")
    commands = [line for line in lines if _PAPERMILL.search(line)]
    return {
        name
        for line in commands
        if not line.lstrip().startswith("#")
        for name in _HOME_PATH.findall(line)
    }


def _add_notebook(request: dict[str, Any], params: Mapping[str, Any], author: str) -> None:
    notebook = str(params.get("notebook") or "").strip()
    named = _HOME_PATH.match(notebook)
    owner = str(params.get("owner") or (named.group(1) if named else author))
    if named:
        if named.group(1) != owner:
            raise RequestError(
                f"The notebook lies in {named.group(1)}'s home, but the event's owner is {owner}.",
                "Give one of them, or the same person in both.",
            )
        notebook = notebook[named.end() :]
    _check_owner(owner)
    request.update(
        owner=owner,
        notebook=notebook,
        pinned=str(params.get("pinned") or ""),
        parameters=_parameters(params.get("parameters")),
        kernel=str(params.get("kernel") or ""),
    )


def _add_script(request: dict[str, Any], params: Mapping[str, Any], author: str) -> None:
    script = str(params.get("script") or "")
    owners = script_owners(script)
    named = str(params.get("owner") or "")
    if len(owners) > 1:
        raise RequestError(
            f"The script runs notebooks of {' and '.join(sorted(owners))}, but a job runs as one.",
            "Make an event for each.",
        )
    if named and owners and owners != {named}:
        raise RequestError(
            f"The script runs a notebook of {owners.pop()}, but the event's owner is {named}.",
            "Leave the owner empty, or make it the same.",
        )
    owner = named or (owners.pop() if owners else author)
    _check_owner(owner)
    request.update(owner=owner, script=script)


def _check_owner(owner: str) -> None:
    if owner in ("", SERVICE_AUTHOR):
        raise RequestError(
            "The event does not say whose account it runs as.",
            'Set the parameter "owner" to a person\'s name.',
        )


def _parameters(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        if not value.strip():
            return {}
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"The parameters are not JSON: {error}.", _PARAMETERS_HINT) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestError("The parameters are not a JSON object.", _PARAMETERS_HINT)
    wrong = [name for name in value if not name.isidentifier()]
    if wrong:
        raise RequestError(
            f"{wrong[0][:60]!r} cannot be the name of a parameter.",
            "Names are like variables in Python.",
        )
    return value


def _whole(values: Mapping[str, Any], key: str) -> int:
    value = values.get(key) or 0
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if number < 0:
        raise RequestError(f"{key} must be a whole number of 0 or more, not {str(value)[:40]!r}.")
    return number
