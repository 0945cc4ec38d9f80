"""The Test button's work, in a process of its own: tries one connection and says what it found.

Reads `{"kind", "values"}` on its input; writes one object with `ok`, `word` and `detail`. A word is
turned into a sentence by the portal, in the person's language.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from vixtract.vault import addresses, client
from vixtract.vault.probe_words import WORDS_OF, Found
from vixtract.vault.ready import Ready

REACH_S = 5.0
# The appliance's own logins that no person has.
OWN_LOGINS = frozenset({"postgres", "vixtract"})
_AMAZON = "https://s3.{region}.amazonaws.com"


def main() -> int:
    """Try what the input says."""
    question = json.load(sys.stdin)
    # Drivers write to both; what is said goes through a descriptor of its own.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    found = try_connection(question["kind"], question["values"], question.get("allowed", ()))
    json.dump({"ok": found.ok, "word": found.word, "detail": found.detail}, answer)
    answer.close()
    # Threads of drivers may still wait for a server.
    os._exit(0)


def try_connection(kind: str, values: Mapping[str, str], allowed: Any = ()) -> Found:
    """Try a connection.

    Args:
        kind: of connection.
        values: with the secrets.
        allowed: addresses that are let through although they are refused.
    Returns: what was found; nothing secret is in it.
    """
    try:
        ready = client.make(kind, dict(values), name="test")
        host, port = place_of(kind, values)
        if not _goes_through_proxy(kind, values):
            reach(kind, values, host, port, allowed)
        _TRIES[kind](ready)
    except Found as found:
        return found
    except Exception as error:
        return clean(WORDS_OF[kind](error), values)
    return Found("ok", ok=True)


def clean(found: Found, values: Mapping[str, str]) -> Found:
    """Take secrets out of what a driver said.

    Args:
        found: what it came to.
        values: of the connection.
    """
    detail = found.detail
    for name in ("password", "token", "secret_key", "passphrase", "private_key"):
        if len(values.get(name, "")) > 2:
            detail = detail.replace(values[name], "•••")
    return Found(found.word, detail)


def place_of(kind: str, values: Mapping[str, str]) -> tuple[str, int]:
    """Return host and port that a connection goes to.

    Args:
        kind: of connection.
        values: of all its fields.
    """
    if "port" in values:
        return values["host"], int(values["port"])
    address = values["address"] or _AMAZON.format(region=values.get("region"))
    parts = urlsplit(address)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def reach(kind: str, values: Mapping[str, str], host: str, port: int, allowed: Any) -> None:
    """See that something listens there, and that a test may go there.

    Raises:
        Found: it may not, or nothing does.
    """
    own = addresses.own_addresses()
    if not (kind == "postgresql" and values["user"] not in OWN_LOGINS):
        own |= addresses.own_addresses((addresses.OWN_DATABASE,))

    def is_refused(address: str) -> bool:
        return address not in allowed and addresses.is_refused(address, own)

    try:
        found = addresses.resolve(host, port)
    except (OSError, UnicodeError):
        raise Found("unknown_host", host) from None
    if any(map(is_refused, found)):
        raise Found("refused", host)
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
        raise Found("nobody_listens", where)
    raise Found("unreachable", f"{where}: {last}")


def guard_sockets(is_refused: Callable[[str], bool]) -> None:
    """Keep Python's sockets from refused addresses from now on, wherever a name leads later.

    Args:
        is_refused: function of an address.
    """

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            address = str(arguments[1][0])
            if is_refused(address):
                raise Found("refused", address)

    sys.addaudithook(watch)


def _goes_through_proxy(kind: str, values: Mapping[str, str]) -> bool:
    """Say whether a request leaves by the operator's proxy, which decides where it may go."""
    if kind != "http":
        return False
    parts = urlsplit(values["address"])
    host = parts.hostname or ""
    if addresses.is_address(host):
        return False
    return parts.scheme in getproxies() and not proxy_bypass(host)


def _try_database(ready: Any) -> None:
    connection = ready.connect()
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cursor.fetchall()
    finally:
        connection.close()


def _try_http(ready: Any) -> None:
    with ready.client() as session:
        answer = session.get(
            ready.test_path, timeout=(REACH_S, 10), allow_redirects=False, stream=True
        )
        status = int(answer.status_code)
    if status in {401, 403, 407}:
        raise Found("wrong_token", f"HTTP {status}")
    if status == 404:
        raise Found("no_page", f"HTTP {status}")
    if 300 <= status < 400:
        raise Found("moved", answer.headers.get("Location", "")[:300])
    if status >= 400:
        raise Found("server_error", f"HTTP {status}")


def _try_s3(ready: Any) -> None:
    from pyarrow.fs import AwsStandardS3RetryStrategy, FileSelector

    once = AwsStandardS3RetryStrategy(max_attempts=1)
    system = ready.client(connect_timeout=REACH_S, request_timeout=10.0, retry_strategy=once)
    system.get_file_info(FileSelector(ready.bucket, recursive=False))


def _try_sftp(ready: Any) -> None:
    with ready.client(timeout_s=8.0) as sftp:
        sftp.listdir_iter(".", read_aheads=1).__next__()


def _try_folder(ready: Any) -> None:
    try:
        _try_sftp(ready)
    except StopIteration:
        return  # an empty folder


_TRIES: dict[str, Callable[[Ready], None]] = {
    "postgresql": _try_database,
    "mysql": _try_database,
    "mssql": _try_database,
    "http": _try_http,
    "s3": _try_s3,
    "sftp": _try_folder,
}
