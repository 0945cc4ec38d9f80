"""Every call of `/portal/api` against its own OpenAPI document, with whatever schemathesis thinks of."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.run_stand import CAN_SERVE, WHY_NOT, RunStand, notebook
from tests.scratch import open_folder

pytestmark = pytest.mark.skipif(not CAN_SERVE, reason=WHY_NOT)
CHECKS = (status_code_conformance, content_type_conformance, response_schema_conformance)
CHANGES = ("/abort", "/run", "/again")


@pytest.fixture(scope="module")
def stand():
    with open_folder() as folder:
        stand = RunStand(folder)
        files = {"load-output.ipynb": notebook(("a", "x", "1\n")), "a.csv": "a\n"}
        schedule = stand.schedule("Seen by the calls", [stand.step(files)])
        stand.known = {"schedule": schedule, "run": stand.run(schedule)}
        yield stand
        stand.close()
        assert "Traceback" not in stand.portal.log, stand.portal.log


@pytest.fixture(scope="module")
def token(stand):
    return {"Authorization": f"token {stand.hub.add_token('anna')}"}


def ask(case, stand, token) -> None:
    """Make one call and check its answer against the document."""
    # Half of what is asked for exists, so that good answers are checked too.
    if "identifier" in case.path_parameters and len(str(case.query)) % 2:
        kind = "run" if "/runs/" in case.path else "schedule"
        case.path_parameters["identifier"] = stand.known[kind]
    if case.method.upper() in {"DELETE", "PATCH"} or case.path.endswith(CHANGES):
        # What is there stays there for the other calls.
        case.path_parameters["identifier"] = "nothing"
    answer = case.call(headers=token, timeout=20)
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    case.validate_response(answer, checks=CHECKS)


def test_no_call_breaks_its_own_description(stand, token):
    schema = schemathesis.openapi.from_url(
        f"http://127.0.0.1:{stand.portal.port}/portal/api/openapi.json", headers=token
    ).include(path_regex="^/portal/api/")
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        count += 1

        @given(case=operation.as_strategy())
        @settings(
            max_examples=12,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def check(case):
            ask(case, stand, token)

        check()
    assert count > 15


def test_the_document_names_every_call(stand, token):
    with stand.portal.browser() as browser:
        document = browser.get("/portal/api/openapi.json").json()
        for path, calls in document["paths"].items():
            if not path.startswith("/portal/api/"):
                continue
            # Nobody gets anything without a login.
            for method in calls:
                address = path.replace("{identifier}", "x").replace("{schema}/{name}", "a/b")
                assert browser.request(method, address, json={}).status_code == 401, path
    assert {"/portal/api/runs", "/portal/api/tables", "/portal/api/schedules"} <= set(
        document["paths"]
    )
