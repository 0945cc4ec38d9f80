"""PostgreSQL when a person is disabled or leaves: lock, archive or hand over their role."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from vixtract.people.roles import (
    ETL,
    LEFT_MARK,
    PEOPLE_GROUP,
    READERS_GROUP,
    connect,
    is_member,
    run,
)

if TYPE_CHECKING:
    from psycopg import Connection

# Names of people, teams and readers have no colon.
ARCHIVED = "removed:"


def lock_role(conninfo: str, name: str, group: str = PEOPLE_GROUP) -> bool:
    """Lock a role and end its sessions; what it owns stays.

    Returns: whether there is such a role.
    Raises:
        RoleError: PostgreSQL is away or refuses.
    """
    with connect(conninfo) as connection:
        if not is_member(connection, name, group):
            return False
        run(connection, "ALTER ROLE {} NOLOGIN", name)
    # After the commit: until then a new session could begin.
    end_sessions(conninfo, name)
    return True


def end_sessions(conninfo: str, name: str) -> None:
    """End all sessions of a role."""
    with connect(conninfo) as connection:
        query = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE usesysid = (SELECT oid FROM pg_roles WHERE rolname = %s)"
        )
        connection.execute(query, [name])


def archive_role(
    conninfo: str, name: str, now: datetime.datetime, group: str = PEOPLE_GROUP
) -> str:
    """Rename the role of a person who left: it keeps what it owns and granted, for readers.

    Returns: name of the archived role; empty where the role is gone.
    Raises:
        RoleError: PostgreSQL is away or refuses.
    """
    archived = f"{ARCHIVED}{name}:{now:%Y%m%d%H%M%S}"
    with connect(conninfo, ETL) as connection:
        if not is_member(connection, name, group):
            return ""
        _leave_groups(connection, name)
        _mark_schema(connection, name, now)
        run(connection, "ALTER ROLE {} NOLOGIN PASSWORD NULL", name)
        run(connection, "ALTER ROLE {} RENAME TO {}", name, archived)
    end_sessions(conninfo, archived)
    return archived


def hand_over_role(conninfo: str, name: str, to: str, now: datetime.datetime) -> bool:
    """Give all tables and schemas of a role to another, then drop it.

    SECURITY DEFINER functions become SECURITY INVOKER: otherwise they would run with the rights of
    the new owner.

    Returns: whether there was such a role.
    Raises:
        RoleError: PostgreSQL is away or refuses.
    """
    if not lock_role(conninfo, name):
        return False
    with connect(conninfo, ETL) as connection:
        _mark_schema(connection, name, now)
    for database in _list_databases(conninfo):
        with connect(conninfo, database) as connection:
            connection.execute("SET LOCAL statement_timeout = '120s'")
            _disarm_functions(connection, name)
            schemas = _list_published(connection, name)
            run(connection, "REASSIGN OWNED BY {} TO {}", name, to)
            run(connection, "DROP OWNED BY {}", name)
            for schema in schemas:
                grant = (
                    "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} GRANT SELECT ON TABLES TO {}"
                )
                run(connection, grant, to, schema, READERS_GROUP)
    with connect(conninfo, ETL) as connection:
        run(connection, "DROP ROLE {}", name)
    return True


def drop_role(conninfo: str, name: str) -> None:
    """Drop a role that owns nothing, with all that was granted to it."""
    for database in _list_databases(conninfo):
        with connect(conninfo, database) as connection:
            run(connection, "DROP OWNED BY {}", name)
    with connect(conninfo) as connection:
        run(connection, "DROP ROLE {}", name)


def _leave_groups(connection: Connection, name: str) -> None:
    """Take a role out of all groups, and all members out of it."""
    query = """
        SELECT grp.rolname, member.rolname FROM pg_auth_members
        JOIN pg_roles grp ON grp.oid = pg_auth_members.roleid
        JOIN pg_roles member ON member.oid = pg_auth_members.member
        WHERE grp.rolname = %(name)s OR member.rolname = %(name)s"""
    for group, member in connection.execute(query, {"name": name}).fetchall():
        run(connection, "REVOKE {} FROM {}", group, member)


def _mark_schema(connection: Connection, name: str, now: datetime.datetime) -> None:
    query = "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = %s"
    if connection.execute(query, [name]).fetchone() == (name,):
        text = f"{LEFT_MARK}{now:%Y%m%d}"
        run(connection, "COMMENT ON SCHEMA {} IS {text}", name, text=text)


def _disarm_functions(connection: Connection, name: str) -> None:
    from psycopg import sql

    query = (
        "SELECT n.nspname, p.proname, pg_get_function_identity_arguments(p.oid) FROM pg_proc p"
        " JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE p.prosecdef AND p.proowner = (SELECT oid FROM pg_roles WHERE rolname = %s)"
    )
    for schema, function, arguments in connection.execute(query, [name]).fetchall():
        # The arguments are PostgreSQL's own text, quoted by it.
        statement = sql.SQL("ALTER ROUTINE {}({}) SECURITY INVOKER")
        parts = (sql.Identifier(schema, function), sql.SQL(arguments))
        connection.execute(statement.format(*parts))


def _list_published(connection: Connection, owner: str) -> list[str]:
    """Return the schemas in which BI may read the tables that the owner makes later."""
    query = (
        "SELECT n.nspname FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace"
        " WHERE d.defaclobjtype = 'r' AND pg_get_userbyid(d.defaclrole) = %s AND EXISTS ("
        " SELECT 1 FROM aclexplode(d.defaclacl) a WHERE pg_get_userbyid(a.grantee) = %s)"
        " ORDER BY 1"
    )
    return [row[0] for row in connection.execute(query, [owner, READERS_GROUP]).fetchall()]


def _list_databases(conninfo: str) -> list[str]:
    with connect(conninfo) as connection:
        query = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate"
        return [row[0] for row in connection.execute(query).fetchall()]
