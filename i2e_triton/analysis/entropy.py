"""Shannon entropies in bits, of images and of their events (paper, equation 5).

The paper's section "Information-Theoretic Analysis" gives the mean of every image's entropy and its standard deviation,
on ImageNet: grey 7.12 ± 0.73, value channel 7.14 ± 0.76, events 1.53 ± 0.60 at an event rate of about 5 %. The symbols
of the first two are grey levels. It does not say what the symbols of the events are, so that three kinds are measured
here, each named by what it is; the one of the paper may be, by its size, the timesteps of a pixel in one polarity.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torchvision.transforms.v2.functional import rgb_to_grayscale

Counts = npt.NDArray[np.int64]


def entropy(counts: Counts) -> float:
    """Return ``H = -sum p_i log2 p_i`` of symbols that were counted, in bits a symbol; 0 where there are none.

    Args:
        counts: how often each symbol occurs, ``p_i = counts_i / sum(counts)``; any shape.
    """
    found = counts[counts > 0].astype(np.float64)
    shares = found / found.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def binary_entropy(rate: float) -> float:
    """Return ``-r log2 r - (1 - r) log2 (1 - r)``: the bits of an event, yes or no, at the event rate ``r``."""
    return float(-sum(share * np.log2(share) for share in (rate, 1 - rate) if share > 0)) + 0.0


def image_entropies(image: Tensor) -> tuple[float, float]:
    """Return the entropies of an image's value channel, H(V), and of its grey levels, H(grey), in bits a pixel.

    V is the largest of the channels, what the conversion reads (paper, equation 1); grey is their luminance by ITU-R
    BT.601, as torchvision computes it: in 256 levels for a uint8 image.

    Args:
        image: ``[3, H, W]``, or ``[1, H, W]``, which is grey as it is.
    """
    grey = rgb_to_grayscale(image) if image.shape[0] == 3 else image
    return _entropy_of_values(image.amax(dim=0)), _entropy_of_values(grey)


def _entropy_of_values(values: Tensor) -> float:
    _, counts = np.unique(values.numpy(), return_counts=True)
    return entropy(counts)
