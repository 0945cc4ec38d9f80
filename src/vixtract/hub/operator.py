"""The operator's commands inside the jupyter container: people, teams and readers.

They call the running Hub with the token of its service `operator`; the Hub does the work. The
host's `./vixtract user|team|reader` runs them:

    /opt/jupyterhub/bin/python -I -m vixtract.hub.operator user add anna
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vixtract.credentials import generate_password
from vixtract.errors import UsageError, VixtractError
from vixtract.hub.client import HubError, call_hub, list_users
from vixtract.hub.sources import LOCAL, WORDS, SourceStore
from vixtract.people.accounts import DATABASE
from vixtract.people_commands import COMMANDS, add_commands
from vixtract.text_tables import render_table


class UnfinishedError(VixtractError):
    """Some steps failed; the same command goes on from there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, by default the process's own; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="vixtract.hub.operator", description="People, teams and readers of the appliance."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_commands(lambda name, text: commands.add_parser(name, help=text), "container")
    options = parser.parse_args(arguments)
    try:
        _COMMANDS[options.command, options.word](options)
    except VixtractError as error:
        print(error.message, file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        return error.exit_code
    return 0


# People.


def _add(options: argparse.Namespace) -> None:
    """Make a person, or change an existing one as asked for."""
    name = options.name.strip().lower()
    known = {user["name"]: user for user in list_users()}
    password, is_first = _choose_password(options)
    if name not in known:
        call_hub("POST", "/api/users", {"usernames": [name], "admin": options.admin})
        print(f"Added {name}{' as an administrator' if options.admin else ''}.")
        if not password:
            password, is_first = generate_password(), True
    else:
        print(f"{name} is there already.")
        if options.admin and not known[name]["admin"]:
            _set_admin(name, True)
    if password:
        _send_password(name, password, is_first=is_first)
        _show_password(password, is_first=is_first)
    _finish(call_hub("POST", "/vixtract/people/provision", {"name": name}))


def _set_password(options: argparse.Namespace) -> None:
    password, is_first = _choose_password(options)
    if not password:
        password, is_first = generate_password(), True
    _send_password(options.name, password, is_first=is_first)
    print(f"Set the password of {options.name}.")
    # A server that was opened with the old password must end.
    _finish(call_hub("POST", "/vixtract/people/end", {"name": options.name}))
    _show_password(password, is_first=is_first)


def _assign_source(options: argparse.Namespace) -> None:
    """Move a person between local accounts, LDAP and OIDC, with home and work."""
    name = options.name.strip().lower()
    if name not in {user["name"] for user in list_users()}:
        raise UsageError(f"There is no person {name!r}.", "Names are shown by: user list")
    SourceStore(DATABASE, Path("/home")).assign(name, options.source)
    print(f"{name} signs in with {WORDS[options.source]} from now on.")
    if options.source == LOCAL:
        print(f"Make a password: ./vixtract user passwd {name}")


def _list(options: argparse.Namespace) -> None:
    people = call_hub("POST", "/vixtract/people/list", {})["people"]
    head = ("name", "rights", "state", "password", "teams", "last activity")
    rows = [
        (
            person["name"],
            "admin" if person["admin"] else "user",
            person["state"],
            person["password"],
            " ".join(person["teams"]),
            person["last_activity"] or "-",
        )
        for person in people
    ]
    _print_list(options, people, head, rows)


def _change_state(options: argparse.Namespace) -> None:
    _finish(call_hub("POST", f"/vixtract/people/{options.word}", {"name": options.name}))
    print(f"{options.name} is {options.word}d.")


def _remove(options: argparse.Namespace) -> None:
    body = {
        "name": options.name,
        "keep_home": options.keep_home,
        "hand_over_to": options.hand_over_to,
    }
    _finish(call_hub("POST", "/vixtract/people/leave", body))
    # The Hub's own deletion looks at everything once more, finds nothing left, forgets the name.
    call_hub("DELETE", f"/api/users/{quote(options.name, safe='')}")
    print(f"{options.name} is removed.")


def _grant(options: argparse.Namespace) -> None:
    _set_admin(options.name, options.word == "grant-admin")


def _set_admin(name: str, is_admin: bool) -> None:
    users = list_users()
    if not is_admin and [u["name"] for u in users if u["admin"]] == [name]:
        raise HubError(f"{name} is the only administrator.", "Make another person one first.")
    call_hub("PATCH", f"/api/users/{quote(name, safe='')}", {"admin": is_admin})
    print(f"{name} is {'an administrator' if is_admin else 'no administrator any more'}.")


# Teams and readers.


def _team(options: argparse.Namespace) -> None:
    body = {key: getattr(options, key, None) for key in ("name", "person", "private", "database")}
    answer = call_hub("POST", "/vixtract/people/team", {"action": options.word, **body})
    if options.word != "list":
        _finish(answer)
        return
    rows = [
        (
            team["name"],
            " ".join(team["members"]) or "-",
            "yes" if team["published"] else "no",
            team["database"],
            team["folder"],
        )
        for team in answer["teams"]
    ]
    head = ("team", "members", "read by BI", "database", "folder")
    _print_list(options, answer["teams"], head, rows)


def _reader(options: argparse.Namespace) -> None:
    body = {
        "action": options.word,
        "name": getattr(options, "name", ""),
        "schemas": getattr(options, "schema", None),
        "all": getattr(options, "all", False),
    }
    answer = call_hub("POST", "/vixtract/people/reader", body)
    if options.word != "list":
        _finish(answer)
        if answer.get("password"):
            print(f"Password: {answer['password']}")
            print("It is shown this once.")
        return
    rows = [
        (
            reader["name"],
            "all that are published" if reader["all"] else " ".join(reader["schemas"]) or "-",
            reader["sessions"],
        )
        for reader in answer["readers"]
    ]
    _print_list(options, answer["readers"], ("reader", "schemas", "sessions"), rows)


def _print_list(
    options: argparse.Namespace,
    items: object,
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
) -> None:
    """Print a list as a table, or as the Hub sent it where JSON is asked for."""
    lines = [json.dumps(items, indent=2)] if options.json else render_table(head, rows, None)
    print("\n".join(lines))


def _finish(answer: dict[str, Any]) -> None:
    """Print what was done.

    Raises:
        UnfinishedError: some of it was not done.
    """
    for line in answer.get("lines", ()):
        print(line)
    problems = answer.get("problems") or []
    for problem in problems:
        print(f"NOT DONE: {problem}", file=sys.stderr)
    if problems:
        raise UnfinishedError(
            "Not all of it is done.", "Run the same command again: it goes on from there."
        )


def _choose_password(options: argparse.Namespace) -> tuple[str, bool]:
    """Return the password to set, empty for none, and whether it must be changed at first login."""
    if options.generate:
        return generate_password(), True
    if options.password_stdin:
        # A password from standard input is the person's own choice, or a program's.
        return sys.stdin.readline().rstrip("\r\n"), False
    return "", False


def _send_password(name: str, password: str, *, is_first: bool) -> None:
    body = {"password": password, "first": is_first}
    call_hub("POST", f"/vixtract/users/{quote(name, safe='')}/password", body)


def _show_password(password: str, *, is_first: bool) -> None:
    if is_first:
        print(f"Password: {password}")
        print("It is shown this once, and has to be changed at the first login.")


_COMMANDS: Mapping[tuple[str, str], Callable[[argparse.Namespace], None]] = {
    ("user", "add"): _add,
    ("user", "passwd"): _set_password,
    ("user", "list"): _list,
    ("user", "source"): _assign_source,
    ("user", "disable"): _change_state,
    ("user", "enable"): _change_state,
    ("user", "remove"): _remove,
    ("user", "grant-admin"): _grant,
    ("user", "revoke-admin"): _grant,
    **{("team", word): _team for word in COMMANDS["team"][1]},
    **{("reader", word): _reader for word in COMMANDS["reader"][1]},
}


if __name__ == "__main__":
    sys.exit(main())
