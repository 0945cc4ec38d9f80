"""Limits, logs, keys and protocol of the embedded engine, with stand-in plugins."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from tests.contract.embedded import API_KEY, EmbeddedEngine
from tests.contract.test_embedded_faults import is_alive, marks
from tests.scheduler_client import JobClient
from tests.waiting import wait_until
from vixtract.scheduler.client import SchedulerError

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An engine for tests that leave nothing behind that others could meet."""
    engine = EmbeddedEngine(tmp_path_factory.mktemp("limits")).start()
    yield engine
    engine.stop()


def test_fifty_jobs_at_once_wait_for_their_turn_and_all_finish(engine, tmp_path):
    engine.settings["MAX_JOBS"] = "4"
    engine.start()
    steps = [["mark", str(tmp_path / "m")], ["await_file", str(tmp_path / "go")], ["sleep", 0.1]]
    event = engine.create("many", steps)
    jobs = [engine.client.run_event(event) for _ in range(50)]
    assert len(set(jobs)) == 50 and sorted(jobs) == jobs
    assert engine.client.call("get_queue")["list"]["length"] == 46
    (tmp_path / "go").touch()

    def all_done():
        assert len(engine.client.get_active_jobs()) <= 4, "more than MAX_JOBS at once"
        return engine.client.get_event_history(event).length == 50

    wait_until(all_done, "all 50", interval_s=0.1)
    assert len(marks(tmp_path / "m")) == 50
    rows = engine.client.get_event_history(event).rows
    assert {row["outcome"] for row in rows} == {"succeeded"} and {r["id"] for r in rows} == set(
        jobs
    )


def test_plugin_sees_no_secret_of_the_engine(engine, tmp_path):
    engine.settings |= {
        "SCHEDULER_DATABASE_URL": "postgresql://vixtract:topsecret@127.0.0.1:1/vixtract",
        "SMTP_PASSWORD": "topsecret",
        "TZ": "Europe/Berlin",
    }
    engine.start()
    event = engine.create("environment", [["environment", str(tmp_path / "e")]])
    job = engine.run(event)["id"]
    seen = json.loads((tmp_path / "e").read_text())
    assert API_KEY not in str(seen) and "topsecret" not in str(seen)
    assert {"LC_CTYPE"} >= set(seen) - {
        *("PATH", "LANG", "HOME", "TZ", "RUNNER_SOCKET", "JOB_ID", "JOB_EVENT")
    }
    assert (seen["JOB_ID"], seen["TZ"]) == (job, "Europe/Berlin")


def test_secrets_are_in_no_file_and_files_are_the_engines_alone(engine, tmp_path):
    key = "aSecondKeyOfAnnaWithManyLetters"
    engine.start()
    engine.client.call(
        "create_api_key",
        {
            "title": "anna",
            "key": key,
            "active": 1,
            "username": "anna",
            "privileges": {"run_events": 1},
        },
    )
    event = engine.create("quiet", [["sleep", 30]])
    job = engine.client.run_event(event)
    engine.client.abort_job(job)
    engine.client.wait_for_job(job, 120)
    assert key not in str(engine.client.call("get_api_keys"))
    engine.stop()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"engine.log", "ledger.sqlite3", f"{job}.log"}
    for path in files:
        content = path.read_bytes()
        assert key.encode() not in content and API_KEY.encode() not in content, path
    for path in (tmp_path / "data").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_progress_memo_and_tables_are_shown_live_and_kept(shared):
    report = {"progress": 0.5, "memo": "cell 3 of 6", "perf": {"load": 2.5}}
    chain = {"owner": "anna", "run_dir": "/runs/anna/j1"}
    steps = [["say", report], ["sleep", 3], ["say", {"chain_data": chain, "html": "<b>no</b>"}]]
    job = shared.client.run_event(shared.create("progress", steps))
    live = wait_until(
        lambda: (s := shared.client.get_job_status(job))["progress"] and s,
        "progress",
        interval_s=0.1,
    )
    assert (live["progress"], live["memo"], live["state"]) == (0.5, "cell 3 of 6", "running")
    assert shared.client.get_active_jobs()[job]["perf"] == {"load": 2.5}
    done = shared.client.wait_for_job(job, 120)
    assert (done["progress"], done["chain_data"], done["state"]) == (1, chain, "done")
    assert "html" not in done
    row = shared.client.get_event_history(done["event"]).rows[0]
    assert (row["memo"], row["chain_data"]) == ("cell 3 of 6", chain)


def test_output_that_is_no_protocol_goes_to_the_log(shared):
    steps = [
        ["raw", "just text\n"],
        ["raw", "[1, 2]\n"],
        ["log", "to stderr"],
        ["raw", "{broken\n"],
    ]
    done = shared.run(shared.create("chatty", steps))
    log = shared.client.get_job_log(done["id"])
    assert done["code"] == 0
    assert all(text in log for text in ("just text", "[1, 2]", "to stderr", "{broken"))


def test_endless_line_is_dropped_and_said(shared):
    steps = [["raw", "x", 900_000], ["raw", "y", 900_000], ["raw", "\n"]]
    done = shared.run(shared.create("one line", steps))
    assert done["code"] == 0
    assert "more than 1048576 bytes was dropped" in shared.client.get_job_log(done["id"])


def test_hundred_megabytes_of_log_are_cut_and_said(shared):
    done = shared.run(shared.create("flood", [["flood", 100 * MIB], ["log", "after"]]), 60)
    log = shared.client.get_job_log(done["id"])
    assert done["code"] == 0
    assert 20 * MIB <= len(log) < 20 * MIB + 1000 and done["log_file_size"] == len(log.encode())
    assert "The log reached 20971520 bytes; further output is dropped." in log
    assert "# Job completed" in log[-200:] and "after" not in log[-1000:]


def test_console_pages_never_cut_a_character(shared):
    done = shared.run(shared.create("cyrillic", [["log", "ы" * 100_000]]))
    text, offset, pages = "", 0, 0
    while True:
        page = shared.client.get_live_console(done["id"], offset)
        text, offset, pages = text + page.data, page.next, pages + 1
        if page.complete:
            break
    assert text.count("ы") == 100_000 and "\N{REPLACEMENT CHARACTER}" not in text and pages >= 4


def test_exit_without_completion_is_a_failure(shared):
    done = shared.run(shared.create("silent", [["leave", 0]]))
    assert (done["code"], done["outcome"]) == (1, "failed")
    assert "without reporting job completion (exit code 0)" in done["description"]


def test_warning_is_no_failure_and_not_retried(shared):
    warning = {"complete": 1, "code": 255, "description": "2 rows skipped"}
    done = shared.run(shared.create("warning", [["say", warning], ["leave", 0]], retries=2))
    assert (done["code"], done["outcome"], done["attempt"]) == (255, "succeeded", 1)
    assert done["description"] == "2 rows skipped"
    assert shared.client.get_event_history(done["event"]).rows[0]["has_error"] == 0


def test_retries_keep_the_job_and_append_to_its_log(shared, tmp_path):
    steps = [["mark", str(tmp_path / "m")], ["log", "trying"], ["leave", 1]]
    event = shared.create("retry", steps, retries=2, retry_delay=1)
    begun = time.monotonic()
    done = shared.run(event)
    assert time.monotonic() - begun >= 2
    assert [attempt for _, attempt in marks(tmp_path / "m")] == [1, 2, 3]
    assert (done["attempt"], done["outcome"], done["elapsed"] >= 2) == (3, "failed", True)
    log = shared.client.get_job_log(done["id"])
    assert log.count("trying") == 3 and "# Attempt 3" in log
    assert shared.client.get_event_history(event).length == 1


def test_retry_that_waits_can_be_aborted(shared, tmp_path):
    steps = [["mark", str(tmp_path / "m")], ["leave", 1]]
    job = shared.client.run_event(shared.create("aborted retry", steps, retries=5, retry_delay=60))
    wait_until(
        lambda: shared.client.get_job_status(job)["state"] == "waiting", "wait", interval_s=0.1
    )
    shared.client.abort_job(job)
    done = shared.client.get_job_status(job)
    assert (done["outcome"], len(marks(tmp_path / "m"))) == ("aborted", 1)


def test_timeout_kills_what_ignores_sigterm_with_its_children(shared):
    steps = [["stubborn"], ["child", 300], ["sleep", 300]]
    job = shared.client.run_event(shared.create("stubborn", steps, timeout=1, retries=2))
    status = wait_until(
        lambda: (s := shared.client.get_job_status(job))["pid"] and s, "the process", interval_s=0.1
    )
    group = status["pid"]
    done = shared.client.wait_for_job(job, 120)
    # One second, then SIGTERM, ten seconds later SIGKILL; a timeout is not tried again.
    assert 10 < done["elapsed"] < 14 and done["attempt"] == 1 and done["outcome"] == "failed"
    assert "Exceeded maximum run time (1 seconds)" in done["description"]
    members = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/stat")
        if read_group(path) == group and is_alive(int(path.parent.name))
    ]
    assert members == []


def read_group(path: Path) -> int:
    try:
        return int(path.read_text().rpartition(")")[2].split()[2])
    except OSError:
        return 0


def test_child_that_holds_the_pipe_does_not_hold_the_job(shared):
    begun = time.monotonic()
    done = shared.run(shared.create("orphan", [["child", 300]]))
    assert done["code"] == 0 and time.monotonic() - begun < 10


def test_missing_plugin_is_a_failure_that_says_so(engine):
    engine.settings["SCHEDULER_PLUGIN_COMMAND"] = "/nonexistent/plugin"
    engine.start()
    done = engine.run(engine.create("no plugin", []))
    assert done["outcome"] == "failed" and "cannot be started" in done["description"]


def test_queued_job_can_be_aborted_and_is_never_started(engine, tmp_path):
    engine.settings["MAX_JOBS"] = "1"
    engine.start()
    busy = engine.client.run_event(engine.create("busy", [["sleep", 60]]))
    queued = engine.client.run_event(engine.create("next", [["mark", str(tmp_path / "m")]]))
    engine.client.abort_job(queued)
    engine.client.abort_job(busy)
    engine.client.wait_for_job(busy, 120)
    assert engine.client.get_job_status(queued)["outcome"] == "aborted"
    assert "API Key: vixtract" in engine.client.get_job_status(queued)["description"]
    time.sleep(1.5)
    assert marks(tmp_path / "m") == []


def test_key_of_a_person_reaches_their_own_events_only(shared):
    key = "theKeyOfBorisWithManyLetters"
    privileges = dict.fromkeys(
        ("create_events", "edit_events", "delete_events", "run_events", "abort_events"), 1
    )
    shared.client.call(
        "create_api_key",
        {"title": "boris", "key": key, "active": 1, "username": "boris", "privileges": privileges},
    )
    boris = JobClient(shared.client.base_url, key)
    theirs = shared.create("theirs", [["sleep", 0]])
    job = shared.run(theirs)["id"]
    for call, params in (
        ("get_event", {"id": theirs}),
        ("update_event", {"id": theirs, "notes": "mine now"}),
        ("run_event", {"id": theirs}),
        ("delete_event", {"id": theirs}),
        ("get_job_status", {"id": job}),
        ("get_live_console", {"id": job}),
        ("get_event_history", {"id": theirs}),
    ):
        with pytest.raises(SchedulerError, match=r"Failed to (locate|fetch)"):
            boris.call(call, params)
    with pytest.raises(SchedulerError) as caught:
        boris.get_job_log(job)
    assert caught.value.code == "404"
    own = boris.create_event(
        {
            "title": "own",
            "plugin": "shellplug",
            "params": {"script": "echo own"},
            "username": "anna",
        }
    )
    # The author decides whose files a job may touch, so a key cannot claim another's name.
    assert shared.client.get_event(own)["username"] == "boris"
    boris.update_event(own, {"username": "vixtract", "notes": "x"})
    assert shared.client.get_event(own)["username"] == "boris"
    run = boris.run_event(own, {"script": "echo other"})
    assert boris.wait_for_job(run, 120)["code"] == 0
    assert "other" not in boris.get_job_log(run)
    assert [row["id"] for row in boris.get_schedule().rows] == [own]
    assert [row["id"] for row in boris.get_history().rows] == [run]


def test_admin_may_act_for_a_person(shared):
    event = shared.create("for anna", [], username="anna")
    assert shared.client.get_event(event)["username"] == "anna"
    assert shared.run(event)["username"] == "anna"
    with pytest.raises(SchedulerError, match="not a valid account name"):
        shared.client.update_event(event, {"username": "../root"})


@pytest.mark.parametrize(
    ("body", "description"),
    [(b"{", "no JSON"), (b"[1]", "must be a JSON object"), (b"[" * 100_000, "no JSON")],
    ids=["cut", "list", "deep"],
)
def test_malformed_request_is_refused(shared, body, description):
    answer = json.loads(shared.client._open("create_event", body))
    assert answer["code"] == "api" and description in answer["description"]


def test_too_large_request_is_refused(shared):
    with pytest.raises(SchedulerError):
        shared.client.call("create_event", {"title": "x" * 5 * MIB})
    assert shared.client.call("ping")["code"] == 0


def test_status_needs_no_key_and_tells_of_the_neighbours(shared):
    stranger = JobClient(shared.client.base_url, "")
    status = stranger.status()
    assert (status["engine"], status["runner"], status["postgresql"]) == (
        "embedded",
        "down",
        "down",
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(shared.directory / "runner.sock"))
        listener.listen()
        wait_until(lambda: stranger.status()["runner"] == "up", "the runner", interval_s=0.3)
    wait_until(
        lambda: stranger.status()["runner"] == "down", "its end", timeout_s=10, interval_s=0.3
    )


def test_update_moves_the_schedule_and_disabling_stops_jobs(shared):
    event = shared.create("moved", [["sleep", 60]], timing={"hours": [3], "minutes": [0]})
    job = shared.client.run_event(event)
    shared.client.update_event(event, {"enabled": 0, "abort_jobs": 1, "timing": {"hours": [4]}})
    assert shared.client.wait_for_job(job, 120)["outcome"] == "aborted"
    assert shared.client.get_event(event)["timing"] == {"hours": [4]}


def test_reset_cursor_runs_past_slots_once(shared, tmp_path):
    steps = [["mark", str(tmp_path / "m")]]
    event = shared.create("reset", steps, timing={}, catch_up=1, max_children=1)
    start = int(time.time() // 60) * 60 - 180
    for _ in range(2):
        shared.client.update_event(event, {"reset_cursor": start})
        wait_until(lambda: shared.client.get_event_history(event).length >= 4, "four runs")
    due = [due for due, _ in marks(tmp_path / "m")]
    assert due[:4] == [start, start + 60, start + 120, start + 180] and len(due) == len(set(due))
