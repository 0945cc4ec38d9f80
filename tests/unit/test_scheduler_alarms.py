"""Alarms of the embedded engine: the second at which each event is due next."""

from __future__ import annotations

import threading
import time

import pytest

from vixtract.ledger.database import Database
from vixtract.scheduler import store
from vixtract.scheduler.config import EngineConfig
from vixtract.scheduler.embedded.alarms import Alarms
from vixtract.scheduler.embedded.engine import EmbeddedEngine
from vixtract.scheduler.events import Event

START = 1_800_000_000.0
MINUTELY = Event("each", "each", "notebook", timing={})
HOURLY = Event("hourly", "hourly", "notebook", timing={"minutes": [0]})


@pytest.fixture
def clock():
    return [START + 10]


@pytest.fixture
def changes():
    return []


@pytest.fixture
def alarms(clock, changes):
    return Alarms(lambda: clock[0], lambda: changes.append(1))


def test_the_nearest_alarm_counts_and_each_rings_once(alarms, clock, changes):
    assert alarms.seconds_to_next(5) == 5
    alarms.set(HOURLY)
    alarms.set(MINUTELY)
    assert len(changes) == 2
    assert alarms.seconds_to_next(100) == 50 and alarms.seconds_to_next(1) == 1
    assert alarms.take_due() == []
    clock[0] = START + 60
    assert alarms.seconds_to_next(1) == 0
    assert alarms.take_due() == ["each"] and alarms.take_due() == []
    clock[0] = START + 3600.5
    assert sorted(alarms.take_due()) == ["each", "hourly"]
    assert alarms.seconds_to_next(100) == 59.5


@pytest.mark.parametrize("change", [{"enabled": 0}, {"timing": False}])
def test_an_event_that_is_not_due_has_no_alarm(alarms, clock, change):
    alarms.set(MINUTELY)
    alarms.set(MINUTELY.updated(change))
    clock[0] += 3600
    assert alarms.take_due() == [] and alarms.seconds_to_next(7) == 7
    alarms.set(MINUTELY)
    alarms.remove("each")
    alarms.remove("each")
    assert alarms.seconds_to_next(7) == 7


def test_all_alarms_are_made_anew_after_the_clock_was_set(alarms, clock):
    alarms.set(HOURLY)
    clock[0] -= 86400
    alarms.rebuild([MINUTELY])
    assert alarms.seconds_to_next(100) == 50
    clock[0] += 7200
    assert alarms.take_due() == ["each"]


def test_an_unknown_time_zone_is_logged_and_leaves_other_events_alone(alarms, clock, caplog):
    alarms.rebuild([MINUTELY.updated({"id": "lost", "timezone": "Moscow"}), MINUTELY])
    assert "event lost has no alarm" in caplog.text and "'Moscow'" in caplog.text
    clock[0] += 60
    assert alarms.take_due() == ["each"]


def test_the_engine_wakes_when_an_event_is_due(tmp_path, monkeypatch):
    # With a heartbeat this long only the alarm can be what wakes it.
    monkeypatch.setattr("vixtract.scheduler.embedded.engine.HEARTBEAT_S", 60.0)
    config = EngineConfig("k" * 20, tmp_path, max_jobs=0)
    shift = START + 58 - time.time()
    engine = EmbeddedEngine(
        config, Database(tmp_path / "ledger.sqlite3"), lambda: time.time() + shift
    )
    settled = threading.Event()
    monkeypatch.setattr(engine, "_queue_slot", lambda *_: (settled.set(), ("", "not run"))[1])
    engine.start()
    store.put_event(engine.database, MINUTELY, int(START))
    engine.alarms.set(MINUTELY)
    assert settled.wait(10)
    late = time.time() + shift - START - 60
    engine.stop()
    engine.database.close()
    assert 0 <= late < 1.0
