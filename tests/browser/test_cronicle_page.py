"""Cronicle's page in a browser: log in, see the schedule, run an event, watch and open the job."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.images.docker_cli import unique_name
from tests.images.edge_box import IMAGE, EdgeBox, has_image

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not has_image(), reason=f"Cronicle's image is absent: {IMAGE}"),
]
SCRIPT = "#!/bin/bash\nfor i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 1; done\n"


@pytest.fixture(scope="module")
def box() -> Iterator[EdgeBox]:
    """A container with Cronicle."""
    box = EdgeBox(unique_name("edge-page"))
    try:
        yield box.start()
    finally:
        box.delete()


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser.new_page(viewport={"width": 1300, "height": 900})
        browser.close()


def test_a_person_runs_an_event_and_reads_its_log(box, page):
    asked, broken = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url.replace("ws:", "http:")))
    page.on("pageerror", lambda error: broken.append(str(error)))
    box.make_event(SCRIPT)
    root = f"http://127.0.0.1:{box.port}/cronicle/"
    page.goto(root)
    page.fill("#fe_login_username", "admin")
    page.fill("#fe_login_password", "admin")
    page.press("#fe_login_password", "Enter")
    page.wait_for_selector("text=Active Jobs")
    page.goto(f"{root}#Schedule")
    row = page.locator("tr", has_text="test ").first
    row.locator("text=Run").first.click()
    page.wait_for_function("Object.keys(app.activeJobs).length == 1")
    job = page.evaluate("Object.keys(app.activeJobs)[0]")
    page.goto(f"{root}#JobDetails?id={job}")
    page.wait_for_selector("text=line 3")
    assert "line 8" not in page.inner_text("body")
    page.wait_for_selector("text=Open it in the portal")
    page.wait_for_function("document.body.innerText.includes('line 8')")
    strangers = {url.split("?")[0] for url in asked if not url.startswith(root)}
    # The picture of an account: nginx's content policy keeps the browser from asking for it.
    assert all("://en.gravatar.com/avatar/" in url for url in strangers), strangers
    assert any("/socket.io/" in url for url in asked) and broken == []
