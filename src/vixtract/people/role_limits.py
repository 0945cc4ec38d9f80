"""Limits of readers: one dashboard must not take all of PostgreSQL's places or run for hours."""

from __future__ import annotations

from psycopg import Connection

from vixtract.people.roles import run

CONNECTIONS = 40
LIMITS = {
    "statement_timeout": "15min",
    "idle_in_transaction_session_timeout": "10min",
    "temp_file_limit": "8GB",
}


def ensure_reader_limits(connection: Connection, name: str) -> None:
    """Limit a reader's login, once: what a database administrator sets afterwards stays.

    Args:
        connection: superuser's.
        name: login; nothing happens where it is missing or has limits.
    """
    query = """
        SELECT rolconnlimit FROM pg_roles
        WHERE rolname = %s AND rolconnlimit = -1 AND rolconfig IS NULL"""
    if connection.execute(query, [name]).fetchone() is None:
        return
    run(connection, "ALTER ROLE {} CONNECTION LIMIT {limit}", name, limit=CONNECTIONS)
    for setting, value in LIMITS.items():
        run(connection, "ALTER ROLE {} SET {} = {value}", name, setting, value=value)
