"""Every downloaded file holds the events and the pixels that the page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageSequence
import pytest
import torch
from playwright.sync_api import Page
from torch import Tensor

from i2e_triton import convert
from tests.i2e_triton.web.helpers import download, events, open_image, pixels, set_value, settle, shifts
from tests.samples import noise

COLORS = {
    "light": [(0xFF, 0xFF, 0xFF), (0xD7, 0x19, 0x1C), (0x21, 0x66, 0xAC)],
    "dark": [(0x0B, 0x0D, 0x10), (0xFF, 0x62, 0x55), (0x58, 0xA6, 0xFF)],
}


@pytest.fixture
def noise_page(page: Page, generator: torch.Generator) -> Page:
    """Return the page with an image of noise of 30 x 40 pixels and five timesteps."""
    page.locator("#size").select_option("original")
    open_image(page, "Noise 1.png", noise((3, 30, 40), torch.uint8, generator))
    set_value(page, "ratio", 0.4)
    set_value(page, "timesteps", 5)
    return page


def drawn(timestep: Tensor, colors: list[tuple[int, int, int]], scale: int) -> np.ndarray[Any, Any]:
    """Return the drawing ``[H, W, 3]`` of the events ``[2, H, W]`` of a timestep, enlarged."""
    index = (timestep[0].int() + 2 * timestep[1].int()).numpy()
    return np.array(colors, np.uint8)[index].repeat(scale, 0).repeat(scale, 1)


def test_npz(noise_page: Page, tmp_path: Path) -> None:
    path = download(noise_page, "Events (npz)", tmp_path)
    assert path.name == "noise-1-events.npz"
    with np.load(path, allow_pickle=False) as file:
        assert file.files == ["arr_0"]
        array = file["arr_0"]
    assert (array.dtype, array.shape) == (np.bool_, (5, 2, 30, 40))
    expected = convert(pixels(noise_page), 0.4, shifts=shifts(noise_page), dtype=torch.bool)
    assert np.array_equal(array, expected.numpy())
    assert expected.any()


@pytest.mark.parametrize("theme", COLORS)
def test_gif(noise_page: Page, tmp_path: Path, theme: str) -> None:
    noise_page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    noise_page.locator("#speed").fill("5")
    path = download(noise_page, "Animation (GIF)", tmp_path)
    assert path.name == "noise-1-events.gif"
    with PIL.Image.open(path) as gif:
        assert gif.info["loop"] == 0
        frames = [frame.convert("RGB") for frame in PIL.ImageSequence.Iterator(gif)]
        assert gif.info["duration"] == 200
    assert len(frames) == 5
    for frame, timestep in zip(frames, events(noise_page)):
        assert np.array_equal(np.asarray(frame), drawn(timestep, COLORS[theme], scale=7))


@pytest.mark.parametrize("theme", COLORS)
def test_sheet(noise_page: Page, tmp_path: Path, theme: str) -> None:
    noise_page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    path = download(noise_page, "Sheet of all timesteps (PNG)", tmp_path)
    assert path.name == "noise-1-sheet.png"
    with PIL.Image.open(path) as image:
        sheet = np.asarray(image.convert("RGB"))
    height, width, em = 7 * 30, 7 * 40, 14
    assert sheet.shape == (em + 2 * (height + 3 * em), em + 4 * (width + em), 3)
    assert tuple(sheet[0, 0]) == COLORS[theme][0]

    def tile(column: int, row: int) -> np.ndarray[Any, Any]:
        left, top = em + column * (width + em), 3 * em + row * (height + 3 * em)
        return sheet[top : top + height, left : left + width]

    enlarged = pixels(noise_page).permute(1, 2, 0).numpy().repeat(7, 0).repeat(7, 1)
    assert np.array_equal(tile(0, 0), enlarged)
    assert np.array_equal(tile(0, 1), enlarged.max(2, keepdims=True).repeat(3, 2))
    for t, timestep in enumerate(events(noise_page)):
        assert np.array_equal(tile(1 + t % 3, t // 3), drawn(timestep, COLORS[theme], scale=7))


def test_sheet_of_a_large_picture_is_reduced(page: Page, tmp_path: Path, generator: torch.Generator) -> None:
    page.locator("#size").select_option("original")
    open_image(page, "large.png", noise((3, 40, 2000), torch.uint8, generator))
    with PIL.Image.open(download(page, "Sheet of all timesteps (PNG)", tmp_path)) as image:
        assert image.width == 50 + 5 * (1000 + 50)


@pytest.mark.parametrize("vectors", ["Canonical", "Random"])
def test_python_code_reproduces_the_events_from_the_pixels(
    noise_page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vectors: str
) -> None:
    noise_page.get_by_label(vectors).check()
    settle(noise_page)
    path = download(noise_page, "Pixels (PNG)", tmp_path)
    assert path.name == "noise-1-pixels.png"
    with PIL.Image.open(path) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), pixels(noise_page).permute(1, 2, 0).numpy())
    code = noise_page.locator("#python").inner_text()
    assert ("canonical_shifts" in code) == (vectors == "Canonical")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "page", "exec"), names)
    assert torch.equal(names["events"], events(noise_page))
    assert names["events"].shape == (5, 2, 30, 40)


def test_copy_puts_the_code_on_the_clipboard(noise_page: Page) -> None:
    noise_page.get_by_role("button", name="Copy").click()
    noise_page.get_by_role("button", name="Copied").wait_for()
    assert noise_page.evaluate("navigator.clipboard.readText()") == noise_page.locator("#python").inner_text()
