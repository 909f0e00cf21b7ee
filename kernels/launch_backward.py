"""Launch the kernels of the backward pass (see ``backward.py``)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import launch
from .arguments import Events, Images, Ratios, Shifts
from .backward import gather_kernel, write_kernel
from .convert import MAX_PROGRAMS, measure_kernel
from .plan import Launch, Layout, Number, Pointer, Workspace
from .tiles import ceil_div, tile_shape, tiles
from .transpose import transpose_kernel

_WARPS = 8
# Pixels of a tile, per thread.
_PIXELS = 2
# Programs per multiprocessor.
_PROGRAMS = 8


def gradients_into(
    image_gradient: Tensor | None,
    ratio_gradient: Tensor,
    gradient: Tensor,
    images: Tensor,
    shifts: Tensor,
    ratios: Tensor | None,
    ratio: float,
    surrogate: str,
    alpha: float,
    *,
    crop: Tensor | None,
    flip: Tensor | None,
    nearest: bool,
) -> None:
    """Write the gradients of a loss for the images and for the ratio of each image.

    Args:
        image_gradient: result ``[B, C, H, W]`` in the dtype of the images, or None if it is not needed.
        ratio_gradient: result ``[B]``, float64 for float64 images, otherwise float32.
        gradient: gradient of the loss for the events ``[T, B, 2, H, W]``, of the augmented height and width; any
            floating-point dtype and strides.
        images: ``[B, C, H, W]``; any strides.
        shifts: motion vectors ``[T, 4]`` or ``[B, T, 4]``, a signed integer dtype.
        ratios: one per image ``[B]``, or None to use ``ratio`` for all images.
        ratio: threshold as a fraction of an image's range, if ``ratios`` is None.
        surrogate: name of the surrogate.
        alpha: its steepness.
        crop: boxes ``[B, 4]``, or None for whole images.
        flip: bool ``[B]``, or None.
        nearest: take the nearest pixels instead of interpolating.
    """
    if gradient.numel() == 0:
        return
    if ratios is None and images.dtype == torch.float64:
        # Triton passes a Python float as float32.
        ratios = torch.full_like(ratio_gradient, ratio)
    tensors = {
        "image_gradient": image_gradient,
        "ratio_gradient": ratio_gradient,
        "gradient": gradient,
        "images": images,
        "shifts": shifts.contiguous(),
        "ratios": None if ratios is None else ratios.contiguous(),
        "crop": None if crop is None else crop.contiguous(),
        "flip": None if flip is None else flip.contiguous(),
    }
    launch.run(backward, images.device, tensors, ratio, surrogate, alpha, nearest)


def backward(
    layouts: dict[str, Layout], surrogate: str, alpha: float, nearest: bool, multiprocessors: int, warp_size: int
) -> tuple[list[Launch], Workspace]:
    """Return the launches of :func:`gradients_into`."""
    images, gradient, shifts, ratio_gradient = (
        layouts[name] for name in ("images", "gradient", "shifts", "ratio_gradient")
    )
    image_gradient, ratios, crop, flip = (layouts.get(name) for name in ("image_gradient", "ratios", "crop", "flip"))
    batch, channels, raw_height, raw_width = images.shape
    height, width = gradient.shape[-2:]
    augmented = crop is not None or flip is not None or (raw_height, raw_width) != (height, width)
    interpolation = ("nearest" if nearest else "bilinear") if augmented else None
    arithmetic = launch.arithmetic(images.dtype)
    threads = _WARPS * warp_size
    programs_per_image = min(
        ceil_div(height * width, threads * _PIXELS), ceil_div(_PROGRAMS * multiprocessors, batch), MAX_PROGRAMS.value
    )
    workspace = Workspace()
    planes = launch.add_planes(
        workspace, batch, height, width, arithmetic if interpolation == "bilinear" else images.dtype
    )
    ranges = workspace.add("ranges", 2 * batch * programs_per_image, arithmetic)
    sums = workspace.add("sums", 3 * batch * programs_per_image, torch.float64)
    value_gradient = out = augmented_gradient = None
    if image_gradient is not None:
        value_gradient = launch.add_planes(workspace, batch, height, width, arithmetic, name="value_gradient")
        out = Images(Pointer.to("image_gradient", image_gradient), *images.shape[1:], *image_gradient.strides)
        if augmented:
            size = channels * height * width
            pointer = workspace.add("augmented_gradient", batch * size, arithmetic)
            augmented_gradient = Images(pointer, channels, height, width, size, height * width, width, 1)
    augmentation = launch.augmentation_arguments(crop, flip, height, width) if augmented else None
    measure_tile, _ = tiles(height, width, programs_per_image, threads, images.dtype.itemsize, augmented, False)
    measure = launch.measure_arguments(images, augmentation, interpolation, measure_tile, threads)
    extents = [images.extent(-2, -1), gradient.extent(-2, -1), planes.stride_b]
    common: dict[str, Any] = {
        "OFFSET_DTYPE": launch.offset_dtype(*extents, *([image_gradient.extent(-2, -1)] if image_gradient else [])),
        "programs_per_image": programs_per_image,
        "num_warps": _WARPS,
        "enable_fp_fusion": False,
    }
    sums_of = {
        **common,
        **_block(height, width, threads),
        "planes": planes,
        "ratios": Ratios(ratios and Pointer.to("ratios", ratios), Number("ratio")),
        "ranges_ptr": ranges,
        "sums_ptr": sums,
    }
    gather = {
        **sums_of,
        "shifts": Shifts(
            Pointer.to("shifts", shifts), shifts.shape[-2], shifts.strides[0] if len(shifts.shape) == 3 else 0
        ),
        "gradient": Events(Pointer.to("gradient", gradient), *gradient.strides),
        "out": value_gradient,
        "alpha_bits": launch.float64_bits(alpha),
        "ONLY_SUMS": image_gradient is None,
        "SURROGATE": surrogate,
    }
    source = {name: measure[name] for name in ("images", "augmentation", "INTERPOLATION")}
    write = {
        **sums_of,
        **source,
        "value_gradient": value_gradient,
        "out": augmented_gradient or out,
        "ratios_out_ptr": Pointer.to("ratio_gradient", ratio_gradient),
    }
    grid = (batch * programs_per_image, 1, 1)
    launches = [
        Launch(measure_kernel, grid, {**common, **measure, "planes": planes, "ranges_ptr": ranges}),
        Launch(gather_kernel, grid, gather),
        Launch(write_kernel, grid, write),
    ]
    if augmented_gradient is not None:
        transpose = {**common, **source, **_block(raw_height, raw_width, threads)}
        launches.append(Launch(transpose_kernel, grid, {**transpose, "gradient": augmented_gradient, "out": out}))
    return launches, workspace


def _block(height: int, width: int, threads: int) -> dict[str, int]:
    """Return the size of a tile of images of a size."""
    return dict(zip(("BLOCK_Y", "BLOCK_X"), tile_shape(height, width, threads * _PIXELS)))
