"""What calls to change and run an event mean, the same under both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from vixtract.scheduler.api import ApiError, build_event, choose_cursor, override_params
from vixtract.scheduler.config import EngineConfig
from vixtract.scheduler.events import Event
from vixtract.scheduler.store import Caller

NOW = 1_800_000_000
CONFIG = EngineConfig("k" * 20, Path("/nowhere"), timezone="Europe/Berlin", keep_days=10)
ADMIN, ANNA = Caller("boss", "vixtract", {"admin": 1}), Caller("key", "anna")
PLAIN = Event("e1", "one", "shellplug", timing={"hours": [3], "minutes": [0]})
CATCHING = PLAIN.updated({"catch_up": 1})


@pytest.mark.parametrize(
    ("old", "change", "asked", "cursor"),
    [
        (PLAIN, {"title": "two"}, {}, None),
        (PLAIN, {"timing": {}}, {}, NOW),
        (PLAIN, {"timezone": "Asia/Tokyo"}, {}, NOW),
        (PLAIN, {"enabled": 0}, {}, NOW),
        # Without catch-up there is nothing to go back to.
        (PLAIN, {"timing": {}}, {"reset_cursor": NOW - 600}, NOW),
        (PLAIN, {}, {"reset_cursor": NOW - 600}, None),
        (CATCHING, {"timing": {}}, {"reset_cursor": NOW - 600}, NOW - 660),
        (CATCHING, {}, {"reset_cursor": str(NOW + 600)}, NOW),
        (CATCHING, {}, {"reset_cursor": 5}, NOW - 9 * 86400),
    ],
)
def test_from_when_on_an_updated_event_is_settled(old, change, asked, cursor):
    assert choose_cursor(old, old.updated(change), asked, CONFIG, NOW) == cursor


def test_an_event_gets_the_appliance_s_zone_and_its_callers_name():
    asked = {"id": "E1", "title": "one", "plugin": "shellplug", "username": "boris", "notes": None}
    mine, theirs = (build_event(asked, caller, CONFIG, NOW) for caller in (ANNA, ADMIN))
    assert (mine.id, mine.timezone, mine.created, mine.notes) == ("e1", "Europe/Berlin", NOW, "")
    assert (mine.username, theirs.username) == ("anna", "boris")
    made = build_event({"title": "two", "plugin": "shellplug"}, ANNA, CONFIG, NOW)
    assert made.id.startswith("e") and len(made.id) == 13


def test_parameters_of_one_run_are_an_administrators_to_change():
    own = {"script": "date", "owner": "anna"}
    asked = {"params": {"script": "id"}}
    assert override_params("shellplug", own, asked, ANNA) is None
    assert override_params("shellplug", own, {}, ADMIN) is None
    assert override_params("shellplug", own, asked, ADMIN) == {"script": "id", "owner": "anna"}
    with pytest.raises(ApiError, match="must be object"):
        override_params("shellplug", own, {"params": ["id"]}, ADMIN)
    with pytest.raises(ApiError, match=r"params\.script is missing"):
        override_params("shellplug", own, {"params": {"script": ""}}, ADMIN)
