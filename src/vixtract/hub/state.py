"""Who is disabled or being removed, and which schedules were paused with them.

Three tables in the Hub's SQLite file. A removal that was interrupted is found here and finished.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from vixtract.sqlite import open_sqlite

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vixtract_disabled (name TEXT PRIMARY KEY, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS vixtract_leaving (name TEXT PRIMARY KEY, plan TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS vixtract_paused (
    name TEXT NOT NULL, event TEXT NOT NULL, PRIMARY KEY (name, event));
"""


@dataclass(frozen=True)
class Plan:
    """How a person is removed; kept until it is done.

    Args:
        keep_home: leave the files as they are, in a place that only root reads, unpacked.
        hand_over_to: person who gets files, schedules and tables; empty archives them.
        folder: name of the folder in the other person's home, once it is chosen.
    """

    keep_home: bool = False
    hand_over_to: str = ""
    folder: str = ""


class PeopleState:
    """The three tables; missing ones are made."""

    def __init__(self, database: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        with open_sqlite(self._database) as connection:
            connection.executescript(_SCHEMA)

    def set_disabled(self, name: str, disabled: bool) -> None:
        """Record whether a person is disabled."""
        with open_sqlite(self._database) as connection:
            connection.execute("DELETE FROM vixtract_disabled WHERE name = ?", (name,))
            if disabled:
                row = (name, self._clock())
                connection.execute("INSERT INTO vixtract_disabled VALUES (?, ?)", row)

    def disabled(self) -> frozenset[str]:
        """Return the names of disabled people."""
        return self._names("vixtract_disabled")

    def set_plan(self, name: str, plan: Plan) -> None:
        """Record that a person is being removed, and how."""
        with open_sqlite(self._database) as connection:
            row = (name, json.dumps(asdict(plan)))
            connection.execute("INSERT OR REPLACE INTO vixtract_leaving VALUES (?, ?)", row)

    def plan(self, name: str) -> Plan | None:
        """Return how a person is being removed; None where they are not."""
        with open_sqlite(self._database) as connection:
            query = "SELECT plan FROM vixtract_leaving WHERE name = ?"
            row = connection.execute(query, (name,)).fetchone()
        return None if row is None else Plan(**json.loads(row[0]))

    def leaving(self) -> frozenset[str]:
        """Return the names of people whose removal is not done."""
        return self._names("vixtract_leaving")

    def blocked(self) -> frozenset[str]:
        """Return the names of people who may neither log in nor run anything."""
        return self.disabled() | self.leaving()

    def add_paused(self, name: str, events: Iterable[str]) -> None:
        """Record schedules that were switched off together with a person."""
        with open_sqlite(self._database) as connection:
            rows = [(name, event) for event in events]
            connection.executemany("INSERT OR IGNORE INTO vixtract_paused VALUES (?, ?)", rows)

    def paused(self, name: str) -> frozenset[str]:
        """Return the schedules that were switched off together with a person."""
        query = "SELECT event FROM vixtract_paused WHERE name = ?"
        with open_sqlite(self._database) as connection:
            return frozenset(row[0] for row in connection.execute(query, (name,)))

    def forget_paused(self, name: str) -> None:
        """Delete that record: the schedules run again, or have another owner."""
        with open_sqlite(self._database) as connection:
            connection.execute("DELETE FROM vixtract_paused WHERE name = ?", (name,))

    def forget_gone(self, present: Iterable[str]) -> None:
        """Delete the rows of people whom the Hub does not know any more."""
        gone = [(name,) for name in self.blocked() - set(present)]
        with open_sqlite(self._database) as connection:
            for table in ("vixtract_disabled", "vixtract_leaving", "vixtract_paused"):
                connection.executemany(f"DELETE FROM {table} WHERE name = ?", gone)  # noqa: S608

    def _names(self, table: str) -> frozenset[str]:
        with open_sqlite(self._database) as connection:
            rows = connection.execute(f"SELECT name FROM {table}")  # noqa: S608 - own names
            return frozenset(row[0] for row in rows)
