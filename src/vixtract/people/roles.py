"""PostgreSQL: the databases, the groups, and a role and schema per person.

Passwords are never stored: each is an HMAC of the role's name, which the Hub and the scheduler both
compute. Grants are made once, together with the role or schema: what a person or a database
administrator changes afterwards stays.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString, NamedTuple
from urllib.parse import quote

from vixtract.credentials import is_scram_of, scram_verifier
from vixtract.errors import VixtractError
from vixtract.people.names import check_name

if TYPE_CHECKING:
    from psycopg import Connection

log = logging.getLogger(__name__)

#: Where PostgreSQL shares its socket with root of this container: the directory above is root's.
SOCKETS = Path("/srv/postgresql/socket")
SUPERUSER = "postgres"
DOCUMENTED_PASSWORD = "vixtract"  # noqa: S105  looked for, to get rid of it
ETL = "etl"
VIXTRACT = "vixtract"
PEOPLE_GROUP = "etl_users"
READERS_GROUP = "bi_readers"
BI_LOGIN = "bi"
LEFT_MARK = "ViXtract: its owner was removed on "
"""Start of the comment of a schema whose owner was removed; a date follows."""

# One dashboard must not take all of PostgreSQL's connections, or run for hours.
READER_CONNECTIONS = 40
READER_LIMITS = {
    "statement_timeout": "15min",
    "idle_in_transaction_session_timeout": "10min",
    "temp_file_limit": "8GB",
}

# Two services may make the same role at once: this lock puts them in order. Any number will do.
_LOCK = 7_614_001


class RoleError(VixtractError):
    """PostgreSQL could not be reached, or the role was not made by ViXtract."""


def role_password(key: str, name: str, generation: int = 0) -> str:
    """Return the PostgreSQL password of a person's role: 64 hex digits.

    Args:
        key: content of the secret `role_key`.
        generation: number of people of this name who left before; each had another password.
    """
    text = f"pg:{name}:{generation}" if generation else f"pg:{name}"
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def login_environment(name: str, password: str, *, host: str, port: int) -> dict[str, str]:
    """Return the variables with which libpq and SQLAlchemy connect as a person."""
    login = f"{quote(name, safe='')}:{password}"
    return {
        "PGHOST": host,
        "PGPORT": str(port),
        "PGDATABASE": ETL,
        "PGUSER": name,
        "PGPASSWORD": password,
        "DATABASE_URL": f"postgresql+psycopg2://{login}@{host}:{port}/{ETL}",
    }


def superuser_conninfo(directory: Path = SOCKETS, *, port: int = 5432, timeout_s: int = 3) -> str:
    """Return the connection text of the superuser, with short deadlines; it holds no secret.

    PostgreSQL accepts this account over a socket only, and asks the kernel which account connects.

    Args:
        timeout_s: seconds for connecting; each statement has five.
    """
    from psycopg.conninfo import make_conninfo

    return make_conninfo(
        host=str(directory),
        port=port,
        user=SUPERUSER,
        dbname="postgres",
        connect_timeout=timeout_s,
        application_name="vixtract-people",
        options="-c statement_timeout=5000 -c lock_timeout=3000 -c log_min_error_statement=panic",
    )


def ensure_databases(conninfo: str, *, key: str, bi_password: str) -> None:
    """Make the databases `etl` and `vixtract`, the groups, and the logins `bi` and `vixtract`.

    Raises:
        RoleError: PostgreSQL is away or refuses.
    """
    with connect(conninfo) as connection:
        for group in (PEOPLE_GROUP, READERS_GROUP):
            ensure_group(connection, group)
        _ensure_login(connection, BI_LOGIN, bi_password, group=READERS_GROUP)
        ensure_reader_limits(connection, BI_LOGIN)
        _ensure_login(connection, VIXTRACT, role_password(key, VIXTRACT))
        # No role connects to a database without a grant; this is checked for new connections only.
        connection.execute("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")
    ensure_database(conninfo, ETL, owner=SUPERUSER)
    ensure_database(conninfo, VIXTRACT, owner=VIXTRACT)
    with connect(conninfo, ETL) as connection:
        connection.execute("REVOKE ALL ON DATABASE etl, vixtract FROM PUBLIC")
        connection.execute("GRANT CONNECT, TEMPORARY ON DATABASE etl TO etl_users, bi_readers")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        # The scheduler keeps `vixtract.freshness` there, and can do nothing else in this database.
        connection.execute("GRANT CONNECT ON DATABASE etl TO vixtract")
        connection.execute("CREATE SCHEMA IF NOT EXISTS vixtract AUTHORIZATION vixtract")


def ensure_role(conninfo: str, name: str, *, key: str, generation: int = 0) -> None:
    """Make a person's role and their schema in `etl`; `ensure_databases` has run before.

    Raises:
        InvalidNameError: the name is reserved.
        RoleError: PostgreSQL is away or refuses, or a role or schema of that name is not ours.
    """
    check_name(name, lookup_uid=lambda _: None)
    with connect(conninfo, ETL) as connection:
        password = role_password(key, name, generation)
        _ensure_login(connection, name, password, group=PEOPLE_GROUP)
        _ensure_schema(connection, name)


def void_documented_password(conninfo: str) -> bool:
    """Remove the superuser's password where it is the documented one; return whether it was."""
    with connect(conninfo) as connection:
        found = find_role(connection, SUPERUSER)
        if found is None or not is_scram_of(found.verifier, DOCUMENTED_PASSWORD):
            return False
        connection.execute("ALTER ROLE postgres PASSWORD NULL")
        return True


@contextmanager
def open_connection(conninfo: str, *, autocommit: bool = False) -> Iterator[Connection]:
    """Connect, but not to the temporary server of a first boot.

    That one listens on the same socket as the real one, makes the database and ends.

    Raises:
        RoleError: it is that server, or PostgreSQL is away or refuses.
    """
    import psycopg

    try:
        with psycopg.connect(conninfo, autocommit=autocommit) as connection:
            row = connection.execute("SELECT current_setting('listen_addresses')").fetchone()
            if row is None or not row[0]:
                raise RoleError("PostgreSQL is in its first boot.", "Try again in a moment.")
            yield connection
    except psycopg.Error as error:
        first_line = str(error).strip().partition("\n")[0]
        raise RoleError(f"PostgreSQL: {first_line}", "See ./vixtract logs postgresql.") from error


@contextmanager
def connect(conninfo: str, database: str | None = None) -> Iterator[Connection]:
    """Open one transaction under the lock that every change of roles takes.

    Errors are those of `open_connection`.
    """
    from psycopg.conninfo import make_conninfo

    with open_connection(make_conninfo(conninfo, dbname=database)) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        yield connection


def run(connection: Connection, statement: LiteralString, *names: str, **values: object) -> None:
    """Run a statement into which names and values are put, each quoted.

    Args:
        statement: SQL with `{}` or `{0}` for a name, and `{key}` for a value.
    """
    from psycopg import sql

    literals = {key: sql.Literal(value) for key, value in values.items()}
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names), **literals))


def ensure_group(connection: Connection, name: str) -> None:
    """Make a group role where it is missing."""
    if find_role(connection, name) is None:
        run(connection, "CREATE ROLE {} NOLOGIN", name)


def _ensure_login(
    connection: Connection, name: str, password: str, *, group: str | None = None
) -> None:
    """Make a login with this password; a role of that name outside the group is left alone."""
    found = find_role(connection, name)
    if found is None:
        run(connection, "CREATE ROLE {} NOLOGIN", name)
        if group:
            run(connection, "GRANT {} TO {}", group, name)
    elif found.is_superuser or (group and not is_member(connection, name, group)):
        raise RoleError(
            f"The PostgreSQL role {name!r} exists and was not made by ViXtract.",
            f"Rename it, or let ViXtract have it: GRANT {group} TO {name!r}.",
        )
    if found is None or not found.can_login or not is_scram_of(found.verifier, password):
        verifier = scram_verifier(password)
        run(connection, "ALTER ROLE {} LOGIN PASSWORD {verifier}", name, verifier=verifier)


def ensure_reader_limits(connection: Connection, name: str) -> None:
    """Limit a reader's login, once: what a database administrator sets afterwards stays.

    Nothing happens where the login is missing or has limits.
    """
    query = """
        SELECT rolconnlimit FROM pg_roles
        WHERE rolname = %s AND rolconnlimit = -1 AND rolconfig IS NULL"""
    if connection.execute(query, [name]).fetchone() is None:
        return
    run(connection, "ALTER ROLE {} CONNECTION LIMIT {limit}", name, limit=READER_CONNECTIONS)
    for setting, value in READER_LIMITS.items():
        run(connection, "ALTER ROLE {} SET {} = {value}", name, setting, value=value)


def _ensure_schema(connection: Connection, name: str) -> None:
    if not claim_schema(connection, name):
        return
    run(connection, "CREATE SCHEMA {0} AUTHORIZATION {0}", name)
    run(connection, "GRANT USAGE ON SCHEMA {} TO {}", name, READERS_GROUP)
    grant = "ALTER DEFAULT PRIVILEGES FOR ROLE {0} IN SCHEMA {0} GRANT SELECT ON TABLES TO {1}"
    run(connection, grant, name, READERS_GROUP)


def claim_schema(connection: Connection, name: str) -> bool:
    """Return whether a schema is still to be made; that of a removed person is renamed first.

    Raises:
        RoleError: the schema belongs to another role.
    """
    query = (
        "SELECT pg_get_userbyid(nspowner), coalesce(obj_description(oid, 'pg_namespace'), '')"
        " FROM pg_namespace WHERE nspname = %s"
    )
    found = connection.execute(query, [name]).fetchone()
    if found is None:
        return True
    if found[0] == name:
        return False
    if not found[1].startswith(LEFT_MARK):
        raise RoleError(
            f"The schema {name!r} in database etl belongs to {found[0]!r}.",
            f'Give it to the role: ALTER SCHEMA "{name}" OWNER TO "{name}".',
        )
    _step_aside(connection, name, found[1].removeprefix(LEFT_MARK))
    return True


def _step_aside(connection: Connection, name: str, day: str) -> None:
    """Rename the schema of a person who left: another person has the name now."""
    query = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
    number, free = 1, f"{name}_until_{day}"
    while connection.execute(query, [free]).fetchone() is not None:
        number += 1
        free = f"{name}_until_{day}_{number}"
    run(connection, "ALTER SCHEMA {} RENAME TO {}", name, free)
    log.warning("The schema %s of a person who was removed is %s now.", name, free)


def ensure_database(conninfo: str, name: str, *, owner: str) -> None:
    """Make a database where it is missing; another process may make it at the same time.

    Raises:
        RoleError: PostgreSQL is away or refuses.
    """
    from psycopg.errors import DuplicateDatabase, UniqueViolation

    with open_connection(conninfo, autocommit=True) as connection:
        # It runs in no transaction, and copying the template may take longer than the usual.
        connection.execute("SET statement_timeout = '60s'")
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        if connection.execute(query, [name]).fetchone() is None:
            with suppress(DuplicateDatabase, UniqueViolation):
                run(connection, "CREATE DATABASE {} OWNER {}", name, owner)


class _Role(NamedTuple):
    """What pg_authid says of one role."""

    is_superuser: bool
    can_login: bool
    verifier: str | None


def find_role(connection: Connection, name: str) -> _Role | None:
    """Return what PostgreSQL knows of a role."""
    query = "SELECT rolsuper, rolcanlogin, rolpassword FROM pg_authid WHERE rolname = %s"
    row = connection.execute(query, [name]).fetchone()
    return None if row is None else _Role(*row)


def is_member(connection: Connection, name: str, group: str) -> bool:
    """Return whether a role is a direct member of a group."""
    query = """
        SELECT 1 FROM pg_auth_members
        JOIN pg_authid member ON member.oid = pg_auth_members.member
        JOIN pg_authid grp ON grp.oid = pg_auth_members.roleid
        WHERE member.rolname = %s AND grp.rolname = %s"""
    return connection.execute(query, [name, group]).fetchone() is not None
