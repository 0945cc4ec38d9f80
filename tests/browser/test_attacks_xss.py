"""Texts that people choose, as attacks, in a real browser: no page of ours runs any of them.

Each payload sets `window.pwned` and asks an address that gives it away; the elements it brings along
are marked, so that a page on which a policy alone stopped it fails as well.
"""

from __future__ import annotations

import json
import uuid
from urllib.parse import quote, urlsplit

import pytest

from tests.browser.chromium import DEADLINE_MS, open_chromium, open_page, tell_refusals
from tests.browser.test_portal_tables import load_late
from tests.contract.run_stand import CAN_SERVE, WHY_NOT, RunStand, notebook
from tests.contract.test_people_roles import KEY, connect_person
from tests.contract.test_people_roles import server as server  # noqa: PLC0414 - a fixture
from tests.scratch import open_folder
from tests.waiting import wait_until

pytest_plugins = ["tests.postgres"]

FIRE = "window.pwned=1;fetch('/evidence')"
IMAGE = f'<img class="evil" src="x" onerror="{FIRE}">'
# In a text, in an attribute with either quote, in a script, and in a template.
EVIL = f"\"'></textarea></title></script>{IMAGE}<svg class=evil onload={FIRE}>{{{{7*191}}}}`${{1}}"
SHORT = f"'\">{IMAGE}"
# Titles and notes take no < and >: out of an attribute, and into a template.
TITLE = f"\" ' autofocus onfocus={FIRE} x={{{{7*191}}}} `${{1}}"
LINK = "javascript:window.pwned=1"


@pytest.fixture(scope="module")
def chromium():
    with open_chromium() as browser:
        yield browser


def watch(page) -> list[str]:
    """Return a list that grows with what the attacks ask for."""
    asked: list[str] = []
    page.on(
        "request",
        lambda request: (
            asked.append(request.url) if urlsplit(request.url).path == "/evidence" else None
        ),
    )
    return asked


def check(page, asked: list[str], where: str) -> None:
    """Fail when an attack came through, or its elements did."""
    page.wait_for_timeout(150)
    assert page.evaluate("window.pwned") is None, where
    assert asked == [], where
    assert page.locator(".evil").count() == 0, where
    assert page.locator("a[href^='javascript:' i], form[action^='javascript:' i]").count() == 0, (
        where
    )
    assert "1337" not in page.content(), f"{where}: a template was filled in"


def test_the_attacks_work_where_nothing_stops_them(chromium):
    """Else the tests below would prove nothing."""
    for payload in (EVIL, SHORT, IMAGE):
        page = chromium.new_page()
        page.set_content(f"<p>{payload}</p>")
        page.wait_for_function("window.pwned === 1")
        assert page.locator(".evil").count() >= 1
        page.close()


@pytest.fixture(scope="module")
def stand(server):
    """A portal over schedules, runs and tables whose every text is an attack."""
    if not CAN_SERVE:
        pytest.skip(WHY_NOT)
    server.ensure_role("anna")
    with connect_person(server, "anna") as connection:
        quoted = SHORT.replace('"', '""')[:63]
        literal = EVIL.replace("'", "''")
        connection.execute(f'CREATE TABLE anna."{quoted}" ("{quoted}" text)')
        connection.execute(f"""COMMENT ON TABLE anna."{quoted}" IS '{literal}'""")
        connection.execute(f"""COMMENT ON COLUMN anna."{quoted}"."{quoted}" IS '{literal}'""")
        connection.execute(f"""INSERT INTO anna."{quoted}" VALUES ('{literal}')""")
    with open_folder() as folder:
        stand = RunStand(
            folder, role_key=KEY,
            VIXTRACT_POSTGRESQL_HOST=server.host, VIXTRACT_POSTGRESQL_PORT=str(server.port),
        )  # fmt: skip
        load_late(server, stand)  # makes the view of freshness, too
        yield stand
        stand.close()
        assert "Traceback" not in stand.portal.log, stand.portal.log


@pytest.fixture(scope="module")
def hostile(stand):
    """Return the addresses of a schedule and a run of which each text is an attack."""
    files = {
        "load-output.ipynb": notebook(("a1", EVIL, EVIL), ("b2", EVIL, f"!{SHORT}: {EVIL}")),
        "output.html": f"<h1>report</h1>{IMAGE}<script>{FIRE}</script>",
        f"{SHORT.replace('/', '')}.csv": EVIL,
    }
    loads = [{"table": f"anna.{SHORT}", "mode": EVIL, "rows": 2, "bytes": 1, "seconds": 1}]
    step = stand.step(files, fails=True, loads=loads)
    # What the plugin says of the run is a person's own text, too.
    step[3]["description"] = EVIL
    step[3]["facts"]["error"] = {"cell": 2, "name": SHORT, "message": EVIL}
    lines = [["log", EVIL], ["say", {"progress": 0.5, "memo": EVIL}], step]
    schedule = stand.schedule(
        TITLE, lines, notes=TITLE, parameters={SHORT: EVIL, "city": EVIL, "link": LINK}
    )
    stand.engine.client.update_event(
        schedule, {"params": {"notebook": f"etl/{SHORT.replace('/', '')}.ipynb", "owner": "anna",
                              "parameters": {"steps": lines, SHORT: EVIL, "city": EVIL}}}
    )  # fmt: skip
    first, second = stand.run(schedule), stand.run(schedule)
    return {"schedule": schedule, "first": first, "second": second}


PORTAL_PAGES = [
    "/portal/", "/portal/schedules", "/portal/runs", "/portal/schedules/{schedule}", "/portal/tables",
    "/portal/schedules/{schedule}/delete", "/portal/runs/{second}", "/portal/runs/{second}/compare",
    "/portal/runs/{second}/repeat", "/portal/runs?word={evil}&state={evil}&schedule={evil}",
    "/portal/schedules/new?notebook={evil}&title={evil}&copy={evil}", "/portal/?notice={evil}", "/portal/{evil}",
    "/portal/runs/{evil}", "/portal/tables/anna/{short}", "/portal/tables?word={evil}", "/portal/login?next={link}",
]  # fmt: skip


def test_no_text_of_a_schedule_run_or_table_runs_in_the_portal(stand, chromium, hostile):
    shown = 0
    with open_page(chromium, stand.portal, "anna", locale="en-US") as page:
        asked = watch(page)
        words = {"evil": quote(EVIL, safe=""), "short": quote(SHORT[:63], safe=""), "link": LINK}
        for pattern in PORTAL_PAGES:
            address = pattern.format(**hostile, **words)
            page.goto(address)
            check(page, asked, pattern)
            shown += "onerror" in page.locator("body").inner_text()
            # The attacks that wait for a click or for the page's own scripts.
            page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
            check(page, asked, f"{pattern}, unfolded")
    assert shown >= 6, "the attacks' texts are on the pages, as texts"


def test_what_a_run_wrote_comes_as_text_or_download(stand, hostile):
    with stand.portal.person("anna") as browser:
        listed = browser.get(f"/portal/api/runs/{hostile['second']}/files").json()
        assert any("onerror" in file["path"] for file in listed), listed
        for path in ("log.txt", "files/load-output.ipynb"):
            answer = browser.get(f"/portal/runs/{hostile['second']}/{path}")
            assert answer.status_code == 200
            assert "html" not in answer.headers["content-type"]
            assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.fixture(scope="module")
def lab(appliance, chromium):
    """A person's browser in JupyterLab, with a notebook that somebody gave them."""
    name = f"victor{uuid.uuid4().hex[:6]}"  # whose Lab restores nothing
    password = appliance.add_person(name)
    html = {"text/html": f"<b>given</b>{IMAGE}<script>{FIRE}</script><a href='{LINK}'>x</a>"}
    outputs = [
        {"output_type": "display_data", "data": data, "metadata": {}}
        for data in (
            html, {"application/javascript": FIRE}, {"text/markdown": IMAGE}, {"text/latex": f"${IMAGE}$"},
            {"image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg' class='evil' onload=\"{FIRE}\"/>"},
        )
    ]  # fmt: skip
    outputs.append(
        {"output_type": "stream", "name": "stdout", "text": f"\x1b]8;;{LINK}\x1b\\{EVIL}"}
    )
    outputs.append({"output_type": "error", "ename": SHORT, "evalue": EVIL, "traceback": [EVIL]})
    cells = [
        {"cell_type": "markdown", "id": "m", "metadata": {},
         "source": f"# {EVIL}\n\n[x]({LINK})\n\n<script>{FIRE}</script><iframe srcdoc='{IMAGE}'></iframe>\n\nend of markdown"},
        {"cell_type": "code", "id": "c", "metadata": {}, "source": EVIL, "execution_count": 1, "outputs": outputs},
        {"cell_type": "raw", "id": "r", "metadata": {}, "source": EVIL},
    ]  # fmt: skip
    given = {"cells": cells, "metadata": {"title": EVIL}, "nbformat": 4, "nbformat_minor": 5}
    file = f"given {SHORT.replace('/', '')}.ipynb"
    appliance.write(name, file, json.dumps(given))
    appliance.write(name, "given.md", f"{EVIL}\n\n[x]({LINK})\n\nend of markdown")
    context = chromium.new_context(base_url=appliance.url, locale="en-US")
    context.set_default_timeout(DEADLINE_MS)
    page = context.new_page()
    tell_refusals(page)
    page.goto("/jupyter/hub/login")
    page.fill("input[name=username]", name)
    page.fill("input[name=password]", password)
    page.click("[type=submit]")
    page.locator(".jp-DirListing-item", has_text="given.md").wait_for()
    page.person = name
    yield page
    context.close()


def test_a_given_notebook_runs_nothing_in_lab(lab):
    asked = watch(lab)
    lab.locator(".jp-DirListing-item", has_text="given '").dblclick()
    lab.locator(".jp-MarkdownOutput", has_text="end of markdown").wait_for()
    lab.locator(".jp-OutputArea-output", has_text="given").first.wait_for()
    lab.wait_for_timeout(1500)
    assert lab.evaluate("window.pwned") is None
    assert asked == []
    assert lab.locator("img[onerror], svg[onload], .jp-Notebook script").count() == 0
    assert lab.locator(".jp-Notebook a[href^='javascript:' i]").count() == 0


@pytest.mark.parametrize(
    "path",
    ["/jupyter/hub/login?next={}&username={}", "/jupyter/hub/{}", "/jupyter/user/{}/lab", "/{}",
     "/jupyter/hub/error/404?{}", "/jupyter/user/victor/lab/tree/{}", "/portal/oauth_callback?error={}"],
)  # fmt: skip
def test_no_address_runs_on_the_page_that_it_asks_for(lab, path):
    page = lab.context.new_page()
    asked = watch(page)
    page.goto(path.replace("victor", lab.person).replace("{}", quote(EVIL, safe="")))
    page.wait_for_timeout(300)
    # Some lead on to another page, Lab's by a script: `asked` hears of all of them.
    seen = wait_until(
        lambda: (page.evaluate("window.pwned"), page.locator(".evil").count()),
        "the page stays where it is",
    )
    assert (seen, asked) == ((None, 0), [])
    page.close()
