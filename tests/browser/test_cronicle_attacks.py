"""Texts that people choose, as attacks on Cronicle's page, where an administrator is signed in."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.browser.chromium import DEADLINE_MS, open_chromium, shoot
from tests.images.docker_cli import unique_name
from tests.images.edge_box import IMAGE, EdgeBox, has_image
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not has_image(), reason=f"Cronicle's image is absent: {IMAGE}"),
]
FIRE = "window.pwned=1"
IMAGE_TAG = f'<img class="evil" src="x" onerror="{FIRE}">'
EVIL = f"\"'></textarea></title></script>{IMAGE_TAG}<svg class=evil onload={FIRE}>"
# Out of an attribute, by entities into a tooltip, out of a text of a script's.
TITLES = (
    f"\" ' tabindex=0 autofocus onfocus={FIRE} onmouseover={FIRE} x=y",
    f"&lt;img class=evil src=x onerror={FIRE}&gt;",
    f"'+({FIRE})+'",
)
SCRIPT = f"""#!/bin/bash
cat <<'X'
{EVIL}
\033]8;;javascript:{FIRE}\033\\click\033]8;;\033\\
X
sleep 8
exit 3
"""
# Whatever was put into an attribute, and not only what has fired already.
PLANTED = """() => [...document.querySelectorAll('*')].flatMap(element => [...element.attributes])
    .filter(a => (/^on/i.test(a.name) || /^(href|src|action)$/i.test(a.name)) && /pwned/.test(a.value))
    .map(a => a.ownerElement.outerHTML.slice(0, 300))"""


@pytest.fixture(scope="module")
def box() -> Iterator[EdgeBox]:
    """A container with Cronicle."""
    box = EdgeBox(unique_name("edge-evil"))
    try:
        yield box.start()
    finally:
        box.delete()


def check(page, where: str) -> None:
    """Fail when an attack came through, also one that waits for a mouse over it."""
    page.wait_for_timeout(700)
    for hint in page.query_selector_all("[title]:visible")[:12]:
        hint.dispatch_event("mouseover")
    page.wait_for_timeout(300)
    shoot(page, f"cronicle-{where}")
    assert page.evaluate("window.pwned") is None, where
    assert page.locator(".evil").count() == 0, where
    assert page.evaluate(PLANTED) == [], where


def test_no_text_of_an_analyst_runs_on_the_page(box):
    events = [
        box.make_event(SCRIPT, title=f"{title} {number}", notes=title, timing={"minutes": [7]})
        for number, title in enumerate(TITLES)
    ]
    # Shell scripts have no place for it.
    params = {"owner": "anna", "notebook": f"{EVIL}.ipynb", "parameters": {EVIL: EVIL}}
    named = {"title": f"named {time.time_ns()}", "plugin": "notebook", "timing": False}
    events.append(box.client.create_event({**named, "params": params}))
    assert box.client.get_event(events[0])["title"] == f"{TITLES[0]} 0"
    with open_chromium() as browser:
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.set_default_timeout(DEADLINE_MS)
        root = f"http://127.0.0.1:{box.port}/cronicle/"
        page.goto(root)
        page.fill("#fe_login_username", "admin")
        page.fill("#fe_login_password", "admin")
        page.press("#fe_login_password", "Enter")
        page.wait_for_selector("text=Active Jobs")
        jobs = [box.client.run_event(event) for event in events]
        check(page, "running")
        for hash_, where in ((f"#JobDetails?id={jobs[0]}", "live"), ("#Schedule", "schedule")):
            page.goto(root + hash_)
            check(page, where)
        page.evaluate("$P().show_graph()")
        check(page, "graph")
        page.reload()
        for number, event in enumerate(events):
            page.goto(f"{root}#Schedule?sub=edit_event&id={event}")
            page.wait_for_selector("#fe_ee_notes")
            check(page, f"event-{number}")
        for job in jobs:
            wait_until(lambda job=job: box.client.get_job_status(job).get("complete"), "its end")
        for number, job in enumerate(jobs):
            page.goto(f"{root}#JobDetails?id={job}")
            page.wait_for_selector("b:visible:text-is('Jump to History')")
            check(page, f"job-{number}")
        ways = [f"#History?sub=event_{what}&id={events[0]}" for what in ("history", "stats")]
        for where in ("#History", *ways, "#Admin?sub=activity", "#Home"):
            page.goto(root + where)
            check(page, where.partition("_")[2][:7] or where[1:6])
        # The failures' count has the titles in its hint.
        page.reload()
        page.wait_for_function("/FAILED:\\s+[1-9]/.test(document.body.innerText)")
        check(page, "failed")
        page.goto(f"{root}console?id={jobs[0]}")
        page.wait_for_function("document.body.innerText.includes('onload=')")
        check(page, "console")
