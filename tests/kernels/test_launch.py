"""How the kernels are launched: block sizes, planes, and the number of launches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.roofline.ahead_of_time import launches, unpack_launches
from i2e_triton.kernels.convert import MAX_PROGRAMS
from i2e_triton.kernels.launch import plane_layout
from i2e_triton.kernels.plan import Launch, Pointer
from i2e_triton.kernels.tiles import programs_and_warps, tile_shape

H100 = 132  # multiprocessors


def test_batch_that_fills_the_device_has_one_launch() -> None:
    for batch in (99, 128, 1024):
        (only,) = launches(torch.zeros(batch, 3, 64, 66), torch.bool, multiprocessors=H100)
        assert only.kernel.__name__ == "convert_kernel"
        assert only.grid == (batch, 1, 1)


def test_single_image_has_two_launches_with_several_programs() -> None:
    measure, emit = launches(torch.zeros(1, 3, 224, 224), torch.bool, multiprocessors=H100)
    assert (measure.kernel.__name__, emit.kernel.__name__) == ("measure_kernel", "emit_kernel")
    assert measure.grid == emit.grid
    assert 64 <= measure.grid[0] <= MAX_PROGRAMS.value


@given(
    st.sampled_from([1, 3, 40]),
    st.integers(33, 1000),
    st.integers(33, 1000),
    st.sampled_from([torch.uint8, torch.float16, torch.float32]),
    st.booleans(),
)
def test_every_program_has_work(batch: int, height: int, width: int, dtype: torch.dtype, augmented: bool) -> None:
    images = torch.empty(1, dtype=dtype, device="meta").expand(batch, 3, height, width)
    size = (height, width) if augmented else None
    for recorded in launches(images, torch.bool, size=size, multiprocessors=H100):
        arguments = recorded.arguments
        phase = "EMIT" if "events" in arguments else "MEASURE"
        rows, columns = arguments[f"{phase}_BLOCK_Y"], arguments[f"{phase}_BLOCK_X"]
        if arguments.get("SWAR"):
            tiles = -(-height * width // 4 // columns)
        else:
            tiles = -(-height // rows) * -(-width // columns)
        assert arguments.get("programs_per_image", 1) <= tiles


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
@pytest.mark.parametrize("batch", [1, 128])
def test_every_launch_disables_fusion(batch: int, dtype: torch.dtype) -> None:
    for recorded in launches(torch.zeros(batch, 3, 64, 64), dtype):
        assert recorded.arguments["enable_fp_fusion"] is False


@pytest.mark.parametrize("batch", [1, 128])
def test_augmented_images_use_the_same_kernels(batch: int) -> None:
    recorded = launches(torch.zeros(batch, 3, 32, 32), torch.bool, size=(128, 128))
    assert [launch.kernel.__name__ for launch in recorded] == (
        ["measure_kernel", "emit_kernel"] if batch == 1 else ["convert_kernel"]
    )
    assert all(launch.arguments["enable_fp_fusion"] is False for launch in recorded)
    assert recorded[0].arguments["planes"].height == 128
    assert recorded[0].arguments["images"].height == 32


def test_empty_batch_launches_nothing() -> None:
    assert launches(torch.zeros(0, 3, 8, 8), torch.bool) == []
    assert launches(torch.zeros(0, 3, 8, 8), torch.bool, size=(16, 16)) == []


def test_offsets_have_64_bits_only_if_necessary() -> None:
    for shape, timesteps, offset_dtype in (
        ((1, 3, 16384, 16384), 8, "int32"),  # 2^32 events, but offsets are within one timestep and polarity
        ((2**17, 3, 32, 32), 8, "int32"),  # 2^31 events of small images
        ((1, 1, 2**16, 2**15), 1, "int64"),
    ):
        image = torch.empty(1, 1, 1, 1, dtype=torch.uint8, device="meta").expand(shape)
        for recorded in launches(image, torch.bool, timesteps=timesteps):
            assert recorded.arguments["OFFSET_DTYPE"].name == offset_dtype
    long_stride = torch.empty(1, device="meta").as_strided((1, 1, 2, 1), (1, 1, 2**31, 1))
    assert launches(long_stride, torch.bool)[0].arguments["OFFSET_DTYPE"].name == "int64"


def packed_events(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.uint8, device="meta")


def test_unpack_offsets_have_64_bits_only_if_necessary() -> None:
    for shape, timesteps, offset_dtype in (
        ((64, 2, 1024, 2048), 7, "int32"),
        ((64, 2, 1024, 2048), 8, "int64"),  # 2^31 events
        ((1, 2, 2**15, 2**15 - 1), 1, "int64"),  # the last block reaches past 2^31
        ((1, 2, 2**16, 2**16), 1, "int64"),
    ):
        (launch,) = unpack_launches(packed_events(*shape), torch.bool, timesteps=timesteps)
        assert launch.arguments["OFFSET_DTYPE"].name == offset_dtype
    long_stride = packed_events(1).as_strided((1, 2, 1, 1), (1, 2**31, 1, 1))
    assert unpack_launches(long_stride, torch.bool)[0].arguments["OFFSET_DTYPE"].name == "int64"


@given(st.integers(1, 300), st.integers(1, 2**15), st.integers(1, 2**15), st.booleans(), st.integers(1, 8))
def test_unpack_covers_every_event(batch: int, height: int, width: int, gaps: bool, timesteps: int) -> None:
    packed = packed_events(batch, 2, height, width + 1)[..., :-1] if gaps else packed_events(batch, 2, height, width)
    (recorded,) = unpack_launches(packed, torch.float16, timesteps=timesteps)
    rows, columns, block_y, block_x = (recorded.arguments[name] for name in ("rows", "width", "BLOCK_Y", "BLOCK_X"))
    assert rows * columns == packed.numel()
    assert recorded.grid == (-(-rows // block_y) * -(-columns // block_x), 1, 1)
    assert recorded.grid[0] < 2**31
    assert block_y * block_x <= 4 * 32 * 8, "a thread writes more than 16 bytes per timestep"
    assert block_x >= min(32, columns), "neighbouring threads write distant addresses"
    assert recorded.arguments["enable_fp_fusion"] is False


def test_empty_unpack_launches_nothing() -> None:
    assert unpack_launches(packed_events(0, 2, 8, 8), torch.bool) == []


@given(st.integers(1, 2000), st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([1, 80, 132, 148, 304]))
def test_number_of_programs_and_warps(batch: int, height: int, width: int, multiprocessors: int) -> None:
    programs_per_image, warps = programs_and_warps(batch, height, width, multiprocessors)
    assert 1 <= programs_per_image <= MAX_PROGRAMS.value
    assert warps in (4, 16)
    assert batch * programs_per_image <= max(batch, 9 * multiprocessors), "too many programs"


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.sampled_from([256, 512, 2048, 4096]))
def test_tiles_are_powers_of_two_and_fit(height: int, width: int, pixels: int) -> None:
    rows, columns = tile_shape(height, width, pixels)
    assert rows & (rows - 1) == 0
    assert columns & (columns - 1) == 0
    assert rows * columns <= pixels
    assert rows * columns == pixels or rows * columns < 2 * height * width
    assert columns >= min(32, width), "neighbouring threads process distant pixels"


@pytest.mark.parametrize("batch", [1, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_few_kernels_are_compiled_for_random_sizes(dtype: torch.dtype, batch: int, generator: torch.Generator) -> None:
    sizes = torch.randint(200, 601, (500, 2), generator=generator).tolist()
    images = [torch.empty(batch, 3, *size, dtype=torch.uint8, device="meta") for size in sizes]
    compiled = {specialization(recorded) for image in images for recorded in launches(image, dtype)}
    assert 2 <= len(compiled) <= 12


def specialization(launch: Launch) -> str:
    """Return what Triton distinguishes kernels by."""

    def kind(value: Any) -> object:
        if isinstance(value, Pointer):
            return value.dtype, value.misalignment == 0
        return tuple(map(kind, value)) if isinstance(value, tuple) else value

    return f"{launch.kernel} {[kind(argument) for argument in launch.specialized().values()]}"


def test_tiles_leave_few_threads_idle() -> None:
    for side in (32, 128, 224, 256, 384, 512):
        rows, columns = tile_shape(side, side, 2048)
        covered = -(-side // rows) * rows * (-(-side // columns) * columns)
        assert covered <= 1.15 * side * side


@given(st.integers(1, 5), st.integers(1, 70), st.integers(1, 70))
def test_planes_are_aligned_and_have_separate_halos(batch: int, height: int, width: int) -> None:
    origin, stride_y, size = plane_layout(height, width)
    assert origin % stride_y % 16 == stride_y % 16 == size % 16 == 0
    offsets = [
        origin + b * size + y * stride_y + x
        for b in range(batch)
        for y in range(-1, height + 1)
        for x in range(-1, width + 1)
    ]
    assert min(offsets) >= 0
    assert max(offsets) < batch * size
    assert len(set(offsets)) == len(offsets)
