"""MySQL and MariaDB, by PyMySQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vixtract.vault.connection import AUTHORITIES, CONNECT_S
from vixtract.vault.databases import Database, DatabaseKind
from vixtract.vault.fields import HOST, PASSWORD, USER, make_database, make_port, make_tls


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
        """Return a PyMySQL connection."""
        import pymysql

        own: dict[str, Any] = {
            "host": self.host,
            "port": self.port_number,
            "user": self.user,
            "password": self.password,
            "database": self.database or None,
            "charset": "utf8mb4",
            "connect_timeout": int(CONNECT_S),
        }
        if self.tls == "off":
            own["ssl_disabled"] = True
        elif self.tls == "require":
            own["ssl"] = {"check_hostname": False}
        elif self.tls == "verify-full":
            own["ssl"] = {"ca": AUTHORITIES, "check_hostname": True}
        return pymysql.connect(**{**own, **options})


class MySQLKind(DatabaseKind):
    """The kind for MySQL and MariaDB."""

    title = "MySQL, MariaDB"
    connection = MySQL
    fields = (HOST, make_port("3306"), make_database(), USER, PASSWORD, make_tls("off"))
    meanings: ClassVar[Mapping[str, str]] = {
        r"\b1044\b": "no_right",
        r"\b1045\b|\b1698\b": "wrong_login",
        r"\b1049\b": "no_database",
        r"\b1130\b": "no_right",
        r"doesn't support it|\b2026\b(?!.*certificate)": "no_tls",
        r"certificate|SSL": "tls",
        r"timed out|\b2013\b": "late",
    }


KIND = MySQLKind()
