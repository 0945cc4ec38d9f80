"""The form of every kind of connection, in both languages, with a real vault behind the portal."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import pytest

from tests.contract.portal_stand import FakeHub, Portal, start_engine
from tests.contract.vault_stand import ANNA, CAN_SERVE, WHY_NOT, VaultStand
from tests.scratch import open_folder
from tests.waiting import free_port
from vixtract.language import load_languages
from vixtract.vault.fields import PROBLEMS
from vixtract.vault.probe_results import RESULTS
from vixtract.vault.registry import KINDS

pytestmark = pytest.mark.skipif(not CAN_SERVE, reason=WHY_NOT)
LANGUAGES = load_languages(Path(__file__).parents[2] / "web" / "locale")
SECRET = "s3cret-of-anna"


@pytest.fixture(scope="module")
def stand():
    with open_folder() as folder:
        # The portal runs as root here, so root is the vault's portal.
        vault = VaultStand(folder, portal=0)
        for name in ("engine", "portal"):
            (folder / name).mkdir()
        engine, hub = start_engine(folder / "engine"), FakeHub()
        portal = Portal(
            folder / "portal", hub, f"http://127.0.0.1:{engine.port}",
            VIXTRACT_VAULT_SOCKET=str(vault.socket),
        )  # fmt: skip
        yield portal, vault
        portal.stop()
        hub.close()
        engine.stop()
        vault.stop()
        assert "Traceback" not in portal.log + vault.log
        assert SECRET not in portal.log + vault.log


@pytest.mark.parametrize("code", sorted(LANGUAGES))
@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_the_form_shows_what_the_kind_s_module_says(stand, kind, code):
    say = LANGUAGES[code].say
    with stand[0].person("anna", language=code) as browser:
        page = unescape(browser.get(f"/portal/connections/new?kind={kind.name}").text)
        wrong = browser.submit(f"/portal/connections/new?kind={kind.name}", kind=kind.name, name="")
    for field in kind.fields:
        assert f">{say(field.label)}</label>" in page, field.name
        assert not field.help or say(field.help) in page
        for value, label in field.choices.items():
            chosen = " selected" if value == field.default else ""
            assert f'<option value="{value}"{chosen}>{say(label)}</option>' in page
        assert f'value="{field.default}"' in page
    assert wrong.status_code == 422
    assert say(PROBLEMS["missing"]) in unescape(wrong.text)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_connection_is_saved_shown_without_secrets_tested_and_deleted(stand, kind):
    portal, vault = stand
    port = str(free_port())
    samples = {"host": "127.0.0.1", "port": port, "url": f"http://127.0.0.1:{port}", "text": "x"}
    values = {
        f"v-{field.name}": SECRET if field.secret else samples[field.rule]
        for field in kind.fields
        if field.rule in samples
        and (field.required or field.secret or field.rule in {"port", "url"})
    }
    with portal.person("anna") as browser:
        saved = browser.submit("/portal/connections/new", kind=kind.name, name=kind.name, **values)
        assert saved.status_code == 200, saved.text
        found = vault.ask(ANNA, do="get", name=kind.name)["connection"]
        assert SECRET in found["values"].values()
        path = f"/portal/connections/{found['id']}"
        page = browser.get(path).text
        assert SECRET not in page
        assert port in page
        tested = browser.submit(f"{path}/test").text
        assert RESULTS["not_listening"] in unescape(tested)
        browser.submit(f"{path}/delete")
    assert vault.ask(ANNA, do="get", name=kind.name)["unknown"]
