"""The Test button's work, in a process of its own: tests one connection and says what it found.

Reads `{"kind", "values"}` on its input; writes one object with `ok`, `code` and `detail`. The
portal turns the code into a sentence in the person's language.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from vixtract import addresses
from vixtract.vault.kind import REACH_S, Kind
from vixtract.vault.probe_results import ProbeResult
from vixtract.vault.registry import KINDS


def main() -> int:
    """Test the connection that the input describes."""
    question = json.load(sys.stdin)
    # Drivers write to both outputs; the answer goes through a descriptor of its own.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    kind = KINDS[question["kind"]]
    found = test_connection(kind, question["values"], question.get("allowed", ()))
    json.dump({"ok": found.ok, "code": found.code, "detail": found.detail}, answer)
    answer.close()
    # Threads of drivers may still wait for a server.
    os._exit(0)


def test_connection(
    kind: Kind, values: Mapping[str, str], allowed: Collection[str] = ()
) -> ProbeResult:
    """Test a connection and return the result without secrets; `allowed` addresses may pass."""
    try:
        connection = kind.connection("test", "", values)
        if not kind.uses_proxy(values):
            reach(kind, values, allowed)
        kind.test(connection)
    except ProbeResult as found:
        return found
    except Exception as error:
        return clean(kind.explain(error), [values.get(name, "") for name in kind.secrets])
    return ProbeResult("ok", ok=True)


def clean(found: ProbeResult, secrets: Collection[str]) -> ProbeResult:
    """Return a result without the secrets, of three characters or more, that a driver repeated."""
    detail = found.detail
    for secret in secrets:
        if len(secret) > 2:
            detail = detail.replace(secret, "•••")
    return ProbeResult(found.code, detail)


def reach(kind: Kind, values: Mapping[str, str], allowed: Collection[str]) -> None:
    """Check that a test may go to the server, and that something listens there.

    Raises:
        ProbeResult: it may not, or nothing does.
    """
    host, port = kind.find_server(values)
    own = addresses.own_addresses()
    if not kind.may_reach_own_database(values):
        own |= addresses.own_addresses((addresses.OWN_DATABASE,))

    def is_refused(address: str) -> bool:
        return address not in allowed and addresses.is_refused(address, own)

    try:
        found = addresses.resolve(host, port)
    except (OSError, UnicodeError):
        raise ProbeResult("unknown_host", host) from None
    if any(map(is_refused, found)):
        raise ProbeResult("refused", host)
    guard_sockets(is_refused)
    last: OSError | None = None
    for address in found[:4]:
        try:
            socket.create_connection((address, port), REACH_S).close()
            return
        except OSError as error:
            last = error
    where = f"{host}:{port}"
    if isinstance(last, ConnectionRefusedError):
        raise ProbeResult("not_listening", where)
    raise ProbeResult("unreachable", f"{where}: {last}")


def guard_sockets(is_refused: Callable[[str], bool]) -> None:
    """Keep Python's sockets from refused addresses from now on, wherever a name leads later."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            address = str(arguments[1][0])
            if is_refused(address):
                raise ProbeResult("refused", address)

    sys.addaudithook(watch)
