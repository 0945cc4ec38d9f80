"""The catalog in Chromium, in both languages, over a real PostgreSQL."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import open_chromium, open_page, shoot
from tests.contract.run_stand import CAN_SERVE, WHY_NOT, RunStand
from tests.contract.test_people_roles import KEY, connect_person
from tests.contract.test_people_roles import server as server  # noqa: PLC0414 - a fixture
from tests.scratch import open_folder
from vixtract.ledger.freshness import Freshness
from vixtract.people import roles

pytest_plugins = ["tests.postgres"]

pytestmark = pytest.mark.skipif(not CAN_SERVE, reason=WHY_NOT)


@pytest.fixture(scope="module")
def stand(server):
    for name in ("anna", "boris"):
        server.ensure_role(name)
    with connect_person(server, "anna") as connection:
        connection.execute("CREATE TABLE anna.sales (city text NOT NULL, people int)")
        connection.execute("COMMENT ON TABLE anna.sales IS 'Sales of each city, by night'")
        connection.execute("COMMENT ON COLUMN anna.sales.people IS 'Who live there'")
        connection.execute("INSERT INTO anna.sales VALUES ('Rome', 2748109), ('<b>Oslo</b>', NULL)")
        connection.execute("CREATE VIEW anna.big AS SELECT * FROM anna.sales WHERE people > 1e6")
        connection.execute("ANALYZE anna.sales")
    with open_folder() as folder:
        stand = RunStand(
            folder, role_key=KEY,
            VIXTRACT_POSTGRESQL_HOST=server.host, VIXTRACT_POSTGRESQL_PORT=str(server.port),
        )  # fmt: skip
        load_late(server, stand)
        yield stand
        stand.close()
        assert "Traceback" not in stand.portal.log, stand.portal.log


def load_late(server, stand) -> None:
    """Note a load of three hours ago whose next one should have come an hour later."""
    schedule = stand.schedule("Nightly sales", [["log", "x"]])
    now = time.time() - 3 * 3600
    row = {
        "state": "done", "time_start": now - 30, "time_end": now, "owner": "anna",
        "event": schedule, "title": "Nightly sales", "id": stand.run(schedule),
        "result": '{"chain_data": {"notebook": "/home/anna/etl/load.ipynb",'
        ' "loads": [{"table": "anna.sales", "mode": "replace", "rows": 2}]}}',
    }  # fmt: skip
    password = roles.role_password(KEY, "vixtract")
    url = f"postgresql://vixtract:{password}@{server.host}:{server.port}/vixtract"
    assert Freshness(url, lambda event, after: after + 3600).note([row]) == 1


@pytest.fixture(scope="module")
def chromium():
    with open_chromium() as browser:
        yield browser


@pytest.mark.parametrize(
    ("locale", "late", "copied"), [("en-US", "late", "Copied."), ("ru-RU", "опаздывает", "Скопир")]
)
def test_a_table_is_found_read_and_connected_to(stand, chromium, locale, late, copied):
    options = {"locale": locale, "permissions": ["clipboard-read", "clipboard-write"]}
    with open_page(chromium, stand.portal, "anna", **options) as page:
        page.goto("/portal/tables")
        expect(page.locator(".row")).to_have_count(2)
        # What is late comes first.
        expect(page.locator(".row").first).to_contain_text(late)
        page.fill("[name=word]", "who LIVE")
        page.press("[name=word]", "Enter")
        expect(page.locator(".row")).to_have_count(1)
        shoot(page, f"tables-{locale}")
        page.click("text=anna.sales")
        for text in ("2748109", "<b>Oslo</b>", "NULL", "integer", "Who live there", "load.ipynb"):
            expect(page.locator("main")).to_contain_text(text)
        shoot(page, f"table-{locale}")
        field = page.locator(".copy", has_text="JDBC").locator("input")
        field.click()
        expect(page.locator(".copy", has_text="JDBC")).to_contain_text(copied)
        text = page.evaluate("navigator.clipboard.readText()")
        url = r"jdbc:postgresql://127\.0\.0\.1:5432/etl"
        query = r"user=bi&sslmode=verify-full&sslrootcert=vixtract-ca\.crt"
        assert re.fullmatch(rf"{url}\?{query}", text)
        page.click("text=Nightly sales")
        assert "/portal/schedules/" in page.url
        assert page.complaints == []


def test_another_person_finds_nothing_of_it(stand, chromium):
    with open_page(chromium, stand.portal, "boris", locale="en-US") as page:
        page.goto("/portal/tables")
        expect(page.locator("main")).to_contain_text("No tables yet")
        assert page.goto("/portal/tables/anna/sales").status == 404
        assert page.request.get("/portal/api/tables/anna/sales").status == 404
