"""Databases: an address for SQLAlchemy, pandas and polars, and a DB-API connection for petl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlencode

from vixtract.vault.ready import AUTHORITIES, CONNECT_S, Ready

if TYPE_CHECKING:
    from collections.abc import Mapping


class Database(Ready):
    """A database of any make."""

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
        """Return an engine of SQLAlchemy.

        Args:
            options: of `sqlalchemy.create_engine`.
        """
        import sqlalchemy

        return sqlalchemy.create_engine(self.url, **options)

    def connect(self, **options: Any) -> Any:
        """Return a DB-API connection; the caller closes it.

        Args:
            options: of the driver's `connect`.
        """
        raise NotImplementedError

    def _query(self) -> Mapping[str, str]:
        return {}


class PostgreSQL(Database):
    """PostgreSQL, by psycopg 3."""

    kind: ClassVar[str] = "postgresql"
    driver: ClassVar[str] = "postgresql+psycopg"

    def _query(self) -> Mapping[str, str]:
        verify = {"sslrootcert": AUTHORITIES} if self.tls == "verify-full" else {}
        return {"sslmode": self.tls, **verify}

    def connect(self, **options: Any) -> Any:
        """Return a connection of psycopg 3."""
        import psycopg

        own = {
            "host": self.host, "port": self.port_number, "dbname": self.database,
            "user": self.user, "password": self.password or None,
            "connect_timeout": int(CONNECT_S), **self._query(),
        }  # fmt: skip
        return psycopg.connect(**{**own, **options})


class MySQL(Database):
    """MySQL and MariaDB, by PyMySQL."""

    kind: ClassVar[str] = "mysql"
    driver: ClassVar[str] = "mysql+pymysql"

    def _query(self) -> Mapping[str, str]:
        tls = {
            "prefer": {},
            "off": {"ssl_disabled": "true"},
            "require": {"ssl_check_hostname": "false"},
            "verify-full": {"ssl_ca": AUTHORITIES, "ssl_check_hostname": "true"},
        }
        return {"charset": "utf8mb4", **tls[self.tls]}

    def connect(self, **options: Any) -> Any:
        """Return a connection of PyMySQL."""
        import pymysql

        own: dict[str, Any] = {
            "host": self.host, "port": self.port_number, "user": self.user,
            "password": self.password, "database": self.database or None,
            "charset": "utf8mb4", "connect_timeout": int(CONNECT_S),
        }  # fmt: skip
        if self.tls == "off":
            own["ssl_disabled"] = True
        elif self.tls == "require":
            own["ssl"] = {"check_hostname": False}
        elif self.tls == "verify-full":
            own["ssl"] = {"ca": AUTHORITIES, "check_hostname": True}
        return pymysql.connect(**{**own, **options})


class SQLServer(Database):
    """Microsoft SQL Server, by pymssql."""

    kind: ClassVar[str] = "mssql"
    driver: ClassVar[str] = "mssql+pymssql"

    def _query(self) -> Mapping[str, str]:
        return {"charset": "UTF-8", "encryption": self.tls}

    def connect(self, **options: Any) -> Any:
        """Return a connection of pymssql."""
        import pymssql

        own = {
            "server": self.host, "port": self.port, "user": self.user, "password": self.password,
            "database": self.database, "login_timeout": int(CONNECT_S), "charset": "UTF-8",
            "encryption": self.tls,
        }  # fmt: skip
        return pymssql.connect(**{**own, **options})
