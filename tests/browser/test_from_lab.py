"""From a notebook in JupyterLab to tomorrow's run, and from the home page to the failing cell."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import DEADLINE_MS, open_chromium, shoot, tell_refusals

CELL = """\
# Which year to load.
year: int = 2026
region = "north"  # choices: north, south
"""
NOTEBOOK = "etl/load cities.ipynb"
WORDS = {
    "en-US": {"schedules": "Schedules", "schedule": "Schedule…", "file": "File", "saved": "Saved.", "run": "Run now"},
    "ru-RU": {"schedules": "Расписания", "schedule": "Запланировать…", "file": "File", "saved": "Сохранено", "run": "Запустить сейчас"},
}  # fmt: skip


@pytest.fixture(scope="module")
def chromium():
    with open_chromium() as browser:
        yield browser


@pytest.fixture(params=["en-US", "ru-RU"])
def locale(request):
    return request.param


@pytest.fixture
def lab(appliance, chromium, locale):
    """A person's browser that has just signed in and shows JupyterLab."""
    name = {"en-US": "anna", "ru-RU": "boris"}[locale]
    password = appliance.add_person(name)
    appliance.write_notebook(
        name,
        NOTEBOOK,
        "print(year, region)",
        'raise ValueError("no such city: Atlantis")',
        parameters=CELL,
    )
    context = chromium.new_context(base_url=appliance.url, locale=locale, timezone_id="Europe/Oslo")
    context.set_default_timeout(DEADLINE_MS)
    page = context.new_page()
    tell_refusals(page)
    page.began = time.monotonic()
    page.goto("/jupyter/hub/login")
    page.fill("input[name=username]", name)
    page.fill("input[name=password]", password)
    page.click("[type=submit]")
    page.wait_for_selector(".jp-Launcher")
    yield page
    context.close()


def open_folder_of(lab: Page) -> None:
    # Lab remembers where somebody was the last time.
    lab.locator(".jp-BreadCrumbs-home").click()
    lab.locator(".jp-DirListing-item", has_text="etl").dblclick()
    lab.locator(".jp-DirListing-item", has_text="load cities.ipynb").wait_for()


def popup_of(lab: Page, act) -> Page:
    """Do what opens a new tab; return it, loaded."""
    with lab.context.expect_page() as opened:
        act()
    page = opened.value
    page.wait_for_url(re.compile("/portal/|/$"))
    page.wait_for_load_state()
    return page


def test_a_newcomer_gets_from_the_notebook_to_tomorrow_and_sees_why_it_failed(
    lab, appliance, locale
):
    say = WORDS[locale]
    open_folder_of(lab)
    lab.locator(".jp-DirListing-item", has_text="load cities.ipynb").click(button="right")
    entry = lab.locator(".lm-Menu-item[data-command='vixtract:schedule-file']")
    expect(entry).to_contain_text(say["schedule"])
    shoot(lab, f"lab-menu-{locale}")
    form = popup_of(lab, entry.click)
    expect(form.locator("#notebook")).to_have_value(NOTEBOOK)
    expect(form.locator("#p-year")).to_have_value("2026")
    form.fill("#p-year", "2025")
    form.fill("#time", "06:30")
    form.locator("[name=version][value=now]").check()
    form.locator("p.acts button.button").first.click()
    expect(form.locator(".notice[role=status]")).to_contain_text(say["saved"])
    expect(form.locator("#preview-times li")).to_have_count(5)
    took = time.monotonic() - lab.began
    assert took < 60, f"{took:.0f} s from the login to tomorrow's run"

    # The run of the night, now: what was pinned runs, whatever the notebook has become.
    owner = {"en-US": "anna", "ru-RU": "boris"}[locale]
    appliance.write_notebook(owner, NOTEBOOK, "print('another notebook')")
    form.get_by_role("button", name=say["run"], exact=True).click()
    form.wait_for_url(re.compile(r"/portal/runs/"))
    expect(
        form.locator("#state, .heading").get_by_text(re.compile("failed|ошибка"))
    ).to_be_visible()

    form.goto("/")
    worst = form.locator("#overview section").first
    expect(worst).to_contain_text("no such city: Atlantis")
    shoot(form, f"home-{locale}")
    worst.locator("a").first.click()
    form.wait_for_url(re.compile(r"/portal/runs/j"))
    expect(form.locator(".panel.bad").first).to_contain_text("no such city: Atlantis")
    shoot(form, f"failed-{locale}")


def test_lab_leads_to_the_portal_from_tiles_menu_and_toolbar(lab, locale):
    say = WORDS[locale]
    tile = lab.locator(".jp-LauncherCard", has_text=say["schedules"])
    shoot(lab, f"lab-launcher-{locale}")
    assert popup_of(lab, tile.click).url.endswith("/portal/")

    open_folder_of(lab)
    lab.locator(".jp-DirListing-item", has_text="load cities.ipynb").dblclick()
    button = lab.locator(".vixtract-schedule:visible")
    button.wait_for()
    # Not saved yet: the form must show what stands on the screen.
    cell = lab.locator(".jp-Notebook .cm-content").first
    cell.click()
    lab.keyboard.press("Control+End")
    lab.keyboard.type("\nadded_now = 7")
    form = popup_of(lab, button.click)
    expect(form.locator("#p-added_now")).to_have_value("7")
    shoot(lab, f"lab-toolbar-{locale}")

    lab.bring_to_front()
    lab.locator(".lm-MenuBar-itemLabel", has_text=say["file"]).first.click()
    item = lab.locator(".lm-Menu-item[data-command='vixtract:schedule-notebook']")
    expect(item).to_contain_text(say["schedule"])
    form = popup_of(lab, item.click)
    expect(form.locator("#notebook")).to_have_value(NOTEBOOK)


def test_the_homes_server_is_closed_to_people(appliance):
    appliance.add_person("anna")
    code = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/vixtract/homes.sock')"
    told = appliance.execute("jupyter", "/usr/bin/python3", "-c", code, user="anna", check=False)
    assert "PermissionError" in told
