"""Schedules in Chromium, in both languages: the form, the list, the overview; phone and keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import open_chromium, open_page, shoot
from tests.contract.run_stand import CAN_SERVE, WHY_NOT, RunStand
from tests.contract.test_portal_schedules import CELL, DONE, FAIL, put
from tests.scratch import open_folder

pytestmark = pytest.mark.skipif(not CAN_SERVE, reason=WHY_NOT)
FORM = "/portal/schedules/new?notebook=etl%2Fload.ipynb"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
BOTH = pytest.mark.parametrize("locale", ["en-US", "ru-RU"])
WORDS = {
    "en-US": {
        "save": "Save", "daily": "every day at 06:45", "or": "two schedules", "title": "Enter a name for the schedule.",
        "bad": "Failed and late", "next": "Next up", "last_runs": "Last 3 runs:", "failed": "failed 1",
        "duplicate": "Duplicate", "off": "Switch off", "on": "Switch on", "delete": "Delete", "whole": "Enter a whole number",
    },
    "ru-RU": {
        "save": "Сохранить", "daily": "каждый день в 06:45", "or": "два расписания", "title": "название",
        "bad": "Ошибки и опоздания", "next": "Дальше по плану", "last_runs": "Последние 3 запуска:", "failed": "ошибка 1",
        "duplicate": "Копировать", "off": "Выключить", "on": "Включить", "delete": "Удалить", "whole": "целое число",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def stand():
    with open_folder() as folder:
        stand = RunStand(folder)
        put(stand, "anna", "etl/load.ipynb", CELL)
        put(stand, "anna", "other.ipynb", "city = 'Oslo'  # which city")
        schedule = stand.schedule("Nightly", [DONE], timing={"hours": [3], "minutes": [0]})
        for steps in ([DONE], [DONE], [FAIL]):
            stand.engine.client.update_event(
                schedule, {"params": {"notebook": "a.ipynb", "parameters": {"steps": steps}}}
            )
            stand.run(schedule)
        yield stand
        stand.close()


@pytest.fixture(scope="module")
def chromium():
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def clean(stand):
    """Leave only the schedule that the stand has made."""
    yield
    for event in stand.engine.client.get_schedule().rows:
        if event["title"] != "Nightly":
            stand.engine.client.delete_event(event["id"])


@BOTH
def test_a_schedule_is_made_seen_copied_switched_and_deleted(stand, chromium, clean, locale):
    say = WORDS[locale]
    with open_page(chromium, stand.portal, "anna", locale=locale) as page:
        page.goto(FORM)
        page.fill("#p-year", "2025")
        page.locator("#p-full").check()
        page.select_option("#p-region", label="south")
        page.fill("#time", "06:45")
        expect(page.locator("#preview-words")).to_have_text(say["daily"])
        expect(page.locator("#preview-times li")).to_have_count(5)
        expect(page.locator("#preview-times li").first).to_contain_text("06:45")
        shoot(page, f"form-{locale}")
        page.locator("p.acts button.button").first.click()
        page.wait_for_url(re.compile(r"/portal/schedules/e\w+\?notice=saved"))
        event = stand.engine.client.get_event(page.url.rpartition("/")[2].partition("?")[0])
        assert event["params"]["parameters"] == {"year": 2025, "full": True, "region": "south"}
        page.get_by_role("link", name=say["duplicate"]).click()
        expect(page.locator("#title")).to_have_value("load (anna)")
        expect(page.locator("#p-year")).to_have_value("2025")
        page.goto("/portal/")
        row = page.locator(f"[id='{event['id']}']")
        row.get_by_role("button", name=say["off"]).click()
        expect(row.get_by_role("button", name=say["on"])).to_be_visible()
        row.get_by_role("link", name=say["delete"]).click()
        page.locator("main form button").click()
        page.wait_for_url("**/portal/?notice=deleted")
        expect(row).to_have_count(0)
        assert page.complaints == []


@BOTH
def test_what_is_wrong_is_said_beside_the_field(stand, chromium, clean, locale):
    say = WORDS[locale]
    with open_page(chromium, stand.portal, "anna", locale=locale) as page:
        page.goto(FORM)
        page.select_option("#kind", "cron")
        page.fill("#cron", "0 6 1 * 1")
        expect(page.locator("#preview-problem")).to_contain_text(say["or"])
        page.fill("#title", "")
        page.evaluate("document.getElementById('p-year').type = 'text'")
        page.fill("#p-year", "many")
        page.locator("p.acts button.button").first.click()
        expect(page.locator("#problem-cron")).to_contain_text(say["or"])
        expect(page.locator("#problem-title")).to_contain_text(say["title"])
        expect(page.locator("#problem-p-year")).to_contain_text(say["whole"])
        shoot(page, f"form-wrong-{locale}")


def test_another_notebook_brings_its_own_fields(stand, chromium):
    with open_page(chromium, stand.portal, "anna") as page:
        page.goto(FORM)
        page.fill("#notebook", "other.ipynb")
        page.locator("#notebook").dispatch_event("change")
        expect(page.locator("#p-city")).to_have_value("Oslo")
        expect(page.locator("#p-year")).to_have_count(0)
        page.fill("#notebook", "gone.ipynb")
        page.locator("#notebook").dispatch_event("change")
        expect(page.locator("#unread")).to_contain_text("not found in the home folder")
        assert page.complaints == []


@BOTH
def test_everything_works_without_scripts(stand, chromium, clean, locale):
    with open_page(
        chromium, stand.portal, "anna", locale=locale, java_script_enabled=False
    ) as page:
        page.goto("/portal/schedules/new")
        page.fill("#notebook", "etl/load.ipynb")
        page.locator("button[value=notebook]").click()
        page.fill("#p-year", "1990")
        page.fill("#title", "Without scripts")
        page.select_option("#kind", "weekly")
        page.locator("[name=weekdays][value='3']").check()
        page.locator("button[value=times]").click()
        expect(page.locator("#preview-times li")).to_have_count(5)
        expect(page.locator("#p-year")).to_have_value("1990")
        shoot(page, f"form-noscript-{locale}")
        page.locator("p.acts button.button").first.click()
        page.wait_for_url(re.compile(r"notice=saved"))
        expect(page.locator("#preview-times li")).to_have_count(5)


@BOTH
def test_the_list_shows_the_last_runs_in_colour_and_in_words(stand, chromium, locale):
    say = WORDS[locale]
    with open_page(chromium, stand.portal, "anna", locale=locale) as page:
        page.goto("/portal/")
        expect(page.locator(".run-bars .seen")).to_contain_text(say["last_runs"])
        expect(page.locator(".run-bars .seen")).to_contain_text(say["failed"])
        bars = page.locator(".run-bars rect")
        colours = [bars.nth(n).evaluate("bar => getComputedStyle(bar).fill") for n in range(3)]
        assert colours[0] == colours[1] != colours[2]
        shoot(page, f"schedules-{locale}")
        assert page.complaints == []


@BOTH
def test_the_overview_begins_with_what_failed(stand, chromium, locale):
    say = WORDS[locale]
    with open_page(chromium, stand.portal, "anna", locale=locale) as page:
        page.goto("/portal/overview")
        headings = page.locator(".overview h2").all_inner_texts()
        assert headings[0].startswith(say["bad"])
        assert say["next"] in headings
        first = page.locator(".overview section").first
        expect(first).to_contain_text("Cell 2 failed: no such city")
        shoot(page, f"overview-{locale}")
        first.get_by_role("link", name="Nightly").click()
        page.wait_for_url(re.compile(r"/portal/runs/j\w+"))
        assert page.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/portal/", "/portal/overview", FORM])
def test_a_phone_shows_it_without_scrolling_sideways(stand, chromium, path, scheme):
    with open_page(chromium, stand.portal, "anna", color_scheme=scheme, **PHONE) as page:
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        light = sum(map(int, re.findall(r"\d+", ground)[:3])) > 384
        assert light == (scheme == "light")
        name = path.strip("/").replace("/", "-").partition("?")[0]
        shoot(page, f"phone-{scheme}-{name}")


def test_the_form_can_be_filled_in_with_the_keyboard_alone(stand, chromium, clean):
    with open_page(chromium, stand.portal, "anna") as page:
        page.goto(FORM)
        seen = []
        for _ in range(60):
            page.keyboard.press("Tab")
            name = page.evaluate("document.activeElement.name || document.activeElement.innerText")
            seen.append(name)
            if name == "title":
                page.keyboard.press("Control+A")
                page.keyboard.type("By keyboard")
            if name == "p-year":
                page.keyboard.press("Enter")
                break
        assert seen[0] == "Skip to content"
        page.wait_for_url(re.compile(r"notice=saved"))
        titles = [event["title"] for event in stand.engine.client.get_schedule().rows]
        assert "By keyboard" in titles
