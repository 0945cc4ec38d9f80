"""How fresh each table is: `vixtract.freshness` in database `etl`, for BI tools and the portal.

A run says what it loaded; that is a claim of its owner. The view shows a claim only for a table
that exists and that the claiming role may write, and only to roles that may read the table, so
that a role can neither lie about another's table nor learn its name.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

logger = logging.getLogger(__name__)

REFRESH_S = 60.0
# A table is late when its next load has not ended this long after its due time, or after twice the
# time that the last one took.
PATIENCE_S = 1800.0

# How long loads are kept beside the last of each table, and how often old ones are removed.
KEEP_LOADS_DAYS = 30
PRUNE_S = 3600.0

# `loaded` is what the scheduler heard from runs; `load` is what `vixtract.load` wrote itself, from
# Lab, too. Each role adds rows of its own to `load`, for tables that it may write.
OBJECTS = """
CREATE TABLE IF NOT EXISTS vixtract.loaded (
    schema_name text NOT NULL,
    table_name text NOT NULL,
    owner text NOT NULL,
    loaded_at timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    late_after timestamptz,
    rows bigint,
    mode text,
    notebook text NOT NULL,
    event text NOT NULL,
    schedule text NOT NULL,
    run text NOT NULL,
    PRIMARY KEY (schema_name, table_name, owner)
);
CREATE TABLE IF NOT EXISTS vixtract.load (
    run text,
    schema text NOT NULL,
    "table" text NOT NULL,
    mode text NOT NULL,
    rows bigint NOT NULL,
    bytes bigint,
    seconds double precision,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    loaded_by text NOT NULL DEFAULT current_user
);
CREATE INDEX IF NOT EXISTS load_newest ON vixtract.load (schema, "table", loaded_by, at DESC);
ALTER TABLE vixtract.load ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS add ON vixtract.load;
CREATE POLICY add ON vixtract.load FOR INSERT WITH CHECK (loaded_by = current_user
    AND at BETWEEN now() - interval '1 day' AND clock_timestamp() + interval '1 minute' AND EXISTS (
    SELECT FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = "table"
    WHERE n.nspname = schema AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
        AND pg_catalog.has_table_privilege(c.oid, 'INSERT')));
DROP POLICY IF EXISTS see ON vixtract.load;
CREATE POLICY see ON vixtract.load FOR SELECT USING (EXISTS (
    SELECT FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = "table"
    WHERE n.nspname = schema AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
        AND pg_catalog.has_table_privilege(c.oid, 'SELECT')));
CREATE OR REPLACE VIEW vixtract.freshness AS
WITH claim AS (
    SELECT schema_name, table_name, loaded_at, late_after, rows, mode, owner,
        notebook, schedule, event, run, true AS is_scheduled
    FROM vixtract.loaded
    UNION ALL
    (SELECT DISTINCT ON (schema, "table", loaded_by)
        schema, "table", at, NULL::timestamptz, rows, mode, loaded_by,
        '', '', '', coalesce(run, ''), false
    FROM vixtract.load ORDER BY schema, "table", loaded_by, at DESC)
), fit AS (
    SELECT l.*, first_value(l.loaded_at) OVER newest AS data_as_of,
        first_value(l.rows) OVER newest AS last_rows, first_value(l.mode) OVER newest AS last_mode
    FROM claim l
    JOIN pg_catalog.pg_namespace n ON n.nspname = l.schema_name
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = l.table_name
    JOIN pg_catalog.pg_roles o ON o.rolname = l.owner
    WHERE pg_catalog.has_schema_privilege(n.oid, 'USAGE')
        AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
        AND pg_catalog.has_schema_privilege(o.oid, n.oid, 'USAGE')
        AND pg_catalog.has_table_privilege(o.oid, c.oid, 'INSERT')
    WINDOW newest AS (PARTITION BY l.schema_name, l.table_name ORDER BY l.loaded_at DESC)
)
SELECT DISTINCT ON (schema_name, table_name)
    schema_name, table_name, data_as_of, now() - data_as_of AS age, late_after,
    coalesce(now() > late_after AND data_as_of <= late_after, false) AS is_late,
    last_rows AS rows, last_mode AS mode, owner, notebook, schedule, event, run
FROM fit
ORDER BY schema_name, table_name, is_scheduled DESC, loaded_at DESC;
COMMENT ON VIEW vixtract.freshness IS
    'When each table was loaded last, by which schedule, and whether it is late';
GRANT USAGE ON SCHEMA vixtract TO bi_readers, etl_users;
GRANT SELECT ON vixtract.freshness TO bi_readers, etl_users;
GRANT SELECT, INSERT ON vixtract.load TO etl_users;
"""
PRUNE = """
DELETE FROM vixtract.load l WHERE at < now() - make_interval(days => %s) AND EXISTS (
    SELECT FROM vixtract.load n
    WHERE n.schema = l.schema AND n."table" = l."table" AND n.at > l.at)
"""
PUT = """
INSERT INTO vixtract.loaded (schema_name, table_name, owner, loaded_at, started_at, late_after,
    rows, mode, notebook, event, schedule, run)
VALUES (%s, %s, %s, to_timestamp(%s), to_timestamp(%s), to_timestamp(%s), %s, %s, %s, %s, %s, %s)
ON CONFLICT (schema_name, table_name, owner) DO UPDATE SET
    loaded_at = excluded.loaded_at, started_at = excluded.started_at,
    late_after = excluded.late_after, rows = excluded.rows, mode = excluded.mode,
    notebook = excluded.notebook, event = excluded.event, schedule = excluded.schedule,
    run = excluded.run
WHERE loaded.loaded_at <= excluded.loaded_at
"""
Expect = Callable[[str, float], "float | None"]


def read_claims(row: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the loads that a row of the ledger's table `run` reports.

    Returns: schema, table, owner, end, start, rows, mode, notebook, event, title, run of each.
    """
    if row["state"] != "done" or not row["time_end"]:
        return []
    chain = json.loads(row["result"]).get("chain_data")
    loads = chain.get("loads") if isinstance(chain, dict) else None
    claims: list[tuple[Any, ...]] = []
    for load in loads if isinstance(loads, list) else []:
        schema, dot, table = str(load.get("table", "")).partition(".")
        schema, table = (schema, table) if dot else (row["owner"], schema)
        texts = (schema, table, row["owner"])
        if not all(texts) or any("\0" in text for text in texts):
            continue
        times = (row["time_end"], row["time_start"] or row["time_end"])
        about = (load.get("rows"), load.get("mode"), str(chain.get("notebook") or ""))
        claims.append((*texts, *times, *about, row["event"], row["title"], row["id"]))
    return claims


class Freshness:
    """Keeps the table behind the view.

    Args:
        url: server, as the role `vixtract`; its database does not matter.
        expect: returns when an event (an id) is due next after a time, or None for never.
    """

    def __init__(self, url: str, expect: Expect) -> None:
        self._url = url
        self._expect = expect
        self._refreshed = self._pruned = -math.inf
        self._is_current = False

    def note(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Write down what runs have loaded; psycopg.Error when PostgreSQL is away."""
        claims = [claim for row in rows for claim in read_claims(row)]
        if not claims:
            return 0
        values = [
            (*claim[:5], self._late_after(claim[8], claim[4], claim[3] - claim[4]), *claim[5:])
            for claim in claims
        ]
        with self._connect() as connection:
            if not self._ensure_objects(connection):
                return 0
            with connection.cursor() as cursor:
                cursor.executemany(PUT, values)
        return len(values)

    def refresh(self) -> None:
        """Bring `late_after` up to date with the schedules, once a minute; make what is missing.

        Raises:
            psycopg.Error: PostgreSQL is away.
        """
        if time.monotonic() - self._refreshed < REFRESH_S:
            return
        self._refreshed = time.monotonic()
        with self._connect() as connection:
            if not self._ensure_objects(connection):
                return
            if time.monotonic() - self._pruned > PRUNE_S:
                connection.execute(PRUNE, [KEEP_LOADS_DAYS])
                self._pruned = time.monotonic()
            found = connection.execute(
                "SELECT event, extract(epoch FROM started_at)::float8,"
                " extract(epoch FROM max(loaded_at))::float8 FROM vixtract.loaded"
                " GROUP BY event, started_at"
            ).fetchall()
            values = [
                (self._late_after(event, start, end - start), event, start)
                for event, start, end in found
            ]
            with connection.cursor() as cursor:
                cursor.executemany(
                    "UPDATE vixtract.loaded SET late_after = to_timestamp(%s)"
                    " WHERE event = %s AND started_at = to_timestamp(%s)",
                    values,
                )

    def _late_after(self, event: str, started: float, took: float) -> float | None:
        due = self._expect(event, started)
        return None if due is None else due + max(PATIENCE_S, 2 * took)

    def _connect(self) -> Any:
        import psycopg

        return psycopg.connect(
            self._url,
            dbname="etl",
            connect_timeout=5,
            options="-c statement_timeout=20000 -c lock_timeout=5000",
        )

    def _ensure_objects(self, connection: Any) -> bool:
        """Make tables and view, anew once in a process; return whether they are there."""
        import psycopg

        connection.execute("SELECT pg_advisory_xact_lock(7041777)")
        there = all(
            connection.execute("SELECT to_regclass(%s)", [f"vixtract.{name}"]).fetchone()[0]
            for name in ("freshness", "load", "loaded")
        )
        if there and self._is_current:
            return True
        try:
            with connection.transaction():
                connection.execute(OBJECTS)
        except (psycopg.errors.InvalidSchemaName, psycopg.errors.InsufficientPrivilege) as error:
            # The Hub makes the schema; a database that it has not touched yet keeps no loads.
            logger.warning("what runs have loaded is not recorded: %s", error)
            return False
        except psycopg.errors.LockNotAvailable:
            # A transaction that stays open reads it: the next minute will do.
            return there
        self._is_current = True
        return True
