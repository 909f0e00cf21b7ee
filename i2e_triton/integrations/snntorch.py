"""snnTorch: image-to-event conversion as a spike generator, like ``rate`` and ``latency`` of ``snntorch.spikegen``.

The function needs PyTorch only. ``pip install 'i2e-triton[snntorch]'`` installs snnTorch for the network.
"""

from __future__ import annotations

import torch
from torch import Tensor

from i2e_triton import convert, random_shifts


def i2e(
    data: Tensor,
    num_steps: int = 8,
    ratio: float = 0.12,
    *,
    random: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the spikes of images, with the time first as in ``snntorch.spikegen``.

    Args:
        data: images ``[batch, channels, H, W]`` of one of the dtypes of :func:`i2e_triton.convert`.
        num_steps: number of timesteps, 1 to 8.
        ratio: event threshold in [0, 1], as a fraction of the range of the image's values. The paper uses 0.12 at
            224x224 and 0.07 at 128x128.
        random: draw motion vectors for each image (the paper's random selection), to augment training data.
        dtype: dtype of the spikes.

    Returns:
        Dense events ``[num_steps, batch, 2, H, W]``, values 0 and 1; channel 0 is ON, channel 1 is OFF.

    Example:
        >>> i2e_triton.integrations.snntorch.i2e(torch.rand(16, 1, 28, 28), num_steps=4, ratio=0.1).shape
        torch.Size([4, 16, 2, 28, 28])
    """
    if not random:
        return convert(data, ratio, timesteps=num_steps, dtype=dtype)
    batch = len(data) if data.dim() == 4 else None
    shifts = random_shifts(batch, timesteps=num_steps, device=data.device)
    return convert(data, ratio, shifts=shifts, dtype=dtype)
