"""Read-only logins for BI tools: all published schemas or chosen ones, also tables made later."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vixtract.credentials import generate_password, scram_verifier
from vixtract.people import retire
from vixtract.people.names import check_name
from vixtract.people.roles import (
    BI_LOGIN,
    ETL,
    READERS_GROUP,
    RoleError,
    connect,
    find_role,
    is_member,
    run,
)
from vixtract.people.sharing import ensure_sharing

if TYPE_CHECKING:
    from psycopg import Connection

# The logins that are made here; they may connect from other machines. Readers of everything are in
# `bi_readers` too.
GROUP = "bi_access"
CONNECTIONS = 20
# A reader may change the first three in a session: the grants protect the data. The last one stays.
SETTINGS = {
    "default_transaction_read_only": "on",
    "statement_timeout": "5min",
    "idle_in_transaction_session_timeout": "1min",
    "temp_file_limit": "2GB",
}


@dataclass(frozen=True)
class Reader:
    """A read-only login.

    Args:
        schemas: chosen schemas of database etl.
        sees_all: every published schema, also later ones.
    """

    name: str
    schemas: tuple[str, ...] = ()
    sees_all: bool = False


def add_reader(conninfo: str, reader: Reader) -> dict[str, Any]:
    """Make a login, or give an existing one more schemas.

    Returns: `lines`, and `password` where the login is new.
    Raises:
        InvalidNameError: the name is malformed or reserved.
        RoleError: a schema is missing, the name is taken, or PostgreSQL is away.
    """
    check_name(reader.name, lookup_uid=lambda _: None)
    if not reader.schemas and not reader.sees_all:
        raise RoleError("No schema is named.", "Add --schema NAME, or --all.")
    name, password = reader.name, ""
    with connect(conninfo, ETL) as connection:
        ensure_sharing(connection)
        _check_schemas(connection, reader.schemas)
        if find_role(connection, name) is None:
            password = generate_password()
            _create(connection, name, password)
        elif not is_member(connection, name, GROUP):
            raise RoleError(f"{name!r} is a name that PostgreSQL uses already.")
        if reader.sees_all:
            run(connection, "GRANT {} TO {}", READERS_GROUP, name)
        for schema in reader.schemas:
            run(connection, "GRANT USAGE ON SCHEMA {} TO {}", schema, name)
            run(connection, "GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}", schema, name)
    what = "every published schema" if reader.sees_all else ", ".join(reader.schemas)
    answer = {"lines": [f"PostgreSQL: {name} reads {what}, also tables made later"]}
    return {**answer, "password": password} if password else answer


def reset_password(conninfo: str, name: str) -> str:
    """Give a reader a new random password, end its sessions, and return the password.

    Raises:
        RoleError: the reader does not exist.
    """
    password = generate_password()
    with connect(conninfo, ETL) as connection:
        _require(connection, name)
        verifier = scram_verifier(password)
        run(connection, "ALTER ROLE {} PASSWORD {verifier}", name, verifier=verifier)
    retire.end_sessions(conninfo, name)
    return password


def remove_reader(conninfo: str, name: str) -> None:
    """Remove a reader and end its sessions.

    Raises:
        RoleError: the reader does not exist.
    """
    with connect(conninfo, ETL) as connection:
        _require(connection, name)
    retire.lock_role(conninfo, name, GROUP)
    retire.drop_role(conninfo, name)


def list_readers(conninfo: str) -> list[dict[str, Any]]:
    """Return all read-only logins: name, whether they see all, chosen schemas, open sessions."""
    query = """
        SELECT r.rolname, EXISTS (SELECT 1 FROM pg_auth_members m WHERE m.member = r.oid
                 AND m.roleid = (SELECT oid FROM pg_roles WHERE rolname = %(all)s)),
               ARRAY(SELECT n.nspname::text FROM pg_namespace n, aclexplode(n.nspacl) a
                 WHERE a.grantee = r.oid AND a.privilege_type = 'USAGE' ORDER BY 1),
               (SELECT count(*) FROM pg_stat_activity s WHERE s.usesysid = r.oid)
        FROM pg_roles r WHERE r.rolname = %(bi)s OR EXISTS (SELECT 1 FROM pg_auth_members m
          WHERE m.member = r.oid AND m.roleid = (SELECT oid FROM pg_roles WHERE rolname = %(own)s))
        ORDER BY 1"""
    names = {"all": READERS_GROUP, "bi": BI_LOGIN, "own": GROUP}
    with connect(conninfo, ETL) as connection:
        rows = connection.execute(query, names).fetchall()
    return [
        {"name": name, "all": sees_all, "schemas": list(schemas), "sessions": sessions}
        for name, sees_all, schemas, sessions in rows
    ]


def _create(connection: Connection, name: str, password: str) -> None:
    verifier = scram_verifier(password)
    create = "CREATE ROLE {} LOGIN PASSWORD {verifier} CONNECTION LIMIT {limit}"
    run(connection, create, name, verifier=verifier, limit=CONNECTIONS)
    run(connection, "GRANT {} TO {}", GROUP, name)
    for setting, value in SETTINGS.items():
        run(connection, "ALTER ROLE {} SET {} = {value}", name, setting, value=value)


def _check_schemas(connection: Connection, schemas: Sequence[str]) -> None:
    query = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
    for schema in schemas:
        is_system = re.match(r"pg_|information_schema$|vixtract", schema)
        if is_system or connection.execute(query, [schema]).fetchone() is None:
            raise RoleError(
                f"There is no schema {schema[:63]!r} of people or teams in database etl.",
                "See: ./vixtract user list, ./vixtract team list",
            )


def _require(connection: Connection, name: str) -> None:
    if not is_member(connection, name, GROUP):
        raise RoleError(f"There is no reader {name[:63]!r}.", "See: ./vixtract reader list")
