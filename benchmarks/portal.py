#!/usr/bin/env python3
"""Measure what each page of the portal takes at 100,000 runs and 1,000 schedules.

Run from the repository's root, in the environment of the tests:

    python benchmarks/portal.py [--runs 100000] [--schedules 1000] > benchmarks/portal.md

Starts a portal and an embedded engine twice, on an empty ledger and on a seeded one, and asks for
each page ten times as an analyst who owns a fiftieth of everything and as an administrator. What
counts is the ratio: the machine cancels out.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "src"), str(Path(__file__).parents[1])]

from tests.contract.embedded import EmbeddedEngine  # noqa: E402 - the two lines above lead there
from tests.contract.portal_stand import FakeHub, Portal  # noqa: E402
from tests.contract.run_stand import start_homes  # noqa: E402
from vixtract.ledger.database import Database  # noqa: E402

PEOPLE = 50
ROUNDS = 10
DAYS = 90
PAGES = (
    ("Overview", "/portal/overview"),
    ("Schedules", "/portal/"),
    ("Runs", "/portal/runs"),
    ("Runs, page 30", "/portal/runs?offset=725"),
    ("Runs that failed", "/portal/runs?state=failed"),
    ("Runs by word", "/portal/runs?word=load+7"),
    ("Runs of a week", "/portal/runs?since={since}&until={until}"),
    ("One run", "/portal/runs/{run}"),
    ("One run compared", "/portal/runs/{run}/compare"),
    ("One schedule", "/portal/schedules/{schedule}"),
    ("API: runs", "/portal/api/runs"),
    ("API: schedules", "/portal/api/schedules"),
)


def seed(folder: Path, runs: int, schedules: int) -> None:
    """Fill a ledger with schedules of many people and their runs, a twentieth of them failed."""
    chance = random.Random(7)
    database = Database(folder / "ledger.sqlite3")
    now = int(time.time())
    begun = now - DAYS * 86400
    timing = {"hours": [6], "minutes": [30]}
    with database.transaction() as connection:
        for n in range(schedules):
            author = f"person{n % PEOPLE}"
            event = {
                "id": f"e{n:05d}", "title": f"Load {n}", "username": author, "enabled": 1,
                "plugin": "notebook", "category": "general", "target": "allgrp",
                "timing": timing, "timezone": "UTC", "created": begun, "modified": begun,
                "params": {"notebook": f"etl/load{n}.ipynb", "owner": author,
                           "parameters": {"city": "Rome", "limit": 1000}},
            }  # fmt: skip
            connection.execute(
                "INSERT INTO event VALUES (?, ?, ?, 1, ?, ?, ?, ?)",
                (event["id"], event["title"], author, json.dumps(event), now, begun, begun),
            )
        for n in range(runs):
            number = n % schedules
            author, end = f"person{number % PEOPLE}", begun + n * DAYS * 86400 // max(1, runs)
            failed = chance.random() < 0.05
            job = {
                "title": f"Load {number}", "plugin": "notebook", "category": "general",
                "timeout": 0, "catch_up": 0,
                "params": {"notebook": f"etl/load{number}.ipynb", "parameters": {"city": "Rome"}},
            }  # fmt: skip
            chain = {
                "owner": author, "notebook": f"/home/{author}/etl/load{number}.ipynb",
                "run_dir": f"/runs/{author}/j{n:08d}", "cells_done": 6, "cells_total": 6,
                "loads": [{"table": f"{author}.t{number}", "mode": "replace", "rows": n}],
            }  # fmt: skip
            verdict = "failed" if failed else "succeeded"
            connection.execute(
                "INSERT INTO run (id, event, username, owner, title, verdict, source, due_at,"
                " state, queued_at, time_start, time_end, code, outcome, description, job, result,"
                " done_seq, mirrored) VALUES (?, ?, ?, ?, ?, ?, 'Scheduler', ?, 'done', ?, ?, ?, ?,"
                " ?, ?, ?, ?, ?, 1)",
                (
                    *(f"j{n:08d}", f"e{number:05d}", author, author, job["title"], verdict),
                    *(end - 60, end - 60, end - 60 + chance.random(), end, int(failed), verdict),
                    *("Cell 3 of 6 failed: ValueError: no rows" if failed else "", json.dumps(job)),
                    *(json.dumps({"chain_data": chain, "perf": {"total": 60}}), n + 1),
                ),
            )
    database.close()


def measure(folder: Path, runs: int, schedules: int) -> dict[tuple[str, str], float]:
    """Return the median milliseconds of each page, by person and page."""
    data = folder / "data"
    data.mkdir(parents=True)
    # An empty appliance has one schedule with two runs: without them some pages would not be there.
    seed(data, runs, schedules)
    engine = EmbeddedEngine(folder, TZ="UTC").start()
    hub = FakeHub()
    # Nobody has a home here: the homes server is asked, and says that there are no files.
    homes = start_homes(folder)
    portal = Portal(
        folder, hub, f"http://127.0.0.1:{engine.port}",
        TZ="UTC", VIXTRACT_HOMES_SOCKET=str(folder / "s"),
    )  # fmt: skip
    last = (runs - 1) // schedules * schedules
    week = [time.strftime("%Y-%m-%d", time.gmtime(time.time() - d * 86400)) for d in (30, 23)]
    names = {
        "run": f"j{last:08d}", "schedule": "e00000", "since": week[0], "until": week[1],
    }  # fmt: skip
    found = {}
    try:
        for person, admin in (("person0", False), ("chief", True)):
            with portal.person(person, admin=admin) as browser:
                for title, address in PAGES:
                    path = address.format(**names)
                    found[person, title] = time_of(lambda path=path: browser.get(path))
    finally:
        portal.stop()
        hub.close()
        engine.stop()
        homes.terminate()
        homes.wait(10)
    return found


def time_of(ask: Callable) -> float:
    """Return the median milliseconds of asking, the first two times left out."""
    took = []
    for _ in range(ROUNDS + 2):
        begun = time.perf_counter()
        answer = ask()
        took.append((time.perf_counter() - begun) * 1000)
        if answer.status_code != 200:
            sys.exit(f"{answer.request.url} answered {answer.status_code}")
    return statistics.median(took[2:])


def main() -> None:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--schedules", type=int, default=1_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        empty = measure(Path(folder) / "empty", 2, 1)
        full = measure(Path(folder) / "full", asked.runs, asked.schedules)
    print(f"# Pages at {asked.runs:,} runs and {asked.schedules:,} schedules\n")
    print(f"Server time as a ratio to an empty appliance, median of {ROUNDS} requests.")
    print(f"An analyst has {asked.schedules // PEOPLE} schedules, an administrator sees all.\n")
    print("| page | analyst | administrator | administrator, ms |")
    print("|---|---|---|---|")
    for title, _ in PAGES:
        ratios = [full[p, title] / empty[p, title] for p in ("person0", "chief")]
        print(f"| {title} | {ratios[0]:.1f} | {ratios[1]:.1f} | {full['chief', title]:.0f} |")


if __name__ == "__main__":
    main()
