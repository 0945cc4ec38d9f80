"""One attempt's end in the ledger, with a real process as plugin."""

from __future__ import annotations

import sys
import time

import pytest

from tests.waiting import wait_until
from vixtract.ledger import runs
from vixtract.ledger.database import Database
from vixtract.scheduler.config import EngineConfig
from vixtract.scheduler.embedded.jobs import JobIds, Jobs
from vixtract.scheduler.events import Event


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "ledger.sqlite3")
    yield database
    database.close()


def start(tmp_path, database, script, **fields):
    """Queue a run whose plugin is a Python script, and start its attempt."""
    ended = []
    config = EngineConfig("k" * 20, tmp_path, plugin_command=(sys.executable, "-I", "-c", script))
    jobs = Jobs(config, database, lambda: ended.append(1))
    event = Event("e1", "event", "notebook", params={"notebook": "a.ipynb"}, **fields)
    job = event.to_dict()
    runs.add_run(database, runs.NewRun("j1", "e1", "anna", "test", None, time.time(), job))
    assert runs.mark_running(database, "j1", time.time())
    jobs.start(runs.get_run(database, "j1"))
    return jobs, ended


def test_abort_that_comes_as_the_process_ends_is_not_forgotten(tmp_path, database, monkeypatch):
    original = runs.mark_waiting

    def abort_meanwhile(*args):
        original(*args)
        assert jobs.stop("j1", "abort", "by hand")

    monkeypatch.setattr(runs, "mark_waiting", abort_meanwhile)
    script = "import time, sys; time.sleep(0.2); sys.exit(1)"
    jobs, ended = start(tmp_path, database, script, retries=5, retry_delay=60)
    wait_until(lambda: ended, "the attempt's end", timeout_s=10, interval_s=0.05)
    run = runs.get_run(database, "j1")
    assert (run["state"], run["outcome"]) == ("done", "aborted")


def test_plugin_that_never_reads_its_job_does_not_hold_the_engine(tmp_path, database):
    # The job is larger than a pipe holds.
    jobs, ended = start(
        tmp_path, database, 'print(\'{"complete": 1, "code": 0}\')', notes="x" * 300_000
    )
    wait_until(lambda: ended, "the attempt's end", timeout_s=10, interval_s=0.05)
    assert runs.get_run(database, "j1")["outcome"] == "succeeded" and not jobs.active


def test_a_log_on_a_full_disk_does_not_end_the_run(tmp_path, database):
    log = tmp_path / "logs/jobs/j1.log"
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    script = 'import sys; sys.stderr.write("lost"); print(\'{"complete": 1, "code": 0}\')'
    jobs, ended = start(tmp_path, database, script)
    wait_until(lambda: ended, "the attempt's end", timeout_s=10, interval_s=0.05)
    assert runs.get_run(database, "j1")["outcome"] == "succeeded" and not jobs.active


def test_ids_ascend_also_when_the_clock_was_set_back():
    ids = JobIds()
    made = [ids.new(now) for now in (1_790_000_000, 1_790_000_000, 1_700_000_000, 1_790_000_001)]
    assert made == sorted(made) and len(set(made)) == 4
    assert JobIds(made[-1]).new(0) > made[-1]
    assert all(len(made_id) == 9 and made_id.isalnum() for made_id in made)
