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
    assert result.way == "in place" and "was changed during the load" in result.note
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


def test_rows_of_inheriting_tables_do_not_stay_beside_the_new_ones(database):
    database.execute("""
        CREATE TABLE i (id int PRIMARY KEY, v int); CREATE TABLE i2 () INHERITS (i);
        CREATE TABLE ic (pid int REFERENCES i ON DELETE CASCADE);
        INSERT INTO i VALUES (1, 1); INSERT INTO i2 VALUES (2, 2); INSERT INTO ic VALUES (1);
    """)
    load([{"id": 1, "v": 10}, {"id": 2, "v": 20}], "public.i", connection=database)
    assert rows(database, "SELECT tableoid::regclass::text, id, v FROM i ORDER BY id") == [
        ("i", 1, 10),
        ("i", 2, 20),
    ]
    assert rows(database, "SELECT * FROM ic") == [(1,)]


MOVED = [("id", "code"), (1, "b"), (2, "a")]


def make_codes(connection, unique="UNIQUE", child="REFERENCES p"):
    connection.execute(f"""
        CREATE TABLE p (id int PRIMARY KEY, code text {unique});
        INSERT INTO p VALUES (1, 'a'), (2, 'b'); CREATE TABLE c (pid int {child});
    """)


def test_unique_values_move_where_no_row_refers(database):
    make_codes(database, child="REFERENCES p ON DELETE CASCADE")
    database.execute("INSERT INTO c VALUES (NULL)")
    result = load(MOVED, "public.p", connection=database)
    assert result.way == "in place" and "matched" not in result.note
    assert rows(database, "SELECT * FROM p ORDER BY id") == MOVED[1:]
    assert rows(database, "SELECT * FROM c") == [(None,)]
    assert rows(database, "SHOW row_security") == [("on",)]
    assert rows(database, "SHOW lock_timeout") == [("20s",)]


def test_unique_value_that_moves_between_referenced_rows_is_explained(database):
    make_codes(database)
    database.execute("INSERT INTO c VALUES (1)")
    with pytest.raises(LoadError, match=r"break p_code_key of public.p: Key \(code\)") as caught:
        load(MOVED, "public.p", connection=database)
    assert 'mode="upsert"' in caught.value.hint and "DEFERRABLE" in caught.value.hint
    database.execute(
        "ALTER TABLE p DROP CONSTRAINT p_code_key, ADD CONSTRAINT k UNIQUE (code) DEFERRABLE"
    )
    load(MOVED, "public.p", connection=database)
    assert rows(database, "SELECT * FROM p ORDER BY id") == MOVED[1:]
    assert rows(database, "SELECT * FROM c") == [(1,)]


@pytest.fixture
def boris(database):
    """A role without rights; the connection takes it for the rest of the test."""
    database.execute("DROP ROLE IF EXISTS boris; CREATE ROLE boris")
    yield "boris"
    database.execute("RESET ROLE; DROP OWNED BY boris; DROP ROLE boris")


def test_update_is_needed_only_where_rows_refer(database, boris):
    make_codes(database)
    database.execute("GRANT INSERT, DELETE ON p TO boris; GRANT SELECT ON c TO boris")
    database.execute("SET ROLE boris")
    assert load(MOVED, "public.p", connection=database).way == "in place"
    database.execute("RESET ROLE; INSERT INTO c VALUES (1); SET ROLE boris")
    with pytest.raises(TargetError, match="permission denied for table p") as caught:
        load(MOVED, "public.p", connection=database)
    assert "SELECT, INSERT, UPDATE and DELETE" in caught.value.hint


@pytest.mark.parametrize(
    "hide", ["SELECT 1", "GRANT SELECT ON c TO boris; ALTER TABLE c ENABLE ROW LEVEL SECURITY"]
)
def test_children_that_cannot_be_seen_are_kept(database, boris, hide):
    make_codes(database, "", "REFERENCES p ON DELETE CASCADE")
    database.execute(f"INSERT INTO c VALUES (1); GRANT ALL ON p TO boris; {hide}; SET ROLE boris")
    assert "matched by id" in load(MOVED, "public.p", connection=database).note
    database.execute("RESET ROLE")
    assert rows(database, "SELECT * FROM p ORDER BY id") == MOVED[1:]
    assert rows(database, "SELECT * FROM c") == [(1,)]


def test_child_that_is_being_added_is_kept(database, postgres_database):
    make_codes(database, "", "REFERENCES p ON DELETE CASCADE")
    with psycopg.connect(postgres_database) as other:
        # Not of a row that the load changes: it would wait for that.
        other.execute("INSERT INTO p VALUES (3, 'c'); INSERT INTO c VALUES (3)")
        result = load([(1, "a"), (2, "z")], "public.p", columns=["id", "code"], connection=database)
        assert "matched by id" in result.note
    assert rows(database, "SELECT * FROM c") == [(3,)]


@pytest.mark.parametrize(
    ("type_", "old", "new"),
    [
        ("numeric", "1.0", "1.00"),
        ("interval", "24 hours", "1 day"),
        ("circle", "<(0,0),1>", "<(5,5),1>"),
        ("path", "((0,0),(1,1))", "((2,2),(3,3))"),
        ("text COLLATE nocase", "a", "A"),
        ("json", '{"a":1}', '{"a": 1}'),
    ],
)
def test_equal_values_that_differ_are_written(database, type_, old, new):
    database.execute(f"""
        CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE TABLE p (id int PRIMARY KEY, v {type_}); INSERT INTO p VALUES (1, '{old}'), (2, NULL);
        CREATE TABLE c (pid int REFERENCES p); INSERT INTO c VALUES (1);
    """)
    source = [(1, new), (2, None)]
    load(source, "public.p", columns=["id", "v"], connection=database)
    assert rows(database, "SELECT v::text FROM p WHERE id = 1") == [(new,)]
    again = load(source, "public.p", columns=["id", "v"], connection=database)
    assert again.changed == 0


@pytest.mark.parametrize(
    ("action", "parent", "child"),
    [
        ("NO ACTION", "1.00", "1.0"),
        ("CASCADE", "1.00", "1.00"),
        ("RESTRICT", "1.0", "1.0"),
        ("SET NULL", "1.0", "1.0"),
    ],
)
def test_equal_key_that_differs_is_written_where_children_stay(database, action, parent, child):
    database.execute(f"""
        CREATE TABLE p (id numeric PRIMARY KEY, n text); INSERT INTO p VALUES (1.0, 'a');
        CREATE TABLE c (pid numeric REFERENCES p ON UPDATE {action}); INSERT INTO c VALUES (1.0);
    """)
    load([("1.00", "a")], "public.p", columns=["id", "n"], connection=database)
    assert rows(database, "SELECT id::text FROM p") == [(parent,)]
    assert rows(database, "SELECT pid::text FROM c") == [(child,)]


def test_columns_are_not_added_while_somebody_reads(database, postgres_database):
    database.execute("CREATE TABLE t (id int, n text)")
    with psycopg.connect(postgres_database) as reader:
        reader.execute("SELECT FROM t")
        with pytest.raises(LoadError, match=r"public\.t is being read") as caught:
            load([{"id": 1, "n": "x", "m": 1}], "public.t", drift="add", connection=database)
    assert "Try again" in caught.value.hint
    assert rows(database, "SHOW lock_timeout") == [("20s",)]


@pytest.mark.parametrize(
    "make",
    [
        "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        " CREATE TABLE part PARTITION OF t FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE t (id int PRIMARY KEY);"
        " CREATE TABLE part (PRIMARY KEY (id)) INHERITS (t)",
    ],
)  # fmt: skip
def test_children_of_a_part_are_not_deleted_silently(database, make):
    database.execute(f"""
        {make}; INSERT INTO part VALUES (1);
        CREATE TABLE c (pid int REFERENCES part ON DELETE CASCADE); INSERT INTO c VALUES (1);
    """)
    with pytest.raises(TargetError, match=r"public\.c references part, a part of it"):
        load([{"id": 1}], "public.t", connection=database)
    assert rows(database, "SELECT * FROM c") == [(1,)]
    database.execute("DELETE FROM c")
    assert load([{"id": 1}, {"id": 2}], "public.t", connection=database).way == "in place"


def test_children_of_a_partitioned_table_are_kept(database):
    database.execute("""
        CREATE TABLE t (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
        CREATE TABLE part PARTITION OF t FOR VALUES FROM (0) TO (10); INSERT INTO t VALUES (1, 1);
        CREATE TABLE c (pid int REFERENCES t ON DELETE CASCADE); INSERT INTO c VALUES (1);
    """)
    load([{"id": 1, "n": 2}], "public.t", connection=database)
    assert rows(database, "SELECT n FROM t") == [(2,)]
    assert rows(database, "SELECT * FROM c") == [(1,)]
