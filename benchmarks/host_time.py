"""Measure the host time of one call: the CPU time from a public function to the driver's launch function.

    python -m benchmarks.host_time          # a table
    python -m benchmarks.host_time --json   # the medians in microseconds, as one JSON object

Needs a C compiler and no GPU: Triton's launcher runs with a stub of the driver library (``harness/stub_driver.py``).
PyTorch's operators allocate memory on the CPU instead of a GPU, which takes about as long.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch

from benchmarks.baselines import official
from benchmarks.harness import stub_driver
from i2e_triton import I2E, convert, random_shifts, unpack
from i2e_triton.augmentation import RandomCropResizeFlip

#: What is measured, by name.
CASES = {
    "batch": "a batch that fills the GPU: one launch",
    "single": "one image: two launches",
    "out": "a batch, into existing memory",
    "augmented": "a batch with given boxes and flips",
    "augmented_drawn": "a batch with random boxes, flips and motion vectors",
    "unpack": "unpacking of a packed batch",
    "module_train": "the module in training mode, which draws motion vectors",
    "module_eval": "the module in evaluation mode",
    "official": "the official formulation in PyTorch, for a batch of one image of 8x8 pixels",
}
_CALLS, _ROUNDS = 200, 15
_STUBBED = "--stubbed"


def measure() -> dict[str, float]:
    """Return the median times in microseconds by case.

    Raises:
        NoCompilerError: if there is no C compiler.
    """
    return json.loads(stub_driver.run("benchmarks.host_time", [_STUBBED]))


def _measure_stubbed() -> dict[str, float]:
    """Measure all cases. Must run in a process that :func:`stub_driver.run` started."""
    torch.set_num_threads(1)
    image = torch.randint(0, 256, (3, 224, 224), dtype=torch.uint8)
    # The batch has one image and fills a GPU of one multiprocessor. For more images the CPU's allocator would ask the
    # operating system for memory on every call, which PyTorch's allocator for GPUs does not.
    stub_driver.install(multiprocessors=1)
    times = {name: _microseconds(call) for name, call in _batch_calls(image[None]).items()}
    stub_driver.install()
    times["single"] = _microseconds(lambda: convert(image, dtype=torch.bool))
    return {name: round(times[name], 1) for name in CASES}


def _batch_calls(batch: torch.Tensor) -> dict[str, Callable[[], object]]:
    packed, out = convert(batch, packed=True), convert(batch, dtype=torch.bool)
    raw, augment = batch[..., :32, :32].contiguous(), RandomCropResizeFlip(128, crop=32, padding=4, seed=0)
    drawn = augment(raw)
    training, evaluating = I2E(dtype=torch.bool, per_sample=True, seed=0).train(), I2E(dtype=torch.bool).eval()
    small, weight = batch[..., :8, :8].contiguous(), official.motion_weight()
    return {
        "batch": lambda: convert(batch, dtype=torch.bool),
        "out": lambda: convert(batch, dtype=torch.bool, out=out),
        "augmented": lambda: convert(raw, 0.07, dtype=torch.bool, **drawn),
        "augmented_drawn": lambda: convert(raw, 0.07, shifts=random_shifts(1), dtype=torch.bool, **augment(raw)),
        "unpack": lambda: unpack(packed, dtype=torch.bool),
        "module_train": lambda: training(batch),
        "module_eval": lambda: evaluating(batch),
        "official": lambda: official.convert(small, weight),
    }


def _microseconds(call: Callable[[], object]) -> float:
    """Return the median CPU time of a call, after warm-up."""
    times = []
    for round_ in range(_ROUNDS + 1):
        start = time.thread_time()
        for _ in range(_CALLS):
            call()
        if round_ > 0:
            times.append((time.thread_time() - start) / _CALLS * 1e6)
    return statistics.median(times)


def main() -> None:
    """Print the times as a table or as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host_time", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object: medians in microseconds")
    parser.add_argument(_STUBBED, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stubbed:
        sys.stdout.write(json.dumps(_measure_stubbed()) + "\n")
        return
    try:
        times = measure()
    except stub_driver.NoCompilerError as error:
        sys.exit(f"error: {error}")
    if arguments.json:
        sys.stdout.write(json.dumps(times) + "\n")
        return
    for name, microseconds in times.items():
        sys.stdout.write(f"{name:16s} {microseconds:7.1f} us  {CASES[name]}\n")


if __name__ == "__main__":
    main()
