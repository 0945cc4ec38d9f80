"""Microsoft SQL Server, by pymssql."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vixtract.vault.connection import CONNECT_S
from vixtract.vault.databases import Database, DatabaseKind
from vixtract.vault.fields import HOST, PASSWORD, USER, Field, make_database, make_port, mark


class SQLServer(Database):
    """Microsoft SQL Server, by pymssql."""

    kind: ClassVar[str] = "mssql"
    driver: ClassVar[str] = "mssql+pymssql"

    def _query(self) -> Mapping[str, str]:
        return {"charset": "UTF-8", "encryption": self.tls}

    def connect(self, **options: Any) -> Any:
        """Return a pymssql connection."""
        import pymssql

        own = {
            "server": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": self.database,
            "login_timeout": int(CONNECT_S),
            "charset": "UTF-8",
            "encryption": self.tls,
        }
        return pymssql.connect(**{**own, **options})


class SQLServerKind(DatabaseKind):
    """The kind for Microsoft SQL Server."""

    title = "Microsoft SQL Server"
    connection = SQLServer
    fields = (
        HOST,
        make_port("1433"),
        make_database(),
        USER,
        PASSWORD,
        Field(
            "tls",
            mark("Encryption"),
            mark("The server’s certificate is not checked."),
            rule="choice",
            default="require",
            choices={"off": mark("none"), "require": mark("always")},
            destination=True,
        ),
    )
    meanings: ClassVar[Mapping[str, str]] = {
        r"\b18456\b|login failed": "wrong_login",
        r"\b4060\b|\b911\b|cannot open database": "no_database",
        r"\b916\b|\b229\b": "no_right",
        r"\b20002\b.*encrypt|SSL|TLS|encrypt": "tls",
        r"timed out|\b20003\b": "late",
        r"\b20009\b|\b20002\b": "failed",
    }


KIND = SQLServerKind()
