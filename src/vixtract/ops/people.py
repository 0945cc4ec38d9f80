"""`./vixtract user|team|reader`: runs the operator's commands inside the jupyter container."""

from __future__ import annotations

import argparse

from vixtract.errors import PreconditionError
from vixtract.ops.console import Session
from vixtract.ops.containers import list_containers
from vixtract.ops.instance import Instance
from vixtract.ops.up import OPERATOR
from vixtract.people_commands import build_words

#: Removing a person ends runs and moves files, but packs nothing.
CALL_S = 900.0


def describe_removal(options: argparse.Namespace) -> tuple[str, str]:
    """Return what a removal will do, to be agreed to, and what can be done instead."""
    if options.command == "reader":
        return (f"Remove the reader {options.name}", "Add --yes to do it.")
    if options.command == "team":
        what = f"Remove the team {options.name}: its folder and schema go to the archive"
        return what, "Add --yes to do it."
    if options.hand_over_to:
        where = f"files, schedules and tables go to {options.hand_over_to}"
    else:
        where = "files and tables go to the archive, schedules are switched off"
    return (
        f"Remove {options.name}: {where}, logins and runs are ended",
        "`./vixtract user disable` can be undone; add --yes to remove.",
    )


def run_people(session: Session, instance: Instance, options: argparse.Namespace) -> int:
    """Run one of the commands on the terminal, and return its exit code.

    Raises:
        PreconditionError: the Hub's container is not running.
    """
    found = list_containers(session.host, instance.project).get("jupyter")
    if found is None or found.state != "running":
        state = "is not there" if found is None else f"is {found.state}"
        raise PreconditionError(
            f"{instance.container('jupyter')} {state}: people are changed while it runs.",
            "Run: ./vixtract up",
        )
    if options.word == "remove":
        session.agree(*describe_removal(options))
    command = ["docker", "exec", instance.container("jupyter"), *OPERATOR]
    return session.host.attach([*command, *build_words(options)], timeout_s=CALL_S)
