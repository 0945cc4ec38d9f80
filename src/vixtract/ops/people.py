"""`./vixtract user|team|reader`: words for the operator's commands inside the jupyter container."""

from __future__ import annotations

import argparse
from typing import Any

from vixtract.errors import PreconditionError
from vixtract.ops.console import Session
from vixtract.ops.containers import list_containers
from vixtract.ops.instance import Instance
from vixtract.ops.up import OPERATOR

#: Removing somebody ends runs, moves files and packs nothing: minutes at most.
CALL_S = 900.0


def add_people(add: Any) -> None:
    """Add the words to the command line.

    Args:
        add: makes a command of a name and a text.
    """
    _add_user(_words(add("user", "add, list, disable or remove people")))
    _add_team(_words(add("team", "make teams with a schema and a folder of their own")))
    _add_reader(_words(add("reader", "make read-only logins for BI tools")))


def _words(command: argparse.ArgumentParser) -> Any:
    return command.add_subparsers(dest="word", metavar="WORD", title="words", required=True)


def _word(words: Any, name: str, text: str, *, asks: bool = False) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = words.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    if asks:
        parser.add_argument("--yes", "-y", action="store_true", help="agree to every question")
    return parser


def _add_user(words: Any) -> None:
    add = _word(words, "add", "make a person everywhere; the password is shown once")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--admin", action="store_true", help="as an administrator")
    show = _word(words, "list", "list people")
    show.add_argument("--json", action="store_true", help="print JSON")
    for name, text in (
        ("passwd", "make a new password, shown once; ends all logins and the server"),
        ("disable", "let somebody neither log in nor run anything; nothing is deleted"),
        ("enable", "let a disabled person in again"),
        ("grant-admin", "make somebody an administrator"),
        ("revoke-admin", "make an administrator a user"),
    ):
        _word(words, name, text).add_argument("name", metavar="NAME")
    move = _word(words, "source", "decide where a person signs in from now on, work and all")
    move.add_argument("name", metavar="NAME")
    move.add_argument("source", choices=("local", "ldap", "oidc"))
    remove = _word(words, "remove", "remove a person; what they own is archived", asks=True)
    remove.add_argument("name", metavar="NAME")
    what = remove.add_mutually_exclusive_group()
    what.add_argument("--keep-home", action="store_true", help="keep the files unpacked")
    what.add_argument(
        "--hand-over-to",
        default="",
        metavar="NAME",
        help="person who gets files, schedules and tables",
    )


def _add_team(words: Any) -> None:
    add = _word(words, "add", "make a team: group role, schema, shared folder")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--private", action="store_true", help="BI does not see its schema")
    add.add_argument("--database", action="store_true", help="with a database of its own too")
    show = _word(words, "list", "list teams")
    show.add_argument("--json", action="store_true", help="print JSON")
    remove = _word(words, "remove", "remove a team; folder and tables are archived", asks=True)
    remove.add_argument("name", metavar="NAME")
    for name, text in (("join", "put a person into a team"), ("leave", "take a person out")):
        command = _word(words, name, text)
        command.add_argument("name", metavar="TEAM")
        command.add_argument("person", metavar="PERSON")


def _add_reader(words: Any) -> None:
    add = _word(words, "add", "make a read-only PostgreSQL login; the password is shown once")
    add.add_argument("name", metavar="NAME")
    add.add_argument(
        "--schema", action="append", default=[], metavar="SCHEMA", help="one that it reads"
    )
    add.add_argument("--all", action="store_true", help="every published schema")
    show = _word(words, "list", "list readers")
    show.add_argument("--json", action="store_true", help="print JSON")
    _word(words, "passwd", "make a new password").add_argument("name", metavar="NAME")
    remove = _word(words, "remove", "remove a reader", asks=True)
    remove.add_argument("name", metavar="NAME")


def build_words(options: argparse.Namespace) -> list[str]:
    """Return the same command for the operator's program inside the container.

    Args:
        options: the parsed command line.
    """
    words = [options.command, options.word]
    for flag in ("admin", "keep_home", "private", "database", "all", "json"):
        if getattr(options, flag, False):
            words.append(f"--{flag.replace('_', '-')}")
    if getattr(options, "hand_over_to", ""):
        words.append(f"--hand-over-to={options.hand_over_to}")
    words += [f"--schema={schema}" for schema in getattr(options, "schema", [])]
    plain = ("name", "person", "source")
    names = [getattr(options, name) for name in plain if hasattr(options, name)]
    # A name that begins with a dash must not become an option there.
    return [*words, "--", *names] if names else words


def describe_removal(options: argparse.Namespace) -> tuple[str, str]:
    """Return what will be done, to be agreed to, and what can be done instead.

    Args:
        options: of a word `remove`.
    """
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
    """Run one command of these; its output goes straight to the person.

    Args:
        session: this call.
        instance: the appliance.
        options: the parsed command line.
    Returns: exit code of the operator's program.
    Raises:
        PreconditionError: the container is not running.
    """
    require_hub(session, instance)
    if options.word == "remove":
        session.agree(*describe_removal(options))
    command = ["docker", "exec", instance.container("jupyter"), *OPERATOR]
    return session.host.attach([*command, *build_words(options)], timeout_s=CALL_S)


def require_hub(session: Session, instance: Instance) -> None:
    """Refuse to go on where the Hub's container does not run.

    Args:
        session: this call.
        instance: the appliance.
    Raises:
        PreconditionError: it does not.
    """
    found = list_containers(session.host, instance.project).get("jupyter")
    if found is None or found.state != "running":
        state = "is not there" if found is None else f"is {found.state}"
        raise PreconditionError(
            f"{instance.container('jupyter')} {state}: people are changed while it runs.",
            "Run: ./vixtract up",
        )
