"""Connection texts for BI tools, to copy. They contain no password."""

from __future__ import annotations

from urllib.parse import quote

BI_LOGIN = "bi"
DATABASE = "etl"
AUTHORITY_FILE = "vixtract-ca.crt"
"""What /ca.crt is saved as; with it a client checks that it speaks to this appliance."""


def list_connection_strings(host: str, port: int, schema: str, table: str) -> list[tuple[str, str]]:
    """Return the connection strings for a table: pairs of the tool and the text.

    Args:
        host: name or address of the appliance, as the browser knows it.
        port: published one of PostgreSQL.
    """
    bare = host.strip("[]")
    inside = f"[{bare}]" if ":" in bare else bare
    # SQL and Power Query both double a quotation mark within quotation marks.
    schema, table = schema.replace('"', '""'), table.replace('"', '""')
    query = f'SELECT * FROM "{schema}"."{table}"'  # noqa: S608 - a text to show
    url = f"{inside}:{port}/{DATABASE}"
    return [
        (
            "DBeaver, JDBC",
            f"jdbc:postgresql://{url}?user={BI_LOGIN}&sslmode=verify-full&sslrootcert={AUTHORITY_FILE}",
        ),
        (
            "ODBC",
            f"Driver={{PostgreSQL Unicode}};Server={bare};Port={port};Database={DATABASE};"
            f"Uid={BI_LOGIN};SSLmode=verify-full;pqopt={{sslrootcert={AUTHORITY_FILE}}};",
        ),
        (
            "Excel, Power BI (Power Query)",
            f'PostgreSQL.Database("{inside}:{port}", "{DATABASE}")'
            f'{{[Schema="{schema}", Item="{table}"]}}[Data]',
        ),
        (
            "Python",
            f"pandas.read_sql({query!r}, 'postgresql+psycopg://{quote(BI_LOGIN)}@{url}"
            f"?sslmode=verify-full&sslrootcert={AUTHORITY_FILE}')",
        ),
        ("SQL", query),
    ]
