"""Schedules of people who are disabled or leave, on a scheduler of a few dictionaries."""

from __future__ import annotations

import datetime

import pytest

from vixtract.scheduler import handover as schedules

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.timezone.utc)


class Scheduler:
    """Keeps events and jobs as the contract describes them."""

    def __init__(self, *events, jobs=None):
        self.events = {event["id"]: dict(event) for event in events}
        self.jobs = dict(jobs or {})
        self.disowned = []

    def call(self, name, params=None):
        params = dict(params or {})
        if name == "get_schedule":
            rows = list(self.events.values())
            return {"rows": rows[params["offset"] :], "list": {"length": len(rows)}}
        if name == "update_event":
            self.events[params.pop("id")].update(params)
        elif name == "abort_job":
            del self.jobs[params["id"]]
        elif name == "get_active_jobs":
            return {"jobs": dict(self.jobs)}
        elif name == "get_queue":
            return {"rows": []}
        elif name == "disown_runs":
            self.disowned.append((params["username"], params["to"]))
        else:
            raise AssertionError(name)
        return {}


def event(identifier, author, enabled=1, **params):
    return {"id": identifier, "username": author, "enabled": enabled, "params": params}


@pytest.fixture
def scheduler():
    return Scheduler(
        event("own", "anna", notebook="etl/load.ipynb"),
        event("off", "anna", enabled=0, notebook="/home/anna/x.ipynb"),
        event("by-boss", "boss", owner="anna", notebook="y.ipynb"),
        event("others", "bob", notebook="z.ipynb"),
        jobs={
            "j1": {"event": "own", "username": "anna"},
            "j2": {"event": "by-boss", "username": "boss", "params": {"owner": "anna"}},
            "j3": {"event": "others", "username": "bob"},
        },
    )


def test_pause_stops_what_is_theirs_and_resume_starts_what_was_on(scheduler):
    done = schedules.pause(scheduler, "anna")
    assert (sorted(done.events), done.jobs) == (["by-boss", "own"], 2)
    assert set(scheduler.jobs) == {"j3"}
    assert schedules.pause(scheduler, "anna") == schedules.ScheduleChanges()
    schedules.resume(scheduler, "anna", frozenset(done.events))
    assert {i: e["enabled"] for i, e in scheduler.events.items()} == {
        "own": 1, "off": 0, "by-boss": 1, "others": 1,
    }  # fmt: skip


def test_handed_over_schedules_find_their_notebooks(scheduler):
    paused = frozenset(schedules.pause(scheduler, "anna").events)
    done = schedules.hand_over(scheduler, "anna", "bob", "from-anna", paused)
    assert sorted(done.events) == ["by-boss", "off", "own"]
    own, off, boss = (scheduler.events[name] for name in ("own", "off", "by-boss"))
    assert own["params"] == {"notebook": "from-anna/etl/load.ipynb", "owner": "bob"}
    assert off["params"]["notebook"] == "/home/bob/from-anna/x.ipynb"
    assert (own["username"], own["enabled"], off["enabled"]) == ("bob", 1, 0)
    assert (boss["username"], boss["params"]["owner"], boss["enabled"]) == ("boss", "bob", 1)
    assert scheduler.disowned == [("anna", "bob")]
    assert schedules.hand_over(scheduler, "anna", "bob", "from-anna", paused).events == ()


def test_archived_schedules_name_nobody_who_could_come_again(scheduler):
    schedules.pause(scheduler, "anna")
    schedules.archive(scheduler, "anna", NOW)
    for row in scheduler.events.values():
        assert "anna" not in (row["username"], schedules.find_owner(row["params"], row["username"]))
    assert scheduler.events["own"]["enabled"] == 0
    assert "anna was removed on 2026-11-22" in scheduler.events["own"]["notes"]
    assert scheduler.events["others"] == event("others", "bob", notebook="z.ipynb")
