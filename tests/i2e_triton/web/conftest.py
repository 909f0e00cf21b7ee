"""A browser, and the page in it. Without Chromium the tests are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from i2e_triton.cli.web import FOLDER

URL = (FOLDER / "index.html").as_uri()
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


# Not for the session: processes that later tests fork inherit Playwright's pipes, and its end then waits for them.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FAKE_CAMERA)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def tab(browser: Browser) -> Iterator[Page]:
    """Return an empty page. All tests use it, because to load a page again is faster than to open another one."""
    context = browser.new_context(permissions=["clipboard-write", "clipboard-read"])
    context.set_default_timeout(60_000)  # other tests may use all cores
    yield context.new_page()
    context.close()


@contextmanager
def loaded(tab: Page) -> Iterator[Page]:
    """Load the page from its file and wait until the first sample is converted. The animation is stopped.

    At the end, check that the page reported no error and made no request to the network.
    """
    errors: list[str] = []
    requests: list[str] = []
    listeners: dict[Any, Callable[[Any], None]] = {
        "pageerror": lambda error: errors.append(str(error)),
        "console": lambda message: errors.append(message.text) if message.type == "error" else None,
        "request": lambda request: requests.append(request.url),
    }
    for event, listener in listeners.items():
        tab.on(event, listener)
    tab.set_viewport_size({"width": 1280, "height": 800})
    tab.emulate_media(color_scheme="light", reduced_motion="reduce")
    tab.goto(URL)
    tab.locator("#status", has_text="Astronaut").wait_for(state="attached")
    yield tab
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert errors == []
    assert {url.partition(":")[0] for url in requests} <= {"file", "data", "blob"}


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    with loaded(tab) as page:
        yield page
