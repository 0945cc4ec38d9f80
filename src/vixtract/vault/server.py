"""The vault: the root process that gives people their connections.

One runs in each container that has processes of people. Every process may connect to its unix
socket; the answer depends on the uid that the kernel reports for the other end. Each question is
answered in a child process, so that no process has the values of more than one person.
"""

from __future__ import annotations

import logging
import os
import pwd
import resource
import sys
from collections.abc import Mapping
from typing import Any

from vixtract.errors import VixtractError
from vixtract.processes.server import Answer, Peer, QuestionServer, ServerConfig
from vixtract.processes.spawn import end_with_parent, hide_memory
from vixtract.vault.cipher import Cipher
from vixtract.vault.client import SOCKET
from vixtract.vault.requests import VaultConfig, answer

log = logging.getLogger(__name__)

PORTAL_USER = "portal"
MAX_CHILDREN = 64
MAX_OF_ONE = 8


class Vault(QuestionServer):
    """Answers questions until it is told to stop."""

    def __init__(self, config: VaultConfig) -> None:
        super().__init__(
            ServerConfig(
                config.socket_path, mode=0o666, max_children=MAX_CHILDREN, max_of_account=MAX_OF_ONE
            )
        )
        self._config = config

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        # Make a missing key before the first question, and report a damaged one at once.
        Cipher(self._config.secrets_dir)
        # Its directory is root's: no other account can put a socket there.
        folder = self._config.socket_path.parent
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.chmod(0o755)
        super().run()

    def limit_of(self, peer: Peer) -> int:
        """Return half of all places for the portal and root, which act for all people."""
        if peer.uid in (0, self._config.portal_uid):
            return MAX_CHILDREN // 2
        return MAX_OF_ONE

    def reply(self, question: dict[str, Any], peer: Peer) -> Answer:
        """Return the answer to a question."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        return answer(question, peer, self._config), ()

    def refusal(self, reason: str) -> Mapping[str, Any]:
        """Return the answer to a peer that has to ask again."""
        text = "The vault has many questions at once."
        return {"busy": True, "error": text, "hint": "Try again."}


def main() -> int:
    """Run the vault until the process that starts it ends."""
    parent = os.getppid()
    logging.basicConfig(level=logging.INFO, format="vault: %(levelname)s: %(message)s")
    os.umask(0o077)
    try:
        hide_memory()
        end_with_parent(parent)
        try:
            portal = pwd.getpwnam(PORTAL_USER).pw_uid
        except KeyError:
            portal = -1  # the job container has no portal
        Vault(VaultConfig(SOCKET, portal_uid=portal)).run()
    except VixtractError as error:
        log.error("%s %s", error.message, error.hint)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
