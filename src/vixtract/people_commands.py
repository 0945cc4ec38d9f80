"""The operator's commands about people, teams and readers: words, arguments and help.

`./vixtract user|team|reader` on the host and `vixtract.hub.operator` in the container build their
command lines from this table. On the standard library alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Argument:
    """One argument of a command.

    Args:
        names: a value's name (`person`), or an option (`--admin`).
        options: as of `argparse.ArgumentParser.add_argument`.
        side: `host` or `container` where only one of the two command lines has it.
        is_choice: whether it excludes the command's other arguments that have this mark.
    """

    names: tuple[str, ...]
    help: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    side: str = ""
    is_choice: bool = False

    def build_words(self, options: argparse.Namespace) -> list[str]:
        """Return the words of a command line that stand for the parsed value."""
        name = self.names[0]
        value = getattr(options, name.lstrip("-").replace("-", "_"))
        if not name.startswith("-"):
            return [value]
        if isinstance(value, bool):
            return [name] if value else []
        values = value if isinstance(value, list) else [value]
        return [f"{name}={item}" for item in values if item]


def _flag(*names: str, help: str, side: str = "", is_choice: bool = False) -> Argument:
    return Argument(names, help, {"action": "store_true"}, side, is_choice)


_NAME = Argument(("name",), options={"metavar": "NAME"})
_MEMBER = (
    Argument(("name",), options={"metavar": "TEAM"}),
    Argument(("person",), options={"metavar": "PERSON"}),
)
_SOURCE = Argument(("source",), options={"choices": ("local", "ldap", "oidc")})
_HAND_OVER = Argument(
    ("--hand-over-to",),
    "person who gets files, schedules and tables",
    {"default": "", "metavar": "NAME"},
    is_choice=True,
)
_SCHEMA = Argument(
    ("--schema",),
    "one that it reads; may be given several times",
    {"action": "append", "default": [], "metavar": "SCHEMA"},
)
_JSON = _flag("--json", help="print JSON")
_YES = _flag("--yes", "-y", help="agree to every question", side="host")
_PASSWORD = (
    _flag(
        "--password-stdin", help="read it from one line of input", side="container", is_choice=True
    ),
    _flag("--generate", help="make one and print it", side="container", is_choice=True),
)

Words = Mapping[str, tuple[str, tuple[Argument, ...]]]

_USER: Words = {
    "add": (
        "make a person everywhere; the password is shown once",
        (_NAME, _flag("--admin", help="as an administrator"), *_PASSWORD),
    ),
    "list": ("list people", (_JSON,)),
    "passwd": (
        "make a new password, shown once; ends all logins and the server",
        (_NAME, *_PASSWORD),
    ),
    "disable": ("let a person neither log in nor run anything; nothing is deleted", (_NAME,)),
    "enable": ("let a disabled person in again", (_NAME,)),
    "grant-admin": ("make a person an administrator", (_NAME,)),
    "revoke-admin": ("make an administrator a user", (_NAME,)),
    "source": ("decide where a person signs in from now on, work and all", (_NAME, _SOURCE)),
    "remove": (
        "remove a person; what they own is archived",
        (
            _NAME,
            _YES,
            _flag("--keep-home", help="keep the files unpacked", is_choice=True),
            _HAND_OVER,
        ),
    ),
}
_TEAM: Words = {
    "add": (
        "make a team: group role, schema, shared folder",
        (
            _NAME,
            _flag("--private", help="BI does not see its schema"),
            _flag("--database", help="with a database of its own too"),
        ),
    ),
    "list": ("list teams", (_JSON,)),
    "remove": ("remove a team; folder and tables are archived", (_NAME, _YES)),
    "join": ("put a person into a team", _MEMBER),
    "leave": ("take a person out of a team", _MEMBER),
}
_READER: Words = {
    "add": (
        "make a read-only PostgreSQL login; the password is shown once",
        (_NAME, _SCHEMA, _flag("--all", help="every published schema")),
    ),
    "list": ("list readers", (_JSON,)),
    "passwd": ("make a new password, shown once", (_NAME,)),
    "remove": ("remove a reader", (_NAME, _YES)),
}
COMMANDS: Mapping[str, tuple[str, Words]] = {
    "user": ("add, list, disable or remove people", _USER),
    "team": ("make teams with a schema and a folder of their own", _TEAM),
    "reader": ("make read-only logins for BI tools", _READER),
}


def add_commands(add: Callable[[str, str], argparse.ArgumentParser], side: str) -> None:
    """Add the commands to a command line; the second word is parsed into `word`.

    Args:
        add: makes the parser of a command from its name and help.
        side: whose command line it is, `host` or `container`.
    """
    for command, (text, words) in COMMANDS.items():
        parsers = add(command, text).add_subparsers(
            dest="word", metavar="WORD", title="words", required=True
        )
        for word, (help_text, arguments) in words.items():
            description = f"{help_text[0].upper()}{help_text[1:]}."
            parser = parsers.add_parser(word, help=help_text, description=description)
            own = [argument for argument in arguments if argument.side in ("", side)]
            # Python before 3.12 fails on a group without arguments.
            has_choice = any(argument.is_choice for argument in own)
            choices = parser.add_mutually_exclusive_group() if has_choice else parser
            for argument in own:
                place = choices if argument.is_choice else parser
                place.add_argument(*argument.names, help=argument.help, **argument.options)


def build_words(options: argparse.Namespace) -> list[str]:
    """Return the words that stand for the same parsed command in the container."""
    flags: list[str] = []
    values: list[str] = []
    for argument in COMMANDS[options.command][1][options.word][1]:
        if not argument.side:
            is_flag = argument.names[0].startswith("-")
            (flags if is_flag else values).extend(argument.build_words(options))
    # A name that begins with a dash must not become an option there.
    return [options.command, options.word, *flags, *(["--", *values] if values else [])]
