"""Which scheduler the contract tests talk to, and which database they load into.

`SCHEDULER_CONTRACT_URL` and `SCHEDULER_CONTRACT_KEY` name one that is running, such as Cronicle;
without them the embedded engine is started with stand-in plugins.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.contract.embedded import EmbeddedEngine
from tests.contract.loaded import open_database
from tests.scheduler_client import JobClient
from vixtract.loading import load


@pytest.fixture(scope="session")
def contract_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobClient]:
    """A client of the scheduler under test, with an admin key."""
    url = os.environ.get("SCHEDULER_CONTRACT_URL")
    if url:
        yield JobClient(url, os.environ["SCHEDULER_CONTRACT_KEY"], 30)
        return
    engine = EmbeddedEngine(tmp_path_factory.mktemp("contract")).start()
    yield engine.client
    engine.stop()


@pytest.fixture
def engine(tmp_path) -> Iterator[EmbeddedEngine]:
    """An embedded engine of the test's own, not started yet."""
    engine = EmbeddedEngine(tmp_path)
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def database(postgres):
    """The database that tests of values load into."""
    with open_database(postgres) as connection:
        yield connection


@pytest.fixture
def loaded(database):
    """Load into a new table and return its types and rows, in the order that they came."""
    database.execute("DROP TABLE IF EXISTS v.s")

    def run(source, **options):
        result = load(source, "v.s", connection=database, **options)
        return list(result.types.values()), database.execute("SELECT * FROM v.s").fetchall()

    return run
