"""Asking the homes server. Standard library alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vixtract.errors import Failure, VixtractError
from vixtract.processes import questions

SOCKET = Path("/run/vixtract/homes.sock")
TIMEOUT_S = 12.0


class HomesError(VixtractError):
    """The homes server refuses: message, hint and failure are its own."""


def ask(path: Path, question: Mapping[str, str], files: list[int] | None = None) -> dict[str, Any]:
    """Ask the homes server one question; the caller closes the `files` that come along.

    Raises:
        HomesError: it refuses.
        UnansweredError: there is no answer.
    """
    answer = questions.ask(path, question, timeout_s=TIMEOUT_S, files=files)
    if answer.get("error"):
        while files:
            os.close(files.pop())
        failure = answer.get("failure")
        raise HomesError(
            str(answer["error"]),
            str(answer.get("hint") or ""),
            Failure.from_json(failure) if failure else None,
        )
    return answer
