"""PostgreSQL's part of teams and readers: groups, and the rights on tables made later.

Default privileges depend on who creates a table, and each member of a team may. So an event trigger
handles each new table: in a team's schema it becomes the team's, and its readers may read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vixtract.people.roles import (
    ETL,
    PEOPLE_GROUP,
    READERS_GROUP,
    RoleError,
    claim_schema,
    connect,
    ensure_database,
    ensure_group,
    find_role,
    is_member,
    run,
)

if TYPE_CHECKING:
    from psycopg import Connection

TEAMS_GROUP = "vixtract_teams"
READERS_MARK = "bi_access"

# In a schema of the superuser, with a fixed path: it runs with the rights of the role that makes a
# table, and only the superuser may change it. An error in it must not make the statement fail.
_FUNCTION = """
CREATE OR REPLACE FUNCTION vixtract_sharing.adopt() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
DECLARE made record; reader name;
BEGIN
  FOR made IN
    SELECT DISTINCT c.oid::regclass::text AS relation, c.oid, c.relkind, c.relowner, n.nspowner,
           n.nspacl, pg_get_userbyid(n.nspowner) AS owner,
           pg_has_role_directly.is_team
    FROM pg_event_trigger_ddl_commands() d
    JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass
    JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT 1 FROM pg_auth_members m JOIN pg_roles g
      ON g.oid = m.roleid WHERE g.rolname = 'vixtract_teams' AND m.member = n.nspowner) AS is_team
    ) AS pg_has_role_directly
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
      AND NOT EXISTS (SELECT 1 FROM pg_depend p WHERE p.classid = 'pg_class'::regclass
        AND p.objid = c.oid AND p.deptype IN ('a', 'i', 'e') AND c.relkind = 'S')
  LOOP
    IF made.is_team AND made.relowner <> made.nspowner THEN
      EXECUTE format('ALTER TABLE %s OWNER TO %I', made.relation, made.owner);
    END IF;
    IF made.relkind <> 'S' THEN
      FOR reader IN
        SELECT r.rolname FROM aclexplode(made.nspacl) a JOIN pg_roles r ON r.oid = a.grantee
        WHERE a.privilege_type = 'USAGE' AND ((made.is_team AND r.rolname = 'bi_readers')
          OR EXISTS (SELECT 1 FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
            WHERE g.rolname = 'bi_access' AND m.member = r.oid))
      LOOP
        EXECUTE format('GRANT SELECT ON TABLE %s TO %I', made.relation, reader);
      END LOOP;
    END IF;
  END LOOP;
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING 'The new table is not shared: %', SQLERRM;
END $body$
"""
_TRIGGER = """
CREATE EVENT TRIGGER vixtract_sharing ON ddl_command_end
WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE VIEW',
  'CREATE MATERIALIZED VIEW', 'CREATE FOREIGN TABLE', 'CREATE SEQUENCE')
EXECUTE FUNCTION vixtract_sharing.adopt()
"""


def ensure_sharing(connection: Connection) -> None:
    """Make the groups and the event trigger in the connected database, under the lock."""
    for group in (TEAMS_GROUP, READERS_MARK):
        ensure_group(connection, group)
    if connection.info.dbname == ETL:
        connection.execute("GRANT CONNECT ON DATABASE etl TO bi_access")
    connection.execute("CREATE SCHEMA IF NOT EXISTS vixtract_sharing")
    connection.execute(_FUNCTION)
    query = "SELECT 1 FROM pg_event_trigger WHERE evtname = 'vixtract_sharing'"
    if connection.execute(query).fetchone() is None:
        connection.execute(_TRIGGER)


def ensure_team_role(conninfo: str, name: str, *, is_private: bool, database: str = ETL) -> None:
    """Make a team's group role and its schema, which BI does not see where the team is private.

    Raises:
        RoleError: the name is taken in PostgreSQL, or PostgreSQL is away.
    """
    with connect(conninfo, database) as connection:
        ensure_sharing(connection)
        if find_role(connection, name) is None:
            run(connection, "CREATE ROLE {} NOLOGIN", name)
            run(connection, "GRANT {} TO {}", TEAMS_GROUP, name)
        elif not is_member(connection, name, TEAMS_GROUP):
            raise RoleError(f"{name!r} is a name that PostgreSQL uses already.")
        if claim_schema(connection, name):
            run(connection, "CREATE SCHEMA {0} AUTHORIZATION {0}", name)
        if is_private:
            run(connection, "REVOKE ALL ON SCHEMA {} FROM {}", name, READERS_GROUP)
        else:
            run(connection, "GRANT USAGE ON SCHEMA {} TO {}", name, READERS_GROUP)


def ensure_team_database(conninfo: str, name: str, *, is_private: bool) -> None:
    """Make the own database of a team that has a role, with a schema of its name in it.

    Raises:
        RoleError: a database of that name has another owner, or PostgreSQL is away.
    """
    with connect(conninfo) as connection:
        query = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s"
        found = connection.execute(query, [name]).fetchone()
    if found is not None and found[0] != name:
        raise RoleError(f"The database {name!r} belongs to {found[0]!r}.")
    ensure_database(conninfo, name, owner=name)
    with connect(conninfo, name) as connection:
        run(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", name)
        if is_private:
            run(connection, "REVOKE ALL ON DATABASE {} FROM {}", name, READERS_GROUP)
        else:
            run(connection, "GRANT CONNECT ON DATABASE {} TO {}", name, READERS_GROUP)
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    ensure_team_role(conninfo, name, is_private=is_private, database=name)


def set_member(conninfo: str, team: str, person: str, *, is_member_wanted: bool) -> None:
    """Put a person's role into a team's, or take it out; running sessions notice at once.

    Raises:
        RoleError: one of the roles is missing or not made by ViXtract, or PostgreSQL is away.
    """
    with connect(conninfo) as connection:
        is_team = is_member(connection, team, TEAMS_GROUP)
        is_person = is_member(connection, person, PEOPLE_GROUP)
        if is_member_wanted:
            if not is_team or not is_person:
                raise RoleError(
                    f"PostgreSQL has no role of {person if is_team else team} yet.",
                    "Run the same command again in a moment.",
                )
            run(connection, "GRANT {} TO {}", team, person)
        elif is_team and is_person:
            run(connection, "REVOKE {} FROM {}", team, person)
