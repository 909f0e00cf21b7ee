"""A browser, and the page in it. Without Chromium the tests are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from i2e_triton.cli.web import FOLDER

URL = (FOLDER / "index.html").as_uri()
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FAKE_CAMERA)
        yield browser
        browser.close()


@contextmanager
def opened_page(browser: Browser) -> Iterator[Page]:
    """Open the page from its file and wait until the first sample is converted. The animation is stopped.

    At the end, check that the page reported no error and made no request to the network.
    """
    context = browser.new_context(reduced_motion="reduce", permissions=["clipboard-write", "clipboard-read"])
    context.set_default_timeout(60_000)  # other tests may use all cores
    page = context.new_page()
    errors: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: requests.append(request.url))
    page.goto(URL)
    page.locator("#status", has_text="Astronaut").wait_for(state="attached")
    yield page
    context.close()
    assert errors == []
    assert {url.partition(":")[0] for url in requests} <= {"file", "data", "blob"}


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with opened_page(browser) as page:
        yield page
