"""What a load does with types, names, encodings and rules of a table as a person writes them."""

from __future__ import annotations

import datetime as dt
import decimal

import psycopg
import pytest

from vixtract.loading import load
from vixtract.loading.errors import BadRowError, LoadUsageError

pytest_plugins = ["tests.postgres"]

LONG = "очень длинное название колонки " + "х" * 20
CUT = LONG.encode()[:63].decode(errors="ignore")
STAGED = [
    {"mode": "replace"},
    {"mode": "append", "expect": {"rows": (1, None)}},
    {"mode": "upsert", "key": "id"},
    {"mode": "incremental", "watermark": "id"},
]


@pytest.fixture
def database(postgres_database):
    """A connection to a database of the test's own."""
    with psycopg.connect(postgres_database, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("SET lock_timeout = '20s'")
        yield connection


def rows(connection, query):
    return connection.execute(query).fetchall()


@pytest.mark.parametrize(
    ("alias", "name", "value", "stored"),
    [
        ("timestamp", "timestamp without time zone", dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), None),
        ("DATE", "date", dt.datetime(2020, 1, 1, 12), None),
        ("int", "integer", 1.0, 1),
        ("varchar", "character varying", True, "true"),
        ("varchar(10)", "character varying(10)", "x", "x"),
        ("Decimal(12, 2)", "numeric(12,2)", 1.5, decimal.Decimal("1.50")),
        ("timestamptz(0)", "timestamp(0) with time zone", dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)),
        ("int[]", "integer[]", [1, 2], [1, 2]),
        ("mood", "mood", "good", "good"),
        ("positive", "positive", 5, 5),
    ],
)  # fmt: skip
def test_type_means_the_same_by_each_of_its_names(database, alias, name, value, stored):
    database.execute(
        "CREATE TYPE mood AS ENUM ('good'); CREATE DOMAIN positive AS int CHECK (VALUE > 0)"
    )
    database.execute("SET timezone = 'UTC'")
    for written in (alias, name, alias):
        source, options = [{"a": value}], {"types": {"a": written}, "connection": database}
        if stored is None:
            with pytest.raises(BadRowError, match="row 1, column a"):
                load(source, "public.t", **options)
            continue
        assert load(source, "public.t", **options).types == {"a": name}
        assert rows(database, "SELECT a FROM t") == [(stored,)]
        database.execute("DROP TABLE t")


def test_added_and_widened_columns_know_aliases_too(database):
    database.execute("CREATE TABLE t (x int)")
    source = [{"x": 1.5, "a": True}]
    options = {"types": {"x": "float8", "a": "varchar"}, "drift": "widen", "connection": database}
    result = load(source, "public.t", mode="append", **options)
    assert result.changes == ("widened x double precision", "added a character varying")
    assert rows(database, "SELECT * FROM t") == [(1.5, "true")]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("nope", "'nope' of column a is not a type"),
        ("int int", "'int int' of column a is not a type"),
        ("varchar(0)", "of column a is not a type"),
        ("numeric(2000)", "of column a is not a type"),
        ("int NOT NULL", "of column a is more than a type"),
        ("serial", "of column a is more than a type"),
        ("int, y int", "of column a is more than a type"),
    ],
)
def test_what_is_no_type_is_refused_with_its_column(database, written, message):
    with pytest.raises(LoadUsageError, match=message):
        load([{"a": 1}], "public.t", types={"a": written}, connection=database)
    assert rows(database, "SELECT to_regclass('t') IS NULL") == [(True,)]


@pytest.mark.parametrize("encoding", ["WIN1251", "LATIN1", "SQL_ASCII"])
@pytest.mark.parametrize("value", ["Ёж «ко» 😀", 5])
def test_text_is_the_same_in_each_encoding_of_the_client(
    database, postgres_database, encoding, value
):
    # A number in a column of text goes the way of text.
    with psycopg.connect(postgres_database, client_encoding=encoding) as connection:
        for mode in ("replace", "append"):
            source = [{"имя": "Ёж 😀", "x": value}]
            load(source, "public.t", types={"x": "text"}, mode=mode, connection=connection)
        with pytest.raises(BadRowError, match="column имя"):
            load([("имя", "x"), ("a\0", "")], "public.t", connection=connection)
        assert connection.execute("SHOW client_encoding").fetchone() in [
            (encoding,),
            (encoding.encode(),),
        ]
    assert rows(database, "SELECT * FROM t") == [("Ёж 😀", str(value))] * 2


def test_long_names_of_columns_are_cut_and_said(database):
    options = {
        "key": LONG,
        "types": {LONG: "integer"},
        "expect": {"unique": [LONG, (LONG, "n")], "not_null": [LONG], "allowed": {LONG: [1]}},
        "connection": database,
    }
    for mode in ("replace", "replace", "append", "upsert", "incremental"):
        more = {"watermark": LONG} if mode == "incremental" else {}
        if mode == "append":
            database.execute("DELETE FROM t")
        result = load([{LONG: 1, "n": "x"}], "public.t", mode=mode, **options, **more)
        assert result.types[CUT] == "integer" and f"{LONG} is {CUT}" in result.note
    assert rows(database, f'SELECT "{CUT}", n FROM t') == [(1, "x")]
    with pytest.raises(LoadUsageError, match="same first 63 bytes") as caught:
        load([{LONG: 1, LONG + "!": 2}], "public.u", connection=database)
    assert "Rename" in caught.value.hint


def test_long_names_of_tables_are_refused(database):
    for options in (
        {"table": "public." + "т" * 32},
        {"table": "public.t", "reject": "public." + "т" * 32},
    ):
        with pytest.raises(LoadUsageError, match="too long"):
            load([{"id": 1}], options.pop("table"), connection=database, **options)
    load([{"id": 1}], "public." + "т" * 31, connection=database)
    assert load([{"id": 1}], "public." + "т" * 31, connection=database).way == "exchange"


@pytest.mark.parametrize("options", STAGED, ids=lambda options: options["mode"])
def test_rows_against_the_tables_rules_are_set_aside(database, options):
    database.execute("""
        CREATE DOMAIN short AS text CHECK (length(VALUE) < 5);
        CREATE TABLE t (
            id int PRIMARY KEY, n text NOT NULL CONSTRAINT "n %" CHECK (n <> '%'), s short,
            day date NOT NULL DEFAULT current_date CHECK (day > '2000-01-01'),
            twice int GENERATED ALWAYS AS (id * 2) STORED CHECK (twice < 1000),
            number int GENERATED ALWAYS AS IDENTITY, low int, high int, CHECK (low < high)
        );
    """)
    good = {"id": 1, "n": "a", "s": "b", "low": 1, "high": 2}
    source = [
        good,
        {**good, "id": 2, "n": None},
        {**good, "id": 3, "n": "%"},
        {**good, "id": 4, "s": "longer"},
        {**good, "id": 5, "low": 2},
        {**good, "id": 6, "high": None},
    ]
    with pytest.raises(BadRowError, match="row 2, column n: None: null value"):
        load(source, "public.t", drift="add", connection=database, **options)
    result = load(
        source, "public.t", drift="add", reject="public.bad", connection=database, **options
    )
    assert (result.rows, result.rejected) == (2, 4)
    assert rows(database, "SELECT id, day = current_date, twice FROM t ORDER BY id") == [
        (1, True, 2),
        (6, True, 12),
    ]
    assert rows(database, 'SELECT "row" FROM bad ORDER BY 1') == [(2,), (3,), (4,), (5,)]


def test_trigger_may_complete_rows_before_the_rules_hold(database):
    database.execute("""
        CREATE TABLE t (id int, n text NOT NULL CHECK (n = upper(n)));
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.n := upper(coalesce(NEW.n, $$none$$)); RETURN NEW; END';
        CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
    """)
    load([{"id": 1, "n": "a"}, {"id": 2, "n": None}], "public.t", connection=database)
    assert rows(database, "SELECT * FROM t ORDER BY id") == [(1, "A"), (2, "NONE")]


def test_bad_rows_go_into_their_columns_wherever_these_stand(database):
    database.execute("""
        CREATE TABLE bad (id serial, data text, reason text, value text, "column" text,
                          "row" bigint, target text, run text, loaded_at timestamptz, seen bool)
    """)
    source = [("id", "n"), (1, "a"), ("oops", "b")]
    load(source, "public.t", types={"id": "int"}, reject="public.bad", connection=database)
    found = rows(database, 'SELECT id, target, "row", "column", value, seen FROM bad')
    assert found == [(1, "public.t", 2, "id", "'oops'", None)]


def test_refusal_names_columns_with_hard_names(database):
    names = ["a", "a\nb", "a: b", 'a"b', "column a", "1, a"]
    for bad, name in enumerate(names):
        row = ["x" if bad == i else i for i in range(len(names))]
        types = dict.fromkeys(names, "int")
        with pytest.raises(BadRowError) as caught:
            load([names, row], 'public."t, line 7"', types=types, connection=database)
        assert (caught.value.row, caught.value.column) == (1, name)


@pytest.mark.parametrize("options", STAGED, ids=lambda options: options["mode"])
def test_a_tables_rules_mean_the_same_for_rows_on_their_way(database, options):
    """Collations of columns, rules that are not enforced yet, rules that the role may not read."""
    database.execute("""
        CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE SCHEMA hidden;
        CREATE FUNCTION hidden.ok(int) RETURNS bool LANGUAGE sql IMMUTABLE RETURN true;
        CREATE TABLE t (
            id int PRIMARY KEY, code text COLLATE loose CHECK (code IN ('A', 'B')),
            low int CHECK (hidden.ok(low))
        );
        INSERT INTO t VALUES (0, 'a', -5);
        ALTER TABLE t ADD CONSTRAINT later CHECK (low > 0) NOT VALID;
        CREATE ROLE loader; ALTER TABLE t OWNER TO loader; GRANT ALL ON SCHEMA public TO loader;
        SET ROLE loader;
    """)
    try:
        load([{"id": 1, "code": "b", "low": 1}], "public.t", connection=database, **options)
        assert (1, "b", 1) in rows(database, "SELECT * FROM t")
    finally:
        database.execute("RESET ROLE; DROP OWNED BY loader; DROP ROLE loader")


def test_types_need_no_temporary_table_where_none_may_be_made(database):
    name = rows(database, "SELECT current_database()")[0][0]
    database.execute(f'REVOKE TEMPORARY ON DATABASE "{name}" FROM public')
    database.execute("CREATE ROLE loader; GRANT ALL ON SCHEMA public TO loader; SET ROLE loader")
    try:
        types = {"a": "int", "b": "numeric(12,2)"}
        load([{"a": 1.0, "b": 1}], "public.t", connection=database, types=types)
        assert rows(database, "SELECT a, b::text FROM t") == [(1, "1.00")]
    finally:
        database.execute("RESET ROLE; DROP OWNED BY loader; DROP ROLE loader")
