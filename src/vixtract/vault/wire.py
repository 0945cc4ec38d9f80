"""Asking the vault. Standard library alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vixtract.processes import questions
from vixtract.processes.questions import UnansweredError
from vixtract.vault.errors import NoVaultError

SOCKET = Path("/run/vixtract-vault/vault.sock")
# For tests and for containers of one's own; it grants nothing, for the vault goes by the uid.
SOCKET_VARIABLE = "VIXTRACT_VAULT_SOCKET"
PATIENCE_S = 10.0


def ask(
    question: Mapping[str, Any], *, path: Path | None = None, timeout_s: float = 15.0
) -> dict[str, Any]:
    """Ask the vault; a vault that is just being started again is waited for a moment.

    Args:
        question: JSON object.
        path: of the socket.
        timeout_s: for the answer.
    Returns: the answer, or what the vault refuses with: `error` and `hint`.
    Raises:
        NoVaultError: there is no answer.
    """
    where = path or Path(os.environ.get(SOCKET_VARIABLE) or SOCKET)
    try:
        return questions.ask(where, question, timeout_s=timeout_s, patience_s=PATIENCE_S)
    except UnansweredError as error:
        raise NoVaultError(
            f"The vault of connections does not answer ({error.message}).",
            "Try again; if it stays so, the operator's `./vixtract logs jupyter` (in a job:"
            " `cronicle`) says why.",
        ) from error
