"""What kinds of databases share: an address for SQLAlchemy, pandas and polars, and the test."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import closing
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from vixtract.vault.connection import Connection
from vixtract.vault.kind import Kind


class Database(Connection, ABC):
    """A database: what all kinds of it have."""

    driver: ClassVar[str] = ""

    @property
    def url(self) -> str:
        """Address for `sqlalchemy.create_engine` and `pandas.read_sql`, with the password in it."""
        login = quote(self.user, safe="")
        if self.password:
            login += ":" + quote(self.password, safe="")
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = urlencode(self._query(), safe="/")
        tail = f"?{query}" if query else ""
        return f"{self.driver}://{login}@{host}:{self.port}/{quote(self.database, safe='')}{tail}"

    def engine(self, **options: Any) -> Any:
        """Return an SQLAlchemy engine."""
        import sqlalchemy

        return sqlalchemy.create_engine(self.url, **options)

    @abstractmethod
    def connect(self, **options: Any) -> Any:
        """Return a DB-API connection, made with the driver's options; the caller closes it."""

    def _query(self) -> Mapping[str, str]:
        return {}


class DatabaseKind(Kind):
    """A kind of database, tested by a query."""

    def test(self, connection: Any) -> None:
        """Send a query."""
        with closing(connection.connect()) as opened:
            cursor = opened.cursor()
            cursor.execute("SELECT 1")
            cursor.fetchall()
