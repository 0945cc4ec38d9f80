"""PostgreSQL, by psycopg 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vixtract.vault.connection import AUTHORITIES, CONNECT_S
from vixtract.vault.databases import Database, DatabaseKind
from vixtract.vault.fields import HOST, PASSWORD, USER, make_database, make_port, make_tls

OWN_LOGINS = frozenset({"postgres", "vixtract"})


class PostgreSQL(Database):
    """PostgreSQL, by psycopg 3."""

    kind: ClassVar[str] = "postgresql"
    driver: ClassVar[str] = "postgresql+psycopg"

    def _query(self) -> Mapping[str, str]:
        verify = {"sslrootcert": AUTHORITIES} if self.tls == "verify-full" else {}
        return {"sslmode": self.tls, **verify}

    def connect(self, **options: Any) -> Any:
        """Return a psycopg 3 connection."""
        import psycopg

        own = {
            "host": self.host,
            "port": self.port_number,
            "dbname": self.database,
            "user": self.user,
            "password": self.password or None,
            "connect_timeout": int(CONNECT_S),
            **self._query(),
        }
        return psycopg.connect(**{**own, **options})


class PostgreSQLKind(DatabaseKind):
    """The kind for PostgreSQL."""

    title = "PostgreSQL"
    connection = PostgreSQL
    fields = (
        HOST,
        make_port("5432"),
        make_database(required=True),
        USER,
        PASSWORD,
        make_tls("disable"),
    )
    meanings: ClassVar[Mapping[str, str]] = {
        r"password authentication failed|no password supplied": "wrong_login",
        r"role .* does not exist": "wrong_login",
        r"database .* does not exist": "no_database",
        r"server does not support SSL": "no_tls",
        r"certificate|SSL error": "tls",
        r"no pg_hba.conf entry|permission denied|not permitted": "no_right",
        r"timeout": "late",
    }

    def may_reach_own_database(self, values: Mapping[str, str]) -> bool:
        """Tell whether the login is a person's: the appliance's own may not be tested."""
        return values["user"] not in OWN_LOGINS


KIND = PostgreSQLKind()
