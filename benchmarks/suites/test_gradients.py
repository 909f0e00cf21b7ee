"""The backward pass of a conversion, and autograd through the official formulation.

Goals: at most 3 times the time of the forward pass, and about a third of the peak memory of autograd. Autograd frees
what it saved, so that its backward pass needs a forward pass before each call.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.baselines import official
from benchmarks.harness.timing import device_param
from benchmarks.harness.workload import random_images
from i2e_triton import Surrogate, canonical_shifts, convert

_BATCH = {"cpu": 8, "cuda": 128}
_SIZE = 224
_RATIO = 0.12
_SURROGATE = Surrogate("atan", 20)
#: The method and the part of each measurement.
CASES = (("ours", "forward"), ("ours", "backward"), ("ours", "both"), ("official", "both"))


@pytest.mark.parametrize(
    ("device", "method", "part"), [device_param(device, *case) for device in _BATCH for case in CASES]
)
def test_gradients(measure: Callable[..., None], device: str, method: str, part: str) -> None:
    """Measure the conversion of float32 images to float32 events, its gradients for the images, or both."""
    images = random_images(_BATCH[device], _SIZE, "float32", device, "photographs").requires_grad_()
    gradient = torch.rand(8, _BATCH[device], 2, _SIZE, _SIZE, device=device)
    shifts, weight = canonical_shifts(device=device), official.motion_weight(device)

    def forward() -> Tensor:
        if method == "ours":
            return convert(images, _RATIO, surrogate=_SURROGATE)
        return official.convert(images, weight, _RATIO, _SURROGATE)

    def both() -> Tensor:
        return torch.autograd.grad(forward(), images, gradient)[0]

    def backward() -> object:
        options = (shifts, None, _RATIO, None, None, False, _SURROGATE.name, _SURROGATE.alpha, True)
        return torch.ops.i2e_triton.convert_backward(gradient, images.detach(), *options)

    calls: dict[str, Callable[[], object]] = {"forward": forward, "backward": backward, "both": both}
    case = {"method": method, "part": part, "batch": _BATCH[device], "size": _SIZE}
    measure("gradients", case, calls[part], device=device, images=_BATCH[device], memory_call=calls[part])
