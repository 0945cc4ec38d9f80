"""What everything above the scheduler relies on, whichever engine answers.

Every test makes its own events with its own titles and removes them, so that it can run against a
scheduler that is in use. Scripts are shell scripts, which both engines have a plugin for.
"""

from __future__ import annotations

import itertools
import json
import os
import time
import urllib.error
import urllib.request
from contextlib import suppress

import pytest

from tests.scheduler_client import JobClient
from tests.waiting import wait_until
from vixtract.scheduler.client import SchedulerError

numbers = itertools.count(1)


@pytest.fixture
def make(contract_client):
    """Create shell script events that are gone after the test."""
    made = []

    def create(script="#!/bin/bash\necho hello\n", **fields):
        title = f"contract {os.getpid()} {next(numbers)}"
        # An appliance's runner asks whose account a script runs as; the stand-in plugin does not.
        owner = os.environ.get("SCHEDULER_CONTRACT_OWNER")
        event = {
            "title": title,
            "plugin": "shellplug",
            "params": {"script": script, **({"owner": owner} if owner else {})},
            "timing": False,
            **fields,
        }
        made.append(contract_client.create_event(event))
        return made[-1]

    yield create
    for job in contract_client.get_active_jobs().values():
        if job["event"] in made:
            # One that has ended since it was listed cannot be aborted.
            with suppress(SchedulerError):
                contract_client.abort_job(job["id"])
            contract_client.wait_for_job(job["id"], 120)
    for event in made:
        wait_until(lambda e=event: is_deleted(contract_client, e), "the event's end", timeout_s=20)


def is_deleted(client, event):
    """Delete an event; Cronicle counts a job as running for a moment after it said complete."""
    try:
        client.delete_event(event)
    except SchedulerError as error:
        return "locate" in error.message
    return True


def test_ping_answers_without_a_key(contract_client):
    stranger = JobClient(contract_client.base_url, "")
    assert stranger.call("ping")["code"] == 0


def test_wrong_key_is_refused_and_not_repeated(contract_client):
    stranger = JobClient(contract_client.base_url, "nobodysKeyWithManyLetters")
    with pytest.raises(SchedulerError) as caught:
        stranger.get_schedule()
    assert caught.value.code in ("api", "session")


def test_call_without_a_key_is_a_session_error(contract_client):
    with pytest.raises(SchedulerError) as caught:
        JobClient(contract_client.base_url, "").get_schedule()
    assert caught.value.code == "session"


def test_event_is_created_shown_updated_and_deleted(contract_client, make):
    event = make(timing={"hours": [3], "minutes": [15]}, timezone="Europe/Berlin", retries=1)
    shown = contract_client.get_event(event)
    assert shown["timing"] == {"hours": [3], "minutes": [15]}
    assert (shown["timezone"], shown["retries"], shown["enabled"]) == ("Europe/Berlin", 1, 1)
    assert shown["category"] == "general" and shown["target"] == "allgrp"
    assert abs(shown["created"] - time.time()) < 120

    contract_client.update_event(event, {"enabled": 0, "notes": "paused"})
    shown = contract_client.get_event(event)
    assert (shown["enabled"], shown["notes"], shown["retries"]) == (0, "paused", 1)
    assert event in [row["id"] for row in contract_client.get_schedule().rows]

    contract_client.delete_event(event)
    with pytest.raises(SchedulerError) as caught:
        contract_client.get_event(event)
    assert caught.value.code == "event"
    assert event not in [row["id"] for row in contract_client.get_schedule().rows]


def test_event_is_found_by_its_title(contract_client, make):
    event = make()
    title = contract_client.get_event(event)["title"]
    assert contract_client.call("get_event", {"title": title})["event"]["id"] == event


def test_title_can_be_taken_once(contract_client, make):
    event = make()
    title = contract_client.get_event(event)["title"]
    with pytest.raises(SchedulerError, match="already exists") as caught:
        make(title=title)
    assert caught.value.code == "event"


@pytest.mark.parametrize(
    "fields",
    [
        {"timing": {"hours": [24]}},
        {"timing": {"minutes": ["5"]}},
        {"timing": {"seconds": [1]}},
        {"timing": "daily"},
        {"max_children": "one"},
        {"title": "<b>bold</b>"},
        {"params": "script"},
    ],
    ids=str,
)
def test_malformed_event_is_refused(contract_client, make, fields):
    with pytest.raises(SchedulerError) as caught:
        make(**fields)
    assert caught.value.code == "api"


@pytest.mark.parametrize("call", ["get_event", "update_event", "delete_event", "run_event"])
def test_unknown_event_is_an_event_error(contract_client, call):
    with pytest.raises(SchedulerError, match="Failed to locate event") as caught:
        contract_client.call(call, {"id": "nosuchevent"})
    assert caught.value.code == "event"


def test_unknown_job_is_a_job_error(contract_client):
    for call in ("get_job_status", "abort_job"):
        with pytest.raises(SchedulerError) as caught:
            contract_client.call(call, {"id": "jnosuchjob"})
        assert caught.value.code == "job"


def test_run_by_hand_reports_log_details_and_history(contract_client, make):
    event = make("#!/bin/bash\necho first line\necho second line >&2\n")
    job = contract_client.run_event(event)
    done = contract_client.wait_for_job(job, 120)
    assert (done["id"], done["event"], done["complete"], done["code"]) == (job, event, 1, 0)
    assert done["elapsed"] >= 0 and done["time_end"] >= done["time_start"]
    log = contract_client.get_job_log(job)
    assert "first line" in log and "second line" in log
    assert contract_client.get_job_details(job)["code"] == 0
    wait_until(
        lambda: contract_client.get_event_history(event).length, "the history row", interval_s=0.1
    )
    history = contract_client.get_event_history(event)
    assert (history.length, [row["id"] for row in history.rows]) == (1, [job])
    assert history.rows[0]["code"] == 0 and history.rows[0]["action"] == "job_complete"
    assert job in [row["id"] for row in contract_client.get_history().rows]


def test_failing_script_gives_its_code(contract_client, make):
    event = make("#!/bin/bash\necho broken\nexit 7\n")
    done = contract_client.wait_for_job(contract_client.run_event(event), 120)
    assert (done["complete"], done["code"]) == (1, 7)
    wait_until(
        lambda: contract_client.get_event_history(event).length, "the history row", interval_s=0.1
    )
    row = contract_client.get_event_history(event).rows[0]
    assert (row["code"], row["has_error"]) == (7, 1) and row["description"]


def test_disabled_event_can_be_run_by_hand(contract_client, make):
    event = make(enabled=0)
    done = contract_client.wait_for_job(contract_client.run_event(event), 120)
    assert done["code"] == 0


def test_single_parameters_can_be_replaced_for_one_run(contract_client, make):
    event = make("#!/bin/bash\nexit 3\n")
    job = contract_client.run_event(event, {"script": "#!/bin/bash\necho replaced\n"})
    assert contract_client.wait_for_job(job, 120)["code"] == 0
    assert "replaced" in contract_client.get_job_log(job)
    assert "exit 3" in contract_client.get_event(event)["params"]["script"]


def test_live_console_is_paged_by_offset_while_the_job_runs(contract_client, make):
    event = make("#!/bin/bash\necho one\nsleep 3\necho two\nsleep 30\n")
    job = contract_client.run_event(event)
    seen, offset = "", 0

    def look():
        nonlocal seen, offset
        page = contract_client.get_live_console(job, offset)
        seen, offset = seen + page.data, page.next
        return "two" in seen

    wait_until(look, "both lines", interval_s=0.2)
    assert seen.count("one") == 1 and seen.count("two") == 1
    assert contract_client.get_live_console(job, offset).data == ""


def test_log_of_a_running_job_is_not_found(contract_client, make):
    event = make("#!/bin/bash\nsleep 30\n")
    job = contract_client.run_event(event)
    wait_until(lambda: job in contract_client.get_active_jobs(), "running job", interval_s=0.1)
    with pytest.raises(SchedulerError) as caught:
        contract_client.get_job_log(job)
    assert caught.value.code == "404"


def test_aborted_job_ends_and_says_so(contract_client, make):
    event = make("#!/bin/bash\nsleep 60\n", retries=3)
    job = contract_client.run_event(event)
    wait_until(lambda: job in contract_client.get_active_jobs(), "running job", interval_s=0.1)
    assert "params" not in contract_client.get_active_jobs()[job]
    contract_client.abort_job(job)
    done = contract_client.wait_for_job(job, 20)
    assert done["code"] == 1 and "Aborted" in done["description"]
    # Cronicle writes its history a moment after the job is complete.
    wait_until(
        lambda: contract_client.get_event_history(event).length, "the history row", interval_s=0.1
    )
    assert contract_client.get_event_history(event).rows[0]["code"] == 130
    with pytest.raises(SchedulerError):
        contract_client.abort_job(job)


def test_event_with_running_jobs_is_not_deleted(contract_client, make):
    event = make("#!/bin/bash\nsleep 30\n")
    job = contract_client.run_event(event)
    wait_until(lambda: job in contract_client.get_active_jobs(), "running job", interval_s=0.1)
    with pytest.raises(SchedulerError, match="Still has running jobs") as caught:
        contract_client.delete_event(event)
    assert caught.value.code == "event"


def test_second_child_is_refused(contract_client, make):
    event = make("#!/bin/bash\nsleep 30\n", max_children=1)
    contract_client.run_event(event)
    with pytest.raises(SchedulerError, match="Maximum of 1 job already running") as caught:
        contract_client.run_event(event)
    assert caught.value.code == "event"


def test_second_child_waits_where_the_event_queues(contract_client, make):
    event = make("#!/bin/bash\nsleep 2\n", max_children=1, queue=1, queue_max=1)
    contract_client.run_event(event)
    answer = contract_client.call("run_event", {"id": event})
    assert (answer["ids"], answer["queue"]) == ([], 1)
    with pytest.raises(SchedulerError, match="Event queue reached max of 1 items"):
        contract_client.run_event(event)
    wait_until(
        lambda: contract_client.get_event_history(event).length == 2, "both runs", interval_s=0.3
    )


def test_queue_can_be_emptied(contract_client, make):
    event = make("#!/bin/bash\nsleep 20\n", max_children=1, queue=1)
    contract_client.run_event(event)
    contract_client.call("run_event", {"id": event})
    contract_client.flush_event_queue(event)
    assert contract_client.call("get_event", {"id": event}).get("queue", 0) == 0


def test_history_is_paged_newest_first(contract_client, make):
    event = make()
    jobs = []
    for _ in range(3):
        jobs.append(contract_client.run_event(event))
        contract_client.wait_for_job(jobs[-1], 120)
    page = contract_client.get_event_history(event, offset=1, limit=1)
    assert (page.length, [row["id"] for row in page.rows]) == (3, [jobs[1]])


def test_further_keys_do_what_their_privileges_say(contract_client, make):
    key = f"contractKey{os.getpid()}x{next(numbers)}AndMoreLetters"
    made = contract_client.call(
        "create_api_key",
        {"title": "contract", "key": key, "active": 1, "privileges": {"create_events": 1}},
    )
    limited = JobClient(contract_client.base_url, key)
    event = make()
    with pytest.raises(SchedulerError, match="privileges") as caught:
        limited.run_event(event)
    assert caught.value.code == "api"
    with pytest.raises(SchedulerError):
        limited.call("get_api_keys")
    contract_client.call("delete_api_key", {"id": made["id"]})
    with pytest.raises(SchedulerError):
        limited.get_schedule()


def test_calls_answer_with_status_200_also_below_the_bare_path(contract_client):
    root = contract_client.base_url.removesuffix("/cronicle")
    for address in (contract_client.base_url, root):
        request = urllib.request.Request(f"{address}/api/app/get_event?id=x")
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert response.status == 200 and answer["code"] == "session" and answer["description"]


def test_plugins_and_categories_are_listed(contract_client):
    plugins = [row["id"] for row in contract_client.call("get_plugins")["rows"]]
    categories = [row["id"] for row in contract_client.call("get_categories")["rows"]]
    assert "shellplug" in plugins and "general" in categories
