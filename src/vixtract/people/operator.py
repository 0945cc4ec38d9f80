"""The operator's commands inside the jupyter container: add a person, set a password, list people.

They speak to the running Hub with the token of its service `operator`, so that the Hub's hooks do
the work: account, home, role, published list of admins. Run by the host's `vixtract user` commands:

    /opt/jupyterhub/bin/python -I -m vixtract.people.operator add-user anna --generate
"""

from __future__ import annotations

import argparse
import json
import secrets
import string
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vixtract.errors import PreconditionError, UsageError, VixtractError
from vixtract.people.sources import LDAP, LOCAL, OIDC, WORDS, SourceStore

HUB_API = "http://127.0.0.1:8081/jupyter/hub"
TOKEN_FILE = Path("/srv/secrets/hub_token")
DATABASE = Path("/srv/jupyterhub/jupyterhub.sqlite")
TIMEOUT_S = 30.0


class HubError(VixtractError):
    """The Hub refused."""


def call_hub(method: str, path: str, body: object = None, *, base_url: str = HUB_API) -> Any:
    """Send one request to the Hub as the operator.

    Args:
        method: HTTP method.
        path: below the Hub's prefix, beginning with a slash.
        body: sent as JSON where it is not None.
        base_url: the Hub's prefix.
    Returns: the answer's JSON, or None where it has no body.
    Raises:
        HubError: the Hub's own words.
        PreconditionError: the Hub is not running, or its token cannot be read.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"token {_read_token()}", "Content-Type": "application/json"}
    request = urllib.request.Request(base_url + path, data, headers, method=method)  # noqa: S310
    # The Hub is in this container: a proxy set for the outside must not be asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as response:
            content = response.read()
    except urllib.error.HTTPError as error:
        raise HubError(_error_message(error)) from error
    except OSError as error:
        raise PreconditionError(
            f"The Hub does not answer: {error}.",
            "Look at ./vixtract status and ./vixtract logs jupyter.",
        ) from error
    return json.loads(content) if content else None


def list_users() -> list[dict[str, Any]]:
    """Return all users as the Hub's API describes them, sorted by name."""
    users: list[dict[str, Any]] = []
    while True:
        page = call_hub("GET", f"/api/users?offset={len(users)}&limit=100")
        users += page
        if len(page) < 100:
            return sorted(users, key=lambda user: str(user["name"]))


def build_password() -> str:
    """Return 20 random letters and digits."""
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(20))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: words after the module's name; those of the process by default.
    Returns: exit code, 0 for success.
    """
    options = _build_parser().parse_args(arguments)
    try:
        options.run(options)
    except VixtractError as error:
        print(error.message, file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        return error.exit_code
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vixtract.people.operator", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    add = commands.add_parser("add-user", help="make account, home and PostgreSQL role")
    add.add_argument("--admin", action="store_true", help="make the person an administrator")
    add.set_defaults(run=_add_user)
    change = commands.add_parser("passwd", help="set a password; ends the person's open sessions")
    change.set_defaults(run=_set_password)
    for command in (add, change):
        command.add_argument("name")
        source = command.add_mutually_exclusive_group()
        source.add_argument(
            "--password-stdin", action="store_true", help="read it from one line of input"
        )
        source.add_argument("--generate", action="store_true", help="make one and print it")
    move = commands.add_parser("source", help="decide where a person signs in from now on")
    move.add_argument("name")
    move.add_argument("source", choices=(LOCAL, LDAP, OIDC))
    move.set_defaults(run=_assign_source)
    show = commands.add_parser("list", help="list people")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=_list)
    return parser


def _add_user(options: argparse.Namespace) -> None:
    """Make a person; for one who is there already, set what was asked for."""
    password = _choose_password(options)
    name = options.name.strip().lower()
    known = {user["name"]: user for user in list_users()}
    if name not in known:
        call_hub("POST", "/api/users", {"usernames": [name], "admin": options.admin})
        print(f"Added {name}{' as an administrator' if options.admin else ''}.")
    else:
        print(f"{name} is there already.")
        if options.admin and not known[name]["admin"]:
            call_hub("PATCH", f"/api/users/{quote(name, safe='')}", {"admin": True})
            print(f"{name} is an administrator now.")
    if password:
        _send_password(name, password)
        _show(options, password)
    elif name not in known:
        print("No password yet: an administrator sets one on the Hub's page Passwords.")


def _set_password(options: argparse.Namespace) -> None:
    password = _choose_password(options)
    if not password:
        raise UsageError("No password given.", "Add --generate or --password-stdin.")
    _send_password(options.name, password)
    print(f"Set the password of {options.name}.")
    _show(options, password)


def _assign_source(options: argparse.Namespace) -> None:
    """Move a person between local accounts, LDAP and OIDC, with home and work."""
    name = options.name.strip().lower()
    if name not in {user["name"] for user in list_users()}:
        raise UsageError(f"There is no person {name!r}.", "Names are shown by: list")
    SourceStore(DATABASE, Path("/home")).assign(name, options.source)
    print(f"{name} signs in with {WORDS[options.source]} from now on.")
    if options.source == LOCAL:
        print("Set a password: passwd NAME --generate")


def _list(options: argparse.Namespace) -> None:
    users = list_users()
    if options.json:
        print(
            json.dumps([{k: u.get(k) for k in ("name", "admin", "last_activity")} for u in users])
        )
        return
    for user in users:
        rights = "admin" if user["admin"] else "user"
        print(f"{user['name']:<32} {rights:<6} {user['last_activity'] or '-'}")


def _choose_password(options: argparse.Namespace) -> str:
    if options.generate:
        return build_password()
    if options.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return ""


def _show(options: argparse.Namespace, password: str) -> None:
    if options.generate:
        print(f"Password: {password}")


def _send_password(name: str, password: str) -> None:
    call_hub("POST", f"/vixtract/users/{quote(name, safe='')}/password", {"password": password})


def _read_token() -> str:
    try:
        return TOKEN_FILE.read_text(encoding="ascii").strip()
    except OSError as error:
        raise PreconditionError(
            f"Cannot read the operator's token: {error.strerror}.",
            "Run this as root inside the jupyter container.",
        ) from error


def _error_message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["message"])
    except (ValueError, KeyError, TypeError):
        return f"The Hub answered {error.code} {error.reason}."


if __name__ == "__main__":
    sys.exit(main())
