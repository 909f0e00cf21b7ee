"""Convert images on a device and compare with the CPU: ``python -m i2e_triton.cli.probe cuda:0``.

``i2e info`` runs this in a process of its own, because a broken compiler or driver may crash the process.
"""

from __future__ import annotations

import sys

import torch

from i2e_triton.functional import convert


def convert_on(device: str) -> str:
    """Convert random images on a device. Return a status line: "ok" if the events equal those of the CPU."""
    images = torch.randint(0, 256, (4, 3, 61, 67), dtype=torch.uint8)
    expected = convert(images, dtype=torch.bool)
    different = int((convert(images.to(device), dtype=torch.bool).cpu() != expected).sum())
    if different:
        return f"WRONG: {different} of {expected.numel()} events differ from the CPU"
    return "ok, the same events as on the CPU"


if __name__ == "__main__":
    sys.stdout.write(convert_on(sys.argv[1]))
