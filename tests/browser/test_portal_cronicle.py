"""The portal over Cronicle itself: schedule a notebook, run it on time, read it in the archive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import DEADLINE_MS, open_chromium, shoot
from tests.images.edge_box import IMAGE, has_image
from tests.stack.appliance import ENGINE, Appliance
from tests.stack.conftest import new_appliance

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not has_image(), reason=f"Cronicle's image is absent: {IMAGE}"),
]
CELLS = (
    "import os\nopen(os.environ['VIXTRACT_OUTPUT_DIR'] + '/report.csv', 'w').write(f'city,{city}\\n')",
    "print('loaded', city)",
    "if city == 'Atlantis': raise ValueError('no such city: \"Atlantis\"')",
)


@pytest.fixture(scope="module")
def over_cronicle(request) -> Iterator[Appliance]:
    """An appliance whose scheduler is Cronicle."""
    if ENGINE == "cronicle":
        yield request.getfixturevalue("appliance")
        return
    instance = new_appliance("c")
    instance.operate("down", "--volumes", "--yes", check=False)
    try:
        instance.operate("up", "--yes", "--engine", "cronicle", timeout_s=1800)
        yield instance
    finally:
        instance.close()
        instance.operate("down", "--volumes", "--yes", check=False)


@pytest.fixture
def page(over_cronicle) -> Iterator[Page]:
    """An analyst's browser, signed in."""
    password = over_cronicle.add_person("anna")
    over_cronicle.write_notebook("anna", "etl/cities.ipynb", *CELLS, parameters="city = 'Rome'")
    with open_chromium() as browser:
        context = browser.new_context(base_url=over_cronicle.url, locale="en-US")
        context.set_default_timeout(DEADLINE_MS)
        page = context.new_page()
        page.goto("/jupyter/hub/login?next=%2Fjupyter%2Fhub%2Fhome")
        page.fill("input[name=username]", "anna")
        page.fill("input[name=password]", password)
        page.click("[type=submit]")
        page.wait_for_url("**/hub/home")
        yield page
        context.close()


def test_from_the_form_to_a_run_on_time_to_the_archive(over_cronicle, page):
    assert over_cronicle.schedule("status")["engine"] == "cronicle"
    page.goto("/portal/schedules/new?notebook=etl%2Fcities.ipynb")
    page.fill("#title", 'Cities "by minute"')
    page.select_option("#kind", "cron")
    page.fill("#cron", "* * * * *")
    page.fill("#timezone", "Europe/Oslo")
    page.locator("p.acts button.button").first.click()
    expect(page.locator(".notice[role=status]")).to_contain_text("Saved.")
    expect(page.locator("#title")).to_have_value('Cities "by minute"')
    schedule = page.url.rstrip("/").rpartition("/")[2].partition("?")[0]

    # Nobody starts it: the next minute does.
    runs = page.locator("tbody tr", has_text='Cities "by minute"')
    for _ in range(50):
        page.goto(f"/portal/runs?schedule={schedule}&state=succeeded")
        if runs.count():
            break
        page.wait_for_timeout(3000)
    shoot(page, "over-cronicle-runs")
    runs.first.locator("a").first.click()
    page.wait_for_url("**/portal/runs/j*")
    expect(page.locator("#log")).to_contain_text("loaded Rome")
    expect(page.frame_locator("iframe.rendered").locator("body")).to_contain_text("loaded Rome")
    with page.expect_download() as download:
        page.click(".files a[href$='report.csv']")
    assert download.value.path().read_text() == "city,Rome\n"
    shoot(page, "over-cronicle-run")

    # A mistake, run by hand: the page shows the words of the error as they are.
    page.goto(f"/portal/schedules/{schedule}")
    page.locator("[name=enabled]").uncheck()
    page.fill("#p-city", "Atlantis")
    page.locator("p.acts button[name=run]").click()
    page.wait_for_url("**/portal/runs/j*")
    expect(page.locator(".panel.bad").first).to_contain_text('no such city: "Atlantis"')
    shoot(page, "over-cronicle-failed")
    assert over_cronicle.schedule("get_event", id=schedule)["event"]["enabled"] == 0
