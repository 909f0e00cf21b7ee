"""Launch the kernels: allocate planes, choose block sizes, and choose between one launch and two."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime import JITFunction

from .arguments import Augmentation, Events, Images, PackedEvents, Planes, Ratios, Shifts
from .convert import convert_kernel, emit_kernel, measure_kernel
from .pixels import HALO
from .plan import ALIGNMENT, Launch, Layout, Number, Plan, Pointer, Workspace
from .tiles import ceil_div, programs_and_warps, tile_shape, tiles
from .unpack import unpack_kernel

# Rows of a plane start at multiples of this many pixels, for wide loads and stores.
_ALIGNMENT = 16
# More channels are read in a loop: compilation time grows with each unrolled channel.
_UNROLLED_CHANNELS = 4
# Second phase: how the cache treats events: "" as other data, or "evict_first".
_EVICTION = ""
# SWAR unrolls the timesteps. More than this number are processed one pixel at a time.
_UNROLLED_TIMESTEPS = 16
# Unpacking: bytes that a thread stores at once.
_STORE_BYTES = 16
_UNPACK_WARPS = 4
# Plans to keep. A plan takes 10 kB.
_MAX_PLANS = 1024
# Triton's interpreter runs the kernels without a device and without compiling them.
_COMPILED = isinstance(convert_kernel, JITFunction)
_Build = Callable[..., tuple[list[Launch], Workspace]]

#: Motion vectors of (dy0, dx0, dy1, dx1) that are known on the host.
Vectors = tuple[tuple[int, ...], ...]


def convert_into(
    out: Tensor,
    images: Tensor,
    shifts: Tensor | Vectors,
    ratios: Tensor | None,
    ratio: float,
    *,
    packed: bool,
    crop: Tensor | None = None,
    flip: Tensor | None = None,
    nearest: bool = False,
) -> None:
    """Write the events of images, or of their cropped, resized and flipped versions, into ``out``.

    Args:
        out: dense ``[T, B, 2, H, W]`` of any event dtype, or packed ``[B, 2, H, W]`` uint8; any strides. H and W are
            the size of the (augmented) images.
        images: ``[B, C, H, W]``; any strides.
        shifts: motion vectors ``[T, 4]`` or ``[B, T, 4]``, a signed integer dtype; or T tuples of numbers from -1 to 1,
            which are compiled into the kernel.
        ratios: one per image ``[B]``, or None to use ``ratio`` for all images.
        ratio: threshold as a fraction of an image's range, if ``ratios`` is None.
        packed: whether ``out`` is packed.
        crop: boxes ``[B, 4]`` of (top, left, height, width), a signed integer dtype, or None for whole images.
        flip: bool ``[B]``, or None.
        nearest: take the nearest pixels instead of interpolating.
    """
    if out.numel() == 0:
        return
    if ratios is None and images.dtype == torch.float64:
        # Triton passes a Python float as float32.
        ratios = torch.full((len(images),), ratio, dtype=torch.float64, device=images.device)
    vectors = shifts if isinstance(shifts, tuple) else None
    tensors = {
        "out": out,
        "images": images,
        "shifts": shifts.contiguous() if isinstance(shifts, Tensor) else None,
        "ratios": None if ratios is None else ratios.contiguous(),
        "crop": None if crop is None else crop.contiguous(),
        "flip": None if flip is None else flip.contiguous(),
    }
    run(conversion, images.device, tensors, ratio, vectors, packed, nearest)


def unpack_into(out: Tensor, packed: Tensor) -> None:
    """Write packed events into ``out``, timestep by timestep.

    Args:
        out: dense ``[T, B, 2, H, W]`` or ``[T, 2, H, W]`` of any event dtype, contiguous.
        packed: ``[B, 2, H, W]`` or ``[2, H, W]`` uint8; any strides.
    """
    if out.numel() == 0:
        return
    run(unpacking, out.device, {"out": out, "packed": packed}, 0.0, packed.is_contiguous())


def run(build: _Build, device: torch.device, tensors: dict[str, Any], ratio: float, *options: Any) -> None:
    """Run the plan that ``build`` makes for tensors with these layouts, on their device. Some tensors may be None."""
    driver: Any = triton.runtime.driver.active if _COMPILED else None
    current = driver.get_current_device() if driver else None
    if device.index not in (None, current):
        with torch.cuda.device(device):
            return run(build, device, tensors, ratio, *options)
    values: dict[str | None, Any] = {None: None, "ratio": ratio}
    layouts = []  # every call makes them, and a plain tuple takes half the time of a Layout
    for name, tensor in tensors.items():
        if tensor is not None:
            values[name] = address = tensor.data_ptr()
            layouts.append((name, tensor.shape, tensor.stride(), tensor.dtype, address % ALIGNMENT))
    plan = _plan(build, current, _settings(), _device(device), options, *layouts)
    if plan.compiled:
        plan.run(device, driver.get_current_stream(current), values)
    else:
        plan.run(device, None, values | {name: _as_bytes(tensors[name]) for name, *_ in layouts})


def _as_bytes(tensor: Tensor) -> Tensor:
    """Return a bool tensor as uint8, as :class:`Pointer` stands for it, and any other tensor unchanged."""
    return tensor.view(torch.uint8) if tensor.dtype == torch.bool else tensor


def forget_plans() -> None:
    """Empty the cache of plans, so that the next calls make new ones."""
    _plan.cache_clear()


def _settings() -> tuple[Any, ...]:
    """Return the settings of Triton that change compiled kernels, and whether there are launch hooks."""
    runtime, compilation = triton.knobs.runtime, triton.knobs.compilation
    hooked = bool(runtime.launch_enter_hook.calls or runtime.launch_exit_hook.calls)
    return hooked, runtime.debug, runtime.add_stages_inspection_hook, compilation.instrumentation_mode


@lru_cache(maxsize=_MAX_PLANS)
def _plan(
    build: _Build, device: Any, settings: tuple[Any, ...], properties: tuple[int, int], options: Any, *layouts: Any
) -> Plan:
    """Return the plan of a call, from a bounded cache. Another device or setting makes another plan."""
    launches, workspace = build({name: Layout(*fields) for name, *fields in layouts}, *options, *properties)
    return Plan(launches, workspace, hooked=settings[0])


def conversion(
    layouts: dict[str, Layout],
    vectors: Vectors | None,
    packed: bool,
    nearest: bool,
    multiprocessors: int,
    warp_size: int,
) -> tuple[list[Launch], Workspace]:
    """Return the launches of :func:`convert_into`: one kernel if a program converts a whole image, otherwise two."""
    out, images, shifts = layouts["out"], layouts["images"], layouts.get("shifts")
    ratios, crop, flip = layouts.get("ratios"), layouts.get("crop"), layouts.get("flip")
    batch = images.shape[0]
    height, width = out.shape[-2:]
    augmented = crop is not None or flip is not None or images.shape[-2:] != out.shape[-2:]
    interpolation = ("nearest" if nearest else "bilinear") if augmented else None
    plane_dtype = arithmetic(images.dtype) if interpolation == "bilinear" else images.dtype
    swar = can_use_swar(plane_dtype, out) and _timesteps(shifts, vectors) <= _UNROLLED_TIMESTEPS
    workspace = Workspace()
    planes = add_planes(workspace, batch, height, width, plane_dtype, swar)
    programs_per_image, warps = programs_and_warps(batch, height, width, multiprocessors, warp_size)
    threads = warps * warp_size
    common = {
        "OFFSET_DTYPE": offset_dtype(images.extent(-2, -1), out.extent(-2, -1), planes.stride_b),
        "num_warps": warps,
        "enable_fp_fusion": False,
    }
    measure_tile, emit_tile = tiles(
        height, width, programs_per_image, threads, images.dtype.itemsize, interpolation is not None, swar
    )
    augmentation = augmentation_arguments(crop, flip, height, width) if augmented else None
    measure = {
        **common,
        "planes": planes._replace(tie_break_ptr=None),
        **measure_arguments(images, augmentation, interpolation, measure_tile, threads),
    }
    emit = {**common, "planes": planes, **_emit_arguments(out, shifts, vectors, ratios, packed, swar, emit_tile)}
    if programs_per_image == 1:
        return [Launch(convert_kernel, (batch, 1, 1), {**measure, **emit})], workspace
    programs = batch * programs_per_image
    ranges = workspace.add("ranges", 2 * programs, arithmetic(images.dtype))
    shared = {"ranges_ptr": ranges, "programs_per_image": programs_per_image}
    return [
        Launch(measure_kernel, (programs, 1, 1), {**measure, **shared}),
        Launch(emit_kernel, (programs, 1, 1), {**emit, **shared}),
    ], workspace


def measure_arguments(
    images: Layout, augmentation: Augmentation | None, interpolation: str | None, tile: tuple[int, int], threads: int
) -> dict[str, Any]:
    """Return the kernel arguments that only the first phase uses."""
    channels = images.shape[1]
    return {
        "images": Images(Pointer.to("images", images), *images.shape[1:], *images.strides),
        "augmentation": augmentation,
        "CHANNELS": channels if channels <= _UNROLLED_CHANNELS else None,
        "INTERPOLATION": interpolation,
        "MEASURE_BLOCK_Y": tile[0],
        "MEASURE_BLOCK_X": tile[1],
        "HALO_BLOCK": threads,
    }


def _emit_arguments(
    out: Layout,
    shifts: Layout | None,
    vectors: Vectors | None,
    ratios: Layout | None,
    packed: bool,
    swar: bool,
    tile: tuple[int, int],
) -> dict[str, Any]:
    """Return the kernel arguments that only the second phase uses."""
    timesteps = _timesteps(shifts, vectors)
    return {
        "events": Events(Pointer.to("out", out), *((0, *out.strides) if packed else out.strides)),
        "shifts": Shifts(
            shifts and Pointer.to("shifts", shifts),
            timesteps,
            shifts.strides[0] if shifts and len(shifts.shape) == 3 else 0,
        ),
        "ratios": Ratios(ratios and Pointer.to("ratios", ratios), Number("ratio")),
        "PAIRS": vectors and _pairs(vectors),
        "TIMESTEPS": timesteps if vectors or swar else None,
        "PACKED": packed,
        "SWAR": swar,
        "EVICTION": _EVICTION,
        "EMIT_BLOCK_Y": tile[0],
        "EMIT_BLOCK_X": tile[1],
    }


def unpacking(
    layouts: dict[str, Layout], contiguous: bool, _multiprocessors: int, warp_size: int
) -> tuple[list[Launch], Workspace]:
    """Return the launch of :func:`unpack_into`. ``contiguous`` is whether the packed events are."""
    out, packed = layouts["out"], layouts["packed"]
    events = out.extent(*range(1, len(out.shape)))
    # Contiguous events are unpacked as one long row: accesses are wide for any image width.
    shape = (1, 1, 1, events) if contiguous else (1, *packed.shape)[-4:]
    strides = (0, 0, 0, 1) if contiguous else (0, *packed.strides)[-4:]
    rows, height, width = shape[0] * shape[1] * shape[2], shape[2], shape[3]
    block_y, block_x = tile_shape(rows, width, _UNPACK_WARPS * warp_size * (_STORE_BYTES // out.dtype.itemsize))
    arguments = {
        "packed": PackedEvents(Pointer.to("packed", packed), *strides),
        "out_ptr": Pointer.to("out", out),
        "timesteps": out.shape[0],
        "rows": rows,
        "height": height,
        "width": width,
        "stride_out_t": out.strides[0],
        "OFFSET_DTYPE": offset_dtype(packed.extent(*range(len(packed.shape))), out.extent(*range(len(out.shape)))),
        "BLOCK_Y": block_y,
        "BLOCK_X": block_x,
        "num_warps": _UNPACK_WARPS,
        "enable_fp_fusion": False,
    }
    tiles = ceil_div(rows, block_y) * ceil_div(width, block_x)
    return [Launch(unpack_kernel, (tiles, 1, 1), arguments)], Workspace()


def can_use_swar(plane_dtype: torch.dtype, out: Layout) -> bool:
    """Return whether grey levels can be read, and events written, four at a time (see ``emit_swar.py``)."""
    return (
        plane_dtype == torch.uint8
        and out.shape[-1] % 4 == 0
        and out.strides[-1] == 1
        and all(stride % 4 == 0 for stride in out.strides[:-1])
        and out.misalignment % (4 * out.dtype.itemsize) == 0
    )


def plane_layout(height: int, width: int) -> tuple[int, int, int]:
    """Return the layout of a plane with its halo, in elements.

    Returns:
        The position of pixel (0, 0), the stride of the rows, and the number of elements. The left and right columns of
        the halo are in the gaps between rows.
    """
    stride_y = _aligned(width + 2 * HALO.value)
    origin = HALO.value * stride_y + _ALIGNMENT
    return origin, stride_y, origin + _aligned((height + HALO.value) * stride_y)


def _timesteps(shifts: Layout | None, vectors: Vectors | None) -> int:
    return len(vectors) if vectors else shifts.shape[-2] if shifts else 0


def _pairs(vectors: Vectors) -> tuple[tuple[int, int], ...]:
    """Return the start and the end of each motion vector as neighbours, numbered from 0 in reading order."""
    return tuple((3 * dy0 + dx0 + 4, 3 * dy1 + dx1 + 4) for dy0, dx0, dy1, dx1 in vectors)


def add_planes(
    workspace: Workspace,
    batch: int,
    height: int,
    width: int,
    dtype: torch.dtype,
    swar: bool = False,
    name: str = "plane",
) -> Planes:
    """Add planes of a batch to the workspace, and their tie-break planes for SWAR."""
    origin, stride_y, size = plane_layout(height, width)
    plane = workspace.add(name, batch * size, dtype, origin)
    tie_break = workspace.add("tie_break", batch * size, dtype, origin) if swar else None
    return Planes(plane, tie_break, height, width, size, stride_y)


def arithmetic(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of arithmetic with pixels of a dtype."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def augmentation_arguments(crop: Layout | None, flip: Layout | None, height: int, width: int) -> Augmentation:
    """Return the kernel argument for crops and flips of images of the augmented size."""
    return Augmentation(
        crop and Pointer.to("crop", crop),
        flip and Pointer.to("flip", flip),
        float64_bits(1 / height),
        float64_bits(1 / width),
    )


def float64_bits(number: float) -> int:
    """Return the bits of a float64 as an integer, because Triton passes a Python float as float32."""
    return struct.unpack("q", struct.pack("d", number))[0]


def _aligned(pixels: int) -> int:
    return ceil_div(pixels, _ALIGNMENT) * _ALIGNMENT


def offset_dtype(*extents: int) -> tl.dtype:
    """Return the dtype of offsets within the largest extent. A block of a kernel may reach past its end."""
    return tl.int32 if max(extents) < 2**31 - 2**16 else tl.int64


@cache
def _device(device: torch.device) -> tuple[int, int]:
    """Return the number of multiprocessors and the warp size (1 and 32 for Triton's interpreter on the CPU)."""
    if device.type == "cpu":
        return 1, 32
    properties = torch.cuda.get_device_properties(device)
    return properties.multi_processor_count, properties.warp_size
