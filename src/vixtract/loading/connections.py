"""The connection of `load` and `read`: the caller's, or a new one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from psycopg import Connection, Cursor
from psycopg.pq import TransactionStatus

from vixtract.loading.errors import LoadError, LoadUsageError

# For another thread's statement; a COPY of this thread would never end.
BUSY_S = 600.0
# The connections on which this thread runs a COPY.
_COPIES = threading.local()


class _Borrowed:
    """The caller's connection with plain cursors; its own row and cursor factories stay."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def cursor(self) -> Cursor[tuple[Any, ...]]:
        """Return a cursor whose rows are tuples and whose parameters are %s."""
        return psycopg.Cursor(self._connection, row_factory=psycopg.rows.tuple_row)

    def execute(self, query: Any, params: Any = None, **options: Any) -> Cursor[tuple[Any, ...]]:
        """Execute a statement on a new cursor."""
        return self.cursor().execute(query, params, **options)


@contextmanager
def open_connection(connection: Any) -> Iterator[Connection]:
    """Yield the caller's connection, or a new one of a text or None, which is closed afterwards.

    Raises:
        LoadUsageError: the connection is of another type, or busy.
        LoadError: PostgreSQL cannot be reached, or the caller's transaction has failed.
    """
    if isinstance(connection, psycopg.Connection):
        require_free(connection)
        # It has everything of a connection that is used here.
        yield cast(psycopg.Connection, _Borrowed(connection))
        return
    if connection is not None and not isinstance(connection, str):
        raise LoadUsageError(
            f"connection is a {type(connection).__name__}.",
            "Give a psycopg 3 connection, a connection text, or nothing.",
        )
    text = (connection or "").replace("postgresql+psycopg2://", "postgresql://")
    try:
        opened = psycopg.connect(text, application_name="vixtract-load", connect_timeout=10)
    except psycopg.OperationalError as error:
        message = str(error).strip().partition("\n")[0]
        raise LoadError(
            f"PostgreSQL cannot be reached: {message}",
            "In the appliance PGHOST, PGUSER and PGPASSWORD are set; elsewhere give connection=…",
        ) from error
    except psycopg.ProgrammingError:
        # libpq's message quotes the text, which may be a part of a password.
        raise LoadUsageError(
            "connection is not a connection text that PostgreSQL reads.",
            'Write "postgresql://user@host/database" or "host=… dbname=… user=…".',
        ) from None
    with opened:
        yield opened


@contextmanager
def copying(connection: Connection) -> Iterator[None]:
    """Mark a connection on which this thread runs a COPY."""
    marked = vars(_COPIES).setdefault("marked", set())
    marked.add(id(connection.pgconn))
    try:
        yield
    finally:
        marked.discard(id(connection.pgconn))


def require_free(connection: Connection) -> None:
    """Fail if the connection is busy: during a COPY the server accepts rows and nothing else.

    Raises:
        LoadUsageError: a COPY or another long statement runs on it.
        LoadError: its transaction has failed.
    """
    if connection.pgconn.transaction_status == TransactionStatus.INERROR:
        raise LoadError(
            "PostgreSQL: an earlier statement of the transaction failed.",
            "Roll the connection back.",
        )
    is_own = id(connection.pgconn) in vars(_COPIES).get("marked", ())
    if is_own or (not is_free(connection, BUSY_S) and not connection.closed):
        raise LoadUsageError(
            "The connection is busy: a load, or another statement on it, has not ended.",
            "Rows that are read while others are loaded need two connections: leave connection=…"
            ' out of read or of load, or read them all before: read(…, to="arrow").',
        )


def is_free(connection: Connection, wait_s: float) -> bool:
    """Tell whether the server would answer; wait some seconds for another thread's statement."""
    if not connection.lock.acquire(timeout=wait_s):
        return False
    try:
        status = connection.pgconn.transaction_status
        return status in {TransactionStatus.IDLE, TransactionStatus.INTRANS}
    finally:
        connection.lock.release()


def has_cursors(connection: Connection) -> bool:
    """Tell whether rows are being read on a connection."""
    query = "SELECT EXISTS (SELECT FROM pg_cursors WHERE name <> '')"
    return bool(fetch_value(connection, query))


def fetch_value(connection: Connection, query: Any, params: Any = None) -> Any:
    """Return the first value of a query's first row, or None."""
    row = connection.execute(query, params).fetchone()
    return row[0] if row else None


@contextmanager
def settings(connection: Connection, **values: str) -> Iterator[None]:
    """Change settings for a block of a transaction; after an error its rollback restores them."""
    change = "SELECT set_config(%s, %s, true)"
    before = {}
    for name, value in values.items():
        before[name] = fetch_value(connection, "SELECT current_setting(%s)", [name])
        connection.execute(change, [name, value])
    yield
    for name, value in before.items():
        connection.execute(change, [name, value])
