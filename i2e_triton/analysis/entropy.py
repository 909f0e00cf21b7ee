"""Shannon entropies of images and events, in bits (paper, equation 5).

The section "Information-Theoretic Analysis" of the paper states mean and standard deviation over the images of
ImageNet: grey 7.12 ± 0.73, value channel 7.14 ± 0.76, events 1.53 ± 0.60 at an event rate of about 5 %. The symbols of
grey and value channel are the levels of a pixel, 0 to 255.

The paper does not state the symbols of the events, so :func:`i2e_triton.analysis.measure_events` measures three
entropies: of one event position, of the T timesteps of a pixel in one polarity, and of all events of a pixel. The
paper's 1.53 bits may be the second of these: its magnitude fits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torchvision.transforms.v2.functional import rgb_to_grayscale

Counts = npt.NDArray[np.int64]


def entropy(counts: Counts) -> float:
    """Return the entropy ``H = -sum p_i log2 p_i`` in bits per symbol, or 0 if all counts are 0.

    Args:
        counts: number of occurrences of each symbol, ``p_i = counts_i / sum(counts)``; any shape.
    """
    nonzero = counts[counts > 0].astype(np.float64)
    probabilities = nonzero / nonzero.sum()
    return float(-(probabilities * np.log2(probabilities)).sum()) + 0.0  # -0.0 becomes 0.0


def binary_entropy(rate: float) -> float:
    """Return the entropy in bits of an event position that has an event with probability ``rate``."""
    return float(-sum(p * np.log2(p) for p in (rate, 1 - rate) if p > 0)) + 0.0  # -0.0 becomes 0.0


def image_entropies(image: Tensor) -> tuple[float, float]:
    """Return the entropies of an image's value channel, H(V), and grey levels, H(grey), in bits per pixel.

    V is the maximum over the channels (paper, equation 1). Grey is the ITU-R BT.601 luminance, computed by torchvision;
    it has 256 levels for a uint8 image.

    Args:
        image: ``[3, H, W]``, or grey ``[1, H, W]``.
    """
    grey = rgb_to_grayscale(image) if image.shape[0] == 3 else image
    return _entropy_of_values(image.amax(dim=0)), _entropy_of_values(grey)


def _entropy_of_values(values: Tensor) -> float:
    _, counts = np.unique(values.numpy(), return_counts=True)
    return entropy(counts)
