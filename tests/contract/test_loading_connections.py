"""The caller's connection: its own row factory, several reads, a load of what is read on it."""

from __future__ import annotations

import itertools
import threading

import petl as etl
import psycopg
import pytest
from psycopg.rows import dict_row, namedtuple_row

from vixtract.loading import connections, load, read
from vixtract.loading.errors import LoadError, LoadUsageError

pytest_plugins = ["tests.postgres"]

# More than the server is asked for at once.
ROWS = 45_000


@pytest.fixture(scope="module")
def conninfo(postgres):
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA c")
        connection.execute("CREATE TABLE c.s (id int, city text)")
        connection.execute(f"INSERT INTO c.s SELECT i, 'x' FROM generate_series(1, {ROWS}) i")
        connection.execute('CREATE TABLE c."T x" AS SELECT 1 AS n')
    return postgres.conninfo


@pytest.fixture(params=[False, True], ids=["transactions", "autocommit"])
def connection(conninfo, request):
    with psycopg.connect(conninfo, autocommit=request.param) as opened:
        yield opened


def cursors(connection):
    query = "SELECT count(*) FROM pg_cursors WHERE name LIKE 'read_%'"
    return connection.execute(query).fetchone()[0]


@pytest.mark.parametrize("options", [{"row_factory": dict_row}, {"row_factory": namedtuple_row},
                                     {"cursor_factory": psycopg.RawCursor}])  # fmt: skip
def test_connection_may_have_rows_and_cursors_of_its_own(conninfo, options):
    rows = [("id", "city"), (1, "Рим"), (2, None)]
    with psycopg.connect(conninfo, **options) as connection:
        for mode in ("replace", "replace", "upsert"):
            expect = {"not_null": ["id"], "unique": ["id"], "rows_change": (1, 1)}
            load(rows, "c.t", mode=mode, key="id", connection=connection, expect=expect)
        load(
            [("id", "city"), ("?", "")], "c.t", mode="append", reject="c.bad", connection=connection
        )
        assert list(read("c.t", connection=connection)) == rows
        table = read("c.t", connection=connection, to="arrow")
        assert table.to_pydict() == {"id": [1, 2], "city": ["Рим", None]}
        assert connection.row_factory is options.get("row_factory", psycopg.rows.tuple_row)
        connection.execute("DROP TABLE c.t, c.bad")


@pytest.mark.parametrize("in_transaction", [False, True])
def test_several_reads_go_on_at_once(connection, in_transaction):
    if in_transaction:
        connection.execute("BEGIN" if connection.autocommit else "SELECT 1")
    one = read("SELECT * FROM c.s ORDER BY id", connection=connection)
    two = read("SELECT id, -id AS minus FROM c.s ORDER BY id", connection=connection)
    joined = etl.join(one, two, key="id", presorted=True)
    assert etl.nrows(joined) == ROWS
    assert list(itertools.islice(etl.annex(one, two), 2))[1] == (1, "x", 1, -1)
    rest = iter(one)
    assert next(rest) == ("id", "city")
    assert next(rest) == (1, "x")
    connection.commit()
    assert sum(1 for _ in rest) == ROWS - 1
    half = iter(one)
    next(half)
    del half
    assert cursors(connection) == 0


def test_read_of_a_transaction_that_is_gone_says_so(conninfo):
    with psycopg.connect(conninfo) as connection:
        connection.execute("SELECT 1")
        rows = iter(read("c.s", connection=connection))
        next(rows)
        connection.rollback()
        with pytest.raises(LoadError, match="the transaction of the query has ended"):
            list(rows)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_failing_read_leaves_the_callers_transaction_usable(connection):
    connection.execute("CREATE TEMPORARY TABLE kept AS SELECT 1")
    rows = read(f"SELECT 1 / (i - {ROWS}) FROM generate_series(1, {ROWS}) i", connection=connection)
    with pytest.raises(LoadError, match="division by zero"):
        list(rows)
    assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1,)


@pytest.mark.parametrize("mode", ["replace", "append"])
@pytest.mark.parametrize("change", [lambda table: table, lambda table: etl.cut(table, "id")])
def test_load_of_rows_that_are_read_meanwhile_on_its_connection_is_refused(
    connection, mode, change
):
    source = change(read("SELECT * FROM c.s", connection=connection))
    with pytest.raises(LoadUsageError, match="busy"):
        load(source, "c.t", mode=mode, connection=connection)
    assert cursors(connection) == 0
    # What is read before the rows are sent is well.
    assert load(etl.sort(source, "id"), "c.t", mode=mode, connection=connection).rows == ROWS
    connection.execute("DROP TABLE c.t")


def test_load_within_a_copy_of_its_connection_is_refused(connection, monkeypatch):
    monkeypatch.setattr(connections, "BUSY_S", 0.1)
    connection.execute("CREATE TEMPORARY TABLE filled (n int)")
    with connection.cursor() as cursor, cursor.copy("COPY filled FROM STDIN") as copy:
        copy.write_row([1])
        with pytest.raises(LoadUsageError, match="busy"):
            load([{"n": 1}], "c.t", connection=connection)
    assert connection.execute("SELECT * FROM filled").fetchall() == [(1,)]


def test_a_read_waits_for_another_thread_s_statement(connection, monkeypatch):
    monkeypatch.setattr(connections, "BUSY_S", 60)
    rows = iter(read("SELECT * FROM c.s", connection=connection))
    next(rows)
    thread = threading.Thread(target=connection.execute, args=["SELECT pg_sleep(1)"])
    thread.start()
    assert sum(1 for _ in rows) == ROWS
    thread.join(60)


def test_load_between_the_rows_of_a_read_on_its_connection_works(connection):
    for row in itertools.islice(read("c.s", connection=connection), 1, 3):
        load([("id",), row[:1]], "c.t", connection=connection)
    assert list(read("c.t", connection=connection)) == [("id",), (2,)]
    connection.execute("DROP TABLE c.t")


@pytest.mark.parametrize("name", ["c.T x", 'c."T x"', " c.T x\n"])
def test_read_takes_the_names_that_load_takes(connection, name):
    assert list(read(name, connection=connection)) == [("n",), (1,)]


@pytest.mark.parametrize("query", ["select .5*2 as n", "TABLE c.\"T x\"", "(select 1 as n)",
                                   "-- one\nvalues(1)", "with x as (select 1) table x"])  # fmt: skip
def test_read_takes_queries_of_every_beginning(connection, query):
    assert list(read(query, connection=connection))[1:] == [(1,)]


def test_read_of_what_is_neither_says_how_a_query_begins(connection):
    with pytest.raises(LoadError, match="selec 1") as caught:
        read("selec 1", connection=connection, to="arrow")
    assert "SELECT" in caught.value.hint


def test_text_that_is_no_connection_is_refused_without_quoting_it():
    with pytest.raises(LoadUsageError) as caught:
        read("c.s", connection="host=localhost password=half secret", to="arrow")
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
