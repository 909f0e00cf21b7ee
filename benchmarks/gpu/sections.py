"""The sections of ``make gpu``, in order of value. Each one returns a summary of one line."""

from __future__ import annotations

import contextlib
import math
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

from benchmarks.gpu.processes import gpu_tests, host_time, require, sanitizer
from benchmarks.gpu.run import Run, say
from benchmarks.harness.machine import cpu_model
from benchmarks.harness.rows import DeviceRows, bandwidth_ratio, seconds_per_image, speed_up
from benchmarks.harness.workload import FORMATS, INPUTS, MAIN_PAIRS, PAIRS, RATIO, Conversions, poison, random_images
from benchmarks.suites import test_comparison, test_gradients, test_latency, test_limits, test_throughput
from i2e_triton import convert

_SIZE = 224
_BATCH = 128
_OPTIONS = "launch options"
_CHECKED = 6  # images of a batch that are compared with the CPU path
_QUERY = ("nvidia-smi", "--query-gpu=name,clocks.sm,clocks.max.sm,clocks.mem,power.limit", "--format=csv,noheader")


@dataclass(frozen=True)
class Section:
    """A section: its title, and the function that runs it and returns a summary.

    The function raises :class:`SkippedError` or ModuleNotFoundError if this machine lacks something, and any other
    exception if a check fails.
    """

    title: str
    run: Callable[[Run], str]


def machine(run: Run) -> str:
    """Print the versions and the clocks of the device."""
    import triton

    if not run.dry and shutil.which(_QUERY[0]):
        say("  " + subprocess.run(_QUERY, capture_output=True, text=True, check=True).stdout.strip())
    return f"torch {torch.__version__}, triton {triton.__version__}, {cpu_model()}"


def equality(run: Run) -> str:
    """Compare events with the CPU path at the batch sizes where the launcher changes its choice."""
    batches = [1, 2] if run.dry else switching_batches()
    compared = 0
    for batch in batches:
        for input, format in PAIRS:
            run.remaining()
            compared += compare_with_cpu(random_images(batch, 32 if run.dry else _SIZE, input, run.device), format)
    return f"{compared:,} events are equal; batches of {', '.join(map(str, batches))} images, {len(PAIRS)} formats"


def switching_batches() -> list[int]:
    """Return batch sizes on both sides of each change between one and two launches or between waves of programs."""
    from i2e_triton.kernels.tiles import programs_and_warps

    count = torch.cuda.get_device_properties(0).multi_processor_count
    one_launch = [programs_and_warps(batch, _SIZE, _SIZE, count, 32)[0] == 1 for batch in range(1, 4 * count)]
    changes = [batch for batch in range(1, len(one_launch)) if one_launch[batch] != one_launch[batch - 1]]
    return sorted({1, 2, 7, *changes, *(batch + 1 for batch in changes), count, count + 1, 2 * count + 1})


def compare_with_cpu(images: Tensor, format: str) -> int:
    """Compare the events of a few images of a batch with those of the CPU path, and return their number.

    Raises:
        AssertionError: if an event differs.
    """
    options = FORMATS[format]
    events = convert(images, RATIO, **options)
    events.copy_(poison(events))
    convert(images, RATIO, out=events, **options)
    step = max(1, len(images) // _CHECKED)
    actual = events[::step] if format == "packed" else events[:, ::step]
    expected = convert(images[::step].cpu(), RATIO, **options)
    assert torch.equal(actual.cpu(), expected), f"events differ: {len(images)} {images.dtype} images → {format}"
    return expected.numel()


def limits(run: Run) -> str:
    """Measure copies, memsets and a read, which bound the rate of a conversion."""
    batch = 1 if run.dry else _BATCH
    methods = () if run.dry else ("copy", "memset", "read")
    for method in methods:
        test_limits.test_large(run.measure, run.device, method)
    for format in FORMATS:
        for input in INPUTS:
            test_limits.test_copy(run.measure, run.device, batch, input, format)
        test_limits.test_memset(run.measure, run.device, batch, format)
    found = [row for row in run.written().select("limits") if "bytes" in row["case"]]
    return ", ".join(f"{row['case']['method']} {row['bytes_moved'] / row['median_s'] / 1e12:.3f} TB/s" for row in found)


def formats(run: Run) -> str:
    """Measure all formats as CUDA graphs."""
    mode, size = ("eager", 32) if run.dry else ("graph", _SIZE)
    cases = [(pair, 1) for pair in PAIRS] if run.dry else [(pair, _BATCH) for pair in PAIRS]
    if not run.dry:
        cases += [(pair, batch) for batch in (1, 64, 256, 1024) for pair in MAIN_PAIRS]
    for (input, format), batch in cases:
        test_throughput.test_throughput(run.measure, run.device, mode, input, format, batch, size)
    return f"share of the copy rate, batch {cases[0][1]}: {shares(run.written(), mode, cases[0][1], size)}"


def shares(rows: DeviceRows, mode: str, batch: int, size: int) -> str:
    """Return the share of the rate of the large copy for each format, or a note that the copy was not measured."""
    copy = next((row for row in rows.select("limits", method="copy") if "bytes" in row["case"]), None)
    if copy is None:
        return "the large copy was not measured"
    found = rows.select("throughput", mode=mode, batch=batch, size=size)
    return ", ".join(
        f"{row['case']['input']} → {row['case']['format']} {bandwidth_ratio(row, copy):.0%}" for row in found
    )


def one_image(run: Run) -> str:
    """Measure one image until the call returns, until the events are ready, and on the GPU alone."""
    clocks = ("finished",) if run.dry else test_latency.CLOCKS
    for input, format in MAIN_PAIRS:
        for clock in clocks:
            test_latency.test_one_image(run.measure, run.device, clock, _SIZE, input, format)
    found = run.written().select("latency", input="uint8", format="bool")
    return ", ".join(f"{row['case']['clock']} {row['median_s'] * 1e6:.1f} µs" for row in found) + " (uint8 → bool)"


def comparison(run: Run) -> str:
    """Measure the official formulation, eager and compiled, and ODG; compare with the paper's claim of 300×."""
    measure, device = run.measure, run.device
    for format in ("bool",) if run.dry else ("float32", "bool", "packed"):
        test_comparison.test_ours(measure, device, "photographs", "uint8", format)
    with pytest.MonkeyPatch.context() as patch:
        for compiled, tf32 in ((False, False),) if run.dry else ((False, True), (False, False), (True, True)):
            test_comparison.test_official(measure, patch, device, compiled, tf32, "photographs", "uint8")
    test_comparison.test_image_by_image(measure, device, "ODG", test_comparison.odg.convert, "photographs")
    rows = run.written().select("comparison", content="photographs", input="uint8")
    times = {(row["case"]["method"], row["case"]["format"]): row for row in rows}
    ours, official = times["ours", "bool"], times["official" if run.dry else "official, tf32", "float32"]
    return f"uint8 → bool: {speed_up(times['ODG', None], ours):.0f}× ODG, {speed_up(official, ours):.0f}× official code"


def options(run: Run) -> str:
    """Measure other programs per image, warps per program and cache policies than the launcher chooses."""
    batch = 1 if run.dry else _BATCH
    for pair in (*MAIN_PAIRS, ("uint8", "bfloat16")):
        conversions = Conversions(run.device, *pair, batch, 32 if run.dry else _SIZE)
        for choice in (None, (1, 8), (1, 16), (1, 32), (2, 8), (2, 16), (4, 8), (8, 4)):
            measure_option(run, conversions, pair, batch, choice)
        measure_option(run, conversions, pair, batch, None, evict_first=True)
    for pair in MAIN_PAIRS[:2]:
        conversions = Conversions(run.device, *pair, 1, 32 if run.dry else _SIZE)
        for choice in (None, (98, 4), (49, 4), (25, 4), (49, 8), (25, 8), (13, 16)):
            measure_option(run, conversions, pair, 1, choice)
    best: dict[str, tuple[float, str]] = {}
    for row in run.written().select(_OPTIONS):
        case = row["case"]
        name = f"{case['input']} → {case['format']}, {case['batch']}"
        best[name] = min(best.get(name, (math.inf, "")), (row["median_s"], case["choice"]))
    return "fastest: " + ", ".join(f"{name}: {choice}" for name, (_, choice) in best.items())


def measure_option(
    run: Run,
    conversions: Conversions,
    pair: tuple[str, str],
    batch: int,
    choice: tuple[int, int] | None,
    *,
    evict_first: bool = False,
) -> None:
    """Measure conversions with a choice of (programs per image, warps per program), or the launcher's choice (None)."""
    name = "default" if choice is None else "{} programs of {} warps".format(*choice)
    case = {"input": pair[0], "format": pair[1], "batch": batch, "choice": "evict first" if evict_first else name}
    with contextlib.nullcontext() if run.dry else choose(choice, evict_first):
        call, per_call = conversions.call_for("eager" if run.dry else "graph")
        moved = conversions.bytes_moved
        run.measure(_OPTIONS, case, call, device=run.device, images=batch, per_call=per_call, bytes_moved=moved)


@contextlib.contextmanager
def choose(choice: tuple[int, int] | None, evict_first: bool) -> Iterator[None]:
    """Let the launcher choose (programs per image, warps per program), and stores with the policy evict-first."""
    from i2e_triton.kernels import launch

    launch.forget_plans()
    with contextlib.ExitStack() as patches:
        if choice:
            patches.enter_context(mock.patch.object(launch, "programs_and_warps", return_value=choice))
        if evict_first:
            patches.enter_context(mock.patch.object(launch, "_EVICTION", "evict_first"))
        yield
    launch.forget_plans()


def augmentation(run: Run) -> str:
    """Measure augmented conversions with their random draws, and the draws alone."""
    from benchmarks.suites import test_augmentation

    formats = ("bool",) if run.dry else ("float32", "bfloat16", "bool", "packed")
    for format in formats:
        for method in ("ours", "conversion alone"):
            test_augmentation.test_augmentation(run.measure, run.device, method, format, "out")
    test_augmentation.test_draws(run.measure, run.device)
    rows = run.written()
    times = {row["case"]["method"]: row for row in rows.select("augmentation", format=formats[-1], result="out")}
    ratio = 1 / speed_up(times["conversion alone"], times["ours"])
    draws = rows.select("draws")[0]["median_s"] * 1e6
    return f"{ratio:.2f}× the time of a conversion alone (→ {formats[-1]}); the draws alone {draws:.0f} µs"


def gradients(run: Run) -> str:
    """Measure the conversion and its gradients, and autograd through the official formulation."""
    for method, part in test_gradients.CASES:
        test_gradients.test_gradients(run.measure, run.device, method, part)
    rows = {(row["case"]["method"], row["case"]["part"]): row for row in run.written().select("gradients")}
    ours = rows["ours", "both"]
    return (
        f"the backward pass takes {speed_up(rows['ours', 'backward'], rows['ours', 'forward']):.1f}× the time of the "
        f"forward pass; both together are {speed_up(rows['official', 'both'], ours):.1f}× as fast as autograd"
    )


def training(run: Run) -> str:
    """Measure a few training steps of this package's loop, of the official loop and of the bare network."""
    require("pytorch_lightning", "spikingjelly", "skimage", "pyarrow", "torchvision")
    from benchmarks.harness.image_sets import like_cifar10
    from benchmarks.suites import test_training

    with tempfile.TemporaryDirectory() as folder:
        like_cifar10(Path(folder))
        loops = cache(partial(test_training.build_loops, Path(folder)))
        for name in ("ours",) if run.dry else ("ours", "official", "bare"):
            test_training.test_step(run.measure, loops, run.device, name)
        test_training.test_stages(run.measure, loops, run.device, "conversion", "ours")
    rows = run.written()
    steps = {row["case"]["loop"]: seconds_per_image(row) for row in rows.select("training")}
    conversion = seconds_per_image(rows.select("training stages", stage="conversion", loop="ours")[0])
    rates = ", ".join(f"{name} {1 / seconds:.0f} images/s" for name, seconds in steps.items())
    return f"{rates}; the conversion is {conversion / steps['ours']:.1%} of a step"


SECTIONS = {
    "machine": Section("versions and device", machine),
    "equality": Section("events equal those of the CPU path", equality),
    "limits": Section("rates of copy, memset and read", limits),
    "formats": Section("all formats, as CUDA graphs", formats),
    "host": Section("time of a call on the host", host_time),
    "one-image": Section("one image", one_image),
    "comparison": Section("official formulation, ODG, and the claim of 300×", comparison),
    "options": Section("programs per image and warps per program", options),
    "augmentation": Section("augmentation and random draws", augmentation),
    "gradients": Section("gradients, and autograd through the official formulation", gradients),
    "tests": Section("tests marked gpu", gpu_tests),
    "training": Section("training steps", training),
    "sanitizer": Section("compute-sanitizer on small images", sanitizer),
}
