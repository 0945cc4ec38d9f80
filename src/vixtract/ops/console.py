"""The messages and questions of this package; `cli.py` prints them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vixtract.errors import PreconditionError
from vixtract.ops.host import Host


class Console(Protocol):
    """Where messages go."""

    def say(self, text: str) -> None:
        """Show a result or a step."""

    def detail(self, text: str) -> None:
        """Show progress inside a step; a terminal may overwrite it."""

    def ask(self, question: str) -> bool | None:
        """Return the answer to a yes-or-no question, or None without a terminal."""


@dataclass(frozen=True)
class Session:
    """One call of the command.

    Args:
        assume_yes: whether changes of the machine are agreed to beforehand.
        debug: whether long programs show all of their output.
    """

    host: Host
    console: Console
    assume_yes: bool = False
    debug: bool = False

    def agree(self, what: str, refusal: str) -> None:
        """Ask for consent to a change of the machine.

        Args:
            what: what will be done, as a sentence without full stop.
            refusal: what the person can do instead.
        Raises:
            PreconditionError: the person said no, or there is no terminal to ask on.
        """
        if self.assume_yes:
            return
        answer = self.console.ask(f"{what}. Go on?")
        if answer is None:
            raise PreconditionError(f"Not done without --yes: {what}.", refusal)
        if not answer:
            raise PreconditionError(f"Not done: {what}.", refusal)

    def privileged(self, argv: Sequence[str]) -> list[str]:
        """Return an argument list that runs as root.

        Raises:
            PreconditionError: this is not root and there is no sudo.
        """
        if self.host.is_root():
            return list(argv)
        if not self.host.which("sudo"):
            raise PreconditionError(
                f"Root's rights are needed for: {shlex.join(argv)}", "Run the command as root."
            )
        return ["sudo", *argv]
