"""The texts that connect a BI tool to a table."""

from __future__ import annotations

import pytest

from vixtract.portal.connection_strings import list_connection_strings


def test_each_tool_checks_the_server_and_no_text_has_a_password():
    texts = dict(list_connection_strings("etl.example.com", 15432, "anna", 'odd "name"'))
    assert texts["DBeaver, JDBC"] == (
        "jdbc:postgresql://etl.example.com:15432/etl"
        "?user=bi&sslmode=verify-full&sslrootcert=vixtract-ca.crt"
    )
    assert "Server=etl.example.com;Port=15432" in texts["ODBC"]
    assert 'Item="odd ""name"""' in texts["Excel, Power BI (Power Query)"]
    assert texts["SQL"] == 'SELECT * FROM "anna"."odd ""name"""'
    assert not any("password" in text.lower() for text in texts.values())
    for tool in ("DBeaver, JDBC", "ODBC", "Python"):
        assert "verify-full" in texts[tool], tool


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_version_6_stands_in_brackets_within_an_address(host):
    texts = dict(list_connection_strings(host, 5432, "anna", "t"))
    assert "//[::1]:5432/etl" in texts["DBeaver, JDBC"]
    assert "Server=::1;" in texts["ODBC"]
