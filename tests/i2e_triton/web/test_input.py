"""Pictures from the file dialog, from drag and drop, from the clipboard and from the webcam, and unusable files."""

from __future__ import annotations

import struct
import zlib

import pytest
import torch
from playwright.sync_api import FilePayload, Page
from torch import Tensor

from i2e_triton import convert
from tests.i2e_triton.web.helpers import choose, events, open_image, pixels, png, settle, shifts, transfer
from tests.samples import noise


@pytest.fixture
def image(generator: torch.Generator) -> Tensor:
    """Return an image of noise, 21 x 33 pixels."""
    return noise((3, 21, 33), torch.uint8, generator)


@pytest.fixture
def original_size(page: Page) -> None:
    page.locator("#size").select_option("original")


def check_shown(page: Page, name: str, image: Tensor) -> None:
    """Check that the page shows this picture with its exact pixels, and its events."""
    page.locator("#status", has_text=name).wait_for(state="attached")
    assert torch.equal(pixels(page), image)
    assert torch.equal(events(page), convert(image, 0.12, shifts=shifts(page), dtype=torch.bool))
    assert page.locator("#message").is_hidden()


@pytest.mark.usefixtures("original_size")
def test_choose(page: Page, image: Tensor) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose picture").click()
    chooser.value.set_files(FilePayload(name="chosen.png", mimeType="image/png", buffer=png(image)))
    check_shown(page, "chosen.png", image)


@pytest.mark.usefixtures("original_size")
def test_drop(page: Page, image: Tensor) -> None:
    data = transfer(page, "dropped.png", png(image), "image/png")
    overlay = page.get_by_text("Drop the picture")
    assert overlay.is_hidden()
    page.dispatch_event("body", "dragover", {"dataTransfer": data})
    assert overlay.is_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    check_shown(page, "dropped.png", image)
    assert overlay.is_hidden()


@pytest.mark.usefixtures("original_size")
def test_paste(page: Page, image: Tensor) -> None:
    paste = "(data) => document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }))"
    transfer(page, "pasted.png", png(image), "image/png").evaluate(paste)
    check_shown(page, "pasted.png", image)


def test_drop_without_a_file_shows_a_message(page: Page) -> None:
    page.dispatch_event("body", "drop", {"dataTransfer": page.evaluate_handle("new DataTransfer()")})
    assert "not a picture file" in page.get_by_role("alert").inner_text()


@pytest.mark.usefixtures("original_size")
def test_transparent_pixels_become_white(page: Page, image: Tensor) -> None:
    transparent = torch.cat([image, torch.zeros(1, 21, 33, dtype=torch.uint8)])
    open_image(page, "transparent.png", transparent)
    assert bool((pixels(page) == 255).all())


@pytest.mark.parametrize("sample", ["Astronaut", "Coffee", "Star", "Digit"])
def test_samples(page: Page, sample: str) -> None:
    page.get_by_role("button", name=sample, exact=True).click()
    page.locator("#status", has_text=sample).wait_for(state="attached")
    assert torch.equal(events(page), convert(pixels(page), 0.12, dtype=torch.bool))
    assert 0.005 < float(events(page).float().mean()) < 0.3


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def black_png(height: int, width: int) -> bytes:
    """Return a PNG of black pixels, one bit each, without holding the pixels in memory."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    compress = zlib.compressobj(1)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(compress.compress(row) for _ in range(height)) + compress.flush()
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def damaged_png(image: Tensor) -> bytes:
    """Return a PNG in which some compressed pixels are overwritten."""
    data = bytearray(png(image))
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    return bytes(data)


@pytest.mark.usefixtures("original_size")
@pytest.mark.parametrize("kind", ["text", "empty", "damaged", "half", "huge"])
def test_an_unusable_file_shows_a_message_and_the_page_keeps_working(page: Page, image: Tensor, kind: str) -> None:
    files = {
        "text": lambda: b"Not a picture.",
        "empty": lambda: b"",
        "damaged": lambda: damaged_png(image),
        "half": lambda: png(image)[: len(png(image)) // 2],
        "huge": lambda: black_png(20_000, 20_000),
    }
    before = pixels(page)
    choose(page, f"{kind}.png", files[kind]())
    message = page.get_by_role("alert")
    message.wait_for()
    expected = "20,000 × 20,000 pixels; the limit is 64 million" if kind == "huge" else "cannot be read"
    assert f"“{kind}.png”" in message.inner_text()
    assert expected in message.inner_text()
    assert torch.equal(pixels(page), before)

    choose(page, "good.png", png(image))
    check_shown(page, "good.png", image)


def test_message_can_be_closed(page: Page) -> None:
    choose(page, "notes.txt", b"text", "text/plain")
    page.get_by_role("button", name="Close this message").click()
    assert page.get_by_role("alert").is_hidden()


def test_webcam(page: Page) -> None:
    """Chromium's fake camera shows a rotating green disc, so that the pixels change from frame to frame."""
    page.locator("#size").select_option("original")
    page.get_by_role("button", name="Start webcam").click()
    stop = page.get_by_role("button", name="Stop webcam")
    stop.wait_for()
    page.locator("#time-hint", has_text="frames per second").wait_for()
    checksum = "state.result.rgba.reduce((sum, byte) => (31 * sum + byte) | 0, 0)"
    first = page.evaluate(checksum)
    page.wait_for_timeout(500)
    assert page.evaluate(checksum) != first

    stop.click()
    page.locator("#status", has_text="webcam").wait_for(state="attached")
    shown = pixels(page)
    assert shown.shape == (3, 480, 640)
    assert bool((shown[1] > shown[0]).any())
    assert torch.equal(events(page), convert(shown, 0.12, dtype=torch.bool))
    assert page.evaluate("state.picture instanceof HTMLCanvasElement")
    page.get_by_role("button", name="Start webcam").wait_for()


def test_another_picture_stops_the_webcam(page: Page, image: Tensor) -> None:
    page.get_by_role("button", name="Start webcam").click()
    page.locator("#time-hint", has_text="frames per second").wait_for()
    video = page.evaluate_handle("state.picture")
    open_image(page, "picture.png", image)
    settle(page)
    assert video.evaluate("(video) => video.srcObject") is None
    page.get_by_role("button", name="Start webcam").wait_for()


def test_removed_webcam_leaves_its_last_frame(page: Page) -> None:
    page.get_by_role("button", name="Start webcam").click()
    page.locator("#time-hint", has_text="frames per second").wait_for()
    page.evaluate("state.picture.srcObject.getTracks()[0].dispatchEvent(new Event('ended'))")
    page.locator("#status", has_text="webcam").wait_for(state="attached")
    page.get_by_role("button", name="Start webcam").wait_for()


def test_refused_webcam_shows_a_message(page: Page) -> None:
    page.evaluate(
        """() => {
            navigator.mediaDevices.getUserMedia = async () => {
                throw new DOMException("", "NotAllowedError");
            };
        }"""
    )
    page.get_by_role("button", name="Start webcam").click()
    assert "access was not allowed" in page.get_by_role("alert").inner_text()
