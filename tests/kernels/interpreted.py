"""The kernels, run by Triton's interpreter on the CPU. Import only where TRITON_INTERPRET=1 was set before triton."""

from __future__ import annotations

from unittest import mock

from torch import Tensor

from i2e_triton.kernels import launch


def convert_into(
    out: Tensor,
    images: Tensor,
    shifts: Tensor,
    ratios: Tensor | None,
    ratio: float,
    packed: bool,
    multiprocessors: int,
) -> Tensor:
    """Convert as a device with so many multiprocessors would, and return ``out``."""
    with mock.patch.object(launch, "_device", return_value=(multiprocessors, 32)):
        launch.convert_into(out, images, shifts, ratios, ratio, packed=packed)
    return out
