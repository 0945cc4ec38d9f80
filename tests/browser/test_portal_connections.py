"""Connections in Chromium, in both languages: make, test, change, share, delete; a real vault behind."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import open_chromium, open_page, shoot
from tests.contract.portal_stand import FakeHub, Portal, start_engine
from tests.contract.source_servers import Service
from tests.contract.vault_stand import ANNA, BOB, CAN_SERVE, WHY_NOT, VaultStand
from tests.scratch import open_folder

pytestmark = pytest.mark.skipif(not CAN_SERVE, reason=WHY_NOT)
TOKEN = "good-token"


class Stand:
    """Vault, engine and portal; the portal runs as root here, so root is the vault's portal."""

    def __init__(self, folder) -> None:
        self.vault = VaultStand(folder, portal=0)
        self.vault.set_team("sales", "anna")
        for name in ("engine", "portal"):
            (folder / name).mkdir()
        self.engine = start_engine(folder / "engine")
        self.hub = FakeHub()
        self.portal = Portal(
            folder / "portal", self.hub, f"http://127.0.0.1:{self.engine.port}",
            VIXTRACT_VAULT_SOCKET=str(self.vault.socket),
        )  # fmt: skip
        self.service = Service("http://127.0.0.1:1")

    def close(self) -> None:
        self.service.close()
        self.portal.stop()
        self.hub.close()
        self.engine.stop()
        self.vault.stop()


@pytest.fixture(scope="module")
def stand():
    with open_folder() as folder:
        stand = Stand(folder)
        yield stand
        stand.close()
        for log in (stand.portal.log, stand.vault.log):
            assert "Traceback" not in log, log
            assert TOKEN not in log


@pytest.fixture(scope="module")
def chromium():
    with open_chromium() as browser:
        yield browser


WORDS = {
    "en-US": {"new": "New connection", "works": "It works", "wrong": "rejects this token",
              "test": "Test", "save": "Save", "saved": "Saved.", "needed": "This field is required.",
              "again": "Type this again", "taken": "with this name already", "delete": "Delete",
              "hidden": "never shown again", "none": "No connections yet"},
    "ru-RU": {"new": "Новое подключение", "works": "Работает", "wrong": "не принимает этот токен",
              "test": "Проверить", "save": "Сохранить", "saved": "Сохранено.",
              "needed": "нужно заполнить", "again": "введите это снова", "taken": "уже есть",
              "delete": "Удалить", "hidden": "больше не показывается",
              "none": "Подключений пока нет"},
}  # fmt: skip


def press(page, text: str) -> None:
    """Press the form's visible button with this text."""
    page.locator("#connection .acts button", has_text=text).click()


@pytest.mark.parametrize("locale", ["en-US", "ru-RU"])
def test_a_connection_is_made_tested_changed_and_deleted(stand, chromium, locale):
    say, url = WORDS[locale], f"{stand.service.url}/v1"
    with open_page(chromium, stand.portal, "anna", locale=locale) as page:
        page.goto("/portal/connections")
        expect(page.locator("main")).to_contain_text(say["none"])
        shoot(page, f"connections-none-{locale}")
        page.click(f"text={say['new']}")
        shoot(page, f"connections-kinds-{locale}")
        page.click("main >> text=HTTP")
        press(page, say["save"])
        expect(page.locator("#problem-address")).to_contain_text(say["needed"])
        expect(page.locator("#problem-token")).to_contain_text(say["needed"])
        shoot(page, f"connection-wrong-{locale}")
        page.fill("#name", "shop-api")
        page.fill("#v-address", url)
        page.fill("#v-token", "bad-token")
        press(page, say["test"])
        expect(page.locator(".outcome")).to_contain_text(say["wrong"])
        page.fill("#v-token", TOKEN)
        press(page, say["test"])
        expect(page.locator(".outcome")).to_contain_text(say["works"])
        shoot(page, f"connection-works-{locale}")
        press(page, say["save"])
        expect(page.locator(".notice").first).to_contain_text(say["saved"])
        page.locator(".row button", has_text=say["test"]).click()
        expect(page.locator(".row .outcome")).to_contain_text(say["works"])
        shoot(page, f"connections-{locale}")
        page.click("h2 >> text=shop-api")
        assert TOKEN not in page.content()
        assert page.input_value("#v-token") == ""
        expect(page.locator("main")).to_contain_text(say["hidden"])
        change_and_share(stand, page, say, url)
        page.locator("section >> text=" + say["delete"]).click()
        page.locator("main button", has_text=say["delete"]).click()
        expect(page.locator("main")).to_contain_text(say["none"])
        shoot(page, f"connection-deleted-{locale}")
        assert [c for c in page.complaints if "422" not in c] == []


def change_and_share(stand, page, say, url) -> None:
    """Change anna's connection, give it to her team, and come back to its page."""
    # Unchanged, the saved token is what is tested; at another address it is not sent.
    press(page, say["test"])
    expect(page.locator(".outcome")).to_contain_text(say["works"])
    page.fill("#v-address", "http://thief.example.com")
    press(page, say["test"])
    expect(page.locator(".outcome")).to_contain_text(say["again"])
    page.fill("#v-address", url)
    page.select_option("#owner", "team:sales")
    press(page, say["save"])
    expect(page.locator(".badge")).to_contain_text("sales")
    page.goto("/portal/connections/new?kind=http")
    page.fill("#name", "SHOP-API")
    page.fill("#v-address", url)
    page.fill("#v-token", "x")
    press(page, say["save"])
    expect(page.locator("#problem-name")).to_contain_text(say["taken"])
    page.goto("/portal/connections")
    page.click("h2 >> text=shop-api")
    shoot(page, f"connection-saved-{say['save']}")
    found = stand.vault.ask(ANNA, do="get", name="shop-api")["connection"]
    assert (found["owner"], found["values"]["token"]) == (["team", "sales"], TOKEN)
    assert "belongs to another" in stand.vault.ask(BOB, do="get", name="shop-api")["error"]


def test_without_scripts_the_test_works_too(stand, chromium):
    with open_page(
        chromium, stand.portal, "boris", locale="en-US", java_script_enabled=False
    ) as page:
        page.goto("/portal/connections/new?kind=http")
        page.fill("#v-address", f"{stand.service.url}/v1")
        page.fill("#v-token", TOKEN)
        press(page, "Test")
        expect(page.locator(".outcome")).to_contain_text("It works")
        assert TOKEN not in page.content()


def test_another_person_reaches_none_of_it(stand, chromium):
    stand.vault.save("anna", "secret-name", "http", address=stand.service.url, token=TOKEN)
    number = stand.vault.ask(ANNA, do="list")["connections"][0]["id"]
    with open_page(chromium, stand.portal, "boris", locale="en-US") as page:
        page.goto("/portal/connections")
        assert "secret-name" not in page.content()
        for path in ("", "/delete"):
            assert page.goto(f"/portal/connections/{number}{path}").status == 404
    with stand.portal.person("boris") as browser:
        for path in ("", "/delete", "/test"):
            answer = browser.submit(f"/portal/connections/{number}{path}", kind="http", name="x")
            assert answer.status_code == 404, answer.text
    with stand.portal.person("anna") as browser:
        forged = browser.post(f"/portal/connections/{number}/delete", data={"form_token": "0"})
        assert forged.status_code == 403
    assert stand.vault.ask(ANNA, do="get", name="secret-name")["connection"]


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "mssql", "s3", "sftp"])
def test_every_kind_has_a_form_that_fits_a_phone(stand, chromium, kind):
    size = {"width": 390, "height": 800}
    with open_page(chromium, stand.portal, "anna", locale="en-US", viewport=size) as page:
        page.goto(f"/portal/connections/new?kind={kind}")
        shoot(page, f"connection-{kind}")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, width
        # A script's markup in what is typed stays text.
        page.fill("#name", '"><img src=x onerror=alert(1)>')
        press(page, "Save")
        expect(page.locator("#problem-name")).to_contain_text(re.compile("letters a to z"))
        assert page.locator("img[src=x]").count() == 0


def test_a_vault_that_is_down_gets_a_plain_page(stand, chromium, monkeypatch):
    stand.vault.stop()
    try:
        with open_page(chromium, stand.portal, "anna", locale="en-US") as page:
            assert page.goto("/portal/connections").status == 503
            expect(page.locator("main")).to_contain_text("cannot be read now")
    finally:
        stand.vault.start()
