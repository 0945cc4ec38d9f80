"""The portal as a process over a real engine: login, ownership, pages, JSON, refusals."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from urllib.parse import unquote

import pytest

from tests.contract.portal_stand import ACCESS, LAUNCH, FakeHub, Portal, start_engine
from tests.waiting import wait_until

EASY = {
    "notebook": "etl/load.ipynb", "kind": "manual", "time": "06:30", "timezone": "Europe/Moscow",
    "enabled": "on",
}  # fmt: skip
DONE = ["say", {"complete": 1, "code": 0}]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = start_engine(tmp_path_factory.mktemp("engine"))
    yield engine
    assert engine.stop() in {0, -15}


@pytest.fixture(scope="module")
def portal(engine, tmp_path_factory):
    hub = FakeHub()
    portal = Portal(tmp_path_factory.mktemp("portal"), hub, f"http://127.0.0.1:{engine.port}")
    yield portal
    portal.stop()
    hub.close()
    assert "Traceback" not in portal.log


@pytest.fixture
def anna(portal):
    with portal.person("anna") as browser:
        yield browser


def steps(*these) -> str:
    """Return the parameters that make the played notebook do something."""
    return json.dumps({"steps": [*these]})


def make(browser, title: str, **fields) -> str:
    """Store a schedule through the form; return its id."""
    page = browser.submit("/portal/schedules/new", **{**EASY, "title": title, **fields})
    assert page.status_code == 200, page.text
    return re.fullmatch(r"/portal/schedules/(\w+)", page.url.path)[1]


def start(browser, schedule: str) -> str:
    """Start a schedule with its button; return the run's id."""
    page = browser.submit(f"/portal/schedules/{schedule}/run")
    assert page.status_code == 200, page.text
    return re.fullmatch(r"/portal/runs/(\w+)", page.url.path)[1]


def await_end(browser, run: str) -> dict:
    """Wait until a run has ended; return it."""

    def look():
        answer = browser.get(f"/portal/api/runs/{run}").json()
        return answer if answer["state"] not in {"queued", "running", "waiting"} else None

    return wait_until(look, f"end of {run}", interval_s=0.1)


# Signing in.


def test_a_page_leads_through_the_login_and_back(portal):
    with portal.browser() as browser:
        token = portal.hub.add_token("anna")
        page = browser.sign_in(portal.hub, token, "/portal/schedules/new?notebook=etl/a.ipynb")
        assert page.url.path == "/portal/schedules/new"
        assert 'value="etl/a.ipynb"' in page.text
        assert 'value="a"' in page.text


def test_cookies_are_for_the_portal_alone(portal):
    with portal.browser() as browser:
        start = browser.get("/portal/", headers={"X-Scheme": "https"})
        cookie = start.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "Secure" in cookie
        assert "Path=/portal/oauth_callback" in cookie
        start = browser.get("/portal/")
        callback = portal.hub.let_in(start.headers["location"], portal.hub.add_token("anna"))
        cookie = next(
            value for value in browser.get(callback).headers.get_list("set-cookie")
            if value.startswith("vixtract-portal=")
        )  # fmt: skip
        assert re.search(r"; HttpOnly; Max-Age=\d+; Path=/portal; SameSite=lax$", cookie)


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/", "//evil.example/", "/\\evil.example", "/portal/\\evil.example",
        "/jupyter/hub/", "/portal/../jupyter/", "/portal//evil.example", "javascript:alert(1)",
        "/portal/oauth_callback?code=x", "/portalevil", "/portal/\nx", "", "/portal/%0d%0aSet-Cookie:a",
    ],
)  # fmt: skip
def test_the_login_leads_to_the_portal_alone(portal, target):
    with portal.browser() as browser:
        start = browser.get("/portal/login", params={"next": target})
        callback = portal.hub.let_in(start.headers["location"], portal.hub.add_token("anna"))
        location = browser.get(callback).headers["location"]
        assert location == "/portal/" or (location == target and target.startswith("/portal/%"))


def test_a_login_that_another_browser_started_is_refused(portal):
    token = portal.hub.add_token("mallory")
    with portal.browser() as theirs, portal.browser() as mine:
        callback = portal.hub.let_in(theirs.get("/portal/").headers["location"], token)
        answer = mine.get(callback)
        assert answer.status_code == 403
        assert "vixtract-portal=" not in answer.headers.get("set-cookie", "")
        # The same with a login of one's own under way.
        mine.get("/portal/")
        assert mine.get(callback).status_code == 403


def test_a_code_that_the_hub_does_not_know_is_refused(portal):
    with portal.browser() as browser:
        location = browser.get("/portal/").headers["location"]
        state = re.search(r"state=([^&]+)", location)[1]
        answer = browser.get(f"/portal/oauth_callback?code=made-up&state={state}")
        assert answer.status_code == 403
        assert "The Hub did not accept this login." in answer.text


def test_signing_out_forgets_the_cookie_and_goes_to_the_hub(portal):
    with portal.person("anna") as browser:
        answer = browser.submit("/portal/logout", follow=False)
        assert answer.headers["location"] == "/jupyter/hub/logout"
        assert browser.get("/portal/").status_code == 302


@pytest.mark.parametrize(
    ("model", "status"),
    [
        ({"scopes": ()}, 403),
        ({"scopes": ("access:services!service=other",)}, 403),
        ({"scopes": ("access:services",)}, 200),
        ({"scopes": (ACCESS,), "kind": "service"}, 401),
    ],
)
def test_the_hub_decides_who_may_use_the_portal(portal, model, status):
    token = portal.hub.add_token("carl", **model)
    with portal.browser() as browser:
        answer = browser.get("/portal/api/me", headers={"Authorization": f"token {token}"})
        assert answer.status_code == status


@pytest.mark.parametrize("header", ["token nobody", "Bearer nobody", "Basic YTpi", "token", "x"])
def test_unknown_tokens_are_refused_with_json(portal, header):
    with portal.browser() as browser:
        answer = browser.get("/portal/api/me", headers={"Authorization": header})
        assert answer.status_code == 401
        assert answer.json()["error"] == "You are not signed in."


# Changes come from the portal's own pages alone.


@pytest.mark.parametrize(
    "change",
    [
        {"data": {}},
        {"data": {"form_token": "0" * 64}},
        {"headers": {"X-Form-Token": "ж".encode()}},
        {"data": {"form_token": "OWN"}, "headers": {"Sec-Fetch-Site": "cross-site"}},
        {"data": {"form_token": "OWN"}, "headers": {"Sec-Fetch-Site": "same-site"}},
        {"json": {"form_token": "OWN"}},
    ],
)
def test_a_change_without_the_form_token_is_refused(anna, change):
    schedule = make(anna, f"Keep {time.time()}")
    own = anna.form_token()
    for kind in ("data", "json"):
        if change.get(kind, {}).get("form_token") == "OWN":
            change = {**change, kind: {"form_token": own}}
    for path in (f"/portal/schedules/{schedule}/delete", "/portal/logout"):
        assert anna.post(path, **change).status_code == 403
    refused = anna.delete(f"/portal/api/schedules/{schedule}", headers=change.get("headers"))
    assert refused.status_code == 403
    assert anna.get(f"/portal/schedules/{schedule}").status_code == 200


def test_another_persons_form_token_is_refused(portal, anna):
    schedule = make(anna, "Own token")
    with portal.person("bob") as bob:
        stolen = bob.form_token()
    answer = anna.post(f"/portal/schedules/{schedule}/delete", data={"form_token": stolen})
    assert answer.status_code == 403


def test_every_answer_forbids_scripts_and_frames_of_others(anna):
    paths = ("/portal/", "/portal/runs/none", "/portal/api/me", "/portal/static/portal.css")
    for path in paths:
        headers = anna.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_what_people_type_is_escaped(anna):
    evil = '"><script>alert(1)</script>'
    page = anna.get("/portal/schedules/new", params={"notebook": evil})
    assert "<script>alert" not in page.text
    page = anna.submit("/portal/schedules/new", **{**EASY, "title": evil, "parameters": evil})
    assert page.status_code == 422
    assert "<script>alert" not in page.text
    page = anna.get("/portal/", params={"notice": evil})
    assert "alert(1)" not in page.text


def test_a_log_is_shown_as_text(anna):
    script = "<script>alert(1)</script>"
    schedule = make(anna, "Noisy", parameters=steps(["log", script], DONE))
    run = start(anna, schedule)
    await_end(anna, run)
    assert "&lt;script&gt;alert(1)" in anna.get(f"/portal/runs/{run}").text
    log = anna.get(f"/portal/runs/{run}/log.txt")
    assert script in log.text
    assert log.headers["content-type"] == "text/plain; charset=utf-8"


# Schedules.


def test_a_schedule_is_stored_as_the_person_who_made_it(anna, engine):
    schedule = make(anna, "Nightly", kind="daily")
    event = engine.client.get_event(schedule)
    assert event["username"] == "anna"
    assert event["params"]["owner"] == "anna"
    assert event["timing"] == {"hours": [6], "minutes": [30]}
    assert (event["max_children"], event["queue"]) == (1, 1)
    page = anna.get(f"/portal/schedules/{schedule}")
    shown = page.text.partition('id="preview-times"')[2].partition("</ol>")[0]
    times = re.findall(r'<time datetime="[\d-]+T06:30:00\+03:00">', shown)
    assert len(times) == 5
    assert "every day at 06:30" in anna.get("/portal/").text


def test_a_wrong_form_keeps_what_was_typed(anna):
    page = anna.submit(
        "/portal/schedules/new", **{**EASY, "title": "Wrong", "kind": "weekly", "time": "6 o'clock"}
    )
    assert page.status_code == 422
    assert "Choose at least one day." in page.text
    assert "Enter a time such as 06:30." in page.text
    assert 'value="6 o&#39;clock"' in page.text
    assert 'aria-describedby="problem-time"' in page.text


def test_a_taken_name_is_said_at_the_name(portal, anna):
    make(anna, "Taken")
    with portal.person("bob") as bob:
        page = bob.submit("/portal/schedules/new", **{**EASY, "title": "Taken"})
        assert page.status_code == 422
        assert re.search(r'id="problem-title">[^<]*already exists', page.text)


def test_a_schedule_is_changed_switched_off_and_deleted(anna, engine):
    schedule = make(anna, "Changing", kind="daily")
    anna.submit(
        f"/portal/schedules/{schedule}",
        **{**EASY, "title": "Changed", "kind": "hourly", "minute": "7", "enabled": "on"},
    )
    event = engine.client.get_event(schedule)
    assert (event["title"], event["timing"]) == ("Changed", {"minutes": [7]})
    anna.submit(f"/portal/schedules/{schedule}/disable")
    assert engine.client.get_event(schedule)["enabled"] == 0
    anna.submit(f"/portal/schedules/{schedule}/enable")
    assert engine.client.get_event(schedule)["enabled"] == 1
    assert "Delete “Changed”?" in anna.get(f"/portal/schedules/{schedule}/delete").text
    anna.submit(f"/portal/schedules/{schedule}/delete")
    assert anna.get(f"/portal/schedules/{schedule}").status_code == 404


# Runs.


def test_a_run_is_followed_to_its_end(anna):
    slow = steps(
        ["log", "line one"], ["say", {"progress": 0.5, "memo": "cell 3 of 6"}], ["sleep", 1.0], DONE
    )
    run = start(anna, make(anna, "Slow", parameters=slow))
    api = f"/portal/api/runs/{run}/console"

    def half_way():
        part = anna.get(api).json()
        return part if part["run"]["memo"] and "line one" in part["data"] else None

    part = wait_until(half_way, "progress", interval_s=0.05)
    assert (part["run"]["state"], part["run"]["progress"], part["done"]) == ("running", 0.5, False)
    assert anna.get(api, params={"offset": part["next"]}).json()["data"] == ""
    page = anna.get(f"/portal/runs/{run}").text
    assert "cell 3 of 6" in page
    assert "live.js" in page
    assert run in anna.get("/portal/runs").text
    assert await_end(anna, run)["state"] == "succeeded"
    page = anna.get(f"/portal/runs/{run}").text
    assert "line one" in page
    assert "live.js" not in page


def test_a_failure_is_told_in_plain_words(anna):
    error = {"cell": 3, "name": "ValueError", "message": "no such column <price>"}
    failing = steps(
        [
            "say",
            {
                "complete": 1,
                "code": 1,
                "description": "Cell 3 failed: ValueError",
                "chain_data": {
                    "owner": "anna",
                    "run_dir": "/runs/anna/x",
                    "output": "/runs/anna/x/мой load-output.ipynb",
                    "error": error,
                    "hint": "Look at the source file.",
                },
            },
        ]
    )
    run = start(anna, make(anna, "Failing", parameters=failing))
    assert await_end(anna, run)["state"] == "failed"
    page = anna.get(f"/portal/runs/{run}").text
    assert "Cell 3 failed: ValueError" in page
    assert "no such column &lt;price&gt;" in page
    assert "Look at the source file." in page
    link = re.search(r'href="/jupyter/hub/spawn\?next=([^"]+)"', page)[1]
    # A retry has a folder of its own: where the record says it lies counts, not the number.
    assert unquote(unquote(link)) == "/jupyter/user/anna/lab/tree/runs/x/мой load-output.ipynb"
    assert "Cell 3 failed: ValueError" in anna.get("/portal/runs").text


def test_a_run_is_stopped(anna):
    run = start(anna, make(anna, "Endless", parameters=steps(["sleep", 60])))
    anna.submit(f"/portal/runs/{run}/abort")
    assert await_end(anna, run)["state"] == "aborted"
    late = anna.submit(f"/portal/runs/{run}/abort")
    assert late.status_code == 409


def test_a_second_run_waits_for_the_first(anna):
    schedule = make(anna, "Busy", parameters=steps(["sleep", 60]))
    first, second = start(anna, schedule), start(anna, schedule)
    states = {r["id"]: r["state"] for r in anna.get("/portal/api/runs").json()["active"]}
    assert (states[first], states[second]) == ("running", "queued")
    for run in (second, first):
        anna.submit(f"/portal/runs/{run}/abort")
    assert await_end(anna, second)["state"] == "aborted"
    refused = anna.submit(f"/portal/schedules/{schedule}/delete")
    await_end(anna, first)
    assert refused.status_code in {200, 409}


def test_runs_are_shown_page_by_page(portal):
    with portal.person("paul") as paul:
        schedule = make(paul, "Many", parameters=steps(DONE))
        api, headers = "/portal/api", {"X-Form-Token": paul.form_token()}
        path = f"{api}/schedules/{schedule}/run"
        ran = [paul.post(path, headers=headers).json()["run"] for _ in range(27)]
        await_end(paul, ran[-1])
        for query in ({}, {"schedule": schedule}):
            seen, offset = [], 0
            while offset is not None:
                params = {**query, "offset": offset}
                page = paul.get("/portal/api/runs", params=params).json()
                assert len(page["runs"]) <= 25
                seen += [run["id"] for run in page["runs"]]
                offset = page["next_offset"]
            assert seen == ran[::-1]
        assert 'rel="next"' in paul.get("/portal/runs").text


# Who may.


def test_others_are_told_that_there_is_no_such_thing(portal, anna):
    schedule = make(anna, "Private", parameters=steps(["log", "secret"], DONE))
    run = start(anna, schedule)
    await_end(anna, run)
    with portal.person("bob") as bob:
        pages = [
            f"/portal/schedules/{schedule}", f"/portal/schedules/{schedule}/delete",
            f"/portal/runs/{run}", f"/portal/runs/{run}/log.txt", f"/portal/runs?schedule={schedule}",
            f"/portal/api/schedules/{schedule}", f"/portal/api/runs/{run}",
            f"/portal/api/runs/{run}/console", f"/portal/api/runs/{run}/log",
        ]  # fmt: skip
        for path in pages:
            real, made_up = bob.get(path), bob.get(path.replace(schedule, "e0").replace(run, "j0"))
            assert (real.status_code, made_up.status_code) == (404, 404), path
            assert real.text == made_up.text
        for path in ("", "/run", "/enable", "/disable", "/delete"):
            answer = bob.submit(f"/portal/schedules/{schedule}{path}", **EASY, title="Mine")
            assert answer.status_code == 404, path
        assert bob.submit(f"/portal/runs/{run}/abort").status_code == 404
        for text in (bob.get("/portal/").text, bob.get("/portal/runs").text):
            assert "Private" not in text
        headers = {"X-Form-Token": bob.form_token()}
        change = bob.patch(
            f"/portal/api/schedules/{schedule}", json={"title": "x"}, headers=headers
        )
        assert change.status_code == 404
    assert anna.get(f"/portal/api/schedules/{schedule}").json()["title"] == "Private"


def test_admins_see_everybodys(portal, anna):
    schedule = make(anna, "Seen by admins")
    with portal.person("boss", admin=True) as boss:
        page = boss.get("/portal/").text
        assert "Seen by admins" in page
        assert "runs as anna" in page
        boss.submit(
            f"/portal/schedules/{schedule}", **{**EASY, "title": "Renamed", "owner": "anna"}
        )
    event = anna.get(f"/portal/api/schedules/{schedule}").json()
    assert (event["title"], event["author"], event["owner"]) == ("Renamed", "anna", "anna")


def test_nobody_borrows_an_admins_rights(portal, anna, engine):
    """An admin scheduled anna's notebook; what anna makes of it runs with anna's rights."""
    with portal.person("boss", admin=True) as boss:
        schedule = make(boss, "Lent", owner="anna")
    event = engine.client.get_event(schedule)
    assert (event["username"], event["params"]["owner"]) == ("boss", "anna")
    anna.submit(
        f"/portal/schedules/{schedule}",
        **{**EASY, "title": "Lent", "owner": "bob", "notebook": "other.ipynb"},
    )
    event = engine.client.get_event(schedule)
    assert (event["username"], event["params"]["owner"]) == ("anna", "anna")


def test_the_api_takes_nobody_elses_name(portal, engine):
    headers = {"Authorization": f"token {portal.hub.add_token('bob')}"}
    with portal.browser() as program:
        answer = program.post(
            "/portal/api/schedules",
            json={"title": "Forged", "notebook": "a.ipynb", "owner": "anna"},
            headers=headers,
        )
        assert answer.status_code == 201
        assert answer.json()["owner"] == "bob"
        answer = program.post(
            "/portal/api/schedules",
            json={"title": "F2", "notebook": "a.ipynb", "username": "anna"},
            headers=headers,
        )
        assert answer.status_code == 422


# JSON.


def test_a_program_does_everything_with_a_token(portal):
    with portal.browser() as program:
        program.headers["Authorization"] = f"token {portal.hub.add_token('robot')}"
        api = "/portal/api"
        made = program.post(
            f"{api}/schedules",
            json={
                "title": "By program", "notebook": "a.ipynb", "retries": 1,
                "timing": {"hours": [6], "minutes": [0]}, "timezone": "UTC",
                "parameters": {"steps": [DONE]},
            },
        )  # fmt: skip
        assert made.status_code == 201, made.text
        schedule = made.json()
        assert (schedule["when"], schedule["enabled"]) == ("every day at 06:00", True)
        assert len(schedule["next"]) == 5
        path = f"{api}/schedules/{schedule['id']}"
        changed = program.patch(path, json={"timing": False}).json()
        assert (changed["when"], changed["next"], changed["retries"]) == ("only by hand", [], 1)
        run = program.post(f"{path}/run").json()["run"]
        assert await_end(program, run)["state"] == "succeeded"
        assert "Job completed" in program.get(f"{api}/runs/{run}/log").text
        assert program.get(path).json()["last"]["id"] == run
        assert [s["id"] for s in program.get(f"{api}/schedules").json()] == [schedule["id"]]
        wrong = program.patch(path, json={"retries": -1})
        assert wrong.status_code == 422
        assert wrong.json()["problems"] == {"retries": "Enter a whole number from 0 to 100."}
        assert program.delete(path).status_code == 204
        assert program.get(path).status_code == 404
        # The run outlives its schedule, and says nothing wrong about it.
        assert program.get(f"{api}/runs/{run}").json()["title"] == "By program"


def test_the_document_describes_every_call(portal):
    with portal.browser() as browser:
        document = browser.get("/portal/api/openapi.json").json()
        assert set(document["paths"]) >= {
            "/portal/api/next", "/portal/api/overview", "/portal/api/notebooks",
            "/portal/api/notebooks/parameters", "/portal/api/me", "/portal/api/schedules", "/portal/api/schedules/{identifier}",
            "/portal/api/schedules/{identifier}/run", "/portal/api/runs",
            "/portal/api/runs/{identifier}", "/portal/api/runs/{identifier}/console",
            "/portal/api/runs/{identifier}/log", "/portal/api/runs/{identifier}/abort",
            "/portal/health",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/portal/nothing", 404),
        ("GET", "/portal/runs/..%2f..%2fetc", 404),
        ("GET", "/portal/runs/a.b", 404),
        ("GET", "/portal/runs?offset=-1", 422),
        ("GET", "/portal/runs?offset=x", 422),
        ("PUT", "/portal/", 405),
        ("GET", "/portal/static/../templates/base.html", 404),
        ("GET", "/portal/static/%2e%2e/templates/base.html", 404),
    ],
)
def test_wrong_addresses_are_answered_with_a_page(anna, method, path, status):
    answer = anna.request(method, path)
    assert answer.status_code == status
    assert "<h1>" in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b'"x"', b"[" * 100_000, b"\xff\xfe", b'{"title": "\\ud800"}',
        b'{"title": "t", "notebook": "a.ipynb", "parameters": {"a": NaN}}',
        b'{"title": "t", "notebook": "a.ipynb", "retries": 1e999}',
        b'{"title": "t", "notebook": "a.ipynb", "retries": 99999999999999999999}',
        b'{"title": "t", "notebook": "a.ipynb", "timing": {"hours": [25]}}',
        b'{"title": "t", "notebook": "a.ipynb", "timing": {"hours": []}}',
        b'{"title": "t", "notebook": "a.ipynb", "timing": {"days": [31], "months": [2]}}',
        b'{"title": "t\\u0000", "notebook": "a.ipynb"}',
        b'{"title": "t", "notebook": "a\\ud800.ipynb"}',
    ],
)  # fmt: skip
def test_hostile_json_is_refused_and_named(portal, body):
    headers = {"Authorization": f"token {portal.hub.add_token('fuzz')}"}
    headers["Content-Type"] = "application/json"
    with portal.browser() as program:
        answer = program.post("/portal/api/schedules", content=body, headers=headers)
        assert answer.status_code in {400, 422}, answer.text
        assert answer.json()["error"]
        assert program.get("/portal/api/schedules", headers=headers).json() == []


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_refused(portal, anna, declared):
    cookie = "; ".join(f"{name}={value}" for name, value in anna.cookies.items())
    connection = http.client.HTTPConnection("127.0.0.1", portal.port, timeout=60)
    body = b"form_token=" + b"x" * 300_000
    headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    content = body if declared else iter([body[:200_000], body[200_000:]])
    connection.request("POST", "/portal/logout", content, headers, encode_chunked=not declared)
    assert connection.getresponse().status == 413
    connection.close()


def test_pages_speak_russian(portal):
    with portal.person("anna", language="ru-RU,ru;q=0.9") as browser:
        page = browser.get("/portal/schedules/new")
        assert '<html lang="ru">' in page.text
        assert "Новое расписание" in page.text
        assert "Такого запуска нет." in browser.get("/portal/runs/j0").text
        # The choice made on the home page goes before the browser's wish.
        browser.cookies.set("vixtract_lang", "en")
        assert "New schedule" in browser.get("/portal/schedules/new").text


def test_lab_gets_its_texts_in_the_readers_language(portal):
    asked = [("text", "Runs"), ("text", "Schedule…"), ("text", "<b>unknown</b>")]
    with portal.browser(language="ru") as browser:
        answer = browser.get("/portal/texts", params=asked)
        assert answer.json() == {
            "Runs": "Запуски",
            "Schedule…": "Запланировать…",
            "<b>unknown</b>": "<b>unknown</b>",
        }
        assert browser.get("/portal/texts", params=[("text", "x" * 201)]).status_code == 422
        assert browser.get("/portal/texts", params=[("text", "x")] * 51).status_code == 422
        browser.cookies.set("vixtract_lang", "en")
        assert browser.get("/portal/texts", params=asked).json()["Runs"] == "Runs"


# Neighbours that are away.


def test_a_scheduler_that_is_away_is_said_kindly(tmp_path):
    hub = FakeHub()
    portal = Portal(tmp_path, hub, "http://127.0.0.1:9")
    try:
        with portal.browser() as browser:
            page = browser.sign_in(hub, hub.add_token("anna"))
            assert page.status_code == 503
            assert page.headers["retry-after"] == "5"
            assert "The scheduler does not answer." in page.text
            assert '<meta http-equiv="refresh" content="5">' in page.text
            answer = browser.get("/portal/api/runs")
            assert (answer.status_code, answer.json()["error"]) == (
                503,
                "The scheduler does not answer.",
            )
            hub.close()
            fresh = browser.get("/portal/api/me", headers={"Authorization": "token another"})
            assert fresh.status_code == 503
            assert browser.get("/portal/health").json()["status"] == "ok"
    finally:
        portal.stop()


def test_the_portal_ends_with_the_hub_that_started_it(tmp_path):
    """A Hub that was killed starts another portal, which needs the port and has a new token."""
    hub = FakeHub()
    portal = Portal(tmp_path, hub, "http://127.0.0.1:9")
    portal.stop()
    parent_code = (
        "import subprocess, sys, time;"
        f"child = subprocess.Popen([sys.executable, '-I', '-c', {LAUNCH!r}]);"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_code], env=portal.environment, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(portal.is_up, "the portal", interval_s=0.1)
    parent.send_signal(signal.SIGKILL)
    parent.wait(timeout=10)
    parent.stdout.close()
    wait_until(lambda: not portal.is_up(), "the portal's end", timeout_s=10, interval_s=0.1)
    hub.close()


def test_a_portal_without_its_settings_says_what_is_missing():
    ended = subprocess.run(
        [sys.executable, "-I", "-c", LAUNCH], env={}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 3
    assert "without SCHEDULER_API_KEY, JUPYTERHUB_API_TOKEN, JUPYTERHUB_API_URL" in ended.stderr
