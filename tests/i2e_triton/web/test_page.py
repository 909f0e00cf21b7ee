"""The controls and what the page shows."""

from __future__ import annotations

import re
import threading

import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from i2e_triton import ORDERS, canonical_shifts, convert, event_rate
from i2e_triton.cli.web import new_server
from i2e_triton.visualize.sheet import vector_labels
from tests.i2e_triton.web.conftest import URL
from tests.i2e_triton.web.helpers import events, from_base64, open_image, pixels, set_value, settle, shifts
from tests.samples import noise


def check_events(page: Page, ratio: float) -> None:
    expected = convert(pixels(page), ratio, shifts=shifts(page), dtype=torch.bool)
    assert torch.equal(events(page), expected)
    assert expected.any()


def test_first_picture_is_converted_with_the_default_settings(page: Page) -> None:
    assert torch.equal(events(page), convert(pixels(page), 0.12, dtype=torch.bool))
    assert events(page).shape == (8, 2, 224, 224)


@pytest.mark.parametrize("size", ["224 224", "128 128", "32 32", "480 640"])
def test_size(page: Page, size: str) -> None:
    page.locator("#size").select_option(size)
    check_events(page, 0.12)
    height, width = map(int, size.split())
    assert events(page).shape == (8, 2, height, width)
    assert page.locator("#picture-size").inner_text() == f"{height} × {width} pixels"
    assert page.locator("#bytes").inner_text() == f"{2 * height * width:,} bytes"


def test_other_size(page: Page) -> None:
    assert page.get_by_label("Height").is_hidden()
    page.locator("#size").select_option("custom")
    set_value(page, "height", 50)
    set_value(page, "width", 90)
    check_events(page, 0.12)
    assert events(page).shape == (8, 2, 50, 90)
    set_value(page, "width", 1_000_000)
    assert events(page).shape == (8, 2, 50, 2048)


def test_size_of_the_picture(page: Page, generator: torch.Generator) -> None:
    page.locator("#size").select_option("original")
    image = noise((3, 61, 47), torch.uint8, generator)
    open_image(page, "small.png", image)
    assert torch.equal(pixels(page), image)
    open_image(page, "wide.png", noise((3, 10, 5000), torch.uint8, generator))
    assert pixels(page).shape == (3, 4, 2048)


def test_pictures_are_cropped_to_their_center(page: Page) -> None:
    """The left and right quarters of a wide picture are black, and the center is white."""
    image = torch.zeros(3, 100, 400, dtype=torch.uint8)
    image[:, :, 100:300] = 255
    page.locator("#size").select_option("custom")
    set_value(page, "height", 50)
    set_value(page, "width", 100)
    open_image(page, "wide.png", image)
    assert bool((pixels(page) == 255).all())


def test_timesteps(page: Page) -> None:
    set_value(page, "timesteps", 3)
    assert events(page).shape == (3, 2, 224, 224)
    assert page.locator(".tile").count() == 3
    assert page.locator("#timestep").get_attribute("max") == "2"
    check_events(page, 0.12)


def test_order(page: Page) -> None:
    for order in ORDERS:
        page.locator("#order").select_option(order)
        assert shifts(page).tolist() == canonical_shifts(order).tolist()
        assert page.locator(".tile .label").all_inner_texts() == vector_labels(canonical_shifts(order))
    check_events(page, 0.12)


def test_random_vectors(page: Page) -> None:
    draw = page.get_by_role("button", name="Draw again")
    assert draw.is_hidden()
    page.get_by_label("Random").check()
    drawn = set()
    for _ in range(5):
        draw.click()
        drawn.add(str(shifts(page).tolist()))
        check_events(page, 0.12)
    assert len(drawn) > 1
    page.get_by_label("Canonical").check()
    assert torch.equal(shifts(page), canonical_shifts().long())


def test_rates(page: Page) -> None:
    rates = event_rate(events(page), dim=(2, 3)).tolist()
    for t, tile in enumerate(page.locator(".tile").all()):
        on, off = (f"{100 * rate:.2f} %" for rate in rates[t])
        assert f"ON {on} OFF {off}" in " ".join(tile.inner_text().split())
    assert page.locator("#rate").inner_text() == f"{100 * float(event_rate(events(page))):.2f} %"
    bars = page.locator("#bars rect").evaluate_all("(bars) => bars.map((bar) => +bar.getAttribute('height'))")
    assert len(bars) == 16
    scale = bars[0] / rates[0][0]
    assert bars == pytest.approx([scale * rate for timestep in rates for rate in timestep])
    label = page.locator("#bars").get_attribute("aria-label") or ""
    assert f"ON: {100 * rates[0][0]:.2f} %" in label


def test_ratio(page: Page) -> None:
    set_value(page, "ratio", 0.3)
    assert page.locator("#ratio-slider").input_value() == "0.3"
    check_events(page, 0.3)
    set_value(page, "ratio-slider", 0.05)
    assert page.locator("#ratio").input_value() == "0.05"
    check_events(page, 0.05)
    rate = f"{100 * float(event_rate(events(page))):.2f} % at ratio 0.05"
    assert page.locator("#curve .point-label").text_content() == rate


@pytest.mark.parametrize("text", ["2", "-1", ""])
def test_an_invalid_ratio_is_replaced(page: Page, text: str) -> None:
    page.locator("#ratio").fill(text)
    page.locator("#ratio").blur()
    assert page.locator("#ratio").input_value() == "0.12"
    check_events(page, 0.12)


def test_ratio_of_the_paper(page: Page) -> None:
    page.locator("#size").select_option("128 128")
    page.get_by_role("button", name="Use 0.07").click()
    check_events(page, 0.07)
    assert "The paper uses 0.07 for this size." in page.locator("#paper-ratio").inner_text()
    assert page.get_by_role("button", name="Use").count() == 0


def test_click_on_the_curve_sets_the_ratio(page: Page) -> None:
    curve = page.locator("#curve")
    width = curve.bounding_box()["width"]  # type: ignore[index]
    curve.click(position={"x": 44 + (width - 44 - 12) / 2, "y": 50})
    settle(page)
    assert page.locator("#ratio").input_value() == "0.25"


def test_playback(page: Page) -> None:
    timestep = page.locator("#timestep")
    assert timestep.input_value() == "0"
    page.locator("#speed").fill("20")
    page.get_by_role("button", name="Play").click()
    for value in range(8):
        expect(timestep).not_to_have_value(str(value))
    page.get_by_role("button", name="Pause").click()
    stopped = timestep.input_value()
    page.wait_for_timeout(200)
    assert timestep.input_value() == stopped


def test_animation_starts_unless_reduced_motion_is_preferred(browser: Browser) -> None:
    page = browser.new_page()
    page.goto(URL)
    expect(page.locator("#timestep")).not_to_have_value("0")
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colors_of_the_events(page: Page, theme: str) -> None:
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    page.locator(".tile").nth(3).click()
    rgba = from_base64(page, "element('events').getContext('2d').getImageData(0, 0, 224, 224).data").int()
    red, green, blue, _ = rgba.reshape(224, 224, 4).unbind(2)
    image = (red << 16) + (green << 8) + blue
    none, on, off = (0xFFFFFF, 0xD7191C, 0x2166AC) if theme == "light" else (0x0B0D10, 0xFF6255, 0x58A6FF)
    shown = events(page)[3]
    assert torch.equal(image == on, shown[0])
    assert torch.equal(image == off, shown[1])
    assert torch.equal(image == none, ~shown.any(0))


def test_theme_button(page: Page) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate(background) != light
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate(background) == light


def test_all_controls_can_be_reached_and_used_with_the_keyboard(page: Page) -> None:
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        if reached[-1] == "copy":
            break
    ids = {"theme", "choose", "camera", "play", "timestep", "speed", "ratio", "ratio-slider", "size", "timesteps"}
    assert ids | {"order", "gif", "sheet", "npz", "pixels", "python", "copy", "Star"} <= set(reached)
    page.locator("#ratio-slider").focus()
    page.keyboard.press("ArrowRight")
    check_events(page, 0.125)
    page.locator(".tile").nth(5).focus()
    page.keyboard.press("Enter")
    assert page.locator("#timestep").input_value() == "5"
    page.locator("#play").focus()
    page.keyboard.press("Space")
    assert page.get_by_role("button", name="Pause").is_visible()


def test_every_control_and_picture_has_a_name_for_screen_readers(page: Page) -> None:
    lines = page.locator("body").aria_snapshot().splitlines()
    controls = [
        line.strip() for line in lines if re.match(r"\s*- (button|slider|spinbutton|combobox|radio|img)\b", line)
    ]
    assert len(controls) > 30
    assert [line for line in controls if '"' not in line] == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
def test_page_is_not_wider_than_the_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.get_by_label("Random").check()
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_page_works_from_the_server(browser: Browser) -> None:
    with new_server(0) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        page = browser.new_page()
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        page.locator("#status", has_text="Astronaut").wait_for(state="attached")
        page.close()
        server.shutdown()
    assert [address for address in requests if not address.startswith((url, "data:", "blob:"))] == []


def test_page_refuses_connections(browser: Browser) -> None:
    page = browser.new_page()
    page.goto(URL)
    violated = page.evaluate(
        """async () => {
            const refused = [];
            addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
            await fetch("http://127.0.0.1:9/").catch(() => {});
            await new Promise((resolve) => setTimeout(resolve, 100)); // the event comes after the error
            return refused;
        }"""
    )
    page.close()
    assert violated == ["connect-src"]
