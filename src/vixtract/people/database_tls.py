"""PostgreSQL's TLS: the appliance's own authority, and a certificate for the server.

The authority's key stays in the secrets volume. The server gets its certificate by SQL of the
superuser, so any image of PostgreSQL will do, and a renewal needs no restart.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vixtract.certificates.make import issue, make_authority
from vixtract.certificates.pair import CertificateError, Pair, covers, read_pair
from vixtract.files import write_whole
from vixtract.people.roles import open_connection, run

if TYPE_CHECKING:
    from psycopg import Connection

log = logging.getLogger(__name__)

AUTHORITY = "postgresql-ca.pem"
SERVER = "postgresql-server.pem"
#: In the server's data directory: key and certificates in one file, so that they always match.
SERVED = "vixtract-tls.pem"
RENEW_DAYS = 60.0
SETTINGS = {
    "ssl_cert_file": SERVED,
    "ssl_key_file": SERVED,
    "ssl_ca_file": "",
    "ssl_min_protocol_version": "TLSv1.2",
    "ssl": "on",
}


@dataclass(frozen=True)
class DatabaseTls:
    """What PostgreSQL's certificate is made from.

    Args:
        directory: the secrets volume, root's alone.
        names: host names and addresses that clients connect to, the main one first.
    """

    directory: Path
    names: Sequence[str]

    def ensure_authority(self) -> Pair:
        """Return the authority, making it first where there is none.

        Raises:
            CertificateError: its file cannot be read. A new authority would lock out all clients
                that trust this one.
        """
        path = self.directory / AUTHORITY
        now = _now()
        if not path.exists():
            made = make_authority(f"ViXtract PostgreSQL CA ({self.names[0]})", now)
            write_whole(path, made.key + made.chain)
            return made
        try:
            content = path.read_bytes()
            return read_pair(content, content, None, now)
        except CertificateError as error:
            raise CertificateError(
                f"PostgreSQL's authority in {path} cannot be used: {error.message}",
                "Put it back from a backup, or delete it to have a new one: every BI tool with "
                "verify-full then needs the new /ca.crt.",
            ) from error

    def ensure_server_certificate(self) -> Pair:
        """Return the server's certificate, a new one where it is old or for other names."""
        authority = self.ensure_authority()
        path = self.directory / SERVER
        now = _now()
        try:
            content = path.read_bytes()
            pair = read_pair(content, content, None, now)
            fits = pair.chain.endswith(authority.chain) and not covers(pair, self.names)
            if fits and pair.days_left(now) > RENEW_DAYS:
                return pair
        except (OSError, CertificateError):
            pass
        made = issue(authority, self.names, now)
        # With the authority: clients need not get it in another way.
        content = made.chain + authority.chain
        pair = read_pair(content, made.key, None, now)
        write_whole(path, pair.key + pair.chain)
        log.info("PostgreSQL's certificate is new: %s", ", ".join(self.names))
        return pair

    def ensure_served(self, conninfo: str) -> None:
        """Make the server use the certificate; nothing is written where it does already.

        Raises:
            CertificateError: there is no authority.
            RoleError: PostgreSQL is away or refuses.
        """
        pair = self.ensure_server_certificate()
        content = (pair.key + pair.chain).decode("ascii")
        with open_connection(conninfo, autocommit=True) as connection:
            if _is_served(connection, content):
                return
            connection.execute("SET statement_timeout = '30s'")
            # The key is in the text of a statement, which must not be logged.
            connection.execute(
                "SET log_statement = 'none'; SET log_min_duration_statement = -1; "
                "SET log_min_duration_sample = -1; SET log_min_error_statement = panic"
            )
            _hand_over(connection, content)
            _switch_on(connection)
        log.info("PostgreSQL serves its certificate.")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _is_served(connection: Connection, content: str) -> bool:
    """Return whether the server has this file and uses it."""
    row = connection.execute(
        "SELECT encode(sha256(pg_read_binary_file(%s, 0, 1000000, true)), 'hex')", [SERVED]
    ).fetchone()
    if row is None or row[0] != hashlib.sha256(content.encode()).hexdigest():
        return False
    query = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
    return dict(connection.execute(query, [list(SETTINGS)]).fetchall()) == SETTINGS


def _hand_over(connection: Connection, content: str) -> None:
    """Write the file: under a temporary name, synced, then renamed."""
    from psycopg import sql

    script = (
        f"umask 077 && cat >{SERVED}.new && sync {SERVED}.new && mv {SERVED}.new {SERVED} && sync ."
    )
    # A line a row: COPY's text form leaves letters, digits and +/=- as they are.
    rows = sql.SQL("SELECT line FROM unnest({}::text[]) WITH ORDINALITY AS l (line, n) ORDER BY n")
    lines = sql.Literal(content.splitlines())
    copy = sql.SQL("COPY ({}) TO PROGRAM {}").format(rows.format(lines), sql.Literal(script))
    connection.execute(copy)


def _switch_on(connection: Connection) -> None:
    for name, value in SETTINGS.items():
        run(connection, "ALTER SYSTEM SET {} = {value}", name, value=value)
    connection.execute("SELECT pg_reload_conf()")
