"""Functions that use the page as a user does, and read what it shows."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from playwright.sync_api import FilePayload, JSHandle, Page
from torch import Tensor


def settle(page: Page) -> None:
    """Wait until no conversion runs."""
    page.evaluate("async () => { while (refresh.running) await new Promise((done) => setTimeout(done, 5)); }")


def png(image: Tensor) -> bytes:
    """Return ``[3, H, W]`` or ``[4, H, W]`` uint8 as a PNG file."""
    file = io.BytesIO()
    PIL.Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG")
    return file.getvalue()


def choose(page: Page, name: str, data: bytes, kind: str = "image/png") -> None:
    """Choose a file in the file dialog."""
    page.locator("#file").set_input_files(FilePayload(name=name, mimeType=kind, buffer=data))


def open_image(page: Page, name: str, image: Tensor) -> None:
    """Choose a picture and wait until it is converted."""
    choose(page, name, png(image))
    page.locator("#status", has_text=name).wait_for(state="attached")
    settle(page)


def transfer(page: Page, name: str, data: bytes, kind: str) -> JSHandle:
    """Return the DataTransfer of a drop or a paste of one file."""
    return page.evaluate_handle(
        """([name, type, data]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], name, { type }));
            return transfer;
        }""",
        [name, kind, base64.b64encode(data).decode()],
    )


def pixels(page: Page) -> Tensor:
    """Return the pixels of the last conversion, uint8 ``[3, H, W]``."""
    settle(page)
    height, width = page.evaluate("[state.result.height, state.result.width]")
    rgba = from_base64(page, "state.result.rgba").reshape(height, width, 4)
    return rgba[..., :3].permute(2, 0, 1).contiguous()


def events(page: Page) -> Tensor:
    """Return the events of the last conversion, bool ``[T, 2, H, W]``."""
    settle(page)
    height, width, timesteps = page.evaluate("[state.result.height, state.result.width, state.result.shifts.length]")
    packed = torch.stack([from_base64(page, f"state.result.{name}").reshape(height, width) for name in ("on", "off")])
    return torch.stack([(packed >> t) & 1 for t in range(timesteps)]).bool()


def from_base64(page: Page, array: str) -> Tensor:
    """Return a byte array of the page, uint8 ``[N]``."""
    code = f"btoa(Array.from({array}, (byte) => String.fromCharCode(byte)).join(''))"
    return torch.from_numpy(np.frombuffer(base64.b64decode(page.evaluate(code)), np.uint8).copy())


def download(page: Page, button: str, folder: Path) -> Path:
    """Press a button that downloads a file, and return its path."""
    with page.expect_download() as event:
        page.get_by_role("button", name=button).click()
    path = folder / event.value.suggested_filename
    event.value.save_as(path)
    return path


def set_value(page: Page, field: str, value: Any) -> None:
    """Set a slider or a number field and wait for the conversion."""
    page.locator(f"#{field}").fill(str(value))
    settle(page)


def shifts(page: Page) -> Tensor:
    """Return the motion vectors of the last conversion, int64 ``[T, 4]``."""
    settle(page)
    return torch.tensor(page.evaluate("state.result.shifts"))
