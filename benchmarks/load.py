#!/usr/bin/env python3
"""Measure loading into PostgreSQL, and petl's transforms, beside their peers, as ratios.

    benchmarks/run [--rows 1000000] [--rounds 3]

Starts a PostgreSQL of its own with default settings. Each contender is a process of its own, the
rounds are interleaved, medians count; the clock runs from after the imports to after the commit.
Writes docs/performance/load.md and load.svg. `benchmarks/check.py` is the small run of the tests.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "docs" / "performance"
TABLE = "public.bench"
COLUMNS = (
    "id bigint, name text, note text, price numeric(12,2), total numeric(12,2), made timestamp,"
    " changed timestamp, day date, ok boolean, ratio double precision"
)
NAMES = [part.split()[0] for part in COLUMNS.split(", ")]
# Contenders: what is measured, the reference it is divided by, the goal for that ratio, and a
# divisor of the rows for those that would take minutes.
LOADS = {
    "psql_copy": ("psql \\copy of the CSV", None, 1),
    "load_csv": ("vixtract.load(CSV)", 0.55, 1),
    "load_parquet": ("vixtract.load(Parquet)", 0.55, 1),
    "load_arrow": ("vixtract.load(Arrow table)", 0.5, 1),
    "adbc_arrow": ("ADBC ingest of the Arrow table", None, 1),
    "load_pandas": ("vixtract.load(pandas)", 0.5, 1),
    "load_polars": ("vixtract.load(polars)", 0.5, 1),
    "load_rows": ("vixtract.load(petl rows)", 0.75, 1),
    "load_replace": ("vixtract.load(Arrow), replacing a table with a key and a view", None, 1),
    "todb": ("petl.todb, psycopg2", None, 20),
    "to_sql": ("pandas.to_sql", None, 20),
}
UPSERTS = {
    "upsert_load": ("vixtract.load(Arrow, mode='upsert')", 1.0, 1),
    "upsert_dlt": ("dlt merge of the Arrow table", None, 1),
}
PIPELINES = {
    "pipeline_stock": ("petl pipeline, stock", None, 1),
    "pipeline_fast": ("petl pipeline, petl_fast()", 0.4, 1),
}
REFERENCE = {**dict.fromkeys(LOADS, "psql_copy"), **dict.fromkeys(UPSERTS, "upsert_dlt")}
REFERENCE.update(dict.fromkeys(PIPELINES, "pipeline_stock"))
EVERYTHING = {**LOADS, **UPSERTS, **PIPELINES}


def build_arrow(rows: int):
    """Make the data: whole numbers, texts with everything CSV finds hard, money, times, gaps."""
    import datetime as dt
    import decimal
    import random

    import pyarrow as pa

    rng = random.Random(1)
    words = ["Москва", "Rome, IT", 'the "big" one', "two\nlines", "plain", "Ёж и ко"]
    start = dt.datetime(2024, 1, 1)
    cents = [rng.randrange(10**7) for _ in range(rows)]
    columns = [
        pa.array(range(rows), pa.int64()),
        pa.array([f"{rng.choice(words)} {i % 1000}" for i in range(rows)]),
        pa.array([None if i % 7 == 0 else f"note {i} {rng.choice(words)}" for i in range(rows)]),
        pa.array([decimal.Decimal(c).scaleb(-2) for c in cents], pa.decimal128(12, 2)),
        pa.array([decimal.Decimal(c * 3).scaleb(-2) for c in cents], pa.decimal128(12, 2)),
        pa.array(
            [start + dt.timedelta(seconds=i, microseconds=c % 10**6) for i, c in enumerate(cents)]
        ),
        pa.array([None if c % 5 == 0 else start + dt.timedelta(seconds=c) for c in cents]),
        pa.array([(start + dt.timedelta(days=c % 900)).date() for c in cents]),
        pa.array([c % 3 == 0 for c in cents]),
        pa.array([None if c % 11 == 0 else c / 977 for c in cents]),
    ]
    return pa.table(columns, names=NAMES)


def prepare(folder: Path, rows: int) -> None:
    """Write the data as Parquet and CSV."""
    from pyarrow import csv, parquet

    table = build_arrow(rows)
    parquet.write_table(table, folder / "data.parquet")
    # Arrow quotes texts only where it must when asked to; NULL is empty, as psql reads it.
    csv.write_csv(table, folder / "data.csv", csv.WriteOptions(quoting_style="needed"))


def connect():
    """Open a connection as the environment says."""
    import psycopg

    return psycopg.connect(autocommit=True)


def create(name: str, rows: int, folder: Path) -> None:
    """Put the tables into the state that the contender starts from."""
    with connect() as connection:
        connection.execute(f"DROP TABLE IF EXISTS {TABLE} CASCADE")
        if name == "load_replace" or name.startswith("upsert"):
            connection.execute(f"CREATE TABLE {TABLE} ({COLUMNS}, PRIMARY KEY (id))")
            with (
                connection.cursor().copy(f"COPY {TABLE} FROM STDIN (FORMAT csv, HEADER)") as copy,
                (folder / "data.csv").open("rb") as file,
            ):
                while block := file.read(1 << 17):
                    copy.write(block)
            connection.execute(f"CREATE VIEW public.bench_view AS SELECT id, name FROM {TABLE}")
            if name.startswith("upsert"):
                connection.execute("DROP VIEW public.bench_view")
        elif name not in {"todb", "to_sql"} or name == "todb":
            connection.execute(f"CREATE TABLE {TABLE} ({COLUMNS})")
        connection.execute("CHECKPOINT")


def read_source(name: str, folder: Path, divisor: int):
    """Return the source that a contender has in memory, or its path."""
    from pyarrow import parquet

    if name in {"psql_copy", "load_csv"} or name.startswith("pipeline"):
        return folder / "data.csv"
    if name == "load_parquet":
        return folder / "data.parquet"
    table = parquet.read_table(folder / "data.parquet")
    table = table.slice(0, table.num_rows // divisor)
    if name in {"load_pandas", "to_sql"}:
        import pandas as pd

        # What analysts have: NumPy's doubles for money, not Decimal objects.
        return (
            pd.read_parquet(folder / "data.parquet")
            .head(table.num_rows)
            .astype({"price": float, "total": float})
        )
    if name == "load_polars":
        import polars as pl

        return pl.from_arrow(table)
    if name in {"load_rows", "todb"}:
        import petl

        return petl.wrap([tuple(NAMES), *zip(*(c.to_pylist() for c in table.columns), strict=True)])
    if name.startswith("upsert"):
        import pyarrow as pa

        half = table.slice(0, 50_000 * table.num_rows // 1_000_000)
        ids = pa.array(range(half.num_rows), pa.int64())
        old = half.set_column(9, "ratio", pa.array([0.5] * half.num_rows))
        new = half.set_column(0, "id", pa.compute.add(ids, 10**9)) if half.num_rows else half
        return pa.concat_tables([old, new]).combine_chunks()
    return table


def perform(name: str, source, folder: Path) -> object:
    """Do what is measured."""
    if name == "psql_copy":
        command = f"\\copy {TABLE} from '{source}' (format csv, header)"
        return subprocess.run(["psql", "-qXc", command], check=True, timeout=600)
    if name.startswith("load_"):
        import vixtract

        return vixtract.load(source, TABLE, mode="replace")
    if name == "upsert_load":
        import vixtract

        return vixtract.load(source, TABLE, mode="upsert", key="id")
    if name == "adbc_arrow":
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(os.environ["BENCH_URI"]) as connection:
            with connection.cursor() as cursor:
                cursor.adbc_ingest("bench", source, mode="append")
            connection.commit()
        return None
    if name == "todb":
        import petl
        import psycopg2

        connection = psycopg2.connect("")
        petl.todb(source, connection, "bench", schema="public")
        return None
    if name == "to_sql":
        import sqlalchemy

        engine = sqlalchemy.create_engine(os.environ["BENCH_URI"].replace("://", "+psycopg2://"))
        return source.to_sql("bench", engine, schema="public", index=False, if_exists="replace")
    if name == "upsert_dlt":
        return merge_with_dlt(source, folder)
    return pipeline(source, fast=name == "pipeline_fast")


def merge_with_dlt(source, folder: Path) -> None:
    """Merge by dlt's own staging and upsert, from Arrow."""
    import dlt

    line = dlt.pipeline(
        "bench",
        pipelines_dir=str(folder / "dlt"),
        dataset_name="public",
        destination=dlt.destinations.postgres(credentials=os.environ["BENCH_URI"]),
    )
    disposition = {"disposition": "merge", "strategy": "upsert"}
    line.run(source, table_name="bench", write_disposition=disposition, primary_key="id")


def pipeline(path: Path, *, fast: bool) -> list:
    """Convert, select, join, add a field and aggregate, as petl notebooks commonly do."""
    import petl as etl

    if fast:
        import vixtract

        vixtract.petl_fast()
    groups = etl.wrap([("code", "region"), *((str(i), f"region {i % 17}") for i in range(1000))])
    table = (
        etl.fromcsv(str(path))
        .convert({"id": int, "price": float, "total": float, "ratio": lambda v: float(v or 0)})
        .convert("made", lambda v: v[:10])
        .convert("ok", lambda v: v == "true")
        .convert(("name", "note"), "strip")
        .selectgt("price", 50000)
        .addfield("code", lambda row: str(row.id % 1000))
        .hashjoin(groups, key="code")
        .addfield("margin", lambda row: row.total - row.price)
        .aggregate(
            ("region", "day"), {"rows": len, "total": ("total", sum), "margin": ("margin", sum)}
        )
    )
    return list(table)


def warm_up(name: str) -> None:
    """Import what the contender uses: imports are not measured."""
    needed = {
        "adbc_arrow": ["adbc_driver_postgresql.dbapi"],
        "todb": ["petl", "psycopg2"],
        "to_sql": ["sqlalchemy.dialects.postgresql.psycopg2"],
        "upsert_dlt": ["dlt", "dlt.destinations", "dlt.destinations.impl.postgres.postgres"],
        "pipeline_stock": ["petl"],
        "pipeline_fast": ["petl", "vixtract.loading.petl_faster"],
    }
    ours = ["pgpq", "psycopg", "pyarrow.csv", "vixtract.loading.loader", "vixtract.loading.opening"]
    for module in needed.get(name, ours if "load" in name else []):
        importlib.import_module(module)


def run_one(name: str, folder: Path) -> None:
    """Be one contender: print seconds and the memory above the source's as JSON."""
    sys.path.insert(0, str(ROOT / "src"))
    source = read_source(name, folder, EVERYTHING[name][2])
    warm_up(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    result = perform(name, source, folder)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    digest = hash(tuple(map(repr, result))) if name.startswith("pipeline") else None
    print(
        json.dumps(
            {
                "seconds": seconds,
                "peak_mb": after / 1024,
                "more_mb": (after - before) / 1024,
                "digest": digest,
            }
        )
    )


def check_rows(name: str, rows: int) -> str:
    """Return a hash of the table's content that does not depend on its order."""
    with connect() as connection:
        row = connection.execute(
            f"SELECT count(*), coalesce(sum(hashtextextended(concat_ws('|', id, name, note, price::numeric(12,2),"
            f" total::numeric(12,2), made, changed, day, ok), 0)), 0) FROM {TABLE}"
        ).fetchone()
    return f"{row[0]}:{row[1]}"


def measure(names: list[str], rounds: int, rows: int, folder: Path) -> dict[str, dict[str, float]]:
    """Run all contenders, interleaved, and return medians by contender."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    contents: dict[str, str] = {}
    for number in range(rounds):
        for name in names:
            if not name.startswith("pipeline"):
                create(name, rows, folder)
            argv = [sys.executable, __file__, "--one", name, "--folder", str(folder)]
            done = subprocess.run(
                argv,
                capture_output=True,
                text=True,
                timeout=1800,
                env={**os.environ, "PYTHONHASHSEED": "0"},
            )
            if done.returncode:
                print(f"{name} failed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            one = json.loads(done.stdout.strip().splitlines()[-1])
            found[name].append(one)
            if name.startswith("pipeline"):
                contents[name] = str(one["digest"])
            elif EVERYTHING[name][2] == 1:
                contents[name] = check_rows(name, rows)
            print(f"round {number + 1} {name}: {one['seconds']:.2f} s", file=sys.stderr)
    for group in (LOADS, UPSERTS, PIPELINES):
        different = {contents[name] for name in group if name in contents}
        if len(different) > 1:
            sys.exit(f"the contenders did not do the same: {contents}")
    return {
        name: {
            key: statistics.median(one[key] for one in ones)
            * (EVERYTHING[name][2] if key == "seconds" else 1)
            for key in ("seconds", "peak_mb", "more_mb")
        }
        for name, ones in found.items()
        if ones
    }


def measure_all(names: list[str], rounds: int, rows: int) -> dict[str, dict[str, float]]:
    """Run all contenders on a server and data of their own, and return medians by contender."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.server import running_server

    with (
        tempfile.TemporaryDirectory(prefix="vixtract-bench-") as text,
        running_server() as environment,
    ):
        os.environ.update(environment)
        argv = [sys.executable, __file__, "--one", "prepare", "--folder", text]
        subprocess.run([*argv, "--rows", str(rows)], check=True, timeout=600)
        return measure(names, rounds, rows, Path(text))


def ratio(name: str, medians: dict[str, dict[str, float]]) -> float | None:
    """Return a contender's time divided by its reference's."""
    reference = medians.get(REFERENCE[name])
    return medians[name]["seconds"] / reference["seconds"] if reference else None


def render(medians: dict[str, dict[str, float]], rows: int, rounds: int) -> str:
    """Write the table as Markdown."""
    lines = [
        f"Medians of {rounds} interleaved rounds, {rows:,} rows of 10 columns, {os.cpu_count()} cores,",
        f"{subprocess.run(['psql', '--version'], capture_output=True, text=True).stdout.strip()}, default settings.",
        "",
        "| contender | s | ratio | goal | | peak MB | above the source, MB |",
        "|---|--:|--:|--:|---|--:|--:|",
    ]
    for name, (title, goal, divisor) in EVERYTHING.items():
        if name not in medians:
            continue
        one, own = medians[name], ratio(name, medians)
        verdict = ""
        if goal is not None and own is not None:
            verdict = "met" if own <= goal else f"missed by {own - goal:.2f}"
        scaled = f" (×{divisor} from 1/{divisor} of the rows)" if divisor > 1 else ""
        shown = "" if own is None else f"{own:.2f}"
        lines.append(
            f"| {title}{scaled} | {one['seconds']:.2f} | {shown} | {goal or ''} | {verdict} |"
            f" {one['peak_mb']:.0f} | {one['more_mb']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def draw(medians: dict[str, dict[str, float]]) -> str:
    """Draw the loads' ratios as bars; those of several times the reference are cut."""
    bars = [(LOADS[n][0], ratio(n, medians), n) for n in LOADS if n in medians]
    bars = [(title, value, n) for title, value, n in bars if value is not None]
    height = 26 * len(bars) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" font-family="sans-serif" font-size="12">',
        '<text x="10" y="18">time ÷ psql \\copy of the same rows; shorter is faster</text>',
    ]
    for i, (title, value, name) in enumerate(bars):
        top, width = 30 + 26 * i, min(value, 2.0) * 160
        colour = "#2f7d6d" if name.startswith("load") else "#9aa5b1"
        parts.append(f'<text x="10" y="{top + 14}">{title}</text>')
        parts.append(f'<rect x="390" y="{top}" width="{width:.0f}" height="18" fill="{colour}"/>')
        parts.append(f'<text x="{396 + width:.0f}" y="{top + 14}">{value:.2f}</text>')
    parts.append(
        f'<line x1="550" x2="550" y1="26" y2="{height - 8}" stroke="#333" stroke-dasharray="3"/></svg>'
    )
    return "\n".join(parts) + "\n"


def main() -> None:
    """Measure and write, or be a contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--one")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.one == "prepare":
        # A process of its own: Linux hands the peak of memory down to what it starts.
        prepare(arguments.folder, arguments.rows)
        return
    if arguments.one:
        run_one(arguments.one, arguments.folder)
        return
    names = [name for name in EVERYTHING if re.search(arguments.only, name)]
    medians = measure_all(names, arguments.rounds, arguments.rows)
    print(render(medians, arguments.rows, arguments.rounds))
    if not arguments.only:
        OUTPUT.mkdir(parents=True, exist_ok=True)
        (OUTPUT / "load.md").write_text(render(medians, arguments.rows, arguments.rounds))
        (OUTPUT / "load.svg").write_text(draw(medians))


if __name__ == "__main__":
    main()
