"""CRONICLE_PORT at the front door: Cronicle's page moves there, and nothing of notebooks follows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.images.docker_cli import created_container, docker, handed_on, logs
from tests.images.test_nginx import IMAGE, UP, Door, front_door
from tests.waiting import wait_until

OPTIONS = (
    "--env=VIXTRACT_ENGINE=cronicle", "--env=CRONICLE_PORT=9999", "--publish=127.0.0.1::8012",
)  # fmt: skip


@pytest.fixture(scope="module")
def doors() -> Iterator[tuple[Door, Door]]:
    """The front door, and the same container's other port."""
    with (
        front_door(*OPTIONS) as one,
        one.service("jupyter", state=UP["jupyter"]),
        one.service("cronicle", state=UP["cronicle"]),
    ):
        other = Door(one.network, one.container)
        other.port = one.published(8012)
        wait_until(lambda: other.ask("/cronicle/").status == 200, "Cronicle's port")
        wait_until(lambda: one.ask("/jupyter/").status == 200, "the Hub")
        yield one, other


def test_page_and_login_are_on_the_other_origin_alone(doors):
    one, other = doors
    for path in ("/cronicle", "/cronicle/", "/cronicle/js/x.js"):
        answer = one.ask(path, Host="etl.example.com:8080")
        assert answer.status == 302
        assert answer.headers["location"] == "http://etl.example.com:9999/cronicle/"
    for call in ("login", "resume_session", "callback", "oauth"):
        assert one.ask(f"/cronicle/api/user/{call}", method="POST").status == 404
        assert other.ask(f"/cronicle/api/user/{call}", method="POST").status in (200, 429)
    # Programs with a key go on as before, on both.
    for door in doors:
        assert door.ask("/cronicle/api/app/get_schedule").status == 200
        assert door.ask("/cronicle/api/app/get_live_job_log").status == 404
    assert other.ask("/").headers["location"] == "/cronicle/"


@pytest.mark.parametrize(
    "path",
    [
        "/jupyter/", "/jupyter/user/anna/lab", "/jupyter/user/anna/files/x.html", "/portal/", "/docs/",
        "/healthz", "/jupyter/hub/home", "/jupyter/hub/admin", "/jupyter/hub/api/users", "/jupyter/hub/token",
        "/jupyter/hub/login/../../user/anna/", "/jupyter/hub/%2e%2e/user/anna/lab", "/cronicle/../portal/",
        "//jupyter//user/anna/lab", "/jupyter/services/portal/",
    ],
)  # fmt: skip
def test_nothing_that_a_notebook_wrote_is_on_cronicles_origin(doors, path):
    answer = doors[1].ask(path)
    assert answer.status == 404 and "anna" not in answer.body.decode(errors="replace")


@pytest.mark.parametrize(
    "path",
    [
        "/jupyter/hub/login?next=x",
        "/jupyter/hub/api/oauth2/authorize?x=y",
        "/jupyter/hub/static/a.js",
    ],
)
def test_the_hub_signs_people_in_there(doors, path):
    assert doors[1].ask(path).status == 200


def test_without_the_setting_nothing_listens_and_the_page_stays():
    with (
        front_door(*OPTIONS, "--env=CRONICLE_PORT=") as one,
        one.service("cronicle", state=UP["cronicle"]),
    ):
        wait_until(lambda: one.ask("/cronicle/").status == 200, "Cronicle's page")
        listening = docker("exec", one.container, "cat", "/proc/net/tcp").stdout
        assert f":{8012:04X}" not in listening and f":{8080:04X}" in listening


@pytest.mark.parametrize("value", ["80x", "1;x", "-1"])
def test_a_wrong_port_is_refused(value):
    options = (*handed_on("nginx"), "-e", f"CRONICLE_PORT={value}")
    with created_container(IMAGE, options) as container:
        docker("start", container)
        assert docker("wait", container).stdout.strip() == "3"
        assert "not a port" in logs(container)


def test_a_forged_name_is_led_nowhere_where_the_appliance_has_a_name():
    options = (*OPTIONS, "--env=HTTPS_DOMAIN=etl.example.com")
    with (
        front_door(*options) as one,
        one.service("cronicle", state=UP["cronicle"]),
    ):
        other = Door(one.network, one.container)
        other.port = one.published(8012)
        for door in (one, other):
            answer = door.ask("/cronicle/", Host="evil.example.net")
            assert answer.status == 421 and "location" not in answer.headers
        answer = one.ask("/cronicle/", Host="etl.example.com")
        assert answer.headers["location"] == "http://etl.example.com:9999/cronicle/"
