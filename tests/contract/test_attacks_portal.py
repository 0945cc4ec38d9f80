"""Every address of the portal, as the portal lists them, against strangers, others, and other sites."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import SimpleNamespace

import pytest

import vixtract.portal
from tests.contract.portal_stand import FakeHub, Portal, start_engine
from tests.contract.vault_stand import CAN_SERVE, WHY_NOT, VaultStand
from tests.scratch import open_folder
from vixtract.portal.config import PREFIX

pytestmark = pytest.mark.skipif(not CAN_SERVE, reason=WHY_NOT)
SAFE = {"GET", "HEAD", "OPTIONS"}
# What anybody may ask: the login itself, and whether the portal lives.
OPEN = {"/login", "/oauth_callback", "/health", "/static", "/assets", "/api/openapi.json"}
VICTIM = "Anna's own"


def list_routes() -> list[tuple[str, str]]:
    """Return (method, path) of each route of each module of the portal."""
    modules = [
        import_module(f"vixtract.portal.{module.name}")
        for module in pkgutil.iter_modules(vixtract.portal.__path__)
        if module.name != "__main__"
    ]
    routers = {id(m.router): m.router for m in modules if hasattr(m, "router")}
    return sorted(
        {
            (method, PREFIX + route.path)
            for router in routers.values()
            for route in router.routes
            for method in route.methods
        }
    )


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    """A portal with one schedule, one run and one connection of anna's."""
    with open_folder() as folder:
        # The portal runs as root here, so root is the vault's portal.
        vault = VaultStand(folder, portal=0)
        yield from make_stand(tmp_path_factory.mktemp("portal"), vault)
        vault.stop()
        assert "Traceback" not in vault.log, vault.log


def make_stand(directory, vault):
    engine, hub = start_engine(directory), FakeHub()
    place = {"VIXTRACT_VAULT_SOCKET": str(vault.socket)}
    portal = Portal(directory, hub, f"http://127.0.0.1:{engine.port}", **place)
    values = {"host": "crm", "database": VICTIM, "user": "etl", "password": VICTIM}
    number = vault.ask(
        0, do="save", person="anna", name="crm", kind="postgresql", values=values, kept=[]
    )["id"]
    schedule = engine.client.create_event(
        {"title": VICTIM, "plugin": "notebook", "username": "anna", "timing": False,
         "params": {"notebook": "etl/load.ipynb", "parameters": {"steps": [["log", VICTIM]]}}}
    )  # fmt: skip
    run = engine.client.run_event(schedule)
    engine.client.wait_for_job(run, 120)
    yield SimpleNamespace(portal=portal, engine=engine, schedule=schedule, run=run, number=number)
    portal.stop()
    hub.close()
    engine.stop()


def fill(path: str, stand) -> str:
    """Put anna's own things into a route's path."""
    identifier = stand.run if "/runs/" in path else stand.schedule
    path = path.replace("{identifier}", identifier).replace("{path:path}", "log.txt")
    for name, value in (
        ("schema", "anna"),
        ("table", "sales"),
        ("name:path", "sales"),
        ("name", "sales"),
        ("number", str(stand.number)),
    ):
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, f"{path}: say here what stands for this"
    return path


def test_the_list_is_whole(stand):
    """What the running portal says of itself is in the list, and not much of the list is elsewhere."""
    with stand.portal.person("anna") as anna:
        described = anna.get("/portal/api/openapi.json").json()["paths"]
    calls = {(method.upper(), path) for path, item in described.items() for method in item}
    listed = {(method, path.replace(":path", "")) for method, path in list_routes()}
    assert calls - listed == {("GET", "/portal/health")}
    assert len(listed) > 40


def changing() -> list[tuple[str, str]]:
    return [route for route in list_routes() if route[0] not in SAFE]


def test_no_other_site_changes_anything(stand):
    """With the person's cookie, but without the token that only the portal's own pages carry."""
    routes = changing()
    assert len(routes) >= 10
    with stand.portal.person("anna") as anna:
        own = anna.form_token()
        for method, path in routes:
            address = fill(path, stand)
            for headers, data in (
                ({"Origin": "https://evil.example"}, {"title": "taken"}),
                ({"Sec-Fetch-Site": "cross-site"}, {"title": "taken", "form_token": own}),
                ({"Sec-Fetch-Site": "same-site"}, {"title": "taken", "form_token": own}),
                ({"Content-Type": "text/plain"}, {"form_token": own}),
            ):
                answer = anna.request(method, address, headers=headers, data=data)
                assert answer.status_code == 403, (method, path, headers, answer.status_code)
    assert stand.engine.client.get_event(stand.schedule)["title"] == VICTIM


def test_a_stranger_gets_no_further_than_the_login(stand):
    with stand.portal.browser() as stranger:
        for method, path in list_routes():
            if path.removeprefix(PREFIX) in OPEN:
                continue
            answer = stranger.request(method, fill(path, stand))
            to_login = answer.headers.get("location", "").startswith(
                "/jupyter/hub/api/oauth2/authorize"
            )
            # The home page asks for its part, and gets nothing.
            empty = answer.status_code == 204 and not answer.content
            assert answer.status_code in {401, 405} or to_login or empty, (method, path)
            assert VICTIM not in answer.text


@pytest.mark.parametrize("kind", ["cookie", "token"])
def test_another_person_finds_nothing_of_a_persons(stand, kind):
    """Bob asks every address with anna's ids, from his pages and from a program."""
    with stand.portal.person("bob") as bob:
        form = {"form_token": bob.form_token()}
        headers = {"X-Form-Token": form["form_token"]}
        if kind == "token":
            headers = {"Authorization": f"token {stand.portal.hub.add_token('bob')}"}
        for method, path in list_routes():
            if "{" not in path or path.endswith("/logout"):
                continue
            answer = bob.request(
                method, fill(path, stand), headers=headers, data=form if method == "POST" else None
            )
            # 503: this stand has no PostgreSQL, which alone knows tables.
            refused = {403, 404, 422} | ({503} if "/tables/" in path else set())
            assert answer.status_code in refused, (method, path, answer.status_code)
            assert VICTIM not in answer.text
            assert "Anna&#39;s own" not in answer.text
        for path in ("/portal/", "/portal/runs", "/portal/api/schedules", "/portal/api/runs"):
            text = bob.get(path, headers=headers).text
            assert stand.schedule not in text and stand.run not in text, path
    assert stand.engine.client.get_event(stand.schedule)["enabled"]
