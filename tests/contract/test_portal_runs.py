"""Pages and calls of runs over a real engine and a real homes server: who sees what, and how it is sent."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.contract.run_stand import CAN_SERVE, WHY_NOT, RunStand, notebook
from tests.scratch import open_folder

pytestmark = pytest.mark.skipif(not CAN_SERVE, reason=WHY_NOT)
HTML = "<h1>hostile</h1><script>alert(1)</script>"
LOADS = [{"table": "anna.sales", "mode": "replace", "rows": 1200, "bytes": 48000, "seconds": 1.5}]


@pytest.fixture(scope="module")
def stand():
    with open_folder() as folder:
        stand = RunStand(folder)
        yield stand
        stand.close()
        assert "Traceback" not in stand.portal.log, stand.portal.log


@pytest.fixture(scope="module")
def failed(stand):
    """A schedule with a good run and a failed one after it: (schedule, good, failed)."""
    cells = [("a1", "load()", "1200 rows\n"), ("b2", "check(rows)", "fine\n")]
    good = stand.step(
        {
            "load-output.ipynb": notebook(*cells), "output.html": HTML, "report.csv": "a,b\n",
            "old.txt": "x",
        },
        loads=LOADS, peak_mb=120,
    )  # fmt: skip
    schedule = stand.schedule("Nightly sales", [good], parameters={"city": "Rome"})
    first = stand.run(schedule)
    cells = [cells[0], ("b2", "check(rows)", "!ValueError: The file of today has no rows.")]
    files = {"load-output.ipynb": notebook(*cells), "output.html": HTML, "report.csv": "a,b\n1,2\n"}
    bad = stand.step(files, fails=True, loads=[{**LOADS[0], "rows": 0}], peak_mb=140)
    steps = {"parameters": {"steps": [bad], "city": "Oslo"}}
    stand.engine.client.update_event(schedule, {"params": {"notebook": "etl/load.ipynb", **steps}})
    return schedule, first, stand.run(schedule)


@pytest.fixture
def anna(stand):
    with stand.portal.person("anna") as browser:
        yield browser


def test_the_failing_cell_is_shown_with_a_way_to_it(anna, failed):
    page = anna.get(f"/portal/runs/{failed[2]}").text
    assert "Cell 2 of 3 failed: ValueError: The file of today has no rows." in page
    assert "check(rows)" in page
    link = re.search(r'id="to-cell" href="([^"]+)"', page)[1]
    target = "/jupyter/hub/spawn?next=/jupyter/user/anna/lab/tree/etl/load.ipynb%23cell-id%3Db2"
    assert link == target
    for text in ("anna.sales", "140 MB", "report.csv", "Compare with the previous run"):
        assert text in page, text


def test_a_run_is_compared_with_the_one_before(anna, failed):
    page = anna.get(f"/portal/runs/{failed[2]}/compare")
    assert page.status_code == 200
    answer = anna.get(f"/portal/api/runs/{failed[2]}/compare").json()
    assert answer["previous"]["id"] == failed[1]
    assert answer["tables"] == [{"name": "anna.sales", "before": 1200, "now": 0}]
    assert answer["files"] == [
        {"name": "load-output.ipynb", "before": answer["files"][0]["before"],
         "now": answer["files"][0]["now"]},
        {"name": "old.txt", "before": 1, "now": None},
        {"name": "report.csv", "before": 4, "now": 8},
    ]  # fmt: skip
    assert [change["name"] for change in answer["parameters"]] == ["city", "steps"]
    (cell,) = answer["cells"]
    assert (cell["number"], cell["before"]) == (2, "fine\n")
    assert cell["now"] == "ValueError: The file of today has no rows."
    assert answer["same_cells"] == 1
    assert anna.get(f"/portal/runs/{failed[1]}/compare").status_code == 404


def test_the_list_tells_the_result_of_each_run(anna, failed):
    page = anna.get("/portal/runs").text
    results = re.findall(r'<td class="story">(.*?)</td>', page)
    assert "1,200 rows → anna.sales" in results
    assert any("The file of today has no rows." in result for result in results)
    assert '<th scope="col">Result</th>' in page
    assert '<th scope="col">Owner</th>' not in page, "for administrators alone"


def test_the_rendered_notebook_can_do_nothing(anna, failed):
    answer = anna.get(f"/portal/runs/{failed[2]}/notebook")
    assert answer.text == HTML
    policy = answer.headers.get_list("content-security-policy")
    assert len(policy) == 1
    assert policy[0].startswith("sandbox; default-src 'none';")
    assert "allow" not in policy[0]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers


def test_files_are_downloads_and_never_pages(anna, failed):
    answer = anna.get(f"/portal/runs/{failed[2]}/files/report.csv")
    assert answer.content == b"a,b\n1,2\n"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    # Also what the page has no link to: a rendering asked for as a file is a download.
    page = anna.get(f"/portal/runs/{failed[2]}/files/output.html")
    assert page.headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize(
    "path",
    ["..%2f..%2frole_key", "%2fetc%2fpasswd", "..%2f..%2f..%2fhome", "nothing", "%00"],
)
def test_no_address_leads_out_of_the_run(anna, failed, path):
    assert anna.get(f"/portal/runs/{failed[2]}/files/{path}").status_code == 404


def test_another_person_gets_404_for_everything_of_a_run(stand, failed):
    with stand.portal.person("boris") as boris:
        token = {"form_token": boris.form_token()}
        for path in ("", "/notebook", "/files/report.csv", "/compare", "/log.txt"):
            assert boris.get(f"/portal/runs/{failed[2]}{path}").status_code == 404, path
        for path in ("", "/files", "/compare", "/console", "/log"):
            assert boris.get(f"/portal/api/runs/{failed[2]}{path}").status_code == 404, path
        for path in ("again", "abort"):
            answer = boris.post(f"/portal/runs/{failed[2]}/{path}", data=token)
            assert answer.status_code == 404, path
        assert boris.get("/portal/api/runs").json()["total"] == 0
        assert boris.get("/portal/api/runs?owner=anna").json()["runs"] == []


def test_filters_of_the_list(stand, anna, failed):
    def ids(query):
        return [run["id"] for run in anna.get(f"/portal/api/runs?{query}").json()["runs"]]

    assert failed[2] in ids("state=failed")
    assert failed[1] not in ids("state=failed")
    assert set(failed[1:]) <= set(ids("word=NIGHTLY"))
    assert ids("word=no-such-title") == []
    assert ids(f"word={failed[1]}") == [failed[1]]
    assert set(ids(f"schedule={failed[0]}")) >= set(failed[1:])
    assert ids("since=2100-01-01") == []
    assert ids("until=2001-01-01") == []
    assert failed[2] in ids("since=nonsense&state=nonsense")
    page = anna.get("/portal/runs?state=failed&word=nightly").text
    assert 'value="nightly"' in page
    assert "1 to 1 of 1 that have ended." in page


def test_runs_are_shown_in_the_viewers_zone(stand, anna, failed):
    begun = stand.engine.client.get_job_status(failed[2])["time_start"]
    # Cookies of the jar and one more: the script of the page sets it in a browser.
    own = "; ".join(f"{name}={value}" for name, value in anna.cookies.items())
    for zone, offset in (("Asia%2FTokyo", 9), ("UTC", 0)):
        shown = time.strftime("%d %b %Y, %H:%M", time.gmtime(begun + offset * 3600)).lstrip("0")
        for path in ("/portal/runs", f"/portal/runs/{failed[2]}"):
            page = anna.get(path, headers={"Cookie": f"{own}; vixtract_zone={zone}"}).text
            assert shown in page, (zone, path)


def test_a_run_is_repeated_with_the_same_or_other_parameters(stand, anna):
    schedule = stand.schedule("Again", [["log", "x"]], parameters={"city": "Rome"})
    first = stand.run(schedule)

    def parameters(page):
        run = re.fullmatch(r"/portal/runs/(\w+)", page.url.path)[1]
        return anna.get(f"/portal/api/runs/{run}").json()["parameters"]

    kept = {"steps": [["log", "x"]], "city": "Rome"}
    assert parameters(anna.submit(f"/portal/runs/{first}/again")) == kept
    other = {"steps": [["log", "y"]], "city": "Oslo"}
    page = anna.submit(f"/portal/runs/{first}/again", parameters=json.dumps(other))
    assert parameters(page) == other
    answer = anna.submit(f"/portal/runs/{first}/again", parameters="[1]")
    assert answer.status_code == 422
    assert "Enter a JSON object" in answer.text
    # The schedule itself keeps its own.
    event = stand.engine.client.get_event(schedule)
    assert event["params"]["parameters"] == kept


def test_figures_are_for_admins_and_name_nobody(stand, anna, failed):
    assert anna.get("/portal/metrics").status_code == 403
    with stand.portal.browser() as nobody:
        assert nobody.get("/portal/metrics").status_code == 401
        token = stand.hub.add_token("root-admin", admin=True)
        answer = nobody.get("/portal/metrics", headers={"Authorization": f"token {token}"})
    assert answer.status_code == 200
    assert re.search(r'^vixtract_runs_ended_last_day\{state="failed"\} [1-9]', answer.text, re.M)
    assert "vixtract_scheduler_up 1.0" in answer.text
    assert 'route="/runs/{identifier}"' in answer.text
    assert "anna" not in answer.text
