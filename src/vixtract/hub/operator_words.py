"""The words of the operator's commands, and how lists look."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from typing import Any

from vixtract.hub.sources import LDAP, LOCAL, OIDC

SOURCE_HELP = "decide where a person signs in from now on"


def build_parser() -> argparse.ArgumentParser:
    """Build the parser; the chosen command is in `command`, such as `user-add`."""
    parser = argparse.ArgumentParser(
        prog="vixtract.hub.operator", description="People, teams and readers of the appliance."
    )
    kinds = parser.add_subparsers(required=True, metavar="command")
    _add_old_words(kinds)
    _add_user(kinds.add_parser("user", help="people").add_subparsers(required=True))
    _add_team(kinds.add_parser("team", help="teams").add_subparsers(required=True))
    _add_reader(kinds.add_parser("reader", help="BI logins").add_subparsers(required=True))
    return parser


def _add_old_words(kinds: Any) -> None:
    add = _word(kinds, "add-user", "add-user", "make account, home and PostgreSQL role")
    add.add_argument("--admin", action="store_true", help="make the person an administrator")
    change = _word(kinds, "passwd", "passwd", "set a password; ends the person's open sessions")
    for command in (add, change):
        command.add_argument("name")
        _add_password(command)
    _add_source(_word(kinds, "source", "source", SOURCE_HELP))
    show = _word(kinds, "list", "list", "list people")
    show.add_argument("--json", action="store_true", help="print JSON")


def _add_user(words: Any) -> None:
    add = _word(words, "user-add", "add", "make a person")
    add.add_argument("name")
    add.add_argument("--admin", action="store_true", help="make the person an administrator")
    _add_password(add)
    change = _word(words, "user-passwd", "passwd", "set a new password")
    change.add_argument("name")
    _add_password(change)
    _word(words, "user-list", "list", "list people").add_argument("--json", action="store_true")
    for word in ("disable", "enable", "grant-admin", "revoke-admin"):
        _word(words, f"user-{word}", word, word).add_argument("name")
    _add_source(_word(words, "user-source", "source", SOURCE_HELP))
    remove = _word(words, "user-remove", "remove", "remove a person")
    remove.add_argument("name")
    remove.add_argument("--keep-home", action="store_true")
    remove.add_argument("--hand-over-to", default="", metavar="NAME")


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument("name")
    command.add_argument("source", choices=(LOCAL, LDAP, OIDC))


def _add_team(words: Any) -> None:
    add = _word(words, "team-add", "add", "make a team")
    add.add_argument("--private", action="store_true", help="BI does not see its schema")
    add.add_argument("--database", action="store_true", help="a database of its own too")
    add.add_argument("name")
    _word(words, "team-list", "list", "list teams").add_argument("--json", action="store_true")
    _word(words, "team-remove", "remove", "remove a team").add_argument("name")
    for word in ("join", "leave"):
        command = _word(words, f"team-{word}", word, word)
        command.add_argument("name")
        command.add_argument("person")


def _add_reader(words: Any) -> None:
    add = _word(words, "reader-add", "add", "make a read-only login")
    add.add_argument("name")
    add.add_argument("--schema", action="append", default=[], metavar="NAME")
    add.add_argument("--all", action="store_true", help="every published schema")
    _word(words, "reader-list", "list", "list readers").add_argument("--json", action="store_true")
    for word in ("remove", "passwd"):
        _word(words, f"reader-{word}", word, word).add_argument("name")


def _word(words: Any, command: str, word: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = words.add_parser(word, help=text)
    parser.set_defaults(command=command)
    return parser


def _add_password(command: argparse.ArgumentParser) -> None:
    source = command.add_mutually_exclusive_group()
    source.add_argument(
        "--password-stdin", action="store_true", help="read it from one line of input"
    )
    source.add_argument("--generate", action="store_true", help="make one and print it")


def render_json(rows: object) -> str:
    """Return rows as JSON for programs."""
    return json.dumps(rows, indent=2)


def render_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as columns of plain text under their head.

    Args:
        head: names of the columns.
        rows: cells.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(head, *cells, strict=True)]
    lines = [list(head), ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
