"""I2E image-to-event conversion (Ma et al., AAAI 2026) as one fused Triton kernel.

``i2e_triton.convert(images)`` turns a batch of images into events for spiking networks.
"""

from i2e_triton.functional import convert, event_rate, pack, unpack
from i2e_triton.module import I2E
from i2e_triton.shifts import ORDERS, canonical_shifts, random_shifts, row_shifts

__version__ = "0.1.0"

__all__ = [
    "I2E",
    "ORDERS",
    "__version__",
    "canonical_shifts",
    "convert",
    "event_rate",
    "pack",
    "random_shifts",
    "row_shifts",
    "unpack",
]
