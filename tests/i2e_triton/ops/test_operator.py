"""The registered operators: ``opcheck``, fake tensors, autograd modes and threads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import _lru_cache_wrapper
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from i2e_triton import canonical_shifts, convert, random_shifts, reference, unpack
from i2e_triton.ops import operator
from tests.cases import EVENT_DTYPES, pack
from tests.samples import assert_same_events, noise, poison_for, resized_photograph

convert_op = torch.ops.i2e_triton.convert


def photographs(size: int = 32) -> Tensor:
    return torch.stack([resized_photograph(name, size) for name in ("astronaut", "rocket")])


def arguments(kind: str) -> tuple[Any, ...]:
    """Return arguments of the operator ``convert``.

    They are images, shifts, ratios, ratio, timesteps, dtype, packed, and for augmentation crop, flip, size, nearest.
    """
    images = photographs()
    floats = reference.scale(images)
    ratios = torch.tensor([0.1, 0.2], dtype=torch.float64)
    transposed = floats.to(memory_format=torch.channels_last)
    crop, flip = torch.tensor([[-2, 5, 20, 60], [2, 9, 9, 4]]), torch.tensor([True, False])
    return {
        "default": (images, None, None, 0.12, 8, torch.float32, False),
        "floats": (floats, None, None, 0.12, 5, torch.bool, False),
        "double": (floats.double(), canonical_shifts(2), None, 0.1, 8, torch.uint8, False),
        "half": (floats.half(), random_shifts(2), ratios.half(), 0.0, 8, torch.float16, False),
        "ratios": (floats, None, ratios, 0.0, 3, torch.bfloat16, False),
        "packed": (images, random_shifts(2), None, 0.12, 8, torch.uint8, True),
        "strided": (transposed[:, :, ::2, 1:], None, None, 0.12, 8, torch.float32, False),
        "gradient": (floats.requires_grad_(), None, ratios.clone().requires_grad_(), 0.0, 2, torch.float32, False),
        "empty": (images[:0], None, None, 0.12, 8, torch.float32, False),
        "augmented": (floats, canonical_shifts(), ratios, 0.0, 8, torch.float32, False, crop, flip, (12, 11), False),
        "cropped": (images.mT, None, None, 0.12, 5, torch.bool, False, crop),
        "flipped": (images, None, None, 0.12, 8, torch.float32, False, None, flip, None, True),
        "resized": (floats.double(), None, None, 0.12, 8, torch.float32, False, None, None, (4, 30)),
        "nearest": (images, None, None, 0.1, 8, torch.uint8, True, crop, flip, (20, 3), True),
        "empty augmented": (images[:0], None, None, 0.1, 8, torch.float32, False, crop[:0], flip[:0], (5, 6), False),
    }[kind]


AUGMENTED = ("augmented", "cropped", "flipped", "resized", "nearest", "empty augmented")
KINDS = ("default", "floats", "double", "half", "ratios", "packed", "strided", "gradient", "empty", *AUGMENTED)


@pytest.mark.parametrize("kind", KINDS)
def test_convert_passes_opcheck(kind: str) -> None:
    results = torch.library.opcheck(convert_op.default, arguments(kind))
    assert results == dict.fromkeys(results, "SUCCESS")
    assert {"test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"} <= set(results)


@pytest.mark.parametrize("kind", ["default", "floats", "packed", "empty", *AUGMENTED])
def test_out_variant_passes_opcheck(kind: str) -> None:
    given = arguments(kind)
    out = torch.zeros_like(convert_op.default(*given))
    results = torch.library.opcheck(convert_op.out, given, {"out": out})
    assert results == dict.fromkeys(results, "SUCCESS")


@pytest.mark.parametrize("kind", KINDS)
def test_fake_result_has_the_metadata_of_the_real_one(kind: str) -> None:
    given = arguments(kind)
    real = convert_op(*given)
    with FakeTensorMode() as mode:
        fake = convert_op(*(mode.from_tensor(a) if isinstance(a, Tensor) else a for a in given))
    meta = convert_op(*(a.to("meta") if isinstance(a, Tensor) else a for a in given))
    for other in (fake, meta):
        assert other.shape == real.shape
        assert other.stride() == real.stride()
        assert other.dtype == real.dtype
        assert not other.requires_grad
    assert fake.device.type == "cpu"
    assert meta.device.type == "meta"


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["batch", "single", "strided", "empty"])
def test_unpack_passes_opcheck(kind: str, dtype: torch.dtype, generator: torch.Generator) -> None:
    packed = noise((3, 2, 6, 8), torch.uint8, generator)
    packed = {"batch": packed, "single": packed[0], "strided": packed.mT[..., ::2], "empty": packed[:0]}[kind]
    results = torch.library.opcheck(torch.ops.i2e_triton.unpack.default, (packed, 5, dtype))
    assert results == dict.fromkeys(results, "SUCCESS")
    real = unpack(packed, 5, dtype)
    with FakeTensorMode() as mode:
        fake = unpack(mode.from_tensor(packed), 5, dtype)
    for other in (fake, unpack(packed.to("meta"), 5, dtype)):
        assert (other.shape, other.stride(), other.dtype) == (real.shape, real.stride(), dtype)


def test_fake_unpack_is_on_the_device_of_the_events() -> None:
    with FakeTensorMode():
        assert unpack(torch.empty(3, 2, 4, 5, dtype=torch.uint8, device="cuda")).device.type == "cuda"


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
def test_unpack_on_a_gpu_works_without_triton(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    monkeypatch.setattr(operator, "HAS_TRITON", False)
    packed = noise((3, 2, 6, 8), torch.uint8, generator)
    assert_same_events(operator._unpack_cuda(packed, 5, dtype), unpack(packed, 5, dtype))


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
def test_fake_convert_has_shape_dtype_and_device(dtype: torch.dtype) -> None:
    with FakeTensorMode():
        for device in ("cpu", "cuda"):
            images = torch.empty(4, 3, 8, 9, device=device)
            for events, shape in (
                (convert(images, dtype=dtype, timesteps=3), (3, 4, 2, 8, 9)),
                (convert(images[0], dtype=dtype), (8, 2, 8, 9)),
            ):
                assert events.shape == shape
                assert events.dtype == dtype
                assert events.device.type == device
            packed = convert(images, packed=True, dtype=dtype)
            assert packed.shape == (4, 2, 8, 9)
            assert packed.dtype == torch.uint8
    assert convert(torch.empty(4, 3, 8, 9, device="meta"), dtype=dtype).device.type == "meta"


def test_fake_convert_returns_out_itself() -> None:
    with FakeTensorMode():
        images, out = torch.empty(4, 3, 8, 9), torch.empty(8, 4, 2, 8, 9)
        assert convert(images, out=out) is out
    images, out = torch.empty(4, 3, 8, 9, device="meta"), torch.empty(8, 4, 2, 8, 9, device="meta")
    assert convert(images, out=out) is out


def test_fake_convert_of_more_than_2_to_the_31_events() -> None:
    events = convert(torch.empty(4096, 3, 1024, 1024, device="meta"))
    assert events.numel() == 8 * 4096 * 2 * 1024 * 1024 > 2**31


@pytest.mark.parametrize("key", ["CPU", "CUDA", "Meta"])
def test_operators_are_registered_for_every_device(key: str) -> None:
    for name in ("i2e_triton::convert", "i2e_triton::convert.out", "i2e_triton::unpack"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(name, key)


def test_schema_of_convert() -> None:
    assert operator.HAS_TRITON  # the test environment has Triton
    assert str(convert_op.default._schema) == (
        "i2e_triton::convert(Tensor images, Tensor? shifts, Tensor? ratios, float ratio, int timesteps, "
        "ScalarType dtype, bool packed, Tensor? crop=None, Tensor? flip=None, SymInt[]? size=None, "
        "bool nearest=False) -> Tensor"
    )
    assert convert_op.out._schema.is_mutable
    assert not convert_op.default._schema.is_mutable
    assert torch.Tag.pt2_compliant_tag in convert_op.default.tags


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "autocast to bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", torch.float16),
    "anomaly detection": torch.autograd.detect_anomaly,
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32], ids=str)
def test_every_mode_gives_the_same_events(mode: str, dtype: torch.dtype) -> None:
    images = photographs(48)
    images = images if dtype == torch.uint8 else reference.scale(images).to(dtype)
    expected = reference.convert(images, 0.12, canonical_shifts())
    with MODES[mode]():
        events = convert(images)
        packed = convert(images, packed=True)
        out = poison_for(expected)
        convert(images, dtype=torch.bool, out=out)
    assert_same_events(events, expected.float())
    assert_same_events(packed, pack(expected))
    assert_same_events(out, expected)
    assert not events.requires_grad


@pytest.mark.parametrize("mode", [torch.inference_mode(), torch.device("meta")], ids=["inference", "meta"])
def test_tables_cached_in_a_mode_work_without_the_mode(mode: AbstractContextManager[Any]) -> None:
    for module in [module for name, module in sys.modules.items() if name.startswith("i2e_triton.")]:
        for cached in [value for value in vars(module).values() if isinstance(value, _lru_cache_wrapper)]:
            cached.cache_clear()
    images = photographs()
    with mode:
        first = convert(images, 0.2)
    expected = reference.convert(images, 0.2, canonical_shifts()).float()
    assert_same_events(first, expected)
    assert_same_events(convert(images, 0.2), expected)
    torch.nn.Linear(32, 2)(convert(images, 0.2)).sum().backward()


def test_writing_out_invalidates_saved_tensors() -> None:
    images = photographs()
    weight = torch.ones(8, 2, 2, 32, 32, requires_grad=True)
    out = torch.ones(8, 2, 2, 32, 32)
    product = (out * weight).sum()  # saves out for its gradient
    convert(images, out=out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


def test_several_threads_convert_at_once(generator: torch.Generator) -> None:
    from concurrent.futures import ThreadPoolExecutor

    batches = [noise((2, 3, 40, 30), torch.uint8, generator) for _ in range(16)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(convert, batches))
    for events, images in zip(results, batches):
        assert_same_events(events, reference.convert(images, 0.12, canonical_shifts()).float())


def test_old_triton_raises_value_error(monkeypatch: pytest.MonkeyPatch) -> None:
    triton = pytest.importorskip("triton")
    monkeypatch.setattr(triton, "__version__", "3.2.0")
    for name in [name for name in sys.modules if name.startswith("i2e_triton.kernels")]:
        monkeypatch.delitem(sys.modules, name)
    operator.load_kernels.cache_clear()
    with pytest.raises(ValueError, match=r"CUDA device.*need Triton 3\.6 or newer, found 3\.2\.0: pip install"):
        operator.load_kernels()
