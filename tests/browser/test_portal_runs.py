"""Runs in Chromium, in both languages; and a hostile notebook that attacks from within."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import open_chromium, open_page, shoot
from tests.contract.run_stand import CAN_SERVE, WHY_NOT, RunStand, notebook
from tests.scratch import open_folder

pytestmark = pytest.mark.skipif(not CAN_SERVE, reason=WHY_NOT)
# Every way that a page has to do something by itself; `evidence` in an address gives it away.
ATTACK = """<!DOCTYPE html><html><head><title>notebook</title>
<meta http-equiv="refresh" content="1;url=/portal/evidence-refresh">
<link rel="stylesheet" href="/portal/evidence-css"><link rel="prefetch" href="/portal/evidence-pre">
<style>@import url(/portal/evidence-import); body { background: url(/portal/evidence-background) }
</style></head><body><h1>A harmless report</h1>
<script>
  document.title = 'script ran';
  try { new Image().src = '/portal/evidence-cookie?' + document.cookie + localStorage.secret } catch {}
  fetch('/portal/api/me', { credentials: 'include' }).then((r) => r.text()).then((t) =>
    { new Image().src = '/portal/evidence-api?' + encodeURIComponent(t) });
  fetch('/jupyter/hub/evidence-hub', { credentials: 'include' });
  try { parent.document.title = 'parent was changed' } catch {}
</script>
<script src="/portal/evidence-script"></script>
<img src="x" onerror="fetch('/portal/evidence-onerror')"><img src="/portal/evidence-img">
<svg onload="fetch('/portal/evidence-svg')"></svg>
<iframe srcdoc="<script>fetch('/portal/evidence-srcdoc')</script>"></iframe>
<iframe src="/portal/evidence-frame"></iframe><object data="/portal/evidence-object"></object>
<embed src="/portal/evidence-embed"><video poster="/portal/evidence-poster"></video>
<form id="f" action="/portal/evidence-form" method="post"><button id="send">send</button></form>
<a id="js" href="javascript:fetch('/portal/evidence-link')">open</a>
</body></html>"""


@pytest.fixture(scope="module")
def stand():
    with open_folder() as folder:
        stand = RunStand(folder)
        yield stand
        stand.close()


@pytest.fixture(scope="module")
def chromium():
    with open_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def failed(stand):
    loads = [
        {"table": "anna.sales", "mode": "replace", "rows": 336776, "bytes": 48e6, "seconds": 7}
    ]
    cells = [
        ("a1", "sales = etl.fromcsv('sales.csv')", "336776 rows\n"),
        ("b2", "check(sales)", "fine\n"),
    ]
    html = "<style>body{font-family:sans-serif}</style><h1>Sales</h1><pre>336776 rows</pre>"
    files = {"load-output.ipynb": notebook(*cells), "output.html": html, "report.csv": "a,b\n"}
    step = stand.step(files, loads=loads, peak_mb=180)
    schedule = stand.schedule("Nightly sales", [step], parameters={"city": "Rome"})
    stand.run(schedule)
    cells[1] = ("b2", "check(sales)", "!ValueError: The file of today has no rows.")
    files = {**files, "load-output.ipynb": notebook(*cells), "report.csv": "a,b\n1,2\n"}
    step = stand.step(files, fails=True, loads=[{**loads[0], "rows": 0}], peak_mb=140)
    params = {"parameters": {"steps": [step], "city": "Oslo"}}
    stand.engine.client.update_event(schedule, {"params": {"notebook": "etl/load.ipynb", **params}})
    return stand.run(schedule)


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("en-US", ("Failed and why", "failed", "Open the notebook at this cell", "Rows loaded")),
        ("ru-RU", ("", "ошибка", "Открыть блокнот на этой ячейке", "Загружено строк")),
    ],
)
def test_from_the_list_to_the_failing_cell_and_the_run_before(
    stand, chromium, failed, locale, words
):
    with open_page(chromium, stand.portal, "anna", locale=locale) as page:
        page.goto("/portal/runs")
        page.select_option("[name=state]", "failed")
        page.fill("[name=word]", "nightly")
        page.press("[name=word]", "Enter")
        expect(page.locator("tbody tr")).to_have_count(1)
        shoot(page, f"runs-{locale}")
        page.click("text=Nightly sales")
        expect(page.locator(".panel.bad")).to_contain_text("The file of today has no rows.")
        expect(page.locator(".panel.bad")).to_contain_text("check(sales)")
        assert "#cell-id=b2" in page.locator("#to-cell").get_attribute("href").replace(
            "%23", "#"
        ).replace("%3D", "=")
        expect(page.locator("#to-cell")).to_have_text(words[2])
        frame = page.frame_locator("iframe.rendered")
        page.locator("iframe.rendered").scroll_into_view_if_needed()
        expect(frame.locator("h1")).to_have_text("Sales")
        shoot(page, f"run-failed-{locale}")
        with page.expect_download() as download:
            page.click(".files a[href$='report.csv']")
        assert download.value.path().read_text() == "a,b\n1,2\n"
        page.locator("a[href$='/compare']").click()
        expect(page.locator("main")).to_contain_text(words[3])
        expect(page.locator("main")).to_contain_text("check(sales)")
        shoot(page, f"compare-{locale}")
        assert page.complaints == []


def test_a_running_one_is_followed_and_stopped(stand, chromium):
    steps = [
        ["say", {"progress": 0.5, "memo": "cell 3 of 6"}],
        ["log", "row 1000 of 5000"],
        ["sleep", 60],
    ]
    schedule = stand.schedule("Long one", steps)
    run = stand.engine.client.run_event(schedule)
    with open_page(chromium, stand.portal, "anna", locale="en-US") as page:
        page.goto(f"/portal/runs/{run}")
        expect(page.locator("#memo")).to_have_text("cell 3 of 6")
        expect(page.locator("#log")).to_contain_text("row 1000 of 5000")
        assert page.locator("#progress").evaluate("e => e.value") == 0.5
        shoot(page, "run-live")
        page.click("button:text-is('Stop')")
        expect(page.locator("#state")).to_contain_text("stopped")
        assert page.complaints == []


def test_a_phone_in_the_dark_shows_a_run(stand, chromium, failed):
    options = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark", "locale": "ru"}
    with open_page(chromium, stand.portal, "anna", **options) as page:
        for path, name in ((f"/runs/{failed}", "run"), ("/runs", "runs")):
            page.goto(f"/portal{path}")
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 360, path
            shoot(page, f"{name}-phone")


@pytest.fixture(scope="module")
def hostile(stand):
    files = {"load-output.ipynb": notebook(("a", "x", "")), "output.html": ATTACK}
    return stand.run(stand.schedule("Hostile", [stand.step(files)]))


def attack(page, address: str, *, framed: bool) -> tuple[list[str], object]:
    """Open an address and give the attack time; return what was asked of a server, and the frame."""
    requests: list[str] = []
    # Chromium tells also of requests that a policy kept from being sent: those have no answer.
    page.on("response", lambda response: requests.append(response.url))
    page.goto("/portal/runs")
    page.evaluate("localStorage.setItem('secret', 'sesame')")
    requests.clear()
    page.goto(address)
    frame = page.main_frame
    if framed:
        page.locator("iframe.rendered").scroll_into_view_if_needed()
        page.frame_locator("iframe.rendered").locator("h1").wait_for()
        frame = next(f for f in page.frames if f.url.endswith("/notebook"))
    # Longer than the page's own refresh.
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        page.wait_for_timeout(100)
    return [url for url in requests if "evidence" in url or "/portal/api/" in url], frame


READ = """what => { try { return String(eval(what)) } catch (error) { return error.name } }"""


@pytest.mark.parametrize("framed", [True, False], ids=["in the run's page", "by itself"])
def test_a_hostile_notebook_reaches_nothing(stand, chromium, hostile, framed):
    with open_page(chromium, stand.portal, "anna") as page:
        address = f"/portal/runs/{hostile}" + ("" if framed else "/notebook")
        found, frame = attack(page, address, framed=framed)
        assert found == []
        assert frame.locator("h1").inner_text() == "A harmless report"
        assert "changed" not in page.title()
        assert frame.title() == "notebook"
        frame.locator("#js").click()
        frame.locator("#send").click()
        page.wait_for_timeout(500)
        assert frame.locator("h1").inner_text() == "A harmless report"
        for what in ("document.cookie", "localStorage.secret", "parent.document.title"):
            if framed or "parent" not in what:
                assert frame.evaluate(READ, what) == "SecurityError", what
        assert frame.evaluate("window.origin") == "null"


def test_the_same_notebook_without_the_header_would_reach_everything(stand, chromium, hostile):
    """What the attack does where nothing stops it: else the test above would prove nothing."""
    with open_page(chromium, stand.portal, "anna") as page:

        def strip(route):
            answer = route.fetch()
            headers = {k: v for k, v in answer.headers.items() if k != "content-security-policy"}
            route.fulfill(response=answer, headers=headers)

        page.route("**/notebook", strip)
        found, _ = attack(page, f"/portal/runs/{hostile}/notebook", framed=False)
        reached = " ".join(found)
        for way in ("sesame", "evidence-api", "anna", "evidence-img", "refresh"):
            assert way in reached, way
