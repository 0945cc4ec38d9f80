"""Replacing a table that others reference, that views show, or that somebody changes meanwhile."""

from __future__ import annotations

import psycopg
import pytest

from vixtract.loading import load
from vixtract.loading.errors import DriftError, ExpectationError, LoadError, TargetError

pytest_plugins = ["tests.postgres"]

NEW = [("id", "n"), (1, "one"), (3, "three")]


@pytest.fixture
def database(postgres_database):
    """A connection to a database of the test's own; it never waits long for a lock."""
    with psycopg.connect(postgres_database, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("SET lock_timeout = '20s'")
        yield connection


def make_family(connection, action, columns="id int PRIMARY KEY, n text"):
    """Make a table with the rows 1 and 2, and one that references each of them."""
    connection.execute(f"""
        CREATE TABLE p ({columns}); INSERT INTO p (id, n) VALUES (1, 'a'), (2, 'b');
        CREATE TABLE c (id int, pid int DEFAULT 1 REFERENCES p (id) {action});
        INSERT INTO c VALUES (10, 1), (20, 2);
    """)


def rows(connection, query):
    return connection.execute(query).fetchall()


@pytest.mark.parametrize(
    ("action", "children"),
    [
        ("ON DELETE CASCADE", [(10, 1)]),
        ("ON DELETE SET NULL", [(10, 1), (20, None)]),
        ("ON DELETE SET DEFAULT", [(10, 1), (20, 1)]),
        ("", None),
        ("ON DELETE RESTRICT", None),
        ("DEFERRABLE INITIALLY DEFERRED", None),
    ],
)
@pytest.mark.parametrize("columns", ["id int PRIMARY KEY, n text", "n text, id int UNIQUE"])
def test_rows_that_stay_keep_their_children(database, action, children, columns):
    make_family(database, action, columns)
    same = load([(1, "one"), (2, "b")], "public.p", columns=["id", "n"], connection=database)
    assert (same.way, same.changed) == ("in place", 1)
    assert "c references it: rows were matched by id" in same.note
    assert rows(database, "SELECT id, pid FROM c ORDER BY 1") == [(10, 1), (20, 2)]
    if children is None:
        with pytest.raises(LoadError, match=r'table "c".*Key \(id\)=\(2\) is '):
            load(NEW, "public.p", connection=database)
        assert rows(database, "SELECT id, n FROM p ORDER BY 1") == [(1, "one"), (2, "b")]
    else:
        assert load(NEW, "public.p", connection=database).changed == 1
        assert rows(database, "SELECT id, n FROM p ORDER BY 1") == NEW[1:]
        assert rows(database, "SELECT id, pid FROM c ORDER BY 1") == children


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "NO ACTION"])
def test_row_with_another_parent_outlives_the_old_one(database, action):
    database.execute(f"""
        CREATE TABLE p (id int PRIMARY KEY, boss int REFERENCES p ON DELETE {action}, code text UNIQUE);
        CREATE TABLE c (pid int REFERENCES p ON DELETE CASCADE);
        INSERT INTO p VALUES (1, NULL, 'a'), (2, 1, 'b'); INSERT INTO c VALUES (2);
    """)
    # The new row has a value of the one that goes.
    new = [("id", "boss", "code"), (2, 3, "b"), (3, None, "a")]
    load(new, "public.p", connection=database)
    assert rows(database, "SELECT * FROM p ORDER BY id") == new[1:]
    assert rows(database, "SELECT * FROM c") == [(2,)]


def test_table_that_references_only_itself_is_replaced_as_a_whole(database):
    database.execute("CREATE TABLE p (id int PRIMARY KEY, boss int REFERENCES p ON DELETE CASCADE)")
    for boss in (1, None):
        new = [("id", "boss"), (1, None), (2, boss)]
        load(new, "public.p", connection=database)
        assert rows(database, "SELECT * FROM p ORDER BY id") == new[1:]


def test_referenced_table_needs_a_key_in_the_source(database):
    make_family(database, "ON DELETE CASCADE", "id serial PRIMARY KEY, n text")
    source = [{"n": "b"}, {"n": "new"}]
    with pytest.raises(TargetError, match="c references id, which the source lacks") as caught:
        load(source, "public.p", connection=database)
    assert "key=" in caught.value.hint
    database.execute("ALTER TABLE p ADD UNIQUE (n); SELECT setval('p_id_seq', 2)")
    result = load(source, "public.p", key="n", connection=database)
    assert "matched by n" in result.note
    assert rows(database, "SELECT n FROM p ORDER BY id") == [("b",), ("new",)]
    assert rows(database, "SELECT * FROM c") == [(20, 2)]


def test_referenced_rows_with_equal_keys_are_refused(database):
    make_family(database, "ON DELETE CASCADE")
    with pytest.raises(ExpectationError, match="id = 1 appears 2 times"):
        load([*NEW, (1, "again")], "public.p", connection=database)
    assert rows(database, "SELECT count(*) FROM c") == [(2,)]


@pytest.mark.parametrize(
    ("values", "message"),
    [([1, 1], "id = 1 appears 2 times"), ([1, None], "id is NULL in 1 rows")],
)
@pytest.mark.parametrize("more", ["", "CREATE MATERIALIZED VIEW m AS SELECT * FROM t"])
def test_key_holds_also_where_the_table_has_none(database, values, message, more):
    database.execute(f"CREATE TABLE t (id int); INSERT INTO t VALUES (7); {more}")
    with pytest.raises(ExpectationError, match=message):
        load([{"id": value} for value in values], "public.t", key="id", connection=database)
    assert rows(database, "SELECT * FROM t") == [(7,)]
    assert load([{"id": 1}, {"id": 2}], "public.t", key="id", connection=database).rows == 2
    assert rows(database, "SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass") == [(0,)]


def test_broken_index_of_the_table_is_named_with_the_key(database):
    load([{"id": 1}], "public.t", key="id", connection=database)
    with pytest.raises(LoadError, match=r"break t_pkey of public.t: Key \(id\)=\(1\)"):
        load([{"id": 1}, {"id": 1}], "public.t", key="id", connection=database)


def test_widening_under_a_view_says_what_to_do(database):
    database.execute("CREATE TABLE t (id int); CREATE VIEW v AS SELECT id FROM t")
    for mode in ("append", "replace"):
        with pytest.raises(DriftError, match="cannot become bigint") as caught:
            load([{"id": 2**40}], "public.t", mode=mode, drift="widen", connection=database)
        assert "Drop what uses the column" in caught.value.hint


def test_view_of_the_whole_row_is_kept(database):
    database.execute("CREATE TABLE t (id int, n text); CREATE VIEW v AS SELECT t FROM t")
    result = load(NEW, "public.t", connection=database)
    assert result.way == "in place" and "view column" in result.note
    assert rows(database, "SELECT (t).n FROM v") == [("one",), ("three",)]


def test_columns_are_added_also_where_the_exchange_does_not_succeed(database):
    database.execute("CREATE TABLE t (id int, n text); CREATE VIEW v AS SELECT t FROM t")
    source = [{"id": 1, "n": "x", "more": "y"}]
    result = load(source, "public.t", drift="add", connection=database)
    assert (result.way, result.changes) == ("in place", ("added more text",))
    assert rows(database, "SELECT * FROM t") == [(1, "x", "y")]


@pytest.mark.parametrize(
    ("change", "question", "answer"),
    [
        ("GRANT SELECT (n) ON t TO PUBLIC", "SELECT count(*) FROM pg_attribute"
         " WHERE attrelid = 't'::regclass AND attacl IS NOT NULL", 1),
        ("GRANT INSERT ON t TO PUBLIC", "SELECT count(*) FROM pg_class WHERE oid = 't'::regclass"
         " AND relacl::text LIKE '%{=a/%' OR relacl::text LIKE '%,=a/%'", 1),
        ("CREATE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION f()",
         "SELECT count(*) FROM pg_trigger WHERE tgrelid = 't'::regclass", 1),
        ("CREATE INDEX ON t (n)",
         "SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass", 1),
        ("COMMENT ON COLUMN t.n IS 'new'",
         "SELECT count(*) FROM pg_description WHERE objoid = 't'::regclass", 1),
    ],
)  # fmt: skip
def test_what_somebody_changes_during_the_load_is_kept(
    database, postgres_database, change, question, answer
):
    load(NEW, "public.t", connection=database)
    database.execute(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )

    def source():
        yield NEW[0]
        for number in range(30_000):
            if number == 25_000:
                database.execute(change)
            yield number + 1, "x"

    result = load(source(), "public.t", connection=postgres_database)
    assert result.way == "in place" and "changed the table" in result.note
    assert rows(database, question) == [(answer,)]


def test_vacuum_during_the_load_is_no_change(database, postgres_database):
    load(NEW, "public.t", connection=database)

    def source():
        yield NEW[0]
        for number in range(30_000):
            if number == 25_000:
                database.execute("VACUUM ANALYZE t")
            yield number, "x"

    assert load(source(), "public.t", connection=postgres_database).way == "exchange"
