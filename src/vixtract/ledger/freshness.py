"""How fresh each table is: `vixtract.freshness` in database `etl`, for BI tools and the portal.

A run says what it loaded; that is a claim of its owner. The view shows a claim only for a table
that exists and that the claiming role may write, and only to roles that may read the table, so
nobody can lie about another's table or learn its name.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

logger = logging.getLogger(__name__)

REFRESH_S = 60.0
# A load may take this long after its minute, or twice as long as it did last, before it is late.
PATIENCE_S = 1800.0

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
CREATE OR REPLACE VIEW vixtract.freshness AS
SELECT DISTINCT ON (l.schema_name, l.table_name)
    l.schema_name, l.table_name, l.loaded_at AS data_as_of, now() - l.loaded_at AS age,
    l.late_after, coalesce(now() > l.late_after, false) AS is_late,
    l.rows, l.mode, l.owner, l.notebook, l.schedule, l.event, l.run
FROM vixtract.loaded l
JOIN pg_catalog.pg_namespace n ON n.nspname = l.schema_name
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = l.table_name
JOIN pg_catalog.pg_roles o ON o.rolname = l.owner
WHERE pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
    AND pg_catalog.has_schema_privilege(o.oid, n.oid, 'USAGE')
    AND pg_catalog.has_table_privilege(o.oid, c.oid, 'INSERT')
ORDER BY l.schema_name, l.table_name, l.loaded_at DESC;
COMMENT ON VIEW vixtract.freshness IS 'When each table was loaded last, by what, and whether it is late';
GRANT USAGE ON SCHEMA vixtract TO bi_readers, etl_users;
GRANT SELECT ON vixtract.freshness TO bi_readers, etl_users;
"""  # noqa: E501 - a comment of SQL
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
    """Turn a finished run of the ledger into what it says it loaded.

    Args:
        row: of the ledger's table `run`.
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
        url: of the server, as the role `vixtract`; the database of it does not matter.
        expect: function of an event's id and epoch seconds: when it is due next after that, or
            None where it runs no more by itself.
    """

    def __init__(self, url: str, expect: Expect) -> None:
        self._url = url
        self._expect = expect
        self._refreshed = 0.0

    def note(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Note what runs have loaded.

        Args:
            rows: of the ledger's table `run`.
        Returns: how many loads.
        Raises:
            psycopg.Error: PostgreSQL is away.
        """
        claims = [claim for row in rows for claim in read_claims(row)]
        if not claims:
            return 0
        values = [
            (*claim[:5], self._late_after(claim[8], claim[4], claim[3] - claim[4]), *claim[5:])
            for claim in claims
        ]
        return len(values) if self._write(PUT, values) else 0

    def refresh(self) -> None:
        """Bring `late_after` up to date with the schedules, once a minute."""
        import psycopg

        if time.monotonic() - self._refreshed < REFRESH_S:
            return
        self._refreshed = time.monotonic()
        with self._connect() as connection:
            there = connection.execute("SELECT to_regclass('vixtract.loaded')").fetchone()
            if there is None or there[0] is None:
                return  # nothing has been loaded yet
            try:
                found = connection.execute(
                    "SELECT event, extract(epoch FROM started_at)::float8,"
                    " extract(epoch FROM max(loaded_at))::float8 FROM vixtract.loaded"
                    " GROUP BY event, started_at"
                ).fetchall()
            except psycopg.errors.Error:
                return
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
            self._url, dbname="etl", connect_timeout=5, options="-c statement_timeout=20000"
        )

    def _write(self, statement: str, values: Sequence[tuple[Any, ...]]) -> bool:
        import psycopg

        try:
            with self._connect() as connection:
                connection.execute("SELECT pg_advisory_xact_lock(7041777)")
                if (
                    connection.execute("SELECT to_regclass('vixtract.freshness')").fetchone()[0]
                    is None
                ):
                    connection.execute(OBJECTS)
                with connection.cursor() as cursor:
                    cursor.executemany(statement, values)
        except (psycopg.errors.InvalidSchemaName, psycopg.errors.InsufficientPrivilege) as error:
            # The Hub makes the schema; a database that it has not touched yet keeps no claims.
            logger.warning("loads are not noted: %s", error)
            return False
        return True
