"""A person's Chromium: signed in to a portal, with everything that it complains about kept."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.contract.portal_stand import Portal

# Where screenshots go that a person looks at; none are made where it is not set.
SHOTS = os.environ.get("VIXTRACT_SCREENSHOTS", "")
# For a page that hangs: two workers on two cores make a first kernel or a first page slow.
DEADLINE_MS = 120_000
expect.set_options(timeout=DEADLINE_MS)


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Start the machine's Chromium."""
    alone = Path(__file__).with_name("alone.py")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        program = Path(folder) / "chromium"
        words = shlex.join([sys.executable, str(alone), shutil.which("chromium") or "chromium"])
        program.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
        program.chmod(0o700)
        # Root has no sandbox of Chromium's own; what is tested is what pages may do.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Browser, portal: Portal, name: str, **options) -> Iterator[Page]:
    """Open a page that this person is signed in with; no complaint of the browser's is left over.

    Args:
        browser: Chromium.
        portal: which answers.
        name: person.
        options: of Playwright's context, such as locale, and `admin`.
    """
    with portal.person(name, admin=options.pop("admin", False)) as session:
        cookies = [
            {"name": c.name, "value": c.value, "domain": "127.0.0.1", "path": c.path}
            for c in session.cookies.jar
        ]
    context = browser.new_context(base_url=f"http://127.0.0.1:{portal.port}", **options)
    context.add_cookies(cookies)
    context.set_default_timeout(DEADLINE_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.complaints = complaints
    try:
        yield page
    finally:
        context.close()


def tell_refusals(page: Page) -> None:
    """Print requests that fail, for whoever reads why a test did."""
    page.on("response", lambda r: print(r.status, r.url) if r.status >= 400 else None)
    page.on("requestfailed", lambda r: print(r.failure, r.url))


def shoot(page: Page, name: str) -> None:
    """Keep a picture of the whole page, where somebody wants to look at it."""
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)
