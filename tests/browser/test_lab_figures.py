"""plotly's renderer in JupyterLab: loaded with the first figure, not with the page."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import DEADLINE_MS, open_chromium, shoot, tell_refusals


@pytest.fixture(scope="module")
def chromium():
    with open_chromium() as browser:
        yield browser


def test_plotly_is_loaded_when_a_figure_is_shown(appliance, chromium):
    password = appliance.add_person("clara")
    appliance.write_notebook(
        "clara", "figure.ipynb", "import plotly.express as px\npx.bar(x=['a', 'b'], y=[1, 3])"
    )
    context = chromium.new_context(base_url=appliance.url)
    context.set_default_timeout(DEADLINE_MS)
    page = context.new_page()
    large: list[str] = []

    def weigh(request):
        if "plotly" in request.url and request.sizes()["responseBodySize"] > 100_000:
            large.append(request.url)

    page.on("requestfinished", weigh)
    tell_refusals(page)
    page.goto("/jupyter/hub/login")
    page.fill("input[name=username]", "clara")
    page.fill("input[name=password]", password)
    page.click("[type=submit]")
    page.wait_for_selector(".jp-Launcher")
    page.goto("/jupyter/user/clara/lab/tree/figure.ipynb")
    # The notebook's circle shows "idle" before there is a kernel too; what is run then, Lab drops.
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.wait_for_load_state("networkidle")
    assert large == []
    # By its button: while Lab puts its panels in order, keys may go to another one.
    page.locator("[data-jp-item-name=run]").locator("visible=true").click()
    expect(page.locator(".jp-InputPrompt").first).to_have_text("[1]:")
    try:
        expect(page.locator(".plot-container .bars path")).to_have_count(2)
    except AssertionError as error:
        raise AssertionError(page.locator(".jp-Notebook").inner_text()) from error
    shoot(page, "lab-figure")
    assert len(large) == 1
    context.close()
