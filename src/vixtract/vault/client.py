"""The client of the vault, on the standard library alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vixtract.processes import questions
from vixtract.processes.questions import UnansweredError
from vixtract.vault.errors import NoVaultError

SOCKET = Path("/run/vixtract-vault/vault.sock")
# For tests and other containers; it grants no rights, because the vault checks the uid.
SOCKET_VARIABLE = "VIXTRACT_VAULT_SOCKET"
PATIENCE_S = 10.0


def ask(
    question: Mapping[str, Any], *, path: Path | None = None, timeout_s: float = 15.0
) -> dict[str, Any]:
    """Ask the vault, and wait PATIENCE_S for one that is being restarted.

    Returns: the answer; or `error` and `hint` if the vault refuses.
    Raises:
        NoVaultError: the vault does not answer.
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
