"""What callers are shown of Cronicle's jobs."""

from __future__ import annotations

import pytest

from vixtract.cronicle_edge.shapes import clean_job
from vixtract.ledger.database import Database


@pytest.mark.parametrize(
    ("job", "complete"),
    [
        ({"complete": 1, "code": 0, "time_start": 5.0}, 0),
        ({"complete": 1, "code": 0, "time_start": 5.0, "time_end": 6.0}, 1),
        ({"code": 0, "time_start": 5.0}, None),
        # Rows of a history are of ended jobs.
        ({"complete": 1, "action": "job_complete"}, 1),
    ],
)
def test_a_job_is_complete_once_its_end_is_noted(tmp_path, job, complete):
    database = Database(tmp_path / "ledger.sqlite3")
    try:
        assert clean_job(database, {"id": "j1", **job}).get("complete") == complete
    finally:
        database.close()
