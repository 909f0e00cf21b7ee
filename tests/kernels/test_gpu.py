"""What only a GPU shows: large sizes, memory, streams, CUDA graphs, threads, synchronisation and compilation.

The tests of each kernel (``test_convert.py``, ``test_augmented.py``, ``test_unpack.py``) also run on a GPU.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

import i2e_triton
from i2e_triton import Surrogate, canonical_shifts, convert, random_shifts, unpack
from i2e_triton.augmentation import RandomCropResizeFlip, RandomResizedCropFlip
from tests.augmented_cases import AugmentedCase, boxes, flips
from tests.cases import EVENT_DTYPES, IMAGE_DTYPES, LAYOUTS, Case, arrange, on_device, poisoned
from tests.samples import PHOTOGRAPHS, assert_same_events, noise, photograph

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def convert_on_gpu(
    case: Case | AugmentedCase, dtype: torch.dtype = torch.bool, *, packed: bool = False, layout: str = "contiguous"
) -> Tensor:
    """Convert a case on the GPU into a poisoned output."""
    out = poisoned(case.expected(dtype, packed=packed).to("cuda"), layout)
    images, ratio, shifts = (on_device(value, "cuda") for value in (case.images, case.ratio, case.shifts))
    augmentation = case.augmentation if isinstance(case, AugmentedCase) else {}
    options = {name: on_device(value, "cuda") for name, value in augmentation.items()}
    result = convert(images, ratio, shifts=shifts, dtype=dtype, packed=packed, out=out, **options)
    assert result is out
    return out


@pytest.mark.parametrize("batch", [1, 128])
@pytest.mark.parametrize("dtype", [*EVENT_DTYPES, "packed"], ids=str)
@pytest.mark.parametrize("image_dtype", IMAGE_DTYPES, ids=str)
def test_every_dtype_at_full_size(
    image_dtype: torch.dtype, dtype: torch.dtype | str, batch: int, generator: torch.Generator
) -> None:
    images = noise((3, 3, 224, 224), image_dtype, generator)[torch.randint(3, (batch,), generator=generator)]
    case = Case(images, random_shifts(batch, generator), 0.12)
    packed = dtype == "packed"
    event_dtype = dtype if isinstance(dtype, torch.dtype) else torch.uint8
    events = convert_on_gpu(case, event_dtype, packed=packed)
    assert_same_events(events, case.expected(event_dtype, packed=packed))


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 977), (2, 1, 977, 1), (7, 3, 64, 66), (300, 3, 33, 36), (3, 3, 1080, 1919)]
)
def test_large_shapes(shape: tuple[int, ...], generator: torch.Generator) -> None:
    for dtype in (torch.uint8, torch.float32):
        case = Case(noise(shape, dtype, generator), canonical_shifts(), 0.07)
        assert_same_events(convert_on_gpu(case, packed=True, dtype=torch.uint8), case.expected(packed=True))


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_augmented_at_full_size(interpolation: str, generator: torch.Generator) -> None:
    for batch, raw, size in ((128, (32, 32), (128, 128)), (3, (500, 375), (224, 224))):
        images, crop = noise((batch, 3, *raw), torch.uint8, generator), boxes(batch, generator, 200, 400)
        shifts, flip = random_shifts(batch, generator), flips(batch, generator)
        case = AugmentedCase(images, shifts, crop, size, flip, interpolation)
        for dtype, packed in ((torch.float32, False), (torch.bfloat16, False), (torch.uint8, True)):
            assert_same_events(convert_on_gpu(case, dtype, packed=packed), case.expected(dtype, packed=packed))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [2, 150])
def test_every_layout_without_a_copy(layout: str, batch: int, generator: torch.Generator) -> None:
    images = arrange(noise((batch, 3, 64, 80), torch.float32, generator), layout)
    case = Case(images, canonical_shifts(), 0.12)
    expected = case.expected()
    on_gpu = on_device(images, "cuda")
    out = poisoned(expected.to("cuda"))
    convert(on_gpu, 0.12, dtype=torch.bool, out=out)  # compiles; the memory for this must not count
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    convert(on_gpu, 0.12, dtype=torch.bool, out=out)
    planes = batch * 66 * 96 * 4 + 2**20  # bytes of the float32 planes with halos, and 1 MiB
    assert torch.cuda.max_memory_allocated() - before <= planes
    assert_same_events(out, expected)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs(name: str) -> None:
    for images in (photograph(name)[None], photograph(name)[None].float() / 255):
        case = Case(images, canonical_shifts(), 0.12)
        assert_same_events(convert_on_gpu(case), case.expected())


def test_module_equals_the_cpu_path(generator: torch.Generator) -> None:
    images = noise((5, 3, 96, 96), torch.uint8, generator)
    module = i2e_triton.I2E(0.07).eval()
    on_cpu = module(images)
    module.cuda()
    with torch.autocast("cuda", torch.float16):
        assert_same_events(module(images.cuda()), on_cpu)


def test_more_than_2_to_the_31_elements(generator: torch.Generator) -> None:
    if torch.cuda.mem_get_info()[0] < 12 * 2**30:
        pytest.skip("needs 12 GiB of free GPU memory")
    images = noise((1, 1, 512, 512), torch.uint8, generator).cuda().expand(520, -1, -1, -1).contiguous()
    images[-1] = noise((1, 512, 512), torch.uint8, generator).cuda()
    out = torch.full((8, 520, 2, 512, 512), 77, dtype=torch.uint8, device="cuda")
    assert out.numel() > 2**31
    convert(images, 0.12, dtype=torch.uint8, out=out)
    assert int(out.max()) == 1, "an element was not written"
    for b in (0, 519):
        assert_same_events(out[:, b], convert(images[b].cpu(), 0.12, dtype=torch.uint8))
    assert bool((out[:, :519] == out[:, :1]).all())


def test_image_with_more_than_2_to_the_31_events(generator: torch.Generator) -> None:
    if torch.cuda.mem_get_info()[0] < 12 * 2**30:
        pytest.skip("needs 12 GiB of free GPU memory")
    tile = noise((1, 512, 512), torch.uint8, generator)
    images = tile.repeat(1, 24, 24).cuda()  # 12288 x 12288
    out = torch.full((8, 2, 12288, 12288), 77, dtype=torch.uint8, device="cuda")
    convert(images, 0.12, dtype=torch.uint8, out=out)
    assert int(out.max()) == 1, "an element was not written"
    expected = convert(tile.repeat(1, 3, 3), 0.12, dtype=torch.uint8)[..., 512:1024, 512:1024]
    for y, x in ((1, 1), (11, 13), (22, 22)):
        assert_same_events(out[..., 512 * y : 512 * y + 512, 512 * x : 512 * x + 512], expected)


def test_another_stream(generator: torch.Generator) -> None:
    case = Case(noise((64, 3, 128, 128), torch.float32, generator), canonical_shifts(), 0.12)
    expected = case.expected()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        # The conversion must be on the current stream, so that it waits for the copy.
        images = case.images.pin_memory().to("cuda", non_blocking=True)
        events = convert(images, 0.12, dtype=torch.bool)
    stream.synchronize()
    assert_same_events(events, expected)


@pytest.mark.parametrize("batch", [1, 128])
def test_no_function_synchronizes(batch: int) -> None:
    images = torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8, device="cuda")
    ratios = torch.full((batch,), 0.1, device="cuda")
    shifts = random_shifts(batch, device="cuda")
    rows, generator = torch.arange(batch, device="cuda"), torch.Generator("cuda")
    module = i2e_triton.I2E().cuda().train()
    augments = RandomCropResizeFlip(128), RandomResizedCropFlip(128)

    def call_all() -> None:
        convert(images, ratios, shifts=shifts)
        unpack(convert(images, 0.12, packed=True))
        module(images)
        for augment in augments:
            for augmentation in (augment(images), augment(images, generator), augment.for_rows(images, rows, 1, 2)):
                convert(images, 0.07, **augmentation)

    call_all()  # compiles, and copies tables to the GPU
    torch.cuda.set_sync_debug_mode("error")
    try:
        call_all()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("batch", [1, 128])
def test_cuda_graph(batch: int, augmented: bool, generator: torch.Generator) -> None:
    def draw() -> dict[str, Any]:
        images = noise((batch, 3, 32, 32), torch.uint8, generator)
        return {"images": images, "crop": boxes(batch, generator), "flip": flips(batch, generator)}

    size = (64, 48) if augmented else None
    inputs = {name: tensor.cuda() for name, tensor in draw().items() if augmented or name == "images"}
    convert(**inputs, size=size, packed=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        events = convert(**inputs, size=size, packed=True)
    for _ in range(2):
        fresh = {name: tensor for name, tensor in draw().items() if name in inputs}
        for name, tensor in fresh.items():
            inputs[name].copy_(tensor)
        events.fill_(0x5A)
        graph.replay()
        assert_same_events(events, convert(**fresh, size=size, packed=True))


def test_cuda_graph_of_gradients(generator: torch.Generator) -> None:
    images = torch.rand(4, 3, 32, 32, generator=generator).cuda().requires_grad_()
    weight = torch.rand(8, 4, 2, 32, 32, generator=generator).cuda()

    def step() -> Tensor:
        return torch.autograd.grad((convert(images, surrogate=Surrogate("atan", 20)) * weight).sum(), images)[0]

    step()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    images.data.copy_(torch.rand(4, 3, 32, 32, generator=generator))
    graph.replay()
    assert torch.equal(captured, step())


def test_several_threads_convert_at_once(generator: torch.Generator) -> None:
    cases = [Case(noise((4, 3, 64, 64), torch.uint8, generator), canonical_shifts(), 0.1) for _ in range(4)]
    results: dict[int, Tensor] = {}
    threads = [
        threading.Thread(target=lambda i=i, case=case: results.update({i: convert_on_gpu(case)}))
        for i, case in enumerate(cases)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, case in enumerate(cases):
        assert_same_events(results[i], case.expected())


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
def test_second_device(generator: torch.Generator) -> None:
    case = Case(noise((3, 3, 64, 64), torch.uint8, generator), canonical_shifts(), 0.1)
    with torch.cuda.device(0):
        events = convert(case.images.to("cuda:1"), 0.1, dtype=torch.bool)
    assert events.device.index == 1
    assert_same_events(events, case.expected())


@pytest.mark.parametrize("backend", ["inductor", "cudagraphs"])
def test_torch_compile(backend: str, generator: torch.Generator) -> None:
    images = noise((4, 3, 64, 64), torch.uint8, generator)
    compiled = torch.compile(
        lambda x: convert(x, 0.1) * 2 + unpack(convert(x, 0.2, packed=True)), fullgraph=True, backend=backend
    )
    dense, sparse = (Case(images, canonical_shifts(), ratio).expected(torch.float32) for ratio in (0.1, 0.2))
    assert_same_events(compiled(images.cuda()), dense * 2 + sparse)


def test_operators(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 16, 16, device="cuda")
    shifts, ratios = canonical_shifts(device="cuda"), torch.tensor([0.1, 0.2], device="cuda")
    boxes_and_flips = (boxes(2, generator).cuda(), flips(2, generator).cuda(), (12, 11), False)
    for given in (
        (images, shifts, None, 0.12, 8, torch.float32, False),
        (images, None, ratios, 0.0, 8, torch.uint8, True),
        (images, None, None, 0.1, 8, torch.float32, False, *boxes_and_flips),
    ):
        torch.library.opcheck(torch.ops.i2e_triton.convert.default, given)
    packed = noise((3, 2, 16, 16), torch.uint8, generator).cuda()
    torch.library.opcheck(torch.ops.i2e_triton.unpack.default, (packed, 8, torch.float32))


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(3, 2, 977, 1), (128, 2, 224, 224), (2, 2, 1080, 1919)])
def test_unpack(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> None:
    packed = noise(shape, torch.uint8, generator)
    for timesteps in (1, 5, 8):
        # The allocator reuses this memory for the result: elements that are not written stay 77.
        torch.full((timesteps, *shape), 77, device="cuda").to(dtype)
        assert_same_events(unpack(packed.cuda(), timesteps, dtype), unpack(packed, timesteps, dtype))


def test_unpack_to_more_than_2_to_the_31_events(generator: torch.Generator) -> None:
    if torch.cuda.mem_get_info()[0] < 6 * 2**30:
        pytest.skip("needs 6 GiB of free GPU memory")
    packed = noise((2, 512, 512), torch.uint8, generator).cuda().repeat(520, 1, 1, 1)
    events = unpack(packed, 8, torch.uint8)
    assert events.numel() > 2**31
    expected = unpack(packed[0], 8, torch.uint8)
    assert all(torch.equal(events[:, b], expected) for b in range(520))


def test_wrong_device_is_rejected() -> None:
    images = torch.rand(2, 3, 8, 8, device="cuda")
    with pytest.raises(ValueError, match="shifts must be on the images' device cuda:0, got cpu"):
        convert(images, shifts=canonical_shifts())
    with pytest.raises(ValueError, match="ratio must be on the images' device cuda:0, got cpu"):
        convert(images, torch.tensor([0.1, 0.2]))
