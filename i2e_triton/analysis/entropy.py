"""Shannon entropies of images and events, in bits (paper, equation 5).

The section "Information-Theoretic Analysis" of the paper states mean and standard deviation over the images of
ImageNet: grey 7.12 ± 0.73, value channel 7.14 ± 0.76, events 1.53 ± 0.60 at an event rate of about 5 %. The symbols of
the first two are grey levels. The paper does not state the symbols of the events, so this package measures three kinds.
By its magnitude, the value of the paper may be the entropy of the T timesteps of a pixel in one polarity.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torchvision.transforms.v2.functional import rgb_to_grayscale

Counts = npt.NDArray[np.int64]


def entropy(counts: Counts) -> float:
    """Return ``H = -sum p_i log2 p_i`` in bits per symbol; 0 if all counts are 0.

    Args:
        counts: number of occurrences of each symbol, ``p_i = counts_i / sum(counts)``; any shape.
    """
    found = counts[counts > 0].astype(np.float64)
    shares = found / found.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def binary_entropy(rate: float) -> float:
    """Return ``-r log2 r - (1 - r) log2 (1 - r)``, the bits per event position at the event rate ``r``."""
    return float(-sum(share * np.log2(share) for share in (rate, 1 - rate) if share > 0)) + 0.0


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
