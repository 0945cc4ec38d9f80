"""Messages under Cronicle: the appliance's own notifier sends them, once, and Cronicle sends none."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from aiosmtpd.controller import Controller

from tests.contract.test_notify import Hook, Inbox
from tests.images.docker_cli import host_address, unique_name
from tests.images.edge_box import IMAGE, EdgeBox, has_image
from tests.waiting import free_port, wait_until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not has_image(), reason=f"Cronicle's image is absent: {IMAGE}"),
]


@pytest.fixture(scope="module")
def host() -> str:
    """This machine's address on the engine's bridge."""
    return host_address(IMAGE)


@pytest.fixture(scope="module")
def inbox(host) -> Iterator[Inbox]:
    """A mail server."""
    inbox = Inbox()
    inbox.port = free_port()
    controller = Controller(inbox, hostname=host, port=inbox.port, ident="test")
    controller.start()
    yield inbox
    controller.stop()


@pytest.fixture(scope="module")
def box(host, inbox) -> Iterator[EdgeBox]:
    """A container with Cronicle that knows the mail server."""
    box = EdgeBox(unique_name("edge-mail"))
    settings = {
        "SMTP_HOST": host, "SMTP_PORT": str(inbox.port), "SMTP_FROM": "etl@example.com",
        "PUBLIC_URL": "https://etl.example.com",
    }  # fmt: skip
    try:
        yield box.start(*(word for item in settings.items() for word in ("--env", "=".join(item))))
    finally:
        box.delete()


def test_mail_and_web_hook_are_sent_once_by_the_settings_for_mail(box, host, inbox):
    hook = Hook(host)
    try:
        event = box.make_event(
            "#!/bin/bash\nexit 3\n", notify_fail="anna@example.com", web_hook=f"{hook.url}/x"
        )
        job = box.client.run_event(event)
        assert box.client.wait_for_job(job, 120)["code"] == 3
        wait_until(lambda: inbox.mails and hook.got, "mail and call", interval_s=0.5)
        # Long enough for a second one of Cronicle's own.
        time.sleep(5)
        assert [list(to) for to in inbox.to] == [["anna@example.com"]]
        assert inbox.mails[0]["From"] == "etl@example.com"
        text = inbox.mails[0].get_body(("plain",)).get_content()
        assert f"https://etl.example.com/portal/runs/{job}" in text, text
        assert len(hook.got) == 1 and hook.got[0][0] == "/x"
    finally:
        hook.close()


def test_cronicle_itself_is_told_nobody_to_write_to(box):
    event = box.make_event(
        "#!/bin/bash\n", notify_success="bob@example.com", web_hook="https://example.com/"
    )
    session = box.log_in()
    told = box.ask("app/get_event", {"id": event}, session)[1]["event"]
    assert not {"notify_success", "web_hook"} & {name for name, value in told.items() if value}
    assert box.client.get_event(event)["notify_success"] == "bob@example.com"
    # A change on the page leaves them as they are, and cannot set others.
    changed = {
        "id": event, "title": told["title"], "notes": "new", "notify_success": "",
        "plugin": "shellplug", "params": told["params"],
    }  # fmt: skip
    others = {**changed, "notes": "others", "notify_success": "eve@example.com"}
    refused = box.ask("app/update_event", others, session)[1]
    assert refused["code"] == "api" and "set in the portal" in refused["description"]
    assert box.client.get_event(event)["notes"] != "others"
    assert box.ask("app/update_event", changed, session)[1]["code"] == 0
    wait_until(lambda: box.client.get_event(event)["notes"] == "new", "the change", interval_s=0.5)
    assert box.client.get_event(event)["notify_success"] == "bob@example.com"
    box.client.update_event(event, {"notify_success": "", "web_hook": ""})
    assert box.client.get_event(event)["notify_success"] == ""
