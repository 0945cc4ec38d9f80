"""Calls under Cronicle that the ledger answers, whatever Cronicle itself still knows."""

from __future__ import annotations

import pytest

from vixtract.cronicle_edge import calls
from vixtract.cronicle_edge.__main__ import Status
from vixtract.cronicle_edge.calls import Contract
from vixtract.cronicle_edge.reconcile import Reconciler
from vixtract.cronicle_edge.upstream import Upstream
from vixtract.errors import VixtractError
from vixtract.ledger import runs
from vixtract.ledger.database import Database
from vixtract.scheduler import settling, store
from vixtract.scheduler.api import ApiError
from vixtract.scheduler.config import EngineConfig
from vixtract.scheduler.events import Event
from vixtract.scheduler.store import Caller

KEY = "k" * 20
LIMITED = "a" * 20
NOW = 1_800_000_000.0


@pytest.fixture
def contract(tmp_path, monkeypatch):
    """A contract whose Cronicle is away, with three ended runs and one that is open."""
    monkeypatch.setattr(calls, "_BETWEEN_S", 0.2)
    database = Database(tmp_path / "ledger.sqlite3")
    for number, (author, code) in enumerate([("anna", 0), ("anna", 3), ("boris", 255)]):
        event = Event(f"e{number}", f"Sales {number}", "shellplug", username=author)
        store.put_event(database, event, 0)
        settling.add_run(database, f"j{number}", event, "Scheduler", 60 * number, NOW)
        outcome = settling.judge(code, stopped=False)
        runs.finish_run(database, f"j{number}", runs.Outcome(outcome, code, "said", NOW + number))
    settling.add_run(database, "j9", Event("e0", "Sales 0", "shellplug"), "Scheduler", None, NOW)
    store.create_key(database, Caller("limited", "anna", {}), LIMITED, int(NOW))
    upstream = Upstream("session", tmp_path / "absent.sock")
    yield Contract(upstream, database, EngineConfig(KEY, tmp_path))
    database.close()


def found(contract, key=KEY, call="get_history", **params):
    answer = contract.answer(call, key, params)
    return [row["id"] for row in answer["rows"]], answer["list"]["length"]


def test_histories_are_filtered_as_under_the_embedded_engine(contract):
    assert found(contract) == (["j2", "j1", "j0"], 3)
    assert found(contract, limit=1, offset=1) == (["j1"], 3)
    assert found(contract, state=["failed"]) == (["j1"], 1)
    assert found(contract, state="warning,failed", word="SALES") == (["j2", "j1"], 2)
    assert found(contract, owner="boris", since=int(NOW)) == (["j2"], 1)
    assert found(contract, call="get_event_history", id="e1") == (["j1"], 1)
    assert found(contract, call="get_event_slots", id="e1") == ([], 0)
    with pytest.raises(ApiError, match="state may be"):
        found(contract, state="good")


def test_a_limited_key_sees_the_runs_of_its_author(contract):
    assert found(contract, LIMITED) == (["j1", "j0"], 2)
    assert list(contract.answer("get_recent_runs", LIMITED, {})["runs"]) == ["e1", "e0"]
    recent = contract.answer("get_recent_runs", KEY, {"ids": ["e2", "none"]})["runs"]
    assert [run["outcome"] for run in recent["e2"]] == ["succeeded"]
    with pytest.raises(ApiError, match="Failed to locate event"):
        found(contract, LIMITED, "get_event_history", id="e2")


def test_a_run_that_cronicle_does_not_know_is_answered_from_the_ledger(contract):
    job = contract.answer("get_job_status", KEY, {"id": "j1"})["job"]
    assert (job["complete"], job["code"], job["description"]) == (1, 3, "said")
    assert contract.answer("get_job_details", LIMITED, {"id": "j1"})["job"]["params"] == {}


@pytest.mark.parametrize(("key", "job"), [(LIMITED, "j2"), (KEY, "j9"), (KEY, "unknown")])
def test_a_run_of_another_author_or_an_open_one_is_not(contract, key, job):
    with pytest.raises(ApiError):
        contract.answer("get_job_status", key, {"id": job})


@pytest.mark.parametrize("call", ["get_schedule", "get_event", "update_event", "delete_event"])
def test_the_schedule_of_before_a_switch_of_engines_is_neither_shown_nor_changed(contract, call):
    store.set_engine(contract.database, "embedded")
    with pytest.raises(ApiError, match="taking the schedule over") as refused:
        contract.answer(call, KEY, {"id": "e0", "notes": "lost"})
    assert refused.value.code == "manager"
    assert len(contract.answer("get_history", KEY, {})["rows"]) == 3
    store.set_engine(contract.database, "cronicle")
    with pytest.raises(VixtractError, match="does not answer"):
        contract.answer(call, KEY, {"id": "e0"})


class AnsweringCronicle(Upstream):
    """A Cronicle that manages a schedule without events."""

    def call(self, name, params=None):
        """Answer every call with nothing."""
        return {}


def test_cronicle_counts_as_starting_until_it_has_the_ledgers_schedule(contract, tmp_path):
    contract.upstream = AnsweringCronicle("session", tmp_path / "absent.sock")
    store.set_engine(contract.database, "embedded")
    reconciler = Reconciler(contract, None, EngineConfig(KEY, tmp_path))
    reconciler.look()
    assert [s.event.id for s in store.list_events(contract.database)] == ["e2", "e1", "e0"]
    config = EngineConfig(KEY, tmp_path, runner_socket=tmp_path / "runner.sock")
    assert Status(config, contract)()["code"] == "manager"
    store.set_engine(contract.database, "cronicle")
    assert Status(config, contract)()["code"] == 0
