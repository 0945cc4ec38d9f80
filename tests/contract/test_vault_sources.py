"""Connections of every kind against real servers: what Test says, and what notebooks get.

No SQL Server can be had here: its driver is real, the server's side of it is played.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

import pandas
import psycopg
import pytest

from tests.contract.source_servers import (
    MARIADB,
    PASSWORD,
    Service,
    check_logins,
    open_mariadb,
    open_s3,
    open_sftp,
)
from tests.contract.vault_stand import (
    ANNA,
    CAN_SERVE,
    LIBRARIES,
    PORTAL,
    WHY_NOT,
    VaultStand,
    find_python,
)
from tests.scratch import open_folder
from tests.waiting import free_port
from vixtract.vault.kind import check_values
from vixtract.vault.notebooks import make
from vixtract.vault.registry import KINDS

pytest_plugins = ["tests.postgres"]
pytestmark = pytest.mark.skipif(not CAN_SERVE, reason=WHY_NOT)
NOTHING = "192.0.2.1"


@pytest.fixture(scope="module")
def stand():
    with open_folder() as folder:
        stand = VaultStand(folder)
        yield stand
        stand.stop()
        assert "Traceback" not in stand.log, stand.log
        assert PASSWORD not in stand.log


@pytest.fixture(scope="module")
def try_it(stand):
    """Press Test on a form with these values; return the code of the result."""

    def try_it(kind: str, **values: str) -> str:
        answer = stand.ask(
            PORTAL, person="anna", do="test", name="", kind=kind, values=values, kept=[]
        )
        assert "test" in answer, answer
        result = answer["test"]
        assert result["ok"] == (result["code"] == "ok")
        for secret in (values.get("password"), values.get("token"), values.get("secret_key")):
            assert not secret or secret not in result["detail"]
        return result["code"]

    return try_it


def in_notebook(stand, code: str) -> str:
    """Run code as anna's own process, as a kernel does; return what it prints."""
    done = subprocess.run(
        [find_python(), "-c", code], user=ANNA, group=ANNA, extra_groups=[], cwd="/",
        env={"PATH": "/usr/bin:/bin", "VIXTRACT_VAULT_SOCKET": str(stand.socket), "HOME": "/tmp",
             "PYTHONPATH": ":".join(LIBRARIES), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- databases ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(postgres):
    """Values of a real database, for user `etl`."""
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("CREATE DATABASE shop")
        connection.execute("CREATE DATABASE closed")
        connection.execute("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
        quoted = PASSWORD.replace("'", "''").replace("%", "%")
        connection.execute(f"CREATE ROLE etl LOGIN PASSWORD '{quoted}'")
    with psycopg.connect(postgres.conninfo + " dbname=shop", autocommit=True) as connection:
        connection.execute("CREATE TABLE sales AS SELECT 'Rome' AS city, 1 AS people")
        connection.execute("GRANT SELECT ON sales TO etl")
    return {
        "host": "127.0.0.1", "port": str(postgres.port), "database": "shop", "user": "etl",
        "password": PASSWORD,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, "ok"), ({"password": "wrong"}, "wrong_login"), ({"user": "nobody.here"}, "wrong_login"),
        ({"database": "none"}, "no_database"), ({"database": "closed"}, "no_right"),
        ({"tls": "require"}, "no_tls"), ({"host": "no.such.host.invalid"}, "unknown_host"),
        ({"port": "free"}, "not_listening"),
    ],
)  # fmt: skip
def test_postgresql_says_in_words_what_is_wrong(try_it, shop, change, code):
    change = {**change, **({"port": str(free_port())} if "port" in change else {})}
    assert try_it("postgresql", **{**shop, **change}) == code


def test_a_notebook_reads_postgresql_with_petl_pandas_and_polars(stand, shop):
    stand.save("anna", "pg", "postgresql", **shop)
    output = in_notebook(
        stand,
        "import vixtract, petl as etl, pandas, polars, sqlalchemy\n"
        "pg = vixtract.connection('pg')\n"
        "with pg.connect() as c: print(list(etl.fromdb(c, 'SELECT * FROM sales')))\n"
        "print(pandas.read_sql('SELECT * FROM sales', pg.url).to_dict('records'))\n"
        "engine = pg.engine()\n"
        "print(polars.read_database('SELECT * FROM sales', engine).rows())\n"
        "engine.dispose()\n"
        "print(repr(pg), pg.host, vixtract.connections())\n",
    )
    assert "[('city', 'people'), ('Rome', 1)]" in output
    assert "[{'city': 'Rome', 'people': 1}]" in output
    assert "[('Rome', 1)]" in output
    assert "<postgresql connection 'pg' of anna: 127.0.0.1> 127.0.0.1 ['pg'" in output


@pytest.fixture(scope="module")
def mariadb(stand):
    if not Path(MARIADB).exists():
        assert not os.environ.get("CI"), "mariadb-server-core is missing"
        pytest.skip("mariadb-server-core is not installed")
    with open_mariadb(stand.directory) as port:
        yield {
            "host": "127.0.0.1", "port": str(port), "database": "shop", "user": "etl",
            "password": PASSWORD,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, "ok"), ({"password": "wrong"}, "wrong_login"), ({"database": "closed"}, "no_right"),
        ({"tls": "require"}, "no_tls"), ({"tls": "verify-full"}, "no_tls"), ({"tls": "off"}, "ok"),
    ],
)  # fmt: skip
def test_mariadb_says_in_words_what_is_wrong(try_it, mariadb, change, code):
    assert try_it("mysql", **{**mariadb, **change}) == code


def test_a_notebook_reads_mariadb_with_petl_and_pandas(stand, mariadb):
    stand.save("anna", "maria", "mysql", **mariadb)
    output = in_notebook(
        stand,
        "import vixtract, petl as etl, pandas\n"
        "maria = vixtract.connection('maria')\n"
        "c = maria.connect()\n"
        "print(list(etl.fromdb(c, 'SELECT * FROM sales ORDER BY people')))\n"
        "c.close()\n"
        "print(pandas.read_sql('SELECT city FROM sales WHERE people = 1', maria.url).to_dict('list'))\n",
    )
    assert "('Roma ☕', 1), ('Oslo', 2)]" in output
    assert "{'city': ['Roma ☕']}" in output


def test_sql_server_is_called_as_its_driver_wants_it(monkeypatch):
    """Only the driver's call is seen: there is no server to be had."""
    import pymssql
    import sqlalchemy

    values = check_values(
        KINDS["mssql"], {"host": "dwh", "user": "sa", "password": PASSWORD, "database": "dwh"}
    )
    calls: list[dict] = []
    monkeypatch.setattr(pymssql, "connect", lambda **given: calls.append(given))
    ready = make("mssql", values)
    ready.connect()
    monkeypatch.undo()
    assert calls[0]["server"] == "dwh"
    assert (calls[0]["port"], calls[0]["encryption"]) == ("1433", "require")
    url = sqlalchemy.make_url(ready.url)
    assert (url.password, url.database, url.query["encryption"]) == (PASSWORD, "dwh", "require")
    arguments = url.get_dialect()().create_connect_args(url)[1]
    assert arguments["encryption"] == "require"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("(18456, b\"Login failed for user 'sa'.\")", "wrong_login"),
        ("(4060, b'Cannot open database \"dwh\" requested by the login.')", "no_database"),
        ("(20002, b'Adaptive Server connection failed: encryption negotiation')", "tls"),
    ],
)
def test_sql_server_s_errors_are_understood(text, code):
    import pymssql

    assert KINDS["mssql"].explain(pymssql.OperationalError(text)).code == code


def test_sql_server_that_hangs_up_is_no_success(try_it):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        port = str(listener.getsockname()[1])
        code = try_it("mssql", host="127.0.0.1", port=port, user="sa", password=PASSWORD)
        assert code in {"failed", "late", "tls"}
        listener.shutdown(socket.SHUT_RDWR)


# --- HTTP -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def services():
    other = Service()
    service = Service(other.url.replace("127.0.0.1", "localhost"))
    yield service, other
    service.close()
    other.close()


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"token": "good-token"}, "ok"), ({"token": "bad"}, "wrong_token"),
        ({"token": "good-token", "auth": "header"}, "ok"),
        ({"token": "good-token", "auth": "basic", "user": "etl"}, "ok"),
        ({"auth": "none"}, "wrong_token"), ({"token": "good-token", "test_path": "gone"}, "no_page"),
        ({"token": "good-token", "test_path": "broken"}, "server_error"),
        ({"token": "good-token", "test_path": "/away"}, "moved"),
    ],
)  # fmt: skip
def test_http_says_in_words_what_is_wrong(try_it, services, values, code):
    assert try_it("http", address=f"{services[0].url}/v1", **values) == code


@pytest.mark.parametrize("auth", ["bearer", "header", "basic"])
def test_a_token_goes_to_its_service_and_nowhere_else(stand, services, auth):
    service, other = services
    other.seen.clear()
    stand.save(
        "anna", f"api-{auth}", "http", address=f"{service.url}/v1", auth=auth,
        token="good-token", user="etl",
    )  # fmt: skip
    output = in_notebook(
        stand,
        "import vixtract, pandas\n"
        f"api = vixtract.connection('api-{auth}')\n"
        "with api.client() as session:\n"
        "    print(session.get('sales').status_code, session.get('/sales?x=1').status_code)\n"
        "    print(session.get('away').status_code)\n"
        f"    print(session.get('{other.url}/direct').status_code)\n"
        "if api.auth != 'basic': print(pandas.read_csv(api.url + '/x', storage_options=api.headers).to_dict('list'))\n",
    )
    assert output.split("\n")[:3] == ["200 200", "200", "200"]
    assert service.seen[-2]["path"] in {"/v1/sales?x=1", "/v1/away"}
    assert [seen["path"] for seen in other.seen] == ["/landed", "/direct"]
    assert "good-token" not in str(other.seen)
    assert "Authorization" not in str(other.seen)


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3():
    with open_s3() as values:
        yield {**values, "bucket": "lake"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, "ok"), ({"bucket": "none"}, "no_bucket"), ({"address": "free"}, "not_listening"),
        ({"bucket": "", "secret_key": "wrong"}, "wrong_login"),
        ({"bucket": "", "access_key": "AKIAWRONG"}, "wrong_login"), ({"bucket": ""}, "ok"),
    ],
)  # fmt: skip
def test_s3_says_in_words_what_is_wrong(try_it, s3, change, code):
    if "address" in change:
        change = {"address": f"http://127.0.0.1:{free_port()}"}
    values = {**s3, **change}
    check_logins(s3["address"], wanted=not values["bucket"])
    try:
        assert try_it("s3", **values) == code
    finally:
        check_logins(s3["address"], wanted=False)


def test_a_notebook_reads_and_writes_s3(stand, s3):
    stand.save("anna", "lake", "s3", **s3)
    output = in_notebook(
        stand,
        "import vixtract, petl as etl, pandas, polars\n"
        "lake = vixtract.connection('lake')\n"
        "table = etl.fromcsv(lake.file('in/sales.csv'))\n"
        "print(list(table))\n"
        "etl.tocsv(table, lake.file('out/sales.csv'))\n"
        "with lake.client().open_input_file('lake/out/sales.csv') as f: print(pandas.read_csv(f).shape)\n"
        "frame = polars.read_csv('s3://lake/in/sales.csv', storage_options=lake.storage_options)\n"
        "print(frame.rows())\n",
    )
    assert "('city', 'people'), ('Rome', '1'), ('Oslo', '2')" in output
    assert "(2, 2)" in output
    assert "[('Rome', 1), ('Oslo', 2)]" in output


@pytest.fixture(scope="module")
def sftp(stand):
    with open_sftp(stand.directory) as server:
        yield server


def test_sftp_says_in_words_what_is_wrong(try_it, sftp, stand):
    login = {"host": "127.0.0.1", "port": sftp["port"], "user": "etl"}
    known = {**login, "host_key": sftp["fingerprint"]}
    assert try_it("sftp", **known, password=PASSWORD) == "ok"
    assert try_it("sftp", **known, password="wrong") == "wrong_login"
    assert try_it("sftp", **known, password=PASSWORD, folder="none") == "no_folder"
    assert try_it("sftp", **login, password=PASSWORD) == "new_host_key"
    other = "SHA256:" + "A" * 43
    assert try_it("sftp", **login, password=PASSWORD, host_key=other) == "other_host_key"
    key = {"private_key": sftp["key"], "passphrase": "of the key"}
    assert try_it("sftp", **known, **key) == "ok"
    assert try_it("sftp", **known, **{**key, "passphrase": "wrong"}) == "bad_key"
    answer = stand.ask(
        PORTAL, person="anna", do="test", name="", kind="sftp", kept=[],
        values={**login, "password": PASSWORD},
    )  # fmt: skip
    assert answer["test"]["detail"] == sftp["fingerprint"]


def test_a_notebook_reads_and_writes_by_sftp(stand, sftp):
    stand.save(
        "anna", "drop", "sftp", host="127.0.0.1", port=sftp["port"], user="etl", folder="in",
        password=PASSWORD, host_key=sftp["fingerprint"],
    )  # fmt: skip
    output = in_notebook(
        stand,
        "import vixtract, petl as etl, pandas\n"
        "drop = vixtract.connection('drop')\n"
        "print(list(etl.fromcsv(drop.file('sales.csv'))))\n"
        "etl.tocsv([['a'], [1]], drop.file('made.csv'))\n"
        "with drop.client() as client:\n"
        "    print(sorted(client.listdir()))\n"
        "    with client.open('sales.csv') as f: print(pandas.read_csv(f).shape)\n",
    )
    assert "('Rome', '1')" in output
    assert "['made.csv', 'sales.csv']" in output
    assert "(2, 2)" in output


# --- where tests may not go -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["127.0.0.2", "localhost", "169.254.169.254", "0.0.0.0", "::1", "::ffff:127.0.0.2",
     "fd00:ec2::254", "fe80::1", "100.100.100.200"],
)  # fmt: skip
def test_a_test_does_not_go_inside(stand, host):
    with open_folder() as folder:
        strict = VaultStand(folder, allowed=())
        try:
            answer = strict.ask(
                PORTAL, person="anna", do="test", name="", kind="postgresql", kept=[],
                values={"host": host, "database": "x", "user": "x", "password": "x"},
            )  # fmt: skip
        finally:
            strict.stop()
    code = answer["test"]["code"]
    assert code == "refused" or (":" in host and code == "unknown_host"), answer


def test_a_test_has_a_deadline_and_leaves_nothing_behind(tmp_path):
    with open_folder() as folder, socket.create_server(("127.0.0.1", 0)) as silent:
        stand = VaultStand(folder, deadline=2.0)
        try:
            answer = stand.ask(
                PORTAL, person="anna", do="test", name="", kind="mysql", kept=[],
                values={"host": "127.0.0.1", "port": str(silent.getsockname()[1]), "user": "x"},
            )  # fmt: skip
            left = subprocess.run(
                ["ps", "-o", "pid=", "-u", "65534", "--ppid", str(stand.process.pid)],
                capture_output=True, text=True, check=False,
            ).stdout  # fmt: skip
        finally:
            stand.stop()
    assert answer["test"] == {"ok": False, "code": "late", "detail": ""}
    assert "probe" not in left


def test_a_vault_that_is_down_is_said_plainly(stand, monkeypatch):
    from vixtract.vault import client, notebooks
    from vixtract.vault.errors import NoVaultError

    monkeypatch.setattr(client, "PATIENCE_S", 0.5)
    monkeypatch.setenv(client.SOCKET_VARIABLE, "/nonexistent/vault.sock")
    with pytest.raises(NoVaultError, match=r"does not answer.*\./vixtract logs"):
        notebooks.connection("crm")


def test_frames_know_nothing_of_a_wrong_attribute():
    ready = make("s3", check_values(KINDS["s3"], {"access_key": "a", "secret_key": "b"}))
    with pytest.raises(AttributeError, match="has no 'hots'; it has access_key"):
        _ = ready.hots
    assert "secret_key" in dir(ready)
    assert isinstance(pandas.DataFrame([ready.storage_options]), pandas.DataFrame)
