"""What reaches the driver from a plan and from Triton's usual launch. ``test_plan.py`` runs this with a stub driver."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor
from triton.backends.nvidia.driver import CudaLauncher
from triton.runtime.driver import driver

from benchmarks.harness import stub_driver
from i2e_triton import canonical_shifts, convert, unpack
from i2e_triton.kernels import launch
from i2e_triton.kernels.plan import Launch

_Call = Callable[[], object]
_launches: list[dict[str, Any]] = []
_memory = torch.empty(2**20, dtype=torch.uint8)


class _Recorder(CudaLauncher):  # type: ignore[misc]
    """Triton's launcher, which also records what reaches the driver."""

    def __init__(self, source: Any, metadata: Any):
        super().__init__(source, metadata)
        self._types = [*_types(tuple(source.signature.values())), "scratch", "scratch"]

    def __call__(self, *arguments: Any) -> None:
        stub_driver.record(len(self._types))
        super().__call__(*arguments)
        _launches.append(stub_driver.last_launch(self._types))


def _types(signature: Any) -> Iterator[str]:
    """Yield the types of a compiled kernel's parameters; constants have none."""
    if isinstance(signature, tuple):
        for part in signature:
            yield from _types(part)
    elif signature != "constexpr":
        yield signature


def recorded(call: _Call) -> list[dict[str, Any]]:
    """Return what reaches the driver in a call. Workspaces are at a fixed address."""
    _launches.clear()
    with mock.patch.object(torch, "empty", lambda size, **_: _memory[:size]):
        call()
    return list(_launches)


def compared(call: _Call) -> dict[str, Any]:
    """Return what reaches the driver by the plan, by the plan again, and by Triton's usual launch."""
    first, again = recorded(call), recorded(call)
    launch._plan.cache_clear()
    with mock.patch.object(Launch, "compilable", False):
        usual = recorded(call)
    launch._plan.cache_clear()
    return {"first": first, "again": again, "usual": usual}


def cases() -> Iterator[tuple[str, _Call]]:
    """Yield calls with several layouts and arguments, by name. No size or stride is 1, except along x."""
    images = torch.zeros(2, 3, 32, 48, dtype=torch.uint8)
    shifts, events = canonical_shifts(), torch.zeros(8, 2, 2, 32, 48, dtype=torch.bool)
    yield "uint8 to bool", lambda: launch.convert_into(events, images, shifts, None, 0.25, packed=False)
    misaligned = torch.zeros(2 * 3 * 32 * 48 + 1, dtype=torch.uint8)[1:].view(2, 3, 32, 48)
    yield "misaligned", lambda: launch.convert_into(events, misaligned, shifts, None, 0.5, packed=False)
    crop, flip = torch.tensor([[2, 3, 20, 30], [4, 5, 9, 17]]), torch.tensor([True, False])

    def several_programs() -> None:
        with mock.patch.object(launch, "_device", return_value=stub_driver.H100):
            launch.convert_into(events, images, shifts, None, 0.75, packed=False, crop=crop, flip=flip)

    yield "two launches", several_programs
    floats, gaps = torch.zeros(2, 3, 40, 66)[..., ::2], torch.zeros(2, 2, 40, 66, dtype=torch.uint8)[..., ::2]
    ratios = torch.tensor([0.1, 0.2])
    yield "strided and packed", lambda: launch.convert_into(gaps, floats, shifts, ratios, 0.0, packed=True)
    rows = torch.zeros(2, 2, 32, 50, dtype=torch.uint8)[..., :48]
    yield "unpacked", lambda: launch.unpack_into(events, rows)


def several_devices() -> list[tuple[int, int]]:
    """Return the stream of each launch, and the number of plans after it, for the devices 0, 1 and 0."""
    image, found = torch.zeros(1, 3, 32, 48, dtype=torch.uint8), []
    for device in (0, 1, 0):
        stub_driver.set_device(device)
        (only,) = recorded(lambda: unpack(image[:, :2]))
        found.append((only["stream"], launch._plan.cache_info().currsize))
    return found


def hooked() -> list[str]:
    """Return the names of the kernels that a launch hook sees, with a plan that was made before the hook."""
    packed, names = torch.zeros(2, 2, 32, 48, dtype=torch.uint8), []
    unpack(packed)

    def hook(metadata: Any) -> None:
        names.append(metadata.get()["name"])

    triton.knobs.runtime.launch_enter_hook.add(hook)
    unpack(packed)
    triton.knobs.runtime.launch_enter_hook.remove(hook)
    unpack(packed)
    return names


def settings() -> int:
    """Return the number of plans for one layout and two values of a setting of Triton."""
    launch._plan.cache_clear()
    packed = torch.zeros(2, 2, 32, 48, dtype=torch.uint8)
    unpack(packed)
    with mock.patch.object(triton.knobs.runtime, "debug", True):
        unpack(packed)
    unpack(packed)
    return launch._plan.cache_info().misses


def alignments() -> int:
    """Return the number of plans for images of one layout at a multiple of 16 bytes, and 1 byte further."""
    launch._plan.cache_clear()
    memory = torch.zeros(2 * 3 * 32 * 48 + 1, dtype=torch.uint8)
    for start in (0, 1, 0):
        convert(memory[start : start + 2 * 3 * 32 * 48].view(2, 3, 32, 48), dtype=torch.bool)
    return launch._plan.cache_info().misses


def kept_alive() -> int:
    """Return how many tensors of a call are still alive after it."""
    images = torch.zeros(2, 3, 32, 48, dtype=torch.uint8)
    events = convert(images, dtype=torch.bool)
    references = [weakref.ref(images), weakref.ref(events)]
    del images, events
    gc.collect()
    return sum(reference() is not None for reference in references)


def threads() -> bool:
    """Return whether every launch has the tensors of one thread, with eight threads that use one plan."""
    seen: list[tuple[int, int]] = []

    def call(tensors: tuple[Tensor, Tensor]) -> None:
        for _ in range(50):
            launch.unpack_into(*tensors)

    def run(self: Any, *arguments: Any) -> None:
        # Addresses, after the grid, the stream, the function, metadata and hooks.
        (packed, *_strides), out = arguments[9:11]
        seen.append((packed, out))

    pairs = [(torch.zeros(8, 2, 2, 8, 16), torch.zeros(2, 2, 8, 16, dtype=torch.uint8)) for _ in range(8)]
    call(pairs[0])
    with mock.patch.object(_Recorder, "__call__", run), ThreadPoolExecutor(8) as pool:
        list(pool.map(call, pairs))
    return len(seen) == 400 and set(seen) == {(packed.data_ptr(), out.data_ptr()) for out, packed in pairs}


def main() -> None:
    """Write all results as one JSON object."""
    stub_driver.install(multiprocessors=1)
    driver.active.launcher_cls = _Recorder
    results: dict[str, Any] = {"compared": {name: compared(call) for name, call in cases()}}
    functions = (several_devices, hooked, settings, alignments, kept_alive, threads)
    results |= {function.__name__: function() for function in functions}
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
