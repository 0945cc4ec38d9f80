"""Schedules over a real homes server: the form from the notebook, pinned copies, bars of runs, the overview."""

from __future__ import annotations

import html
import json
import os
import re
import time

import pytest

from tests.contract.run_stand import CAN_SERVE, WHY_NOT, RunStand
from tests.scratch import open_folder
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(not CAN_SERVE, reason=WHY_NOT)
CELL = """\
# Which year to load.
year: int = 2026
ratio = 0.5  # share of rows kept
full = False
since = "2026-01-31"
region = "north"  # choices: north, south
"""
DONE = ["say", {"complete": 1, "code": 0}]
FAIL = ["say", {"complete": 1, "code": 1, "description": "Cell 2 failed: no such city"}]


@pytest.fixture(scope="module")
def stand():
    with open_folder() as folder:
        stand = RunStand(folder)
        for name in ("anna", "boris"):
            put(stand, name, "etl/load.ipynb", CELL)
        yield stand
        stand.close()


@pytest.fixture
def anna(stand):
    with stand.portal.person("anna") as browser:
        yield browser


def put(stand, owner: str, path: str, source: str) -> None:
    """Write a notebook into a home, as its owner's."""
    file = stand.directory / "home" / owner / path
    file.parent.mkdir(parents=True, exist_ok=True)
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source}
    kernel = {"kernelspec": {"name": "python3", "language": "python"}}
    file.write_text(json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4}))
    if os.getuid() == 0:
        home = stand.directory / "home" / owner
        uid = home.stat().st_uid
        for each in (home, *home.rglob("*")):
            os.chown(each, uid, uid)


def fields_of(page: str) -> dict[str, list[str]]:
    """Return what a browser would send of the form, untouched."""
    form = page.partition('id="schedule"')[2].partition("</form>")[0]
    fields: dict[str, list[str]] = {}
    for tag in re.findall(r"<(?:input|button)\b[^>]*>", form):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        kind = attributes.get("type", "")
        if tag.startswith("<button") or "name" not in attributes:
            continue
        if kind in ("checkbox", "radio") and not re.search(r"\bchecked\b", tag):
            continue
        fields.setdefault(attributes["name"], []).append(html.unescape(attributes.get("value", "")))
    for name, body in re.findall(
        r'<select[^>]*name="([^"]+)"[^>]*>(.*?)</select>', form, re.DOTALL
    ):
        options = re.findall(r'<option(?: value="([^"]*)")?([^>]*)>', body)
        chosen = [value for value, rest in options if "selected" in rest] or [options[0][0]]
        fields[name] = [html.unescape(chosen[0])]
    for name, body in re.findall(
        r'<textarea[^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', form, re.DOTALL
    ):
        fields[name] = [html.unescape(body)]
    return fields


def save(browser, page, **changes):
    """Send a page's form with some fields changed; None takes a field away."""
    fields = {**fields_of(page.text), **{k: [v] for k, v in changes.items() if v is not None}}
    for name in (name for name, value in changes.items() if value is None):
        fields.pop(name, None)
    address = re.search(r'id="schedule" action="([^"]+)"', page.text)[1]
    return browser.post(address, data=fields, follow_redirects=True)


def open_new(browser, notebook="etl/load.ipynb"):
    return browser.get("/portal/schedules/new", params={"notebook": notebook})


def event_of(stand, page) -> dict:
    assert page.status_code == 200, page.text
    return stand.engine.client.get_event(re.fullmatch(r"/portal/schedules/(\w+)", page.url.path)[1])


def test_the_form_has_a_fitting_field_for_each_parameter(anna):
    page = open_new(anna).text
    for name, kind in (
        ("year", "number"),
        ("ratio", "number"),
        ("since", "date"),
        ("full", "checkbox"),
    ):
        tag = re.search(rf'<input[^>]*id="p-{name}"[^>]*>', page, re.DOTALL) or re.search(
            rf'<input type="{kind}" id="p-{name}"', page
        )
        assert tag and f'type="{kind}"' in tag[0], name
    assert '<select id="p-region"' in page
    assert "Which year to load." in page
    assert '<option value="etl/load.ipynb">' in page


def test_an_untouched_form_makes_a_schedule_that_follows_the_notebook(stand, anna):
    event = event_of(stand, save(anna, open_new(anna), title="Follows"))
    assert event["params"] == {
        "notebook": "etl/load.ipynb", "owner": "anna", "parameters": {}, "kernel": "", "memory_mb": 0,
    }  # fmt: skip
    assert event["timing"] == {"hours": [6], "minutes": [0]}


def test_changed_parameters_and_messages_are_kept_and_shown_again(stand, anna):
    saved = save(anna, open_new(anna), title="Changed", **{
        "p-year": "1999", "p-full": "1", "p-region": '"south"', "parameters": '{"other": [1]}',
        "kind": "cron", "cron": "15 */6 * * *", "notify_fail": "anna@example.com",
        "web_hook": "https://chat.example.com/x", "web_hook_error": "on",
    })  # fmt: skip
    event = event_of(stand, saved)
    assert event["params"]["parameters"] == {
        "year": 1999,
        "full": True,
        "region": "south",
        "other": [1],
    }
    assert event["timing"] == {"hours": [0, 6, 12, 18], "minutes": [15]}
    assert (event["notify_fail"], event["web_hook"], event["web_hook_error"]) == (
        "anna@example.com", "https://chat.example.com/x", 1,
    )  # fmt: skip
    again = fields_of(saved.text)
    assert (again["p-year"], again["p-full"], again["p-region"]) == (["1999"], ["1"], ['"south"'])
    assert json.loads(again["parameters"][0]) == {"other": [1]}
    # Saving it once more, unchanged, changes nothing.
    assert event_of(stand, save(anna, saved))["params"] == event["params"]


def test_what_is_wrong_is_said_beside_each_field_and_nothing_is_lost(anna):
    page = save(anna, open_new(anna), title="", **{
        "p-year": "x", "p-ratio": "0.25", "kind": "cron", "cron": "61 * * * *", "notify_fail": "anna",
    })  # fmt: skip
    assert page.status_code == 422
    for name in ("p-year", "title", "cron", "notify_fail"):
        assert f'id="problem-{name}"' in page.text, name
        assert re.search(rf'id="{name}"[^>]*aria-invalid="true"', page.text, re.DOTALL), name
    kept = fields_of(page.text)
    assert (kept["p-year"], kept["p-ratio"], kept["cron"]) == (["x"], ["0.25"], ["61 * * * *"])


def test_looking_before_saving_stores_nothing(stand, anna):
    put(stand, "anna", "other.ipynb", "city = 'Oslo'")
    before = len(stand.engine.client.get_schedule().rows)
    page = save(anna, open_new(anna), notebook="other.ipynb", look="notebook")
    assert page.status_code == 200
    assert 'id="p-city"' in page.text and 'id="p-year"' not in page.text
    assert "year" not in fields_of(page.text)["parameters"][0]
    assert len(stand.engine.client.get_schedule().rows) == before


def test_a_notebook_that_is_not_there_is_said_in_both_languages(stand):
    for language, words in (("en", "not found in the home folder"), ("ru", "Такого блокнота")):
        with stand.portal.person("anna", language=language) as browser:
            assert words in open_new(browser, "gone.ipynb").text


def test_a_pinned_version_is_the_one_of_that_moment(stand, anna):
    put(stand, "anna", "pin.ipynb", "a = 1")
    saved = save(anna, open_new(anna, "pin.ipynb"), version="now")
    digest = event_of(stand, saved)["params"]["pinned"]
    copy = stand.directory / f"home/anna/.local/share/vixtract/pinned/{digest}.ipynb"
    assert "a = 1" in copy.read_text()
    put(stand, "anna", "pin.ipynb", "a = 2")
    assert event_of(stand, save(anna, saved, title="Pinned still"))["params"]["pinned"] == digest
    assert "pinned" not in event_of(stand, save(anna, saved, version="latest"))["params"]
    newer = event_of(stand, save(anna, saved, version="now"))["params"]["pinned"]
    assert newer != digest


def test_pinning_what_is_not_there_is_refused_beside_the_choice(anna):
    page = save(anna, open_new(anna, "gone.ipynb"), version="now")
    assert page.status_code == 422
    assert 'id="problem-version"' in page.text


def test_a_duplicate_begins_as_a_copy_under_another_name(stand, anna):
    first = save(anna, open_new(anna), title="Twin", **{"p-year": "7"})
    copy = anna.get(f"{first.url.path}/copy")
    assert fields_of(copy.text)["title"] == ["Twin (anna)"]
    event = event_of(stand, save(anna, copy))
    assert (event["title"], event["params"]["parameters"]) == ("Twin (anna)", {"year": 7})


def test_a_name_that_is_taken_is_not_proposed(anna):
    save(anna, open_new(anna), title="load")
    assert fields_of(open_new(anna).text)["title"] == ["load (anna)"]


def test_nobody_reads_anothers_notebook(stand, anna):
    put(stand, "boris", "secret.ipynb", "hidden_name = 1")
    for notebook in ("secret.ipynb", "/home/boris/secret.ipynb", "../boris/secret.ipynb"):
        assert "hidden_name" not in open_new(anna, notebook).text
    page = save(anna, open_new(anna), notebook="secret.ipynb", owner="boris", look="notebook")
    assert "hidden_name" not in page.text
    answer = anna.get(
        "/portal/api/notebooks/parameters", params={"notebook": "/home/boris/secret.ipynb"}
    )
    assert answer.status_code == 422
    assert "secret.ipynb" not in anna.get("/portal/api/notebooks").text


def test_the_api_tells_times_and_parameters(stand, anna):
    answer = anna.get(
        "/portal/api/next", params={"kind": "cron", "cron": "0 6 * * *", "timezone": "Asia/Tokyo"}
    )
    times = answer.json()["next"]
    assert len(times) == 5
    assert all(time["at"].endswith("06:00:00+09:00") for time in times)
    wrong = anna.get("/portal/api/next", params={"kind": "weekly", "timezone": "Mars"}).json()
    assert set(wrong["problems"]) == {"weekdays", "timezone"}
    found = anna.get(
        "/portal/api/notebooks/parameters", params={"notebook": "etl/load.ipynb"}
    ).json()
    assert [p["name"] for p in found["parameters"]] == ["year", "ratio", "full", "since", "region"]


# Lists and the overview.


def test_the_bars_show_how_the_last_runs_ended(stand, anna):
    schedule = stand.schedule("Striped", [DONE])
    for steps in ([DONE], [FAIL], [DONE]):
        stand.engine.client.update_event(
            schedule, {"params": {"notebook": "a.ipynb", "parameters": {"steps": steps}}}
        )
        stand.run(schedule)
    page = anna.get("/portal/", params={"q": "striped"}).text
    states = re.findall(r'<rect [^>]*data-state="(\w+)"', page)
    assert states == ["succeeded", "failed", "succeeded"]
    assert "Last 3 runs:" in page and "failed 1" in page


def test_a_late_schedule_and_a_failed_one_stand_first(stand):
    client = stand.engine.client
    with stand.portal.person("boris") as boris:
        assert "Nothing is scheduled yet" in boris.get("/portal/overview").text
        broken = client.create_event({
            "title": "Broken", "plugin": "notebook", "username": "boris",
            "params": {"notebook": "a.ipynb", "parameters": {"steps": [FAIL]}},
            "timing": {"hours": [3], "minutes": [0]},
        })  # fmt: skip
        client.wait_for_job(client.run_event(broken), 120)
        page = boris.get("/portal/overview").text
        assert "Cell 2 failed: no such city" in page
        assert page.index("Broken") < page.index("Running now")
        answer = boris.get("/portal/api/overview").json()
        assert [card["title"] for card in answer["bad"]] == ["Broken"]
        assert answer["services"]["scheduler"] == "up"
        assert answer["disks"][0]["total"] > 0
    with stand.portal.person("anna") as anna:
        assert "Broken" not in anna.get("/portal/overview").text


def test_the_home_page_gets_its_part_when_somebody_is_signed_in(stand, anna):
    with stand.portal.browser() as nobody:
        answer = nobody.get("/portal/overview/fragment")
        assert (answer.status_code, answer.text) == (204, "")
    part = anna.get("/portal/overview/fragment")
    assert part.status_code == 200
    assert "<html" not in part.text
    assert "Failed and late" in part.text


def test_times_are_shown_in_the_viewers_zone(stand, anna):
    schedule = stand.schedule("Zoned", [DONE])
    stand.run(schedule)
    run = stand.engine.client.get_event_history(schedule).rows[0]
    for zone, offset in (("Asia/Tokyo", 9), ("UTC", 0)):
        page = anna.get("/portal/", params={"q": "zoned"}, headers={
            "Cookie": "; ".join(f"{k}={v}" for k, v in anna.cookies.items()) + f"; vixtract_zone={zone.replace('/', '%2F')}"
        }).text  # fmt: skip
        shown = time.strftime("%H:%M", time.gmtime(run["time_start"] + offset * 3600))
        assert f"{shown}</a>" in page, zone


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_many_schedules_are_listed_page_by_page(stand, count):
    client = stand.engine.client
    with stand.portal.person("carol") as carol:
        for number in range(count):
            client.create_event({
                "title": f"Many {number:04d}", "plugin": "notebook", "username": "carol",
                "params": {"notebook": "a.ipynb", "parameters": {"steps": [DONE]}},
                "timing": {"hours": [number % 24], "minutes": [number % 60]},
            })  # fmt: skip
        for path in ("/portal/", "/portal/overview", f"/portal/?offset={count - 50}"):
            page = carol.get(path)
            assert page.status_code == 200
        assert f"Many {count - 1:04d}" in page.text
        assert "Many 0000" not in page.text


def test_the_newest_kernels_are_offered(stand, anna):
    folder = stand.directory / "home/anna/.local/share/jupyter/kernels/mine"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text('{"display_name": "My own kernel"}')
    put(stand, "anna", "etl/load.ipynb", CELL)
    wait_until(lambda: "My own kernel" in open_new(anna).text, "the kernel", interval_s=0.1)
    event = event_of(stand, save(anna, open_new(anna), title="Own kernel", kernel="mine"))
    assert event["params"]["kernel"] == "mine"
